//! Messages written as JSON, in the shapes that model providers and agent frameworks give them.

use std::borrow::Cow;

use super::attributes::Attributes;
use super::json::Json;
use super::messages::{Message, Part, RequestedCall, Side, common_role, said_by};

/// Members under which requests and responses of providers and frameworks keep their messages.
const LISTS: [&str; 5] = ["messages", "contents", "choices", "candidates", "generations"];

/// Members under which a message stands inside of another object.
const ENVELOPES: [&str; 4] = ["message", "kwargs", "data", "content"];

/// Reads messages: a list, a single one, an object that holds a list, or a bare text said by `speaker`.
pub(super) fn read<'a>(json: &Json<'a>, speaker: &'static str) -> Vec<Message<'a>> {
    match json {
        Json::Array(items) if items.iter().any(|item| matches!(item, Json::Array(_))) => {
            items.iter().flat_map(|item| read(item, speaker)).collect()
        }
        Json::Array(items) => items.iter().map(|item| read_one(item, speaker)).collect(),
        Json::Object(_) => match message_list(json) {
            Some(list) => read(list, speaker),
            None => vec![read_one(json, speaker)],
        },
        Json::Text(text) => vec![Message::plain(speaker, text.clone())],
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}

/// Reads the first of some attributes as whatever a span took or gave: messages, or a text, wrapped or not.
pub(super) fn read_value<'a>(attributes: Attributes<'a>, names: &[&str], side: Side) -> Vec<Message<'a>> {
    attributes.json(names).map(|json| read_whole(json, side)).unwrap_or_default()
}

/// Reads messages from JSON that may hold anything else, which then is one text.
pub(super) fn read_whole(json: Json<'_>, side: Side) -> Vec<Message<'_>> {
    match json {
        json if holds_messages(&json) => read(&json, side.speaker()),
        Json::Text(text) => vec![Message::plain(side.speaker(), text)],
        Json::Null => Vec::new(),
        json => vec![Message::plain(side.speaker(), unwrapped_text(&json))],
    }
}

fn holds_messages(json: &Json<'_>) -> bool {
    match json {
        Json::Array(items) => items.first().is_some_and(holds_messages),
        Json::Object(_) => {
            // A serialised object has named arguments alone, what decorators write of a call has both kinds.
            let is_serialised = json.get("kwargs").is_some() && json.get("args").is_none();
            let speaks = opened(json).get("role").is_some() || is_serialised;
            speaks || read_part(json).is_some() || message_list(json).is_some()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => false,
    }
}

/// The list of messages in a request or response.
fn message_list<'j, 'a>(json: &'j Json<'a>) -> Option<&'j Json<'a>> {
    let list = |key: &&str| json.get(key).filter(|list| matches!(list, Json::Array(_)));
    let named = LISTS.iter().find_map(list);
    named.or_else(|| ["input", "output"].iter().filter_map(list).find(|list| holds_messages(list)))
}

/// The text inside JSON that wraps one, such as `{"outputs": {"output": "..."}}`; else the JSON itself.
pub(super) fn unwrapped_text(json: &Json<'_>) -> String {
    const WRAPPERS: [&str; 12] = [
        "outputs", "output", "answer", "response", "result", "text", "content", "inputs", "input", "question", "query",
        "prompt",
    ];
    let mut inner = json;
    while let Some(wrapped) = inner.get_any(&WRAPPERS).or_else(|| sole_argument(inner)) {
        inner = wrapped;
    }
    inner.to_text()
}

/// What a Python function was called with, as decorators write it, when that is one thing.
fn sole_argument<'j, 'a>(json: &'j Json<'a>) -> Option<&'j Json<'a>> {
    match (json.get("args")?.items(), json.get("kwargs")?) {
        ([argument], Json::Object(named)) if named.is_empty() => Some(argument),
        ([], Json::Object(named)) if named.len() == 1 => named.first().map(|(_, argument)| argument),
        _ => None,
    }
}

/// The arguments of a tool as its schema names them: decorators of Python functions put them beside unnamed ones.
pub(super) fn named_arguments(text: Cow<'_, str>) -> Cow<'_, str> {
    let named = Json::parse(&text).and_then(|call| {
        let only_named = call.get("args")?.items().is_empty();
        Some(call.get("kwargs")?.to_text()).filter(|_| only_named)
    });
    named.map_or(text, Cow::Owned)
}

/// What instructions say, written as a text or as parts.
pub(super) fn instructions(json: &Json<'_>) -> Option<String> {
    let parts = read_content(json.get("parts").unwrap_or(json));
    said_by("system", &[Message { role: Cow::Borrowed("system"), parts, finish_reason: None }])
}

fn read_one<'a>(json: &Json<'a>, speaker: &'static str) -> Message<'a> {
    if let Json::Text(text) = json {
        return Message::plain(speaker, text.clone());
    }
    let (outer, json) = (json, opened(json));
    let text = |keys: &[&str]| json.get_any(keys).and_then(Json::as_text).cloned();
    let finish_reason = [outer, json].into_iter().find_map(finish_reason);
    // An item without a role or an envelope may be a part that stands alone; then its type is not a role.
    let is_bare = std::ptr::eq(outer, json) && json.get_any(&["role", "tool_calls"]).is_none();
    let part = is_bare.then(|| read_part(json)).flatten();
    // What a tool says is no part but its result.
    if let Some(part) = part.filter(|part| speaker != "tool" || !matches!(part, Part::Text(_))) {
        return Message { role: Cow::Borrowed(speaker), parts: vec![part], finish_reason };
    }
    let role = text(&["role", "type"]).or_else(|| class(outer)).unwrap_or(Cow::Borrowed(speaker));
    let role = common_role(role);
    let mut parts = Vec::new();
    if role == "tool" && json.get("parts").is_none() && json.get("content").is_some_and(|it| it.as_text().is_some()) {
        let id = text(&["tool_call_id", "id"]);
        parts.push(Part::ToolResult { id, result: text(&["content"]).map(Cow::into_owned) });
    } else if let Some(content) = json.get_any(&["parts", "content", "text"]) {
        parts = read_content(content);
    }
    let calls = json.get("tool_calls").into_iter().flat_map(Json::items);
    parts.extend(calls.filter_map(read_tool_call).map(Part::ToolCall));
    Message { role, parts, finish_reason }
}

/// The message inside of a choice, a candidate or a serialised object; else the JSON itself.
fn opened<'j, 'a>(json: &'j Json<'a>) -> &'j Json<'a> {
    let mut message = json;
    while message.get("role").is_none() {
        let inner = ENVELOPES.iter().filter_map(|key| message.get(key)).find(|inner| matches!(inner, Json::Object(_)));
        let Some(inner) = inner else { break };
        message = inner;
    }
    message
}

/// The kind of a serialised object: the last part of its class name, or its type.
fn class<'a>(json: &Json<'a>) -> Option<Cow<'a, str>> {
    let class = json.get("id").and_then(|path| path.items().last());
    class.or_else(|| json.get("type")).and_then(Json::as_text).cloned()
}

fn finish_reason<'a>(json: &Json<'a>) -> Option<Cow<'a, str>> {
    let holders = [Some(json), json.get("response_metadata"), json.get("generation_info")];
    let names = ["finish_reason", "finishReason", "stop_reason"];
    holders.into_iter().flatten().find_map(|holder| holder.get_any(&names)?.as_text().cloned())
}

