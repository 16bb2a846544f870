//! Chat messages, whichever JSON shape or flattened list they come in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::attributes::{Attributes, text_of};
use super::json::Json;

/// One message of a conversation with a model.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Message<'a> {
    /// `system`, `user`, `assistant`, `tool`, ...; empty when unknown.
    pub(super) role: Cow<'a, str>,
    /// What it consists of, without what nobody said: reasoning and media are left out.
    pub(super) parts: Vec<Part<'a>>,
    /// Why the model stopped.
    pub(super) finish_reason: Option<Cow<'a, str>>,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part<'a> {
    /// Something said.
    Text(Cow<'a, str>),
    /// The model asks for a tool.
    ToolCall(RequestedCall<'a>),
    /// The model is told what a tool answered.
    ToolResult { id: Option<Cow<'a, str>>, result: Option<String> },
}

/// A tool call as a model asks for it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct RequestedCall<'a> {
    /// Joins it to its result.
    pub(super) id: Option<Cow<'a, str>>,
    /// The tool's name.
    pub(super) name: Cow<'a, str>,
    /// Arguments as JSON text.
    pub(super) arguments: Option<String>,
}

impl<'a> Message<'a> {
    /// A message that is one text.
    pub(super) fn plain(role: &'static str, text: impl Into<Cow<'a, str>>) -> Self {
        Self { role: Cow::Borrowed(role), parts: vec![Part::Text(text.into())], finish_reason: None }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_ref()),
            Part::ToolCall(_) | Part::ToolResult { .. } => None,
        })
    }

    /// The tools that it asks for.
    pub(super) fn tool_calls(&self) -> impl Iterator<Item = &RequestedCall<'a>> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            Part::Text(_) | Part::ToolResult { .. } => None,
        })
    }
}

/// What a role said in these messages, a line for each text; `None` when nothing.
pub(super) fn said_by(role: &str, messages: &[Message<'_>]) -> Option<String> {
    let mine = messages.iter().filter(|message| message.role == role);
    let texts: Vec<&str> = mine.flat_map(Message::texts).filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// The messages after the model's own last one: what is new, whether the sender records the whole history or not.
pub(super) fn new_since_last_answer<'m, 'a>(messages: &'m [Message<'a>]) -> &'m [Message<'a>] {
    let last_answer = messages.iter().rposition(|message| message.role == "assistant");
    &messages[last_answer.map_or(0, |position| position + 1)..]
}

/// Reads messages from JSON: a list, a single one, an object that holds a list, or a bare text said by `speaker`.
pub(super) fn read<'a>(json: &Json<'a>, speaker: &'static str) -> Vec<Message<'a>> {
    match json {
        Json::Array(items) => items.iter().map(|item| read_one(item, speaker)).collect(),
        Json::Object(_) => match json.get("messages") {
            Some(list) => read(list, speaker),
            None => vec![read_one(json, speaker)],
        },
        Json::Text(text) => vec![Message::plain(speaker, text.clone())],
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}

/// The text inside JSON that wraps one, such as `{"outputs": {"output": "..."}}`; else the JSON itself.
pub(super) fn unwrapped_text(json: &Json<'_>) -> String {
    const WRAPPERS: [&str; 12] = [
        "outputs", "output", "answer", "response", "result", "text", "content", "inputs", "input", "question", "query",
        "prompt",
    ];
    let mut inner = json;
    while let Some(wrapped) = inner.get_any(&WRAPPERS) {
        inner = wrapped;
    }
    inner.to_text()
}

fn read_one<'a>(json: &Json<'a>, speaker: &'static str) -> Message<'a> {
    if let Json::Text(text) = json {
        return Message::plain(speaker, text.clone());
    }
    let text = |keys: &[&str]| json.get_any(keys).and_then(Json::as_text).cloned();
    let role = match text(&["role"]).unwrap_or(Cow::Borrowed(speaker)) {
        role if role == "model" || role == "ai" => Cow::Borrowed("assistant"),
        role if role == "human" => Cow::Borrowed("user"),
        role if role == "developer" => Cow::Borrowed("system"),
        role => role,
    };
    let mut parts = Vec::new();
    if role == "tool" && json.get("parts").is_none() && json.get("content").is_some_and(|it| it.as_text().is_some()) {
        let id = text(&["tool_call_id"]);
        parts.push(Part::ToolResult { id, result: text(&["content"]).map(Cow::into_owned) });
    } else if let Some(content) = json.get_any(&["parts", "content"]) {
        push_content(&mut parts, content);
    }
    parts.extend(
        json.get("tool_calls").into_iter().flat_map(Json::items).filter_map(read_tool_call).map(Part::ToolCall),
    );
    Message { role, parts, finish_reason: text(&["finish_reason", "finishReason"]) }
}

/// What instructions say, written as a text or as parts.
pub(super) fn instructions(json: &Json<'_>) -> Option<String> {
    let mut parts = Vec::new();
    push_content(&mut parts, json);
    said_by("system", &[Message { role: Cow::Borrowed("system"), parts, finish_reason: None }])
}

/// The last thing that a user said.
pub(super) fn last_said_by_user(messages: &[Message<'_>]) -> Option<String> {
    messages.iter().rev().find_map(|message| said_by("user", std::slice::from_ref(message)))
}

fn push_content<'a>(parts: &mut Vec<Part<'a>>, content: &Json<'a>) {
    match content {
        Json::Text(text) => parts.push(Part::Text(text.clone())),
        other => parts.extend(other.items().iter().filter_map(read_part)),
    }
}

/// Parts of the GenAI conventions, of the Vercel AI SDK (with dashes), of OpenAI and of Anthropic.
fn read_part<'a>(part: &Json<'a>) -> Option<Part<'a>> {
    if let Json::Text(text) = part {
        return Some(Part::Text(text.clone()));
    }
    let kind = part.get("type").and_then(Json::as_text).map_or("text", Cow::as_ref);
    match kind {
        "text" | "input_text" | "output_text" => {
            part.get_any(&["content", "text"]).and_then(Json::as_text).cloned().map(Part::Text)
        }
        "tool_call" | "tool-call" | "tool_use" | "server_tool_call" | "function" => {
            read_tool_call(part).map(Part::ToolCall)
        }
        "tool_call_response" | "tool-result" | "tool_result" | "server_tool_call_response" => Some(Part::ToolResult {
            id: part.get_any(&["id", "toolCallId", "tool_use_id"]).and_then(Json::as_text).cloned(),
            // The schema says `response`; the examples of the same specification say `result`.
            result: part
                .get_any(&["response", "result", "output", "content", "server_tool_call_response"])
                .map(Json::to_text),
        }),
        _ => None,
    }
}

/// Reads a tool call; `None` without a name.
pub(super) fn read_tool_call<'a>(call: &Json<'a>) -> Option<RequestedCall<'a>> {
    let function = call.get("function").unwrap_or(call);
    let name = function.get_any(&["name", "toolName"]).and_then(Json::as_text)?.clone();
    let id = call.get_any(&["id", "toolCallId"]).and_then(Json::as_text).cloned();
    let arguments = function.get_any(&["arguments", "input", "args", "server_tool_call"]).map(Json::to_text);
    Some(RequestedCall { id, name, arguments })
}

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
            "content" => self.texts.push(text),
            "tool_call_id" => self.result_of = Some(text),
            "finish_reason" => self.finish_reason = Some(text),
            _ if field.starts_with("contents.") && field.ends_with("message_content.text") => self.texts.push(text),
            _ => self.set_call(names, field, text),
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
        let role = self.role.unwrap_or(Cow::Borrowed(speaker));
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
