//! Tool calls: from tool spans, each call once however many spans tell of it, with what models asked for and were told
//! where the spans do not say; or, where no tool has a span, from the messages alone.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::collections::HashMap;

use crate::domain::ids::SpanId;
use crate::domain::time::Timestamp;
use crate::domain::trace::{ToolCall, ToolStatus};

use super::convention::Role;
use super::gen_ai::TOOL_SPAN_NAMES;
use super::json::Json;
use super::messages::RequestedCall;
use super::model_calls::Exchange;
use super::span_view::SpanView;
use super::tool_messages::ToolMessages;
use super::tree::Tree;
use super::{tool_outcome, tool_result};

/// Results longer than this are not read as JSON: they hold data, and their error would stand in the span.
const READ_AT_MOST: usize = 64 * 1024;

/// Tool calls by the position of the span they are told by, in order.
pub(super) fn tool_calls(tree: &Tree<'_>, exchanges: &[Exchange<'_>]) -> Vec<(usize, ToolCall)> {
    let messages = LazyCell::new(|| ToolMessages::new(exchanges));
    let mut told = from_spans(tree);
    for call in told.iter_mut().filter(|call| call.lacks_content()) {
        call.complete(&messages);
    }
    if told.is_empty() {
        told = from_messages(exchanges, &messages);
    }
    let mut repeats = Repeats::default();
    let finished = told.into_iter().enumerate();
    finished.map(|(index, told)| (told.position, told.finish(&mut repeats, index))).collect()
}

/// What a span, or several, tell of one tool call.
struct Told<'a> {
    position: usize,
    span_id: SpanId,
    started_at: Timestamp,
    ended_at: Timestamp,
    name: String,
    id: Option<Cow<'a, str>>,
    arguments: Option<String>,
    result: Option<String>,
    /// Bytes of the result, which may be known without it.
    result_size: Option<u64>,
    error_type: Option<String>,
    error_text: Option<String>,
    failed: bool,
}

impl<'a> Told<'a> {
    fn by_span(position: usize, view: &SpanView<'a>) -> Self {
        let http_status = view.count(|names| names.http_status).filter(|status| *status >= 400);
        let http_error = http_status.map(|status| format!("HTTP status {status}"));
        Self {
            position,
            span_id: view.id,
            started_at: view.started_at,
            ended_at: view.ended_at,
            name: name(view).into_owned(),
            id: view.text(|names| names.tool_call_id),
            arguments: view.tool_arguments().map(Into::into),
            result: view.tool_result().map(Into::into),
            result_size: view.count(|names| names.result_size),
            error_type: view.error_type(),
            failed: view.has_failed() || http_error.is_some(),
            error_text: view.error_text().or(http_error),
        }
    }

    fn by_model(exchange: &Exchange<'a>, requested: &RequestedCall<'a>, messages: &ToolMessages<'_, 'a>) -> Self {
        let result = requested.id.as_deref().and_then(|id| messages.result_after(exchange.position, id));
        Self {
            position: exchange.position,
            span_id: exchange.call.span_id,
            started_at: exchange.call.ended_at,
            ended_at: exchange.call.ended_at,
            name: requested.name.clone().into_owned(),
            id: requested.id.clone(),
            arguments: requested.arguments.clone(),
            result: result.map(str::to_owned),
            result_size: None,
            error_type: None,
            error_text: None,
            failed: false,
        }
    }

    fn lacks_content(&self) -> bool {
        self.arguments.is_none() || self.result.is_none()
    }

    /// Adds what the model asked and was told, when it asked for this tool under this id. What it was told of a call
    /// that failed is no result.
    fn complete(&mut self, messages: &ToolMessages<'_, '_>) {
        let Some(id) = self.id.as_deref() else { return };
        let request = messages.request_before(self.position, id).filter(|request| request.name == self.name);
        let Some(request) = request else { return };
        if self.arguments.is_none() {
            self.arguments.clone_from(&request.arguments);
        }
        if self.result.is_none() && !self.failed && self.error_type.is_none() {
            self.result = messages.result_after(self.position, id).map(str::to_owned);
        }
    }

    /// Adds what another span tells of the same call; what the first said stands.
    fn add(&mut self, twin: Self) {
        self.arguments = self.arguments.take().or(twin.arguments);
        self.id = self.id.take().or(twin.id);
        if self.result.is_none() {
            self.result = twin.result;
            self.result_size = self.result_size.or(twin.result_size);
            self.error_type = self.error_type.take().or(twin.error_type);
            self.error_text = self.error_text.take().or(twin.error_text);
            self.failed |= twin.failed;
        }
    }

