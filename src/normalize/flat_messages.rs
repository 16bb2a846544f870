//! Messages flattened to one attribute a field, `LIST.<index>.<field>`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::attributes::{Attributes, text_of};
use super::messages::{Message, Part, RequestedCall, common_role};

/// Names inside a flattened list of messages.
pub(super) struct FlatNames {
    /// What precedes the index of a message.
    pub(super) list: &'static str,
    /// What precedes each of its fields.
    pub(super) message: &'static str,
    /// What precedes each field of a tool call.
    pub(super) call: &'static str,
    /// What precedes the name and arguments of a tool call, after [`FlatNames::call`].
    pub(super) function: &'static str,
}

/// Reads messages flattened to one attribute a field.
pub(super) fn read_flattened<'a>(
    attributes: Attributes<'a>,
    names: &FlatNames,
    speaker: &'static str,
) -> Vec<Message<'a>> {
    let mut messages: BTreeMap<usize, FlatMessage<'a>> = BTreeMap::new();
    for (index, field, value) in attributes.flattened(names.list) {
        if let Some(field) = field.strip_prefix(names.message) {
            messages.entry(index).or_default().set(names, field, text_of(value));
        }
    }
    messages.into_values().map(|message| message.build(speaker)).collect()
}

#[derive(Default)]
struct FlatMessage<'a> {
    role: Option<Cow<'a, str>>,
    texts: Vec<Cow<'a, str>>,
    result_of: Option<Cow<'a, str>>,
    finish_reason: Option<Cow<'a, str>>,
    calls: BTreeMap<usize, RequestedCall<'a>>,
}

impl<'a> FlatMessage<'a> {
    fn set(&mut self, names: &FlatNames, field: &str, text: Cow<'a, str>) {
        match field {
            "role" => self.role = Some(text),
            "content" => self.say(text),
            "tool_call_id" => self.result_of = Some(text),
            "finish_reason" => self.finish_reason = Some(text),
            _ if field.starts_with("contents.") && field.ends_with("message_content.text") => self.say(text),
            _ => self.set_call(names, field, text),
        }
    }

    /// What one writer puts under both names is said once.
    fn say(&mut self, text: Cow<'a, str>) {
        if !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }

    fn set_call(&mut self, names: &FlatNames, field: &str, text: Cow<'a, str>) {
        let Some((index, field)) = field.strip_prefix("tool_calls.").and_then(|rest| rest.split_once('.')) else {
            return;
        };
        let (Ok(index), Some(field)) = (index.parse(), field.strip_prefix(names.call)) else { return };
        let call: &mut RequestedCall<'a> = self.calls.entry(index).or_default();
        match field.strip_prefix(names.function) {
            _ if field == "id" => call.id = Some(text),
            Some("name") => call.name = text,
            Some("arguments") => call.arguments = Some(text.into_owned()),
            _ => {}
        }
    }

    fn build(self, speaker: &'static str) -> Message<'a> {
        let role = common_role(self.role.unwrap_or(Cow::Borrowed(speaker)));
        let mut parts: Vec<Part<'a>> = if role == "tool" {
            let result = (!self.texts.is_empty()).then(|| self.texts.join("\n"));
            vec![Part::ToolResult { id: self.result_of, result }]
        } else {
            self.texts.into_iter().map(Part::Text).collect()
        };
        parts.extend(self.calls.into_values().filter(|call| !call.name.is_empty()).map(Part::ToolCall));
        Message { role, parts, finish_reason: self.finish_reason }
    }
}
