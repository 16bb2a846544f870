//! The run as a whole: its steps in order, who it belongs to, what was asked and answered.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::domain::trace::{Decision, Retrieval, Step, TRUNCATED, ToolCall, Trace};
use crate::otlp::RawTrace;

use super::convention::{FactNames, Names, Role};
use super::json::Json;
use super::mapping::AttributeMapping;
use super::message_json;
use super::messages::{self, Side};
use super::missing::missing;
use super::model_calls::{Exchange, exchanges};
use super::prices::PriceTable;
use super::span_view::{SpanView, attribute, ordered_views};
use super::structure::structure;
use super::tool_calls::tool_calls;
use super::tree::Tree;
use super::{agent_version, general, sampling};

/// Understands a trace, its prices from the shipped table where no span carries them. `None` when it has no span with
/// a valid id.
#[must_use]
pub fn normalize(raw: &RawTrace, mapping: &AttributeMapping) -> Option<Trace> {
    normalize_priced(raw, mapping, &PriceTable::default())
}

/// Understands a trace as [`normalize`] does, with prices of one's own before the shipped ones.
#[must_use]
pub fn normalize_priced(raw: &RawTrace, mapping: &AttributeMapping, prices: &PriceTable) -> Option<Trace> {
    let tree = Tree::new(ordered_views(raw))?;
    let exchanges = exchanges(&tree, prices);
    let tools = tool_calls(&tree, &exchanges);
    let (root, subject) = (tree.root(), tree.subject());
    let (started_at, ended_at) = extent(&tree);
    let outermost = outermost(&tree, &exchanges);
    let texts = Texts::read(&tree, &outermost);
    let attributes = mapped_attributes(&tree, mapping);
    let mut trace = Trace {
        trace_id: raw.trace_id,
        root_span_id: root.id,
        convention: subject.convention,
        service: general::service(subject.resource).unwrap_or_else(|| general::UNKNOWN_SERVICE.to_owned()),
        release: general::service_version(subject.resource)
            .or_else(|| anywhere(&tree, |names| names.release))
            .or_else(|| anywhere(&tree, |names| names.agent_version)),
        environment: general::environment(subject.resource).or_else(|| anywhere(&tree, |names| names.environment)),
        agent: anywhere(&tree, |names| names.agent),
        agent_version: agent_version::find(&tree, texts.system_instructions.as_deref(), &outermost),
        conversation_id: anywhere(&tree, |names| names.conversation),
        user_id: anywhere(&tree, |names| names.user).or_else(|| attributes.get("user").cloned()),
        attributes,
        started_at,
        ended_at,
        clock_is_real: general::clock_is_real(subject.resource),
        error: root.error(),
        input: texts.input,
        output: texts.output,
        system_instructions: texts.system_instructions,
        decision: decision(&tree),
        steps: steps(&tree, exchanges, tools),
        span_count: tree.views.len(),
        failed_spans: tree.views.iter().filter(|view| view.has_failed()).count(),
        upstream_probability: sampling::probability(&tree, raw.trace_id),
        missing: Vec::new(),
        structure: structure(&tree),
    };
    if raw.pieces_left_out > 0 {
        trace.attributes.insert(TRUNCATED.to_owned(), true.to_string());
    }
    trace.missing = missing(&trace);
    Some(trace)
}

/// Longest run that is believed, from the start of its root.
const LONGEST_RUN: Duration = Duration::from_hours(30 * 24);
/// How far the clock of another process may be off, or work go on behind the root.
const FARTHEST_OFF: Duration = Duration::from_hours(24);

/// From the root's start, or the earliest where it has not arrived, to the latest end that is believed. The root is
/// believed for thirty days, any other span within a day of the root or, where that has no time, of the middle one of
/// all starts. Spans whose sender set no time are passed over where any has one.
fn extent(tree: &Tree<'_>) -> (Timestamp, Timestamp) {
    let root = Some(tree.root()).filter(|root| root.span.parent_span_id.is_empty() && root.started_at.0 > 0);
    let middle = middle_start(tree);
    let (start, end) = root.map_or((middle, middle), |root| (root.started_at, root.ended_at));
    let end = if end > start.plus(LONGEST_RUN) { start } else { end };
    let believed = start.minus(FARTHEST_OFF)..=end.plus(FARTHEST_OFF);
    let times = || tree.views.iter().flat_map(|view| [view.started_at, view.ended_at]);
    let near = || times().filter(|time| time.0 > 0 && believed.contains(time));
    let started_at = if root.is_some() { start } else { near().min().unwrap_or(start) };
    (started_at, near().max().unwrap_or(end).max(started_at))
}

/// The middle one of all starts that are set; the epoch when none is.
fn middle_start(tree: &Tree<'_>) -> Timestamp {
    let starts: Vec<Timestamp> = tree.views.iter().map(|view| view.started_at).filter(|start| start.0 > 0).collect();
    starts.get(starts.len() / 2).copied().unwrap_or_default()
}

