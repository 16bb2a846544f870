//! Whether a protobuf request of spans is plain: one that can be taken apart as it is on the wire, undecoded.
//!
//! What is plain the decoder takes: known fields of the right wire types, text that is UTF-8, numbers that end, messages
//! no deeper than it follows. All else is not, though the decoder may take it: fields that are unknown here, groups, and
//! whatever is not only passed on, as our own evaluations and what other tools scored.

use prost::encoding::{WireType, decode_key, decode_varint};

use super::{OWN_SCOPE, evaluation_events};

/// Levels that the decoder follows below the request.
const DEEPEST: usize = 100;

/// The fields of a message, the first of which has number 1.
struct Message(&'static [Kind]);

/// What a field may be.
struct Kind {
    wire_type: WireType,
    content: Content,
}

/// What must hold of what is in a field.
enum Content {
    Any,
    /// UTF-8.
    Text,
    /// UTF-8, and not this one.
    TextBut(&'static str),
    Message(&'static Message),
}

const VARINT: Kind = Kind { wire_type: WireType::Varint, content: Content::Any };
const FIXED_32: Kind = Kind { wire_type: WireType::ThirtyTwoBit, content: Content::Any };
const FIXED_64: Kind = Kind { wire_type: WireType::SixtyFourBit, content: Content::Any };
const BYTES: Kind = Kind { wire_type: WireType::LengthDelimited, content: Content::Any };
const TEXT: Kind = Kind { wire_type: WireType::LengthDelimited, content: Content::Text };
/// No field has this number; no plain one is a group.
const NONE: Kind = Kind { wire_type: WireType::EndGroup, content: Content::Any };

const fn text_but(odd: &'static str) -> Kind {
    Kind { wire_type: WireType::LengthDelimited, content: Content::TextBut(odd) }
}

const fn message(message: &'static Message) -> Kind {
    Kind { wire_type: WireType::LengthDelimited, content: Content::Message(message) }
}

// opentelemetry-proto: `trace.proto`, `resource.proto`, `common.proto`.
static TRACES: Message = Message(&[message(&RESOURCE_SPANS)]);
static RESOURCE_SPANS: Message = Message(&[message(&RESOURCE), message(&SCOPE_SPANS), TEXT]);
static SCOPE_SPANS: Message = Message(&[message(&SCOPE), message(&SPAN), TEXT]);
static SPAN: Message = Message(&[
    BYTES,
    BYTES,
    TEXT,
    BYTES,
    TEXT,
    VARINT,
    FIXED_64,
    FIXED_64,
    message(&ATTRIBUTE),
    VARINT,
    message(&EVENT),
    VARINT,
    message(&LINK),
    VARINT,
    message(&STATUS),
    FIXED_32,
]);
static EVENT: Message = Message(&[FIXED_64, text_but(evaluation_events::EVENT), message(&ATTRIBUTE), VARINT]);
static LINK: Message = Message(&[BYTES, BYTES, TEXT, message(&ATTRIBUTE), VARINT, FIXED_32]);
static STATUS: Message = Message(&[NONE, TEXT, VARINT]);
static RESOURCE: Message = Message(&[message(&ATTRIBUTE), VARINT, message(&ENTITY)]);
static ENTITY: Message = Message(&[TEXT, TEXT, TEXT, TEXT]);
static SCOPE: Message = Message(&[text_but(OWN_SCOPE), TEXT, message(&ATTRIBUTE), VARINT]);
static ATTRIBUTE: Message = Message(&[TEXT, message(&VALUE), VARINT]);
static VALUE: Message = Message(&[TEXT, VARINT, VARINT, FIXED_64, message(&LIST), message(&MAP), BYTES, VARINT]);
static LIST: Message = Message(&[message(&VALUE)]);
static MAP: Message = Message(&[message(&ATTRIBUTE)]);

/// Whether these bytes are a plain `TracesData`.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    TRACES.is_plain(bytes, DEEPEST)
}

impl Message {
    fn is_plain(&self, bytes: &[u8], levels: usize) -> bool {
        let mut fields = Fields(bytes);
        fields.all(|field| self.has(&field, levels)) && fields.0.is_empty()
    }

    #[inline(always)]
    fn has(&self, field: &Field<'_>, levels: usize) -> bool {
        let kind = self.0.get(field.number as usize - 1);
        kind.is_some_and(|kind| {
            kind.wire_type == field.wire_type
                && match kind.content {
                    Content::Any => true,
                    Content::Text => is_text(field.content),
                    Content::TextBut(odd) => field.content != odd.as_bytes() && is_text(field.content),
                    Content::Message(inner) => levels > 0 && inner.is_plain(field.content, levels - 1),
                }
        })
    }
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || str::from_utf8(bytes).is_ok()
}

/// The fields of a message, up to its end or to what is malformed or a group, which is left then.
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

/// A field on the wire.
pub(super) struct Field<'b> {
    /// Never zero.
    pub(super) number: u32,
    pub(super) wire_type: WireType,
    /// The bytes of the number, or of what comes after the length.
    pub(super) content: &'b [u8],
    /// All of it, its key included.
    pub(super) bytes: &'b [u8],
}

impl<'b> Iterator for Fields<'b> {
    type Item = Field<'b>;

    #[inline(always)]
    fn next(&mut self) -> Option<Field<'b>> {
        let mut rest = Some(self.0).filter(|bytes| !bytes.is_empty())?;
        // The decoder's own functions, so that the two agree on what is malformed.
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        let length = if wire_type == WireType::LengthDelimited {
            usize::try_from(decode_varint(&mut rest).ok()?).ok()?
        } else {
            length(wire_type, rest)?
        };
        let content = rest.split_off(..length)?;
        let bytes = self.0.split_off(..self.0.len() - rest.len())?;
        Some(Field { number, wire_type, content, bytes })
    }
}

/// The bytes that a number takes of those that follow its key.
fn length(wire_type: WireType, bytes: &[u8]) -> Option<usize> {
    match wire_type {
        WireType::Varint => {
            let mut rest = bytes;
            decode_varint(&mut rest).ok()?;
            Some(bytes.len() - rest.len())
        }
        WireType::ThirtyTwoBit => Some(4),
        WireType::SixtyFourBit => Some(8),
        WireType::LengthDelimited | WireType::StartGroup | WireType::EndGroup => None,
    }
}
