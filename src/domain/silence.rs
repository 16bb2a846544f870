//! A silence: for a time, alerts that match it are recorded and not sent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::time::Timestamp;

/// What can be matched.
const KEYS: [&str; 8] = ["fingerprint", "service", "series", "segment", "severity", "direction", "detector", "runbook"];

/// Alerts that are not to be sent until an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Names it.
    pub id: String,
    /// Which alerts.
    pub matcher: SilenceMatcher,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Who ended it before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
}

impl Silence {
    /// Whether it holds for an alert at an instant.
    #[must_use]
    pub fn holds(&self, alert: &Alert, now: Timestamp) -> bool {
        self.created_at <= now && now < self.ends_at && self.matcher.matches(alert)
    }
}

/// `key=value[,key=value]`, all of which must hold; `*` in a value stands for any text. A fingerprint may stand alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SilenceMatcher(Vec<(String, String)>);

/// Why a text matches no alerts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMatcher {
    /// Nothing would be matched, or everything by accident.
    #[error("{0:?} is neither a fingerprint nor key=value[,key=value]")]
    Text(String),
    /// Not something that alerts have.
    #[error("unknown key {0:?}; known: {known}", known = KEYS.join(", "))]
    Key(String),
}

impl SilenceMatcher {
    /// Whether everything asked for holds of the alert.
    #[must_use]
    pub fn matches(&self, alert: &Alert) -> bool {
        // Who silences an alert by its id means those that it speaks for too.
        let parent = |key: &str| alert.parent.as_deref().filter(|_| key == "fingerprint");
        self.0.iter().all(|(key, pattern)| {
            matches(pattern, value(alert, key)) || parent(key).is_some_and(|parent| matches(pattern, parent))
        })
    }
}

fn value<'a>(alert: &'a Alert, key: &str) -> &'a str {
    match key {
        "fingerprint" => &alert.fingerprint,
        "service" => &alert.service,
        "series" => &alert.series,
        "segment" => &alert.segment,
        "severity" => alert.severity.as_str(),
        "direction" => &alert.direction,
        "detector" => &alert.detector,
        _ => &alert.runbook,
    }
}

/// Whether a text is what the pattern says, `*` standing for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

impl FromStr for SilenceMatcher {
    type Err = InvalidMatcher;

    fn from_str(text: &str) -> Result<Self, InvalidMatcher> {
        let text = text.trim();
        if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(vec![("fingerprint".to_owned(), text.to_lowercase())]));
        }
        let condition = |part: &str| {
            let parts = part.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            match parts.filter(|(key, value)| !key.is_empty() && !value.is_empty()) {
                None => Err(InvalidMatcher::Text(text.to_owned())),
                Some((key, _)) if !KEYS.contains(&key) => Err(InvalidMatcher::Key(key.to_owned())),
                Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            }
        };
        text.split(',').map(condition).collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<String> for SilenceMatcher {
    type Error = InvalidMatcher;

    fn try_from(text: String) -> Result<Self, InvalidMatcher> {
        text.parse()
    }
}

impl From<SilenceMatcher> for String {
    fn from(matcher: SilenceMatcher) -> Self {
        matcher.to_string()
    }
}

impl fmt::Display for SilenceMatcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions: Vec<String> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        formatter.write_str(&conditions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_does() {
        for (pattern, text) in [("a", "a"), ("*", ""), ("a*", "abc"), ("*c", "abc"), ("a*c*e", "abcde"), ("a**", "a")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("a", "ab"), ("a*", "ba"), ("*c", "cb"), ("a*a", "a"), ("a.c", "abc"), ("a*c*e", "ace_")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_matcher_survives_its_text_and_what_matches_nothing_is_refused_by_name() {
        let read = |text: &str| text.parse::<SilenceMatcher>().map(|matcher| matcher.to_string());
        assert_eq!(read("service=shop, segment=model=gpt-5").unwrap(), "service=shop,segment=model=gpt-5");
        assert_eq!(read("0123456789ABCDEF").unwrap(), "fingerprint=0123456789abcdef");
        assert!(read("servce=shop").unwrap_err().to_string().contains("unknown key \"servce\"; known: fingerprint"));
        for text in ["", "shop", "service=", "service=a,,", "=x"] {
            assert!(read(text).unwrap_err().to_string().contains("neither a fingerprint"), "{text}");
        }
    }
}
