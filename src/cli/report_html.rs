//! What reports as one HTML file share: no script, no font, no request; light and dark.

use maud::{Markup, html};

use crate::domain::release::ChangeEvent;
use crate::domain::text::printable;
use crate::web::standalone;

const STYLE: &str = ":root{color-scheme:light dark;--ground:#fff;--raised:#f6f7f9;--text:#1c2128;--muted:#5d6673;\
    --line:#dfe3e8;--before:#8b95a3;--after:#0b62c4;--bad:#b3261e;--warn:#8a5a00;--good:#1a7f4b;--mark:#a33ea1}\
    @media (prefers-color-scheme:dark){:root{--ground:#14171c;--raised:#1c2128;--text:#e4e8ee;--muted:#98a2b0;\
    --line:#2d343e;--before:#8b95a3;--after:#6db1ff;--bad:#ff8a80;--warn:#e3a93f;--good:#55c58c;--mark:#e08bde}}\
    body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:80rem;padding:1.5rem 1.5rem 4rem;\
    background:var(--ground);color:var(--text)}\
    h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2.2rem 0 .4rem}h3{font-size:.95rem;margin:1rem 0 .2rem;\
    color:var(--muted);font-weight:500}p,td,h2,li{overflow-wrap:anywhere;unicode-bidi:isolate}\
    .scroll{overflow-x:auto}.scroll td{overflow-wrap:break-word;max-width:22rem}table{border-collapse:collapse;width:100%}\
    th{text-align:left;font-weight:500;color:var(--muted);font-size:.87em}\
    th,td{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
    td.n{white-space:nowrap;font-variant-numeric:tabular-nums}\
    .drift,.fail{color:var(--bad);font-weight:600}.notable,.inconclusive{color:var(--warn);font-weight:600}\
    .calm,.pass{color:var(--good)}.quiet,.muted{color:var(--muted)}\
    section{border:1px solid var(--line);border-radius:8px;padding:.2rem 1.1rem 1rem;margin:1rem 0}\
    section h2{margin-top:.8rem}.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(25rem,100%),1fr));gap:.4rem 2rem}\
    svg{max-width:100%;height:auto}td svg{max-width:none}svg text{font:11px system-ui,sans-serif;fill:var(--muted)}\
    .b{fill:var(--before)}.a{fill:var(--after)}.bl{stroke:var(--before)}.al{stroke:var(--after)}\
    .axis{stroke:var(--line)}.change{stroke:var(--mark);stroke-dasharray:3 3}svg text.mark{fill:var(--mark)}\
    .margin{stroke:var(--bad);stroke-dasharray:4 3}svg text.value{fill:var(--text)}\
    code{font:.87em ui-monospace,monospace}.key svg{vertical-align:-1px;margin:0 .3rem 0 .9rem}\
    ul{padding-left:1.2rem}";

/// A whole page; texts in `content` are escaped already.
pub(super) fn page(title: &str, content: &Markup) -> String {
    standalone(title, STYLE, content)
}

/// What the two colours mean.
pub(super) fn key(before: &str, after: &str) -> Markup {
    let swatch = |class| html! { svg width="10" height="10" { rect class=(class) width="10" height="10" rx="2" {} } };
    html! { p.muted.key { (swatch("b")) (printable(before)) (swatch("a")) (printable(after)) } }
}

/// Changes that the compared traffic tells of.
pub(super) fn changes(changes: &[ChangeEvent]) -> Markup {
    html! {
        @if !changes.is_empty() {
            h2 { "Changes in this time" }
            ul { @for event in changes { li { (printable(&event.to_string())) } } }
        }
    }
}

/// What limits a report.
pub(super) fn notes(notes: &[String]) -> Markup {
    html! {
        @if !notes.is_empty() {
            h2 { "Notes" }
            ul { @for note in notes { li { (printable(note)) } } }
        }
    }
}
