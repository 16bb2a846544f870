//! Reading attributes whose types differ from sender to sender. Of duplicate keys the last wins.

use std::borrow::Cow;

use crate::otlp::KeyValue;
use crate::otlp::any_value::Value;

use super::json::Json;

/// The attributes of a span or resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [KeyValue]);

impl<'a> Attributes<'a> {
    /// The value of a key, if set.
    pub(super) fn value(self, key: &str) -> Option<&'a Value> {
        let attribute = self.0.iter().rev().find(|attribute| attribute.key == key)?;
        attribute.value.as_ref()?.value.as_ref()
    }

    /// Whether any key starts so.
    pub(super) fn any_starts_with(self, prefix: &str) -> bool {
        self.0.iter().any(|attribute| attribute.key.starts_with(prefix))
    }

    /// The first of several keys that is set, as text; lists and objects become JSON text.
    pub(super) fn content(self, keys: &[&str]) -> Option<Cow<'a, str>> {
        keys.iter().find_map(|key| self.value(key)).map(text_of)
    }

    /// The first of several keys that holds a text with something in it.
    pub(super) fn text(self, keys: &[&str]) -> Option<Cow<'a, str>> {
        keys.iter().filter_map(|key| self.value(key)).map(text_of).find(|text| !text.trim().is_empty())
    }

    /// The first of several keys that holds a count, written as integer, double or text.
    pub(super) fn count(self, keys: &[&str]) -> Option<u64> {
        keys.iter().filter_map(|key| self.value(key)).find_map(|value| match value {
            Value::IntValue(value) => u64::try_from(*value).ok(),
            Value::StringValue(text) if !text.contains('.') => text.trim().parse().ok(),
            other => number_of(other).map(|number| number as u64),
        })
    }

    /// The first of several keys that holds a finite number of at least zero.
    pub(super) fn number(self, keys: &[&str]) -> Option<f64> {
        keys.iter().filter_map(|key| self.value(key)).find_map(number_of)
    }

    /// The first of several keys that is set, read as structured content.
    pub(super) fn json(self, keys: &[&str]) -> Option<Json<'a>> {
        keys.iter().find_map(|key| self.value(key)).map(Json::from_value)
    }

    /// Attributes of a flattened list, `PREFIX<index>.<rest>`, as index, rest and value.
    pub(super) fn flattened(self, prefix: &str) -> impl Iterator<Item = (usize, &'a str, &'a Value)> {
        self.0.iter().filter_map(move |attribute| {
            let (index, rest) = attribute.key.strip_prefix(prefix)?.split_once('.')?;
            Some((index.parse().ok()?, rest, attribute.value.as_ref()?.value.as_ref()?))
        })
    }
}

/// A value as text: a text as it is, anything else as JSON.
pub(super) fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::StringValue(text) => Cow::Borrowed(text),
        other => Cow::Owned(Json::from_value(other).to_text()),
    }
}

fn number_of(value: &Value) -> Option<f64> {
    let number = match value {
        Value::IntValue(value) => *value as f64,
        Value::DoubleValue(value) => *value,
        Value::StringValue(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (number.is_finite() && number >= 0.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::AnyValue;

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
    }

    #[test]
    fn counts_are_read_from_any_type_and_nonsense_is_absent_rather_than_zero() {
        let text = |text: &str| Value::StringValue(text.to_owned());
        let cases = [
            (Value::IntValue(7), Some(7)),
            (text(" 42 "), Some(42)),
            (text("42.0"), Some(42)),
            (Value::DoubleValue(3.0), Some(3)),
            (Value::DoubleValue(f64::NAN), None),
            (Value::IntValue(-1), None),
            (text("many"), None),
        ];
        for (value, count) in cases {
            assert_eq!(Attributes(&[attribute("n", value.clone())]).count(&["n"]), count, "{value:?}");
        }
    }

    #[test]
    fn of_duplicate_keys_the_last_wins_and_blank_text_is_passed_over() {
        let attributes = [("a", "first"), ("b", " "), ("a", "last")]
            .map(|(key, text)| attribute(key, Value::StringValue(text.into())));
        assert_eq!(Attributes(&attributes).text(&["b", "a"]).unwrap(), "last");
    }

    #[test]
    fn a_flattened_list_is_matched_by_its_indices_alone() {
        let keys =
            ["gen_ai.prompt.0.role", "gen_ai.prompt.name", "gen_ai.prompt.version.1", "gen_ai.prompt.12.content"];
        let attributes = keys.map(|key| attribute(key, Value::BoolValue(true)));
        let found: Vec<_> =
            Attributes(&attributes).flattened("gen_ai.prompt.").map(|(index, rest, _)| (index, rest)).collect();
        assert_eq!(found, [(0, "role"), (12, "content")]);
    }
}
