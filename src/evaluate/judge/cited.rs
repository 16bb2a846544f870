//! Which parts of the material an answer rests on: what must not be lost when a trace is cut.
//!
//! An answer names its data in four ways that can be found again letter by letter: a marker `[3]`, which means the third
//! retrieved document; a link; a name in quotation marks; and a word with a digit in it, such as an amount, a date or an
//! order number. Of each, the first and the last place in the material are taken, with [`AROUND`] bytes to both sides;
//! of a marker, the whole document. What an answer rests on without naming it so is not found.

use std::ops::Range;

use super::material::Section;

/// Bytes to both sides of what the answer names.
const AROUND: usize = 200;
/// Most different values of one answer that are looked for.
const MOST_VALUES: usize = 100;
/// A value shorter than this stands everywhere and points nowhere.
const SHORTEST_VALUE: usize = 3;
/// A quoted text longer than this is no name.
const LONGEST_NAME: usize = 80;

/// What an answer names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Citations<'a> {
    values: Vec<&'a str>,
    documents: Vec<usize>,
}

impl<'a> Citations<'a> {
    pub(super) fn of(answer: &'a str) -> Self {
        let mut values = Vec::new();
        for value in words(answer).chain(quoted_names(answer)) {
            if values.len() < MOST_VALUES && !values.contains(&value) {
                values.push(value);
            }
        }
        Self { values, documents: markers(answer).collect() }
    }

    /// Whether the answer names nothing that can be found again.
    pub(super) const fn is_empty(&self) -> bool {
        self.values.is_empty() && self.documents.is_empty()
    }

    /// Notes what the answer rests on in the texts of a section.
    pub(super) fn note(&self, section: &mut Section<'_>) {
        for piece in &mut section.pieces {
            if piece.document.is_some_and(|number| self.documents.contains(&number)) {
                piece.cited.push(0..piece.text.len());
            }
        }
        for value in &self.values {
            let of_piece = |(index, text): (usize, &str)| Some((index, places(text, value).next()?));
            let first = section.pieces.iter().enumerate().map(|(index, it)| (index, &*it.text)).find_map(of_piece);
            let Some(first) = first else { continue };
            let from_the_end = section.pieces.iter().enumerate().rev().map(|(index, it)| (index, &*it.text));
            let last = from_the_end.filter_map(|(index, text)| Some((index, places(text, value).last()?))).next();
            for (index, at) in [Some(first), last].into_iter().flatten() {
                let piece = &mut section.pieces[index];
                piece.cited.push(around(&piece.text, at..at + value.len()));
            }
        }
    }
}

/// Words with a digit in them and links; runs of what those are made of, so that no spaces are needed around them.
fn words(answer: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| {
        character.is_ascii_alphanumeric() || character.is_numeric() || ".,:/-_%@#&=?+~".contains(character)
    };
    let is_value = |word: &&str| {
        word.chars().count() >= SHORTEST_VALUE && (word.contains(char::is_numeric) || word.starts_with("http"))
    };
    answer
        .split(move |character: char| !is_part(character))
        .map(|word| word.trim_matches(|character: char| !character.is_alphanumeric()))
        .filter(is_value)
}

fn quoted_names(answer: &str) -> impl Iterator<Item = &str> {
    let names = answer.split(['"', '“', '”', '«', '»']).skip(1).step_by(2).map(str::trim);
    names.filter(|name| (SHORTEST_VALUE..=LONGEST_NAME).contains(&name.len()))
}

/// The numbers of `[1]`, `[2]`.
fn markers(answer: &str) -> impl Iterator<Item = usize> {
    answer.split('[').skip(1).filter_map(|rest| rest.split_once(']')?.0.parse().ok())
}

/// Where a value stands as a word of its own.
fn places<'a>(text: &'a str, value: &'a str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let is_inner = move |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let is_word = move |at: &usize| !is_inner(at.checked_sub(1)) && !is_inner(Some(at + value.len()));
    text.match_indices(value).map(|(at, _)| at).filter(is_word)
}

fn around(text: &str, place: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(place.start.saturating_sub(AROUND));
    start..text.ceil_char_boundary((place.end + AROUND).min(text.len()))
}

#[cfg(test)]
mod tests {
    use super::super::Input;
    use super::super::material::Piece;
    use super::*;

    fn section(texts: &[&'static str]) -> Section<'static> {
        let pieces =
            texts.iter().enumerate().map(|(index, text)| Piece { document: Some(index + 1), ..Piece::new(*text) });
        Section { input: Input::RetrievedData, is_required: true, pieces: pieces.collect() }
    }

    #[test]
    fn amounts_dates_identifiers_links_and_quoted_names_are_found_in_any_script() {
        let citations = Citations::of(
            "Order A-7382 of 2026-05-14 cost EUR 1,412.30 (see https://lamps.example/a?b=1), as \"Tide Survey\" says.",
        );
        let expected = ["A-7382", "2026-05-14", "1,412.30", "https://lamps.example/a?b=1", "Tide Survey"];
        assert_eq!(citations.values, expected);
        assert_eq!(Citations::of("订单A7382已于2026年发货").values, ["A7382", "2026"]);
        assert_eq!(Citations::of("الرقم ١٢٣٤ جاهز").values, ["١٢٣٤"]);
        assert!(Citations::of("All is well, thank you.").is_empty());
    }

    #[test]
    fn a_marker_means_the_whole_document_and_a_value_its_first_and_last_place() {
        let mut section = section(&["nothing here", "order 4711 is open", "order 4711 is shipped", "order 47110"]);
        Citations::of("It is shipped [1]: 4711.").note(&mut section);
        let cited: Vec<usize> = section.pieces.iter().map(|piece| piece.cited.len()).collect();
        assert_eq!(cited, [1, 1, 1, 0], "47110 is another word");
        assert_eq!(section.pieces[0].cited.first(), Some(&(0..12)));
    }
}
