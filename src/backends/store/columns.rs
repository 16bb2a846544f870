//! How our types are kept in columns, and how hostile text is made to fit one.

use std::borrow::Cow;

use sqlx::any::{AnyRow, AnyTypeInfo, AnyValueRef};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Any, Database, Decode, Encode, Row, Type};

use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;

/// Longest text that is indexed, in bytes: PostgreSQL refuses an index entry of a third of a page.
const LONGEST_KEY: usize = 512;

/// Text as a column takes it: PostgreSQL has no zero byte in text.
pub(super) fn text(value: &str) -> String {
    clean(value).into_owned()
}

/// The same, of which nothing is made anew where nothing has to be changed.
pub(super) fn clean(value: &str) -> Cow<'_, str> {
    if value.contains('\0') { value.replace('\0', "\u{fffd}").into() } else { value.into() }
}

/// Text as an index takes it: what is longer is cut, the same way when it is stored and when it is looked for.
pub(super) fn key(value: &str) -> String {
    text(cut(value))
}

/// As much of a text as an index takes.
pub(super) fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(LONGEST_KEY)]
}

/// A column of 0 and 1.
pub(super) fn flag(row: &AnyRow, column: &str) -> Result<bool, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)? != 0)
}

/// A column that counts.
pub(super) fn count<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> Result<T, sqlx::Error>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    T::try_from(row.try_get(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A number of rows as a statement takes it.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A value of ours as the single word that it is in JSON.
pub(super) fn word<T: serde::Serialize>(value: &T) -> Result<String, sqlx::Error> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(other) => Err(sqlx::Error::Encode(format!("{other} is not a word").into())),
        Err(error) => Err(sqlx::Error::Encode(error.into())),
    }
}

/// Reads what [`word`] wrote.
pub(super) fn parse_word<T: serde::de::DeserializeOwned>(word: String) -> Result<T, sqlx::Error> {
    serde_json::from_value(word.into()).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// JSON text of a value of ours.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// Reads what [`json`] wrote.
pub(super) fn parse_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Keeps `$ours` as `$column`, which it becomes by `$write` and comes from by `$read`.
macro_rules! column {
    ($ours:ty, $column:ty, $write:expr, $read:expr) => {
        impl Type<Any> for $ours {
            fn type_info() -> AnyTypeInfo {
                <$column as Type<Any>>::type_info()
            }
        }

        impl Encode<'_, Any> for $ours {
            fn encode_by_ref(&self, buffer: &mut <Any as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
                let write: fn(&$ours) -> $column = $write;
                <$column as Encode<'_, Any>>::encode_by_ref(&write(self), buffer)
            }
        }

        impl<'r> Decode<'r, Any> for $ours {
            fn decode(value: AnyValueRef<'r>) -> Result<Self, BoxDynError> {
                let read: fn($column) -> Result<$ours, BoxDynError> = $read;
                read(<$column as Decode<'r, Any>>::decode(value)?)
            }
        }
    };
}

column!(TraceId, &[u8], |id| id.as_bytes(), |bytes| Ok(Self::from_bytes(bytes)?));
column!(SpanId, &[u8], |id| id.as_bytes(), |bytes| Ok(Self::from_bytes(bytes)?));
column!(Timestamp, i64, |timestamp| timestamp.0, |nanos| Ok(Self(nanos)));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evaluation::AnnotatorKind;

    #[test]
    fn text_loses_its_zero_bytes_and_keys_are_cut_between_characters() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        let long = "é".repeat(LONGEST_KEY);
        assert_eq!(key(&long), "é".repeat(LONGEST_KEY / 2));
        assert_eq!(key(&format!("x{long}")).len(), LONGEST_KEY - 1);
    }

    #[test]
    fn words_are_those_of_the_json_and_come_back() {
        assert_eq!(word(&AnnotatorKind::Llm).unwrap(), "llm");
        assert_eq!(parse_word::<AnnotatorKind>("human".to_owned()).unwrap(), AnnotatorKind::Human);
        assert!(parse_word::<AnnotatorKind>("robot".to_owned()).is_err());
        assert!(word(&7).is_err());
    }
}
