// Keys of the review page: a key presses what is marked with it. Without this script everything works by hand.
"use strict";
let isLeaving = false;
addEventListener("submit", () => { isLeaving = true; });
addEventListener("pageshow", () => { isLeaving = false; });
addEventListener("keydown", (event) => {
  if (isLeaving || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) {
    const isNote = event.target.dataset.key !== undefined;
    if (event.key === "Escape" || (isNote && event.key === "Enter")) { event.preventDefault(); event.target.blur(); }
    return;
  }
  const marked = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!marked) return;
  event.preventDefault();
  if (marked.matches("input")) marked.focus(); else marked.click();
});
