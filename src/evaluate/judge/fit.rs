//! Cutting a trace to the size of a prompt.
//!
//! The rule, where the texts together are estimated to take more tokens than the judge's limit:
//!
//! 1. What the answer cites (`cited`) is kept, and the first and last [`OF_FAILED`] bytes of every failed or empty step.
//! 2. Of the rest, the longest texts are cut first, all to one common length, of which the first and the last half are
//!    kept. Every tool result and document is a text of its own, so that one long result does not push out the others.
//! 3. When the common length falls below [`SHORTEST`], texts from the middle of the run are left out whole, but none that
//!    holds something of 1.
//! 4. Whatever is cut leaves a mark in its place.
//!
//! When even the failed steps do not fit, they are cut as all others are. When a required input would lose what the
//! answer cites, or would lose whole texts of a run whose answer cites nothing that can be found, the trace cannot be
//! judged: a judge that was not shown the data cannot say what follows from it.

use std::fmt;
use std::ops::Range;

use super::Input;
use super::cited::Citations;
use super::material::{BETWEEN, Piece, Section};
use super::tokens::{PARTS, head_end, tail_start};

/// A text cut to less than this, in thirds of a token, says nothing any more.
const SHORTEST: usize = 200;
/// Bytes that are kept of the beginning and of the end of a failed step.
const OF_FAILED: usize = 500;
/// The size of a mark at most, in thirds of a token.
const MARK: usize = 48;

/// What a trace would lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) input: Input,
    is_cited: bool,
    limit: usize,
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, limit) = (self.input.name(), self.limit);
        let what = if self.is_cited { "as far as the answer cites it" } else { "in full" };
        write!(formatter, "{name} {what}, which does not fit into {limit} tokens")
    }
}

/// Sections with their texts as they are shown.
#[derive(Debug)]
pub(super) struct Fitted<'a> {
    sections: Vec<Section<'a>>,
    /// What is shown of each text, in order of the sections; whole texts when nothing was cut.
    cuts: Option<Vec<Shown>>,
}

/// What is shown of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Parts(Vec<Range<usize>>),
    Nothing,
}

/// What is kept before anything is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    CitedAndFailed,
    Cited,
    Nothing,
}

