//! Values of OTLP/JSON as real senders write them: numbers as text and text as numbers, ids in either case, nulls.
//!
//! A value that cannot be read is unset, as null is, and of a key that comes twice the last counts: one bad value must
//! not cost the request it came in.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{base64, weight};

/// What can be read of some JSON value; `None` when that is null or of another type.
pub(super) trait FromJson: Sized {
    /// What a text, number or boolean says.
    fn from_scalar(_: Scalar<'_>) -> Option<Self> {
        None
    }

    /// What a list says.
    fn from_list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Option<Self>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// What an object says.
    fn from_object<'de, A: MapAccess<'de>>(mut members: A) -> Result<Option<Self>, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// What is written as an object.
pub(super) trait Object: Default {
    /// Reads the value of one member, with one of [`value`], [`field`], [`essential`], [`id`] and [`skip`].
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error>;

    /// What stands in place of an object.
    fn from_bare(_: Scalar<'_>) -> Option<Self> {
        None
    }
}

impl<T: Object> FromJson for T {
    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        T::from_bare(scalar)
    }

    fn from_object<'de, A: MapAccess<'de>>(mut members: A) -> Result<Option<Self>, A::Error> {
        let mut object = T::default();
        while let Some(Name(name)) = members.next_key()? {
            object.read(&name, &mut members)?;
        }
        Ok(Some(object))
    }
}

/// The value of a member.
pub(super) fn value<'de, T: FromJson, A: MapAccess<'de>>(members: &mut A) -> Result<Option<T>, A::Error> {
    Ok(members.next_value::<Lenient<T>>()?.0)
}

/// The value of a member, or what protobuf has where there is none.
pub(super) fn field<'de, T: FromJson + Default, A: MapAccess<'de>>(members: &mut A) -> Result<T, A::Error> {
    Ok(value(members)?.unwrap_or_default())
}

/// The list of a member that holds spans or log records, or leads to them: no list in its place is an error, lest they be
/// lost in silence.
pub(super) fn essential<'de, T: FromJson, A: MapAccess<'de>>(members: &mut A) -> Result<Option<Vec<T>>, A::Error> {
    Ok(members.next_value::<Option<Essential<T>>>()?.map(|list| list.0))
}

/// The bytes of a hexadecimal id. Anything else but null gives one zero byte, a length no id has.
pub(super) fn id<'de, A: MapAccess<'de>>(members: &mut A) -> Result<Vec<u8>, A::Error> {
    struct Id(Vec<u8>);
    impl FromJson for Id {
        fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
            let bytes = if let Scalar::Text(text) = scalar { hex::decode(text).ok() } else { None };
            Some(Self(bytes.unwrap_or_else(|| vec![0])))
        }
    }
    Ok(value::<Id, A>(members)?.map(|id| id.0).unwrap_or_default())
}

/// Passes over the value of a member.
pub(super) fn skip<'de, A: MapAccess<'de>>(members: &mut A) -> Result<(), A::Error> {
    members.next_value::<IgnoredAny>().map(|_| ())
}

/// A JSON value that is neither list nor object nor null.
pub(super) enum Scalar<'t> {
    Boolean(bool),
    Integer(i128),
    Double(f64),
    Text(&'t str),
}

impl Scalar<'_> {
    /// An integer written as a number, as decimal text, or as a double that holds it exactly: senders without 64-bit
    /// integers write `5.0` or `1.7e18`.
    fn integer(&self) -> Option<i128> {
        let whole = |value: f64| (value.is_finite() && value.fract() == 0.0).then_some(value as i128);
        match self {
            Self::Boolean(_) => None,
            Self::Integer(value) => Some(*value),
            Self::Double(value) => whole(*value),
            Self::Text(text) => text.trim().parse().ok().or_else(|| text.trim().parse().ok().and_then(whole)),
        }
    }
}

macro_rules! integer_from_json {
    ($($name:ident)*) => {$(
        impl FromJson for $name {
            fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
                Self::try_from(scalar.integer()?).ok()
            }
        }
    )*};
}

