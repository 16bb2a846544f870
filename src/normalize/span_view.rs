//! A span together with the convention it is written in, so that facts can be asked for by meaning.

use std::borrow::Cow;
use std::iter;

use crate::domain::ids::SpanId;
use crate::domain::time::Timestamp;
use crate::otlp::{RawTrace, Span, status};

use super::attributes::{Attributes, text_of};
use super::convention::{CONVENTIONS, Convention, FactNames, Names, Role};
use super::general;
use super::json::Json;
use super::messages::Message;

/// One span, read through its convention.
pub(super) struct SpanView<'a> {
    pub(super) span: &'a Span,
    pub(super) id: SpanId,
    pub(super) resource: Attributes<'a>,
    pub(super) convention: &'static Convention,
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
        let convention = CONVENTIONS.into_iter().find(|convention| (convention.detect)(attributes))?;
        let started_at = timestamp(span.start_time_unix_nano);
        let ended_at = timestamp(span.end_time_unix_nano).max(started_at);
        Some(Self { span, id, resource, convention, role: (convention.role)(attributes), started_at, ended_at })
    }

    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(&self.span.attributes)
    }

    /// Looks a fact up under its names in the span's convention, then in those it falls back on.
    fn find<T>(&self, names: fn(&FactNames) -> Names, read: impl Fn(Attributes<'a>, Names) -> Option<T>) -> Option<T> {
        let conventions = iter::successors(Some(self.convention), |convention| convention.fallback);
        conventions.map(|convention| names(&convention.names)).find_map(|names| read(self.attributes(), names))
    }

    /// A text with something in it.
    pub(super) fn text(&self, names: fn(&FactNames) -> Names) -> Option<Cow<'a, str>> {
        self.find(names, |attributes, names| attributes.text(names))
    }

    /// A text that may be empty: a tool may answer nothing.
    pub(super) fn content(&self, names: fn(&FactNames) -> Names) -> Option<Cow<'a, str>> {
        self.find(names, |attributes, names| attributes.content(names))
    }

    pub(super) fn count(&self, names: fn(&FactNames) -> Names) -> Option<u64> {
        self.find(names, |attributes, names| attributes.count(names))
    }

    pub(super) fn number(&self, names: fn(&FactNames) -> Names) -> Option<f64> {
        self.find(names, |attributes, names| attributes.number(names))
    }

    pub(super) fn json(&self, names: fn(&FactNames) -> Names) -> Option<Json<'a>> {
        self.find(names, |attributes, names| attributes.json(names))
    }

    /// Messages given to the model or agent.
    pub(super) fn input(&self) -> Vec<Message<'a>> {
        self.messages(self.convention.input)
    }

    /// Messages that the model or agent answered.
    pub(super) fn output(&self) -> Vec<Message<'a>> {
        self.messages(self.convention.output)
    }

    /// Messages on the span, else on the first of its events that carries any under the same names.
    fn messages(&self, read: for<'b> fn(Attributes<'b>) -> Vec<Message<'b>>) -> Vec<Message<'a>> {
        let on_span = read(self.attributes());
        if !on_span.is_empty() {
            return on_span;
        }
        let mut on_events = self.span.events.iter().map(|event| read(Attributes(&event.attributes)));
        on_events.find(|messages| !messages.is_empty()).unwrap_or_default()
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

/// The value of the first of some attributes that the span has, as text.
pub(super) fn attribute(attributes: Attributes<'_>, keys: &[String]) -> Option<String> {
    let found = keys.iter().filter_map(|key| attributes.value(key)).map(text_of);
    found.map(Cow::into_owned).find(|text| !text.trim().is_empty())
}

/// OTLP's unsigned nanoseconds; saturates in the year 2262.
fn timestamp(nanos: u64) -> Timestamp {
    Timestamp(i64::try_from(nanos).unwrap_or(i64::MAX))
}