/// Cuts what exceeds so many tokens.
pub(super) fn fit(mut sections: Vec<Section<'_>>, limit: usize) -> Result<Fitted<'_>, Lost> {
    let room = limit.saturating_mul(PARTS);
    if sections.iter().flat_map(|section| &section.pieces).map(|piece| piece.size).sum::<usize>() <= room {
        return Ok(Fitted { sections, cuts: None });
    }
    let is_silent = note_citations(&mut sections);
    for keep in [Keep::CitedAndFailed, Keep::Cited, Keep::Nothing] {
        let Some(cuts) = cut(&sections, room, keep) else { continue };
        let lost = match keep {
            Keep::Nothing => first_required(&sections, |section| section.pieces.iter().any(|it| !it.cited.is_empty())),
            Keep::CitedAndFailed | Keep::Cited => None,
        };
        let left_out = || if is_silent { with_texts_left_out(&sections, &cuts) } else { None };
        return match (lost, left_out()) {
            (Some(input), _) => Err(Lost { input, is_cited: true, limit }),
            (None, Some(input)) => Err(Lost { input, is_cited: false, limit }),
            (None, None) => Ok(Fitted { sections, cuts: Some(cuts) }),
        };
    }
    let input = sections.iter().max_by_key(|section| section.pieces.len()).map_or(Input::Answer, |it| it.input);
    Err(Lost { input, is_cited: false, limit })
}

/// Notes in the material what the answer cites; whether it cites nothing that could be found anywhere.
fn note_citations(sections: &mut [Section<'_>]) -> bool {
    let answer = sections.iter().find(|section| section.input == Input::Answer);
    let answer = answer.and_then(|section| section.pieces.first()).map(|piece| piece.text.clone().into_owned());
    let citations = Citations::of(answer.as_deref().unwrap_or_default());
    sections.iter_mut().filter(|section| section.input.is_evidence()).for_each(|section| citations.note(section));
    citations.is_empty()
}

fn first_required(sections: &[Section<'_>], mut is_it: impl FnMut(&Section<'_>) -> bool) -> Option<Input> {
    sections.iter().find(|section| is_it(section) && section.is_required).map(|section| section.input)
}

/// The first required section of which whole texts are not shown.
fn with_texts_left_out(sections: &[Section<'_>], cuts: &[Shown]) -> Option<Input> {
    let mut rest = cuts;
    first_required(sections, |section| {
        let (of_section, after) = rest.split_at(section.pieces.len());
        rest = after;
        of_section.contains(&Shown::Nothing)
    })
}

/// One text on its way to being cut.
struct Candidate<'a, 'b> {
    piece: &'b Piece<'a>,
    /// Kept in any case, in order and apart from each other.
    kept: Vec<Range<usize>>,
    /// Their size, with the marks around them.
    fixed: usize,
    /// Whether it may be left out whole.
    is_droppable: bool,
}

impl<'a, 'b> Candidate<'a, 'b> {
    fn new(piece: &'b Piece<'a>, keep: Keep, is_one_of_many: bool) -> Self {
        let mut kept = if keep == Keep::Nothing { Vec::new() } else { piece.cited.clone() };
        if keep == Keep::CitedAndFailed && piece.is_failed {
            let length = piece.text.len();
            kept.push(0..piece.text.floor_char_boundary(OF_FAILED.min(length)));
            kept.push(piece.text.ceil_char_boundary(length.saturating_sub(OF_FAILED))..length);
        }
        let kept = merged(kept);
        let sizes = kept.iter().map(|part| super::tokens::size(&piece.text[part.clone()]) + MARK);
        let fixed = sizes.sum::<usize>() + MARK + BETWEEN.len();
        let is_droppable = is_one_of_many && kept.is_empty();
        Self { piece, kept, fixed, is_droppable }
    }

    /// What it takes beyond what is kept in any case, when it is shown whole.
    const fn more(&self) -> usize {
        self.piece.size.saturating_sub(self.fixed)
    }

    /// What is shown of it when it may take so much more.
    fn shown(&self, common: usize) -> Shown {
        let text = &*self.piece.text;
        if self.more() <= common {
            return Shown::Parts(std::iter::once(0..text.len()).collect());
        }
        let half = common.saturating_sub(MARK) / 2;
        let mut parts = self.kept.clone();
        parts.push(0..head_end(text, half));
        parts.push(tail_start(text, half)..text.len());
        Shown::Parts(merged(parts))
    }
}

/// What is shown of each text; `None` when what is to be kept does not fit.
fn cut(sections: &[Section<'_>], room: usize, keep: Keep) -> Option<Vec<Shown>> {
    let pieces = sections.iter().flat_map(|section| section.pieces.iter().map(move |piece| (section, piece)));
    let all: Vec<Candidate<'_, '_>> =
        pieces.map(|(section, piece)| Candidate::new(piece, keep, section.pieces.len() > 1)).collect();
    let mut is_shown = vec![true; all.len()];
    let common = match common(&all, &is_shown, room) {
        Some(common) if common >= SHORTEST => common,
        _ => {
            leave_out_the_middle(&all, &mut is_shown, room);
            common(&all, &is_shown, room).filter(|common| *common >= SHORTEST)?
        }
    };
    let shown = |(it, is_shown): (&Candidate<'_, '_>, &bool)| if *is_shown { it.shown(common) } else { Shown::Nothing };
    Some(all.iter().zip(&is_shown).map(shown).collect())
}

/// The common length to which the texts that are shown are cut; `None` when what is kept in any case does not fit.
fn common(all: &[Candidate<'_, '_>], is_shown: &[bool], room: usize) -> Option<usize> {
    let shown = || all.iter().zip(is_shown).filter(|(_, is_shown)| **is_shown).map(|(it, _)| it);
    // A run of texts that are left out has a mark, at most one more than there are texts.
    let fixed = shown().map(|it| it.fixed + MARK).sum::<usize>() + MARK;
    Some(common_length(shown().map(Candidate::more).collect(), room.checked_sub(fixed)?))
}

/// Leaves out texts from the middle of those that may be, so many that the others have room.
fn leave_out_the_middle(all: &[Candidate<'_, '_>], is_shown: &mut [bool], room: usize) {
    let fixed: usize = all.iter().filter(|it| !it.is_droppable).map(|it| it.fixed + MARK + SHORTEST).sum();
    let each = SHORTEST + 2 * MARK + BETWEEN.len();
    let most = room.saturating_sub(fixed + MARK) / each;
    let droppable: Vec<usize> = (0..all.len()).filter(|index| all[*index].is_droppable).collect();
    let middle = most.div_ceil(2)..droppable.len().saturating_sub(most / 2).max(most.div_ceil(2));
    for index in droppable.get(middle).unwrap_or_default() {
        is_shown[*index] = false;
    }
}

/// The greatest length `c` for which the sum of `min(length, c)` stays within the limit.
fn common_length(mut lengths: Vec<usize>, limit: usize) -> usize {
    lengths.sort_unstable();
    let mut left = limit;
    for (index, length) in lengths.iter().enumerate() {
        let share = left / (lengths.len() - index);
        if *length > share {
            return share;
        }
        left -= length;
    }
    limit
}

/// Ranges in order, with those that touch joined and empty ones gone.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

impl Fitted<'_> {
    /// Whether something is not shown.
    pub(super) const fn is_truncated(&self) -> bool {
        self.cuts.is_some()
    }

    /// A section's texts as they are shown, or `None` when the trace has none.
    pub(super) fn text(&self, input: Input) -> Option<String> {
        let before = self.sections.iter().take_while(|section| section.input != input);
        let first: usize = before.map(|section| section.pieces.len()).sum();
        let section = self.sections.iter().find(|section| section.input == input)?;
        if section.pieces.is_empty() {
            return None;
        }
        Some(match &self.cuts {
            None => section.pieces.iter().map(|piece| piece.text.as_ref()).collect::<Vec<&str>>().join(BETWEEN),
            Some(cuts) => shown_texts(&section.pieces, &cuts[first..]).join(BETWEEN),
        })
    }
}

/// Texts as they are shown; texts in a row that are left out become one mark.
fn shown_texts(pieces: &[Piece<'_>], cuts: &[Shown]) -> Vec<String> {
    let (mut texts, mut left_out) = (Vec::new(), 0);
    for (piece, shown) in pieces.iter().zip(cuts) {
        match shown {
            Shown::Nothing => left_out += 1,
            Shown::Parts(parts) => {
                texts.extend(mark_of_texts(left_out));
                left_out = 0;
                texts.push(parts_of(&piece.text, parts));
            }
        }
    }
    texts.extend(mark_of_texts(left_out));
    texts
}

fn mark_of_texts(left_out: usize) -> Option<String> {
    (left_out > 0).then(|| format!("[... {left_out} texts left out ...]"))
}

fn parts_of(text: &str, parts: &[Range<usize>]) -> String {
    let (mut shown, mut end) = (String::new(), 0);
    for part in parts.iter().cloned().chain(std::iter::once(text.len()..text.len())) {
        if part.start > end {
            let before = if shown.is_empty() { "" } else { "\n" };
            shown.push_str(&format!("{before}[... {} bytes left out ...]\n", part.start - end));
        }
        end = part.end;
        shown.push_str(&text[part]);
    }
    shown
}

#[cfg(test)]
mod tests;