/// A fact of the run: from the root span, else the first span that knows it.
fn anywhere(tree: &Tree<'_>, names: fn(&FactNames) -> Names) -> Option<String> {
    tree.root_first().find_map(|view| view.text(names)).map(Into::into)
}

fn mapped_attributes(tree: &Tree<'_>, mapping: &AttributeMapping) -> BTreeMap<String, String> {
    let find = |keys: &[String]| {
        let on_a_span = tree.root_first().find_map(|view| attribute(view.attributes(), keys));
        on_a_span.or_else(|| attribute(tree.subject().resource, keys))
    };
    let mut found: BTreeMap<String, String> =
        mapping.iter().filter_map(|(name, keys)| Some((name.to_owned(), find(keys)?))).collect();
    if let Some(version) = anywhere(tree, |names| names.prompt_version) {
        found.entry("prompt_version".to_owned()).or_insert(version);
    }
    found
}

/// What the agent says of its decision; of several spans that speak of one fact the root, else the first.
fn decision(tree: &Tree<'_>) -> Option<Decision> {
    let sources = tree.root_first().find_map(|view| view.json(|names| names.decision_sources));
    let decision = Decision {
        result: anywhere(tree, |names| names.decision),
        confidence: tree.root_first().find_map(|view| view.number(|names| names.decision_confidence)),
        rationale: anywhere(tree, |names| names.decision_rationale),
        sources: match sources {
            Some(Json::Text(names)) => names.split(',').map(|name| name.trim().to_owned()).collect(),
            Some(list) => list.items().iter().map(Json::to_text).collect(),
            None => Vec::new(),
        },
    };
    (decision != Decision::default()).then_some(decision)
}

/// What was asked of the run, told to it, and answered by it.
struct Texts {
    input: Option<String>,
    output: Option<String>,
    system_instructions: Option<String>,
}

impl Texts {
    fn read(tree: &Tree<'_>, outermost: &[&Exchange<'_>]) -> Self {
        let whole_run = || [tree.root(), tree.subject()].into_iter();
        let asked = outermost.iter().rev().find_map(|exchange| exchange.call.user_text.clone());
        let answered = whole_run().find_map(|view| messages::said_by("assistant", &view.messages(Side::Output)));
        let last_said = || outermost.iter().rev().find_map(|exchange| exchange.call.output_text.clone());
        let instructed = tree.root_first().find_map(|view| view.json(|names| names.system_instructions));
        let told = || outermost.iter().find_map(|exchange| messages::said_by("system", &exchange.input));
        Self {
            input: asked
                .or_else(|| whole_run().find_map(|view| messages::last_said_by_user(&view.messages(Side::Input)))),
            output: answered.or_else(last_said),
            system_instructions: instructed.and_then(|json| message_json::instructions(&json)).or_else(told),
        }
    }
}

/// The model calls that talk with the user, not those of sub-agents or inside of tools.
fn outermost<'e, 'a>(tree: &Tree<'_>, exchanges: &'e [Exchange<'a>]) -> Vec<&'e Exchange<'a>> {
    let depths = tree.enclosing();
    let depth = |exchange: &Exchange<'_>| depths[exchange.position];
    let least = exchanges.iter().map(depth).min();
    exchanges.iter().filter(|exchange| Some(depth(exchange)) == least).collect()
}

/// Merges the steps in order of their spans; tools that only messages tell of follow the call that asked for them.
fn steps(tree: &Tree<'_>, exchanges: Vec<Exchange<'_>>, tools: Vec<(usize, ToolCall)>) -> Vec<Step> {
    let retrieval = |(position, view): (usize, &SpanView<'_>)| {
        (view.role == Role::Retrieval).then(|| (position, Step::Retrieval(read_retrieval(view))))
    };
    let calls = exchanges.into_iter().map(|exchange| (exchange.position, Step::Model(exchange.call)));
    let tools = tools.into_iter().map(|(position, call)| (position, Step::Tool(call)));
    let retrievals = tree.views.iter().enumerate().filter_map(retrieval);
    let mut steps: Vec<(usize, Step)> = calls.chain(tools).chain(retrievals).collect();
    steps.sort_by_key(|(position, _)| *position);
    steps.into_iter().map(|(_, step)| step).collect()
}

fn read_retrieval(view: &SpanView<'_>) -> Retrieval {
    let documents = view.documents();
    Retrieval {
        span_id: view.id,
        started_at: view.started_at,
        ended_at: view.ended_at,
        query: view.text(|names| names.query).or_else(|| view.text(|names| names.input_value)).map(Into::into),
        documents_recorded: documents.is_some(),
        documents: documents.unwrap_or_default(),
    }
}
