//! Cutting a trace to the size of a prompt.
//!
//! The rule: when the texts together exceed the limit, the longest are cut first, all to one common length, of which
//! the first and the last half are kept with a mark between them. Every document of the retrieved data counts as a
//! text of its own, so that one long result does not push out the others. When the common length falls below
//! [`SHORTEST`] bytes, texts would be lost rather than shortened, and the trace cannot be judged.

use super::Input;

/// A text cut to less than this says nothing any more.
const SHORTEST: usize = 200;

/// Sections with their texts, and the length they are cut to.
#[derive(Debug)]
pub(super) struct Fitted<'a> {
    sections: Vec<(Input, Vec<&'a str>)>,
    longest: usize,
    pub(super) is_truncated: bool,
}

/// Finds the common length; an error names the section with the most texts, which is the one that would be lost.
pub(super) fn fit(sections: Vec<(Input, Vec<&str>)>, limit: usize) -> Result<Fitted<'_>, Input> {
    let lengths = || sections.iter().flat_map(|(_, texts)| texts.iter().map(|text| text.len()));
    if lengths().sum::<usize>() <= limit {
        return Ok(Fitted { sections, longest: usize::MAX, is_truncated: false });
    }
    let longest = common_length(lengths().collect(), limit);
    match sections.iter().max_by_key(|(_, texts)| texts.len()) {
        Some((lost, _)) if longest < SHORTEST => Err(*lost),
        _ => Ok(Fitted { sections, longest, is_truncated: true }),
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

impl Fitted<'_> {
    /// A section's texts as they are shown, or `None` when the trace has none.
    pub(super) fn text(&self, input: Input) -> Option<String> {
        let (_, texts) = self.sections.iter().find(|(section, _)| *section == input)?;
        if texts.is_empty() {
            return None;
        }
        let shown: Vec<String> = texts.iter().map(|text| cut(text, self.longest)).collect();
        Some(shown.join("\n\n"))
    }
}

fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let head = &text[..text.floor_char_boundary(longest / 2)];
    let tail = &text[text.ceil_char_boundary(text.len() - longest / 2)..];
    let dropped = text.len() - head.len() - tail.len();
    format!("{head}\n[... {dropped} bytes left out ...]\n{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_within_the_limit_are_left_alone() {
        let fitted = fit(vec![(Input::Question, vec!["why"]), (Input::Answer, vec!["because"])], 10).unwrap();
        assert!(!fitted.is_truncated);
        assert_eq!(fitted.text(Input::Answer).as_deref(), Some("because"));
    }

    #[test]
    fn the_longest_text_is_cut_and_the_short_ones_are_not() {
        let long = format!("START{}END", "x".repeat(10_000));
        let fitted =
            fit(vec![(Input::Question, vec!["why"]), (Input::RetrievedData, vec![&long, "short"])], 1_008).unwrap();
        assert!(fitted.is_truncated);
        assert_eq!(fitted.text(Input::Question).as_deref(), Some("why"));
        let data = fitted.text(Input::RetrievedData).unwrap();
        assert!(data.starts_with("START") && data.contains("END\n\nshort"), "{data}");
        assert!(data.contains("[... 9008 bytes left out ...]"), "{data}");
    }

    #[test]
    fn the_cut_never_splits_a_character() {
        let text = "ä€🦀".repeat(500);
        for longest in 200..220 {
            assert!(cut(&text, longest).contains("bytes left out"));
        }
    }

    #[test]
    fn data_that_would_be_lost_entirely_is_named() {
        let documents: Vec<String> = (0..100).map(|number| format!("{number} {}", "x".repeat(500))).collect();
        let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
        assert_eq!(
            fit(vec![(Input::Answer, vec!["yes"]), (Input::RetrievedData, texts)], 2_000).unwrap_err(),
            Input::RetrievedData
        );
    }

    #[test]
    fn the_common_length_uses_the_limit_up() {
        assert_eq!(common_length(vec![10, 1_000, 1_000], 1_010), 500);
        assert_eq!(common_length(vec![10, 20], 1_000), 1_000);
    }
}