    fn finish(self, repeats: &mut Repeats, index: usize) -> ToolCall {
        let read = self.result.as_deref().map(|text| match text.len() {
            0..=READ_AT_MOST => Json::from_text(text),
            _ => Json::Text(Cow::Borrowed(text)),
        });
        let reported = read.as_ref().and_then(tool_result::error_in_result);
        let result_empty = read.as_ref().map(tool_result::is_empty).or(self.result_size.map(|bytes| bytes == 0));
        let repeat_of = self.arguments.as_deref().and_then(|arguments| repeats.seen(&self.name, arguments, index));
        let says: Vec<&str> =
            [&self.error_type, &self.error_text, &reported].into_iter().flatten().map(String::as_str).collect();
        let failed = self.failed || !says.is_empty();
        let status = if failed { tool_outcome::failure_kind(&says.join("\n")) } else { ToolStatus::Success };
        let error = self.error_text.or(reported).or(self.error_type);
        ToolCall {
            span_id: self.span_id,
            started_at: self.started_at,
            ended_at: self.ended_at,
            error: error.or_else(|| failed.then(|| "error".to_owned())),
            name: self.name,
            arguments: self.arguments,
            result: self.result,
            status,
            result_empty,
            repeat_of,
        }
    }
}

/// The tool's name, else what its span is called.
fn name<'a>(view: &SpanView<'a>) -> Cow<'a, str> {
    view.text(|names| names.tool_name).unwrap_or_else(|| {
        let span_name = view.span.name.as_str();
        Cow::Borrowed(TOOL_SPAN_NAMES.iter().find_map(|prefix| span_name.strip_prefix(prefix)).unwrap_or(span_name))
    })
}

/// Tool calls told by spans. Two spans tell of one call when one stands right around the other and they share name or
/// call id (an MCP client below `execute_tool`, its server behind a request), or when they share the call id and
/// overlap in time; a call id alone is not enough, as some models count them anew in every turn.
fn from_spans<'a>(tree: &Tree<'a>) -> Vec<Told<'a>> {
    let mut told: Vec<Told<'a>> = Vec::new();
    let mut told_as: Vec<Option<usize>> = vec![None; tree.views.len()];
    let mut by_id: HashMap<Cow<'a, str>, usize> = HashMap::new();
    for (position, view) in tree.views.iter().enumerate().filter(|(_, view)| view.role == Role::Tool) {
        let call = Told::by_span(position, view);
        let parent = tree.enclosing_tool(position).filter(|parent| tells_same(&tree.views[*parent], &call));
        let overlapping = call.id.as_ref().and_then(|id| by_id.get(id)).copied();
        let overlapping = overlapping.filter(|index| told[*index].ended_at >= call.started_at);
        let known = told_as[position].or_else(|| told_as[parent?]).or(overlapping);
        let index = known.unwrap_or(told.len());
        told_as[position] = Some(index);
        // A parent that starts after its child, by skew, is still to come.
        if let Some(parent) = parent {
            told_as[parent].get_or_insert(index);
        }
        if let Some(id) = &call.id {
            by_id.insert(id.clone(), index);
        }
        match known {
            Some(index) => told[index].add(call),
            None => told.push(call),
        }
    }
    told
}

fn tells_same(parent: &SpanView<'_>, call: &Told<'_>) -> bool {
    let same_id = || call.id.is_some() && parent.text(|names| names.tool_call_id) == call.id;
    parent.role == Role::Tool && (name(parent) == call.name || same_id())
}

/// Tool calls that models asked for, with the results they were told later.
fn from_messages<'a>(exchanges: &[Exchange<'a>], messages: &ToolMessages<'_, 'a>) -> Vec<Told<'a>> {
    let calls = |exchange| Exchange::requested_calls(exchange).map(move |call| (exchange, call));
    exchanges.iter().flat_map(calls).map(|(exchange, call)| Told::by_model(exchange, call, messages)).collect()
}

/// Calls seen so far, to find the first with the same name and equal arguments.
#[derive(Default)]
struct Repeats(HashMap<(String, String), usize>);

impl Repeats {
    fn seen(&mut self, name: &str, arguments: &str, index: usize) -> Option<usize> {
        let canonical = Json::parse(arguments).map_or_else(|| arguments.to_owned(), |json| json.sorted().to_text());
        let first = *self.0.entry((name.to_owned(), canonical)).or_insert(index);
        (first != index).then_some(first)
    }
}
