//! Scores that others gave: another evaluation tool, or a person. They are shown and watched beside the product's own,
//! and never taken for them.

use super::evaluation::AnnotatorKind;
use super::ids::{SpanId, TraceId};
use super::time::Timestamp;

/// Longest name, source, label and id, in bytes.
pub const LONGEST_NAME: usize = 200;
/// Longest explanation and error, in bytes.
pub const LONGEST_TEXT: usize = 4_000;

/// One score of a trace or span that was not made here. It has a value, a label, an explanation or an error.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalScore {
    /// The trace, which need not be known yet.
    pub trace_id: TraceId,
    /// The span that was scored; `None` for the whole run.
    pub span_id: Option<SpanId>,
    /// What was scored, in the sender's words.
    pub name: String,
    /// Who scored, as far as the sender says.
    pub annotator_kind: AnnotatorKind,
    /// Which tool or application it comes from.
    pub source: String,
    /// The score on the sender's scale; finite.
    pub value: Option<f64>,
    /// Short verdict.
    pub label: Option<String>,
    /// Why, for a person.
    pub explanation: Option<String>,
    /// Why there is no score, when the other tool's evaluation failed.
    pub error: Option<String>,
    /// When it was made; `None` when the sender does not say.
    pub scored_at: Option<Timestamp>,
}

/// Which scores are one and the same, so that what comes twice counts once. Of one the newest stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScoreIdentity {
    /// Those of one name, annotator kind, source and target: a later result of the same tool replaces the one before.
    Target,
    /// Those of one trace and source that the sender gave the same id.
    Given(String),
    /// None: whoever sends it twice means two.
    Separate,
}

/// A score on its way to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewExternalScore {
    /// The score.
    pub score: ExternalScore,
    /// What it replaces.
    pub identity: ScoreIdentity,
}

impl ExternalScore {
    /// The score with its texts cut to what is kept of them, and without what is blank.
    #[must_use]
    pub fn bounded(self) -> Self {
        let kept = |text: Option<String>, longest| text.map(|text| cut(text, longest)).filter(|text| !is_blank(text));
        Self {
            name: cut(self.name, LONGEST_NAME),
            source: cut(self.source, LONGEST_NAME),
            value: self.value.filter(|value| value.is_finite()),
            label: kept(self.label, LONGEST_NAME),
            explanation: kept(self.explanation, LONGEST_TEXT),
            error: kept(self.error, LONGEST_NAME),
            ..self
        }
    }

    /// Whether there is anything to keep besides the name.
    #[must_use]
    pub const fn says_something(&self) -> bool {
        self.value.is_some() || self.label.is_some() || self.explanation.is_some() || self.error.is_some()
    }
}

fn cut(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters_and_what_is_blank_or_no_number_is_absent() {
        let score = ExternalScore {
            trace_id: TraceId::from_bytes(&[1; 16]).unwrap(),
            span_id: None,
            name: "é".repeat(LONGEST_NAME),
            annotator_kind: AnnotatorKind::External,
            source: "s".to_owned(),
            value: Some(f64::NAN),
            label: Some("  ".to_owned()),
            explanation: None,
            error: None,
            scored_at: None,
        };
        let bounded = score.bounded();
        assert_eq!(bounded.name, "é".repeat(LONGEST_NAME / 2));
        assert!(!bounded.says_something());
        assert!(ExternalScore { error: Some("timeout".to_owned()), ..bounded }.bounded().says_something());
    }
}