fn read_content<'a>(content: &Json<'a>) -> Vec<Part<'a>> {
    match content {
        Json::Text(text) => vec![Part::Text(text.clone())],
        other => other.items().iter().filter_map(read_part).collect(),
    }
}

/// Parts of the GenAI conventions, of the Vercel AI SDK (with dashes), of OpenAI, Anthropic and Gemini.
fn read_part<'a>(part: &Json<'a>) -> Option<Part<'a>> {
    if let Json::Text(text) = part {
        return Some(Part::Text(text.clone()));
    }
    if let Some(call) = part.get_any(&["function_call", "functionCall"]) {
        return read_tool_call(call).map(Part::ToolCall);
    }
    if let Some(response) = part.get_any(&["function_response", "functionResponse"]) {
        return Some(tool_result(response));
    }
    match part.get("type").and_then(Json::as_text).map_or("text", Cow::as_ref) {
        "text" | "input_text" | "output_text" => {
            part.get_any(&["content", "text"]).and_then(Json::as_text).cloned().map(Part::Text)
        }
        "tool_call" | "tool-call" | "tool_use" | "server_tool_call" | "function" | "function_call" => {
            read_tool_call(part).map(Part::ToolCall)
        }
        "tool_call_response" | "tool-result" | "tool_result" | "server_tool_call_response" | "function_call_output" => {
            Some(tool_result(part))
        }
        _ => None,
    }
}

fn tool_result<'a>(part: &Json<'a>) -> Part<'a> {
    Part::ToolResult {
        id: part.get_any(&["id", "toolCallId", "tool_use_id", "call_id"]).and_then(Json::as_text).cloned(),
        // The schema says `response`; the examples of the same specification say `result`.
        result: part
            .get_any(&["response", "result", "output", "content", "server_tool_call_response"])
            .map(Json::to_text),
    }
}

/// Reads a tool call; `None` without a name.
pub(super) fn read_tool_call<'a>(call: &Json<'a>) -> Option<RequestedCall<'a>> {
    let function = call.get("function").unwrap_or(call);
    let name = function.get_any(&["name", "toolName"]).and_then(Json::as_text)?.clone();
    let id = call.get_any(&["id", "toolCallId", "call_id"]).and_then(Json::as_text).cloned();
    let arguments = function.get_any(&["arguments", "input", "args", "server_tool_call"]).map(Json::to_text);
    Some(RequestedCall { id, name, arguments })
}