integer_from_json!(i32 u32 i64 u64);

impl FromJson for f64 {
    /// `NaN` and `Infinity` are written as text.
    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Boolean(_) => None,
            Scalar::Integer(value) => Some(value as Self),
            Scalar::Double(value) => Some(value),
            Scalar::Text(text) => text.trim().parse().ok(),
        }
    }
}

impl FromJson for bool {
    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Boolean(value) => Some(value),
            Scalar::Text(text) => text.trim().to_ascii_lowercase().parse().ok(),
            number => match number.integer()? {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
        }
    }
}

impl FromJson for String {
    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        Some(match scalar {
            Scalar::Boolean(value) => value.to_string(),
            Scalar::Integer(value) => value.to_string(),
            Scalar::Double(value) => value.to_string(),
            Scalar::Text(text) => text.to_owned(),
        })
    }
}

/// Bytes written as base64.
#[derive(Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl FromJson for Bytes {
    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        if let Scalar::Text(text) = scalar { base64::decode(text.as_bytes()).map(Self) } else { None }
    }
}

/// A list without what in it cannot be read.
impl<T: FromJson> FromJson for Vec<T> {
    fn from_list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Option<Self>, A::Error> {
        let mut list = Self::new();
        while let Some(Lenient(item)) = items.next_element()? {
            weight::take::<T>().map_err(A::Error::custom)?;
            list.extend(item);
        }
        Ok(Some(list))
    }
}

/// Whatever JSON value stands there, and what can be read of it.
struct Lenient<T>(Option<T>);

impl<'de, T: FromJson> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor(PhantomData)).map(Lenient)
    }
}

struct LenientVisitor<T>(PhantomData<T>);

impl<'de, T: FromJson> Visitor<'de> for LenientVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Option<T>, E> {
        Ok(T::from_scalar(Scalar::Boolean(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Option<T>, E> {
        Ok(T::from_scalar(Scalar::Integer(value.into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Option<T>, E> {
        Ok(T::from_scalar(Scalar::Integer(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Option<T>, E> {
        Ok(T::from_scalar(Scalar::Double(value)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<T>, E> {
        Ok(T::from_scalar(Scalar::Text(text)))
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Option<T>, A::Error> {
        T::from_list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Option<T>, A::Error> {
        T::from_object(members)
    }
}

struct Essential<T>(Vec<T>);

impl<'de, T: FromJson> Deserialize<'de> for Essential<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: FromJson> Visitor<'de> for ListVisitor<T> {
            type Value = Essential<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Essential<T>, A::Error> {
                Ok(Essential(Vec::from_list(items)?.unwrap_or_default()))
            }
        }
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

/// The name of a member, borrowed where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a member")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// Reads a whole message; `None` when the text is JSON but no object.
pub(super) fn read_message<T: Object>(bytes: &[u8]) -> Result<Option<T>, serde_json::Error> {
    let read = |bytes: &[u8]| weight::weighing(|| serde_json::from_slice::<Lenient<T>>(bytes)).map(|message| message.0);
    read(bytes).or_else(|error| mended(bytes).map_or(Err(error), |mended| read(&mended)))
}

/// The text without what is no Unicode, invalid UTF-8 and lone surrogates (JavaScript cuts strings inside a pair), which
/// become U+FFFD; `None` when there is none of that.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = String::from_utf8_lossy(bytes).into_owned().into_bytes();
    let mut start = 0;
    while let Some(position) = text.get(start..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        let escape = start + position;
        start = escape
            + match (code_unit(&text, escape), code_unit(&text, escape + 6)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
                (Some(0xd800..=0xdfff), _) => {
                    text[escape + 2..escape + 6].copy_from_slice(b"fffd");
                    6
                }
                _ => 2,
            };
    }
    (text != bytes).then_some(text)
}

/// The UTF-16 code unit that is escaped there.
fn code_unit(text: &[u8], start: usize) -> Option<u16> {
    let digits = text.get(start..)?.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
