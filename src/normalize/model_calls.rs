//! Model calls: the leaves among inference spans, with what was new in their input and said in their output.

use std::collections::HashMap;

use crate::domain::trace::ModelCall;

use super::convention::Role;
use super::json::Json;
use super::messages::{self, Message, Part, RequestedCall, Side};
use super::model_error;
use super::prices::{CacheTokens, PriceTable};
use super::span_view::SpanView;
use super::tree::Tree;

/// A model call and the messages around it.
pub(super) struct Exchange<'a> {
    /// Position of its span.
    pub(super) position: usize,
    pub(super) input: Vec<Message<'a>>,
    pub(super) output: Vec<Message<'a>>,
    pub(super) call: ModelCall,
}

/// The leaf model calls in order: one that only wraps another repeats its tokens and messages.
pub(super) fn exchanges<'a>(tree: &Tree<'a>, prices: &PriceTable) -> Vec<Exchange<'a>> {
    let wraps = tree.wraps_model();
    let spans = tree.views.iter().enumerate().zip(wraps);
    let leaves: Vec<usize> = spans
        .filter(|((_, view), wraps)| view.role == Role::Model && !wraps)
        .map(|((position, _), _)| position)
        .collect();
    let wrappers = sole_wrappers(tree, &leaves);
    let spans = leaves.into_iter().zip(wrappers);
    let call = |(position, wrapper)| (position, CallSpans { leaf: &tree.views[position], wrapper });
    spans.map(call).map(|(position, spans)| Exchange::read(position, &spans, prices)).collect()
}

/// For each leaf the call that wraps it alone: another instrumentation's span of the same call.
fn sole_wrappers<'t, 'a>(tree: &'t Tree<'a>, leaves: &[usize]) -> Vec<Option<&'t SpanView<'a>>> {
    let wrappers: Vec<Option<usize>> = leaves.iter().map(|leaf| tree.wrapping_model(*leaf)).collect();
    let mut wrapped: HashMap<usize, usize> = HashMap::new();
    for wrapper in wrappers.iter().flatten() {
        *wrapped.entry(*wrapper).or_default() += 1;
    }
    let sole = |wrapper: Option<usize>| wrapper.filter(|wrapper| wrapped[wrapper] == 1);
    wrappers.into_iter().map(|wrapper| sole(wrapper).map(|position| &tree.views[position])).collect()
}

/// The spans that tell of one model call.
struct CallSpans<'t, 'a> {
    leaf: &'t SpanView<'a>,
    wrapper: Option<&'t SpanView<'a>>,
}

impl<'a> CallSpans<'_, 'a> {
    /// A fact from the leaf, else from the wrapper: instrumentations of different layers know different things.
    fn find<T>(&self, read: impl Fn(&SpanView<'a>) -> Option<T>) -> Option<T> {
        read(self.leaf).or_else(|| read(self.wrapper?))
    }

    fn messages(&self, side: Side) -> Vec<Message<'a>> {
        self.find(|view| Some(view.messages(side)).filter(|messages| !messages.is_empty())).unwrap_or_default()
    }
}

impl<'a> Exchange<'a> {
    fn read(position: usize, spans: &CallSpans<'_, 'a>, prices: &PriceTable) -> Self {
        let (input, output) = (spans.messages(Side::Input), spans.messages(Side::Output));
        let mut call = ModelCall {
            span_id: spans.leaf.id,
            started_at: spans.leaf.started_at,
            ended_at: spans.leaf.ended_at,
            model: spans.find(|view| view.text(|names| names.model)).map(Into::into),
            input_tokens: spans.find(SpanView::input_tokens),
            output_tokens: spans.find(SpanView::output_tokens),
            cached_tokens: spans.find(|view| view.count(|names| names.cached_tokens)),
            reasoning_tokens: spans.find(|view| view.count(|names| names.reasoning_tokens)),
            cost_usd: spans.find(|view| view.number(|names| names.cost_usd)),
            finish_reasons: finish_reasons(spans, &output),
            error: spans.leaf.error(),
            error_class: model_error::class(spans.leaf),
            output_text: messages::said_by("assistant", &output),
            user_text: messages::said_by("user", messages::new_since_last_answer(&input)),
        };
        let cache = || CacheTokens {
            read: call.cached_tokens,
            written: spans.find(|view| view.count(|names| names.cache_write_tokens)),
        };
        call.cost_usd = call.cost_usd.or_else(|| prices.cost_usd(&call, cache()));
        Self { position, input, output, call }
    }

    /// The tools that the model asked for.
    pub(super) fn requested_calls(&self) -> impl Iterator<Item = &RequestedCall<'a>> {
        self.output.iter().flat_map(Message::tool_calls)
    }

    /// The results of tools that the model was told, by call id.
    pub(super) fn tool_results(&self) -> impl Iterator<Item = (&str, &str)> {
        self.input.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
            Part::ToolResult { id: Some(id), result: Some(result) } => Some((id.as_ref(), result.as_str())),
            _ => None,
        })
    }
}

fn finish_reasons(spans: &CallSpans<'_, '_>, output: &[Message<'_>]) -> Vec<String> {
    match spans.find(|view| view.json(|names| names.finish_reasons)) {
        Some(Json::Array(reasons)) => {
            reasons.iter().filter_map(Json::as_text).map(|reason| common_word(reason)).collect()
        }
        Some(Json::Text(reason)) if !reason.is_empty() => vec![common_word(&reason)],
        _ => output.iter().filter_map(|message| message.finish_reason.as_deref()).map(common_word).collect(),
    }
}

/// One word for what providers call differently, so that a change of provider does not look like a change of behaviour.
const COMMON_WORDS: [(&str, &[&str]); 4] = [
    ("stop", &["end_turn", "stop_sequence", "complete", "completed", "eos"]),
    ("length", &["max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "incomplete"]),
    ("tool_call", &["tool_calls", "tool_use", "function_call"]),
    (
        "content_filter",
        &[
            "safety",
            "refusal",
            "blocked",
            "blocklist",
            "content_filtered",
            "guardrail_intervened",
            "prohibited_content",
            "recitation",
            "spii",
        ],
    ),
];

/// The common word for a reason, whose name may be that of an enum's member; a reason we do not know keeps its name.
fn common_word(reason: &str) -> String {
    let reason = reason.to_ascii_lowercase().replace('-', "_");
    let member = reason.rsplit('.').next().unwrap_or(&reason);
    let member = member.strip_prefix("finish_reason_").unwrap_or(member);
    let common = COMMON_WORDS.iter().find(|(_, names)| names.contains(&member));
    common.map_or(member, |(word, _)| word).to_owned()
}
