//! Which series: one measured thing of one service, over all of its traces or over one segment of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Segment of all traces.
pub const ALL: &str = "all";

/// Dimensions that part a series itself, not the traces that it is measured on: a rule counts each for itself.
pub const PARTS: [&str; 2] = ["tool", "evaluator"];

/// Identity of a series. Its text form, `service:series:segment`, is safe in a URL path: every byte outside
/// `A-Z a-z 0-9 . _ = -` is written `~` and two hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SeriesKey {
    /// `service.name`.
    pub service: String,
    /// Name of the series.
    pub series: String,
    /// [`ALL`], or `dimension=value`.
    pub segment: String,
}

/// Why a text is not a series key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("series key {text:?} is not service:series:segment")]
pub struct InvalidSeriesKey {
    text: String,
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", escape(&self.service), escape(&self.series), escape(&self.segment))
    }
}

impl FromStr for SeriesKey {
    type Err = InvalidSeriesKey;

    fn from_str(text: &str) -> Result<Self, InvalidSeriesKey> {
        let invalid = || InvalidSeriesKey { text: text.to_owned() };
        let parts: Vec<&str> = text.split(':').collect();
        let [service, series, segment] = parts[..] else { return Err(invalid()) };
        let part = |part| unescape(part).ok_or_else(invalid);
        Ok(Self { service: part(service)?, series: part(series)?, segment: part(segment)? })
    }
}

impl TryFrom<String> for SeriesKey {
    type Error = InvalidSeriesKey;

    fn try_from(text: String) -> Result<Self, InvalidSeriesKey> {
        text.parse()
    }
}

impl From<SeriesKey> for String {
    fn from(key: SeriesKey) -> Self {
        key.to_string()
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._=-".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("~{byte:02X}"));
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'~' {
            let digits = after.get(..2)?;
            bytes.push(hex::decode(digits).ok()?[0]);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_names_survive_the_text_form_and_stay_safe_in_a_url_path() {
        for (service, series, segment) in
            [("agent", "output_tokens", "all"), ("a/b:c%~", "größe", "model=x y?&#"), ("", "", "=")]
        {
            let key = SeriesKey { service: service.into(), series: series.into(), segment: segment.into() };
            let text = key.to_string();
            assert_eq!(text.parse::<SeriesKey>().unwrap(), key);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._=-~:".contains(&byte)), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_with_the_text() {
        for text in ["a:b", "a:b:c:d", "a:b:~", "a:b:~zz", "a:~FF:b"] {
            let error = text.parse::<SeriesKey>().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
