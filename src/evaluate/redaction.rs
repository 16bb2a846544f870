//! What must not be kept, taken out of texts: the detectors of the kind `pattern`, and patterns of one's own.

use std::collections::BTreeMap;

use regex::Regex;

use super::kinds::pattern::{Detectors, named};
use crate::domain::external_score::ExternalScore;

/// Why nothing can be taken out so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedaction {
    /// There is no such detector.
    #[error("there is no detector {name:?}")]
    Detector {
        /// The name.
        name: String,
    },
    /// The pattern is none, or matches everything.
    #[error("the pattern {name:?} is no regular expression, or matches an empty text")]
    Pattern {
        /// Its name.
        name: String,
    },
    /// The detectors are too large together.
    #[error("the detectors cannot be compiled: {0}")]
    Compile(String),
}

/// Takes what it finds out of texts.
#[derive(Debug)]
pub struct Redactor {
    detectors: Detectors,
    patterns: Vec<(String, Regex)>,
}

impl Redactor {
    /// Finds what these detectors find, and these patterns by name.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn new(detect: &[String], patterns: &BTreeMap<String, String>) -> Result<Self, InvalidRedaction> {
        let detector = |name: &String| named(name).ok_or_else(|| InvalidRedaction::Detector { name: name.clone() });
        let detectors = detect.iter().map(detector).collect::<Result<_, _>>()?;
        let pattern = |(name, pattern): (&String, &String)| match Regex::new(pattern) {
            Ok(regex) if !regex.is_match("") => Ok((name.clone(), regex)),
            _ => Err(InvalidRedaction::Pattern { name: name.clone() }),
        };
        Ok(Self {
            detectors: Detectors::compile(detectors).map_err(InvalidRedaction::Compile)?,
            patterns: patterns.iter().map(pattern).collect::<Result<_, _>>()?,
        })
    }

    /// Whether there is nothing that it looks for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.detectors.is_empty() && self.patterns.is_empty()
    }

    /// Takes what it finds out of what someone scored, and tells how often.
    pub fn redact_score(&self, score: &mut ExternalScore) -> u64 {
        let mut count = 0;
        for text in [&mut score.label, &mut score.explanation, &mut score.error].into_iter().flatten() {
            if let Some((redacted, found)) = self.redacted(text) {
                *text = redacted;
                count += found;
            }
        }
        count
    }

    /// The text with a mark in place of each finding, and how many there are; `None` where it holds none.
    #[must_use]
    pub fn redacted(&self, text: &str) -> Option<(String, u64)> {
        let of_patterns = self.patterns.iter().flat_map(|(name, pattern)| {
            pattern.find_iter(text).map(|found| (name.as_str(), found.range())).collect::<Vec<_>>()
        });
        let mut found: Vec<_> = self.detectors.ranges(text).into_iter().chain(of_patterns).collect();
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|(_, range)| (range.start, range.end));
        let (mut kept, mut end, mut count) = (String::with_capacity(text.len()), 0, 0);
        for (name, range) in found {
            if range.start >= end {
                kept.push_str(&text[end..range.start]);
                kept.push_str(&format!("[redacted:{name}]"));
                count += 1;
            }
            // Where two overlap, the rest of the later one goes with the first.
            end = end.max(range.end);
        }
        kept.push_str(&text[end..]);
        Some((kept, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(detect: &[&str], patterns: &[(&str, &str)]) -> Result<Redactor, InvalidRedaction> {
        let detect: Vec<String> = detect.iter().map(|name| (*name).to_owned()).collect();
        let patterns = patterns.iter().map(|(name, pattern)| ((*name).to_owned(), (*pattern).to_owned())).collect();
        Redactor::new(&detect, &patterns)
    }

    #[test]
    fn what_is_found_is_marked_and_the_rest_stays() {
        let redactor = redactor(&["email", "payment_card"], &[("case", r"CASE-\d+")]).unwrap();
        let text = "ann@mail.org paid with 4111 1111 1111 1111 for CASE-17, order 4111 1111 1111 1112";
        let (redacted, count) = redactor.redacted(text).unwrap();
        let expected =
            "[redacted:email] paid with [redacted:payment_card] for [redacted:case], order 4111 1111 1111 1112";
        assert_eq!((redacted.as_str(), count), (expected, 3));
        assert_eq!(redactor.redacted("nothing here"), None);
    }

    #[test]
    fn of_findings_that_overlap_nothing_stays() {
        let redactor = redactor(&["email"], &[("long", "secret ann@"), ("tail", "org!")]).unwrap();
        assert_eq!(redactor.redacted("secret ann@mail.org!").unwrap(), ("[redacted:long]".to_owned(), 1));
    }

    #[test]
    fn what_cannot_be_looked_for_is_refused_by_name() {
        assert_eq!(redactor(&["emial"], &[]).unwrap_err().to_string(), "there is no detector \"emial\"");
        for pattern in ["(", "x*"] {
            assert!(matches!(redactor(&[], &[("p", pattern)]), Err(InvalidRedaction::Pattern { .. })), "{pattern}");
        }
    }
}
