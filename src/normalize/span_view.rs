//! A span together with the conventions it is written in, so that facts can be asked for by meaning.

use std::borrow::Cow;

use crate::domain::ids::SpanId;
use crate::domain::time::Timestamp;
use crate::otlp::{RawTrace, Span, status};

use super::attributes::{Attributes, text_of};
use super::convention::{Convention, FactNames, Names, Recognised, Role};
use super::json::Json;
use super::messages::{Message, Part, Side};
use super::{gen_ai, general, message_json};

/// One span, read through its conventions.
pub(super) struct SpanView<'a> {
    pub(super) span: &'a Span,
    pub(super) id: SpanId,
    pub(super) resource: Attributes<'a>,
    /// The name of the convention that says what the span does, else of the most specific.
    pub(super) convention: &'static str,
    conventions: Recognised,
    pub(super) role: Role,
    pub(super) started_at: Timestamp,
    /// Never before the start, whatever the clocks said.
    pub(super) ended_at: Timestamp,
}

/// The spans of a trace, ordered by start time, then span id. Spans without a valid id are left out.
pub(super) fn ordered_views(trace: &RawTrace) -> Vec<SpanView<'_>> {
    let mut views = Vec::new();
    for group in &trace.resource_spans {
        let resource = Attributes(group.resource.as_ref().map_or(&[], |resource| &resource.attributes));
        let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
        views.extend(spans.filter_map(|span| SpanView::new(span, resource)));
    }
    views.sort_by_key(|view| (view.started_at, view.id));
    views
}

impl<'a> SpanView<'a> {
    fn new(span: &'a Span, resource: Attributes<'a>) -> Option<Self> {
        let id = SpanId::from_bytes(&span.span_id).ok()?;
        let attributes = Attributes(&span.attributes);
        let conventions = Recognised::of(attributes);
        let with_role = |convention: &'static Convention| Some((convention.name, (convention.role)(attributes)?));
        let most_specific = || Some((conventions.iter().next()?.name, Role::Other));
        let (convention, role) = conventions.iter().find_map(with_role).or_else(most_specific)?;
        let started_at = timestamp(span.start_time_unix_nano);
        let ended_at = timestamp(span.end_time_unix_nano).max(started_at);
        Some(Self { span, id, resource, convention, conventions, role, started_at, ended_at })
    }

    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(&self.span.attributes)
    }

    /// Looks a fact up under its names in each of the span's conventions.
    fn find<T>(
        &self,
        names: fn(&FactNames) -> Names,
        read: impl Fn(&'static Convention, Names) -> Option<T>,
    ) -> Option<T> {
        self.conventions.iter().find_map(|convention| read(convention, names(&convention.names)))
    }

    /// A text with something in it.
    pub(super) fn text(&self, names: fn(&FactNames) -> Names) -> Option<Cow<'a, str>> {
        self.find(names, |convention, names| self.attributes().text(names).filter(|text| is_recorded(convention, text)))
    }

    /// Looks content up on the span, else on the first of its events that has it.
    fn find_content<T>(
        &self,
        names: fn(&FactNames) -> Names,
        read: impl Fn(Attributes<'a>, &'static Convention, Names) -> Option<T>,
    ) -> Option<T> {
        let found = |attributes| self.find(names, |convention, names| read(attributes, convention, names));
        found(self.attributes()).or_else(|| self.events().find_map(found))
    }

    /// A text that may be empty: a tool may answer nothing.
    pub(super) fn content(&self, names: fn(&FactNames) -> Names) -> Option<Cow<'a, str>> {
        self.find_content(names, |attributes, convention, names| {
            attributes.content(names).filter(|text| is_recorded(convention, text))
        })
    }

    /// What a tool was given: under a name for that, else whatever the span took.
    pub(super) fn tool_arguments(&self) -> Option<Cow<'a, str>> {
        let whole = || self.content(|names| names.input_value).map(message_json::named_arguments);
        self.content(|names| names.tool_arguments).or_else(whole)
    }

    /// What a tool answered: under a name for that, else whatever the span gave.
    pub(super) fn tool_result(&self) -> Option<Cow<'a, str>> {
        self.content(|names| names.tool_result).or_else(|| self.content(|names| names.output_value))
    }

    pub(super) fn count(&self, names: fn(&FactNames) -> Names) -> Option<u64> {
        self.find(names, |_, names| self.attributes().count(names))
    }

    /// Prompt tokens.
    pub(super) fn input_tokens(&self) -> Option<u64> {
        self.tokens(|names| (names.input_tokens, names.input_tokens_apart))
    }

    /// Completion tokens, reasoning included.
    pub(super) fn output_tokens(&self) -> Option<u64> {
        self.tokens(|names| (names.output_tokens, names.output_tokens_apart))
    }

    /// Tokens, with those that the convention which carries them counts apart.
    fn tokens(&self, names: fn(&FactNames) -> (Names, Names)) -> Option<u64> {
        let attributes = self.attributes();
        self.conventions.iter().map(|convention| names(&convention.names)).find_map(|(together, apart)| {
            let apart = apart.iter().filter_map(|name| attributes.count(&[name]));
            attributes.count(together).map(|counted| apart.fold(counted, u64::saturating_add))
        })
    }

    pub(super) fn number(&self, names: fn(&FactNames) -> Names) -> Option<f64> {
        self.find(names, |_, names| self.attributes().number(names))
    }

    pub(super) fn json(&self, names: fn(&FactNames) -> Names) -> Option<Json<'a>> {
        self.find_content(names, |attributes, _, names| attributes.json(names))
    }

    /// Texts of retrieved documents; `None` when none were recorded.
    pub(super) fn documents(&self) -> Option<Vec<String>> {
        self.conventions.iter().find_map(|convention| (convention.documents)(self.attributes()))
    }

    /// Definitions of the tools that were offered to the model, each as text.
    pub(super) fn tool_definitions(&self) -> Option<Vec<String>> {
        self.find_content(
            |names| names.tool_definitions,
            |attributes, _, names| {
                names.iter().map(|name| definitions(attributes, name)).find(|found| !found.is_empty())
            },
        )
    }

    fn events(&self) -> impl Iterator<Item = Attributes<'a>> {
        self.span.events.iter().map(|event| Attributes(&event.attributes))
    }

    /// Messages to or from the model or agent: those on the span, else on one of its events, else one an event, else
    /// what the span took or gave as a whole.
    pub(super) fn messages(&self, side: Side) -> Vec<Message<'a>> {
        let said =
            |messages: Vec<Message<'a>>| Some(messages).filter(|messages| !messages.iter().all(Message::is_blank));
        let in_messages = |attributes: Attributes<'a>| {
            self.conventions.iter().find_map(|convention| said((convention.messages)(attributes, side)))
        };
        let one_an_event = || said(gen_ai::event_messages(&self.span.events, side));
        let on_events = || self.events().find_map(in_messages).or_else(one_an_event);
        let whole = || self.conventions.iter().find_map(|convention| said(self.value(convention, side)));
        in_messages(self.attributes()).or_else(on_events).or_else(whole).unwrap_or_default()
    }

    fn value(&self, convention: &'static Convention, side: Side) -> Vec<Message<'a>> {
        let names = side.pick(convention.names.input_value, convention.names.output_value);
        let mut messages = (convention.value)(self.attributes(), names, side);
        let recorded = |part: &Part<'_>| !matches!(part, Part::Text(text) if !is_recorded(convention, text));
        messages.retain(|message| message.parts.iter().all(recorded));
        messages
    }

    /// `error.type`, which may stand on a span whose status is fine.
    pub(super) fn error_type(&self) -> Option<String> {
        self.text(|names| names.error).map(Into::into)
    }

    /// Whether the status says that the span failed.
    pub(super) fn has_failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code == status::StatusCode::Error as i32)
    }

    /// What the status, else a recorded exception, says of a failed span.
    pub(super) fn error_text(&self) -> Option<String> {
        let status = self.span.status.as_ref().filter(|_| self.has_failed())?;
        if !status.message.trim().is_empty() {
            return Some(status.message.clone());
        }
        self.span.events.iter().rev().find_map(|event| general::exception(Attributes(&event.attributes)))
    }

    /// `error.type`, else what the status says; `None` when the span did not fail.
    pub(super) fn error(&self) -> Option<String> {
        let unnamed = || self.has_failed().then(|| "error".to_owned());
        self.error_type().or_else(|| self.error_text()).or_else(unnamed)
    }
}

