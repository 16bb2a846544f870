//! Identifiers that parse: a wrong length or an all-zero id cannot be built.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why some bytes or text are not a trace or span id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The id has the wrong number of bytes.
    #[error("{what} has {found} bytes, expected {expected}")]
    Length {
        /// `trace id` or `span id`.
        what: &'static str,
        /// Bytes given.
        found: usize,
        /// Bytes required by OpenTelemetry.
        expected: usize,
    },
    /// The id is all zero, which OpenTelemetry forbids.
    #[error("{what} is all zero")]
    Zero {
        /// `trace id` or `span id`.
        what: &'static str,
    },
    /// The text is not hexadecimal.
    #[error("{what} is not hexadecimal")]
    NotHex {
        /// `trace id` or `span id`.
        what: &'static str,
    },
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// The id's bytes, as OTLP carries them.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// Reads the id from OTLP bytes.
            ///
            /// # Errors
            /// Wrong length, or all zero (W3C Trace Context section 3.2.2).
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidId> {
                let array = <[u8; $bytes]>::try_from(bytes).map_err(|_| InvalidId::Length {
                    what: $what,
                    found: bytes.len(),
                    expected: $bytes,
                })?;
                if array == [0; $bytes] {
                    return Err(InvalidId::Zero { what: $what });
                }
                Ok(Self(array))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let bytes = hex::decode(text).map_err(|_| InvalidId::NotHex { what: $what })?;
                Self::from_bytes(&bytes)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }
    };
}

id!(
    /// A 16-byte OpenTelemetry trace id; lower-case hex at the edges.
    TraceId, 16, "trace id"
);
id!(
    /// An 8-byte OpenTelemetry span id; lower-case hex at the edges.
    SpanId, 8, "span id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_either_case_and_print_lower_case() {
        let id: TraceId = "65888DDDB25592422DF09B0E4B474DF2".parse().unwrap();
        assert_eq!(id.to_string(), "65888dddb25592422df09b0e4b474df2");
    }

    #[test]
    fn wrong_length_and_zero_are_refused_with_the_reason() {
        assert_eq!("abcd".parse::<SpanId>().unwrap_err().to_string(), "span id has 2 bytes, expected 8");
        assert_eq!(SpanId::from_bytes(&[0; 8]).unwrap_err().to_string(), "span id is all zero");
        assert_eq!("xyz".parse::<TraceId>().unwrap_err().to_string(), "trace id is not hexadecimal");
    }
}
