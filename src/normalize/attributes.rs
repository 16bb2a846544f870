//! Reading attributes whose types differ from sender to sender. Of duplicate keys the last wins.

use std::borrow::Cow;

use crate::otlp::KeyValue;
use crate::otlp::any_value::Value;

use super::json::Json;

/// The attributes of a span or resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [KeyValue]);

impl<'a> Attributes<'a> {
    /// The value of a key, if it is set.
    pub(super) fn value(self, key: &str) -> Option<&'a Value> {
        let attribute = self.0.iter().rev().find(|attribute| attribute.key == key)?;
        attribute.value.as_ref()?.value.as_ref()
    }

    /// The keys, duplicates included.
    pub(super) fn keys(self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|attribute| attribute.key.as_str())
    }

    /// What the JSON in an attribute holds at the place that a name such as `usage#/output/reasoning` points to.
    fn inside(self, name: &str) -> Option<Json<'a>> {
        let (key, path) = name.split_once('#')?;
        let whole = Json::from_value(self.value(key)?);
        path.split('/').skip(1).try_fold(whole, Json::into_member)
    }

    /// The first of several names that is set, as text; lists and objects become JSON text.
    pub(super) fn content(self, names: &[&str]) -> Option<Cow<'a, str>> {
        names.iter().find_map(|name| self.text_at(name))
    }

    /// The first of several names that holds a text with something in it.
    pub(super) fn text(self, names: &[&str]) -> Option<Cow<'a, str>> {
        names.iter().filter_map(|name| self.text_at(name)).find(|text| !text.trim().is_empty())
    }

    fn text_at(self, name: &str) -> Option<Cow<'a, str>> {
        self.value(name).map(text_of).or_else(|| Some(self.inside(name)?.into_text()))
    }

    /// The first of several names that holds a count, written as integer, double or text.
    pub(super) fn count(self, names: &[&str]) -> Option<u64> {
        let inside = |name| match self.inside(name)? {
            Json::Number(number) => number.as_u64().or_else(|| whole_part(number.as_f64()?)),
            Json::Text(text) => count_in(&text),
            _ => None,
        };
        names.iter().find_map(|name| match self.value(name) {
            Some(Value::IntValue(value)) => u64::try_from(*value).ok(),
            Some(Value::StringValue(text)) => count_in(text),
            Some(other) => whole_part(number_of(other)?),
            None => inside(name),
        })
    }

    /// The first of several names that holds a finite number of at least zero.
    pub(super) fn number(self, names: &[&str]) -> Option<f64> {
        let inside = |name| match self.inside(name)? {
            Json::Number(number) => number.as_f64(),
            Json::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        names.iter().find_map(|name| self.value(name).map_or_else(|| inside(name), number_of).filter(is_amount))
    }

    /// The first of several names that is set, read as structured content.
    pub(super) fn json(self, names: &[&str]) -> Option<Json<'a>> {
        names.iter().find_map(|name| self.value(name).map(Json::from_value).or_else(|| self.inside(name)))
    }

    /// All of them as the members of one message. What was said is no JSON to read, whatever it looks like.
    pub(super) fn as_message(self) -> Json<'a> {
        let member = |attribute: &'a KeyValue| {
            let value = attribute.value.as_ref()?.value.as_ref()?;
            let read = if attribute.key == "content" { Json::from_structured } else { Json::from_value };
            Some((Cow::Borrowed(attribute.key.as_str()), read(value)))
        };
        Json::Object(self.0.iter().filter_map(member).collect())
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
    match value {
        Value::IntValue(value) => Some(*value as f64),
        Value::DoubleValue(value) => Some(*value),
        Value::StringValue(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn count_in(text: &str) -> Option<u64> {
    text.trim().parse().ok().or_else(|| whole_part(text.trim().parse().ok()?))
}

fn whole_part(number: f64) -> Option<u64> {
    is_amount(&number).then_some(number as u64)
}

fn is_amount(number: &f64) -> bool {
    number.is_finite() && *number >= 0.0
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
    fn a_name_may_reach_into_the_json_of_an_attribute() {
        let usage = Value::StringValue(r#"{"output":{"reasoning":"7"},"cost":0.5,"model":"m","gone":null}"#.to_owned());
        let attributes = [attribute("usage", usage)];
        let attributes = Attributes(&attributes);
        assert_eq!(attributes.count(&["usage#/input", "usage#/output/reasoning"]), Some(7));
        assert_eq!(attributes.number(&["usage#/cost"]), Some(0.5));
        assert_eq!(attributes.text(&["usage#/model"]).as_deref(), Some("m"));
        assert_eq!((attributes.text(&["usage#/gone"]), attributes.count(&["usage#/cost/0"])), (None, None));
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