/// A list of definitions in JSON, or flattened; equal definitions give equal texts.
fn definitions(attributes: Attributes<'_>, name: &str) -> Vec<String> {
    if name.ends_with('.') {
        let mut fields: Vec<_> = attributes.flattened(name).collect();
        fields.sort_by_key(|(index, field, _)| (*index, *field));
        let tools = fields.chunk_by(|left, right| left.0 == right.0);
        return tools.map(|fields| fields.iter().map(|(_, field, value)| text_of(value) + *field).collect()).collect();
    }
    match attributes.json(&[name]) {
        Some(Json::Array(tools)) => tools.into_iter().map(definition).collect(),
        Some(tool) => vec![definition(tool)],
        None => Vec::new(),
    }
}

fn definition(tool: Json<'_>) -> String {
    match &tool {
        Json::Text(text) => Json::from_text(text).sorted().to_text(),
        _ => tool.sorted().to_text(),
    }
}

/// Whether a text is what was said, and not what the convention writes when it leaves that out.
fn is_recorded(convention: &Convention, text: &str) -> bool {
    !convention.not_recorded.contains(&text)
}

/// The value of the first of some attributes that the span has, as text.
pub(super) fn attribute(attributes: Attributes<'_>, keys: &[String]) -> Option<String> {
    let found = keys.iter().filter_map(|key| attributes.value(key)).map(text_of);
    found.map(Cow::into_owned).find(|text| !text.trim().is_empty())
}

/// OTLP's unsigned nanoseconds; saturates in the year 2262.
fn timestamp(nanos: u64) -> Timestamp {
    Timestamp(i64::try_from(nanos).unwrap_or(i64::MAX))
}
