//! Messages of a conversation with a model, and what is asked of them.

use std::borrow::Cow;

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

/// Which way messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// To a model or agent.
    Input,
    /// From a model or agent.
    Output,
}

impl Side {
    /// The one of two that belongs to this side.
    pub(super) fn pick<T>(self, input: T, output: T) -> T {
        match self {
            Self::Input => input,
            Self::Output => output,
        }
    }

    /// Whose words they are when nothing says so.
    pub(super) fn speaker(self) -> &'static str {
        self.pick("user", "assistant")
    }
}

impl<'a> Message<'a> {
    /// A message that is one text.
    pub(super) fn plain(role: &'static str, text: impl Into<Cow<'a, str>>) -> Self {
        Self { role: Cow::Borrowed(role), parts: vec![Part::Text(text.into())], finish_reason: None }
    }

    /// Whether nothing is said, asked or told in it.
    pub(super) fn is_blank(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(text) if text.trim().is_empty()))
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

/// One word for each role, whatever a framework calls it.
pub(super) fn common_role(role: Cow<'_, str>) -> Cow<'_, str> {
    let common = match role.as_ref() {
        "model" | "ai" | "AIMessage" | "AIMessageChunk" => "assistant",
        "human" | "HumanMessage" | "HumanMessageChunk" => "user",
        "developer" | "SystemMessage" => "system",
        "function" | "ToolMessage" => "tool",
        _ => return role,
    };
    Cow::Borrowed(common)
}

/// What a role said in these messages, a line for each text; `None` when nothing.
pub(super) fn said_by(role: &str, messages: &[Message<'_>]) -> Option<String> {
    let mine = messages.iter().filter(|message| message.role == role);
    let texts: Vec<&str> = mine.flat_map(Message::texts).filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// The last thing that a user said.
pub(super) fn last_said_by_user(messages: &[Message<'_>]) -> Option<String> {
    messages.iter().rev().find_map(|message| said_by("user", std::slice::from_ref(message)))
}

/// The messages after the model's own last one: what is new, whether the sender records the whole history or not.
pub(super) fn new_since_last_answer<'m, 'a>(messages: &'m [Message<'a>]) -> &'m [Message<'a>] {
    let last_answer = messages.iter().rposition(|message| message.role == "assistant");
    &messages[last_answer.map_or(0, |position| position + 1)..]
}
