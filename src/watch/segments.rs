//! Which segments are watched for themselves: those that the settings name. The others explain.

use std::fmt;

use serde::Deserialize;

use super::key::ALL;

/// `dimension=value`, or `dimension=*` for every value that the baseline has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct SegmentPattern {
    dimension: String,
    /// `None` for every value.
    value: Option<String>,
}

/// Why a text names no segments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no segment; write dimension=value, or dimension=* for every value")]
pub struct InvalidSegment {
    text: String,
}

impl TryFrom<String> for SegmentPattern {
    type Error = InvalidSegment;

    fn try_from(text: String) -> Result<Self, InvalidSegment> {
        let parts = text.split_once('=').map(|(dimension, value)| (dimension.trim(), value.trim()));
        match parts {
            Some((dimension, value)) if !dimension.is_empty() && !value.is_empty() => {
                Ok(Self { dimension: dimension.to_owned(), value: Some(value.to_owned()).filter(|it| it != "*") })
            }
            _ => Err(InvalidSegment { text }),
        }
    }
}

impl fmt::Display for SegmentPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.dimension, self.value.as_deref().unwrap_or("*"))
    }
}

impl SegmentPattern {
    /// The dimension.
    #[must_use]
    pub fn dimension(&self) -> &str {
        &self.dimension
    }

    /// The value; `None` for every value.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Whether it names a segment, `dimension=value`.
    pub(super) fn matches(&self, segment: &str) -> bool {
        segment.split_once('=').is_some_and(|(dimension, value)| self.names(dimension, value))
    }

    /// Whether it names the segment of a dimension's value.
    pub(super) fn names(&self, dimension: &str, value: &str) -> bool {
        dimension == self.dimension && self.value.as_ref().is_none_or(|own| own == value)
    }
}

/// Whether a segment is watched: the whole service always, a segment where a pattern names it.
#[must_use]
pub fn is_watched(segment: &str, patterns: &[SegmentPattern]) -> bool {
    segment == ALL || patterns.iter().any(|pattern| pattern.matches(segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> SegmentPattern {
        SegmentPattern::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_value_names_one_segment_and_a_star_all_of_its_dimension() {
        let patterns = [pattern("feature=refunds"), pattern("model = *")];
        for watched in [ALL, "feature=refunds", "model=a", "model=a=b"] {
            assert!(is_watched(watched, &patterns), "{watched}");
        }
        for explaining in ["feature=orders", "feature=refunds2", "models=a", "tier=gold"] {
            assert!(!is_watched(explaining, &patterns), "{explaining}");
        }
        assert_eq!(patterns.map(|one| one.to_string()), ["feature=refunds", "model=*"]);
    }

    #[test]
    fn what_names_no_segment_is_refused_with_the_text() {
        for text in ["refunds", "=refunds", "feature=", ""] {
            let error = SegmentPattern::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
