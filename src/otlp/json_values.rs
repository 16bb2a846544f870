//! Scalars of OTLP/JSON as real senders write them: numbers as text, ids in either case, nulls, odd text.
//!
//! A scalar that cannot be read is unset, as null is: one bad value must not cost the request it came in.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{base64, weight};

/// Text; invalid UTF-8 and lone surrogates (JavaScript cuts strings inside a pair) become U+FFFD.
pub(super) struct Text(pub(super) String);

/// Bytes of a hexadecimal id. Not hexadecimal gives one zero byte, a length no id has.
pub(super) struct Id(pub(super) Vec<u8>);

/// Bytes written as base64.
pub(super) struct Bytes(pub(super) Vec<u8>);

/// A 64-bit integer written as a number or as decimal text; wide enough for both signed and unsigned fields.
pub(super) struct Integer(pub(super) Option<i128>);

/// A double written as a number, as decimal text, or as `NaN` and `Infinity`.
pub(super) struct Double(pub(super) Option<f64>);

/// A list whose nulls are left out.
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Integer {
    pub(super) fn to<T: TryFrom<i128> + Default>(self) -> T {
        self.0.and_then(|value| T::try_from(value).ok()).unwrap_or_default()
    }
}

macro_rules! read_from_text {
    ($name:ident, $expected:literal, $text:ident => $value:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextVisitor;
                impl Visitor<'_> for TextVisitor {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($expected)
                    }

                    fn visit_bytes<E>(self, $text: &[u8]) -> Result<$name, E> {
                        Ok($name($value))
                    }
                }
                // As bytes, because as text the parser refuses a lone surrogate.
                deserializer.deserialize_bytes(TextVisitor)
            }
        }
    };
}

// Checked first, since the lossy reading of good text takes several times as long.
read_from_text!(Text, "text", text => match std::str::from_utf8(text) {
    Ok(text) => text.to_owned(),
    Err(_) => String::from_utf8_lossy(text).into_owned(),
});
read_from_text!(Id, "a hexadecimal id", text => hex::decode(text).unwrap_or_else(|_| vec![0]));
read_from_text!(Bytes, "base64 text", text => base64::decode(text).unwrap_or_default());

/// Whatever JSON value stands where a number should: the numbers in it, else nothing.
struct NumberVisitor<T> {
    from_integer: fn(i128) -> Option<T>,
    from_double: fn(f64) -> Option<T>,
    from_text: fn(&str) -> Option<T>,
}

impl<'de, T> Visitor<'de> for NumberVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, or a number as text")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Option<T>, E> {
        Ok((self.from_integer)(i128::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Option<T>, E> {
        Ok((self.from_integer)(i128::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Option<T>, E> {
        Ok((self.from_double)(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<T>, E> {
        Ok((self.from_text)(text.trim()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<T>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Option<T>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = NumberVisitor {
            from_integer: Some,
            from_double: whole,
            from_text: |text| text.parse().ok().or_else(|| text.parse().ok().and_then(whole)),
        };
        deserializer.deserialize_any(visitor).map(Integer)
    }
}

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = NumberVisitor {
            from_integer: |value| Some(value as f64),
            from_double: Some,
            from_text: |text| text.parse().ok(),
        };
        deserializer.deserialize_any(visitor).map(Double)
    }
}

/// The integer that a double holds exactly; senders without 64-bit integers write `5.0` or `1.7e18`.
fn whole(value: f64) -> Option<i128> {
    (value.is_finite() && value.fract() == 0.0).then_some(value as i128)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element::<Option<T>>()? {
                    weight::take::<T>().map_err(serde::de::Error::custom)?;
                    list.extend(item);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(ListVisitor(std::marker::PhantomData))
    }
}
