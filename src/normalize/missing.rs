//! Which facts that evaluators want are not in the telemetry, by the attribute that would carry them.

use crate::domain::trace::{ModelCall, TRUNCATED, ToolCall, Trace};

use super::{gen_ai, general};

/// What such a trace lacks.
const SPANS: &str = "spans (too many to be read)";

/// The missing attributes of a trace. One is missing when any step that should carry it does not: a sum over the
/// others would look complete and be too small.
pub(super) fn missing(trace: &Trace) -> Vec<&'static str> {
    let any_call = |lacks: fn(&ModelCall) -> bool| trace.model_calls().any(lacks);
    // A call that failed was not answered: there is nothing to count and nothing to pay.
    let any_answer =
        |lacks: fn(&ModelCall) -> bool| trace.model_calls().any(|call| call.error.is_none() && lacks(call));
    let any_tool = |lacks: fn(&ToolCall) -> bool| trace.tool_calls().any(lacks);
    let facts = [
        (SPANS, trace.attributes.contains_key(TRUNCATED)),
        (general::SERVICE_NAME, trace.service == general::UNKNOWN_SERVICE),
        (general::SERVICE_VERSION, trace.release.is_none()),
        (general::USER, trace.user_id.is_none()),
        (gen_ai::CONVERSATION, trace.conversation_id.is_none()),
        (gen_ai::INPUT_MESSAGES, trace.input.is_none()),
        (gen_ai::OUTPUT_MESSAGES, trace.output.is_none()),
        (gen_ai::REQUEST_MODEL, any_call(|call| call.model.is_none())),
        (gen_ai::INPUT_TOKENS, any_answer(|call| call.input_tokens.is_none())),
        (gen_ai::OUTPUT_TOKENS, any_answer(|call| call.output_tokens.is_none())),
        (gen_ai::COST, any_answer(|call| call.cost_usd.is_none())),
        (gen_ai::FINISH_REASONS, any_answer(|call| call.finish_reasons.is_empty())),
        (gen_ai::TOOL_ARGUMENTS, any_tool(|call| call.arguments.is_none())),
        (gen_ai::TOOL_RESULT, any_tool(|call| call.result.is_none() && call.error.is_none())),
        (gen_ai::RETRIEVED_DOCUMENTS, trace.retrievals().any(|retrieval| !retrieval.documents_recorded)),
    ];
    facts.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| name).collect()
}
