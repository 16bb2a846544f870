//! Structured content, whichever way a span carries it: as an OTLP value or as JSON in a text.
//!
//! Texts are borrowed from the span wherever they hold no escapes, since they make up most of a trace.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::otlp::any_value::Value;

/// A JSON value that borrows its texts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'a> {
    /// `null`, and OTLP's unset value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; one that JSON cannot hold (NaN, infinite) is [`Json::Null`].
    Number(serde_json::Number),
    /// A text.
    Text(Cow<'a, str>),
    /// A list.
    Array(Vec<Json<'a>>),
    /// Members in order of appearance.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Most values in a text that is read: a value takes some thirty bytes for the two that it is written with.
const MOST_VALUES: usize = 1_000_000;

impl<'a> Json<'a> {
    /// Reads JSON text; `None` when it is not JSON, nests deeper than the parser's bound of 128, or could hold more than
    /// [`MOST_VALUES`].
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let opens_a_value = |byte: &u8| matches!(byte, b',' | b'[' | b'{');
        let could_fit = text.len() <= MOST_VALUES || text.bytes().filter(opens_a_value).count() <= MOST_VALUES;
        could_fit.then(|| serde_json::from_str(text).ok()).flatten()
    }

    /// Reads a list, an object or a quoted text written as JSON; any other text stands for itself.
    pub(super) fn from_text(text: &'a str) -> Self {
        let structured = text.trim_start().starts_with(['[', '{', '"']);
        structured.then(|| Self::parse(text)).flatten().unwrap_or(Self::Text(Cow::Borrowed(text)))
    }

    /// The value of an attribute; a text that holds a JSON list or object is read.
    pub(super) fn from_value(value: &'a Value) -> Self {
        match value {
            Value::StringValue(text) => Self::from_text(text),
            other => Self::from_structured(other),
        }
    }

    /// The value as the structure it is, its texts unread.
    pub(super) fn from_structured(value: &'a Value) -> Self {
        match value {
            Value::StringValue(text) => Self::Text(Cow::Borrowed(text)),
            Value::BoolValue(value) => Self::Bool(*value),
            Value::IntValue(value) => Self::Number((*value).into()),
            Value::DoubleValue(value) => serde_json::Number::from_f64(*value).map_or(Self::Null, Self::Number),
            Value::ArrayValue(array) => {
                let items = array.values.iter().map(|item| item.value.as_ref());
                Self::Array(items.map(|item| item.map_or(Self::Null, Self::from_structured)).collect())
            }
            Value::KvlistValue(list) => Self::Object(list.values.iter().map(member).collect()),
            Value::BytesValue(bytes) => Self::Text(String::from_utf8_lossy(bytes)),
            Value::StringValueStrindex(_) => Self::Null,
        }
    }

    /// The member of an object; of duplicates the last. `None` when absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        let member = members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value);
        member.filter(|value| **value != Json::Null)
    }

    /// The first of several members that is there.
    pub(super) fn get_any(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// The member of an object, as [`Json::get`] finds it, without the rest.
    pub(super) fn into_member(self, key: &str) -> Option<Self> {
        let Self::Object(members) = self else { return None };
        let member = members.into_iter().rev().find(|(name, _)| name == key).map(|(_, value)| value);
        member.filter(|value| *value != Self::Null)
    }

    /// The text, when it is one.
    pub(super) fn as_text(&self) -> Option<&Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; none for anything else.
    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The text itself, or JSON text of anything else.
    pub(super) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            other => Cow::Owned(other.to_text()),
        }
    }

    /// As [`Json::into_text`], of a value that is still needed.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone().into_owned(),
            other => serde_json::to_string(other).unwrap_or_default(),
        }
    }

    /// The same value with the members of every object in order of name, so that equal values print equally.
    pub(super) fn sorted(self) -> Self {
        match self {
            Self::Array(items) => Self::Array(items.into_iter().map(Self::sorted).collect()),
            Self::Object(members) => {
                let mut members: Vec<_> = members.into_iter().map(|(name, value)| (name, value.sorted())).collect();
                members.sort_by(|left, right| left.0.cmp(&right.0));
                Self::Object(members)
            }
            other => other,
        }
    }
}

fn member(attribute: &crate::otlp::KeyValue) -> (Cow<'_, str>, Json<'_>) {
    let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
    (Cow::Borrowed(&attribute.key), value.map_or(Json::Null, Json::from_structured))
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;
        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Json<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json<'de>, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
                Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
                let mut array = Vec::new();
                while let Some(item) = items.next_element()? {
                    array.push(item);
                }
                Ok(Json::Array(array))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = entries.next_entry()? {
                    members.push((name, value));
                }
                Ok(Json::Object(members))
            }
        }
        deserializer.deserialize_any(JsonVisitor)
    }
}

/// A member's name, borrowed where it can be.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_the_same_as_a_structure_and_as_text() {
        use crate::otlp::{AnyValue, ArrayValue, KeyValue, KeyValueList};
        let text = Value::StringValue(r#"[{"role":"user"},5,null]"#.to_owned());
        let any = |value| AnyValue { value: Some(value) };
        let role = KeyValue {
            key: "role".to_owned(),
            value: Some(any(Value::StringValue("user".to_owned()))),
            ..Default::default()
        };
        let message = any(Value::KvlistValue(KeyValueList { values: vec![role] }));
        let values = vec![message, any(Value::IntValue(5)), AnyValue::default()];
        assert_eq!(Json::from_value(&text), Json::from_value(&Value::ArrayValue(ArrayValue { values })));
    }

    #[test]
    fn objects_that_differ_in_order_alone_are_equal_once_sorted() {
        let left = Json::parse(r#"{"b":[{"y":1,"x":2}],"a":1.0}"#).unwrap().sorted();
        let right = Json::parse(r#"{"a":1.0,"b":[{"x":2,"y":1}]}"#).unwrap().sorted();
        assert_eq!(left.to_text(), right.to_text());
    }

    #[test]
    fn text_of_more_values_than_fit_stays_text() {
        let list = |values: usize| format!("[0{}]", ",0".repeat(values));
        assert!(matches!(Json::from_text(&list(MOST_VALUES / 2)), Json::Array(_)));
        assert!(matches!(Json::from_text(&list(MOST_VALUES)), Json::Text(_)));
        let long = format!("[\"{}\"]", "x".repeat(MOST_VALUES * 2));
        assert!(matches!(Json::from_text(&long), Json::Array(_)), "long texts are no harm");
    }

    #[test]
    fn text_nested_beyond_the_bound_stays_text() {
        let deep = "[".repeat(100_000);
        assert_eq!(Json::from_text(&deep), Json::Text(Cow::Borrowed(&deep)));
    }
}
