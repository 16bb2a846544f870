//! MLflow Tracing, whose attributes are each written as JSON, texts in quotes too.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role, SAYS_NOTHING};
use super::gen_ai;

pub(super) const CONVENTION: Convention = Convention {
    name: "mlflow",
    signs: &["mlflow."],
    role,
    documents: |attributes| attributes.json(&[OUTPUTS]).map(gen_ai::document_texts),
    names: FactNames {
        conversation: &["mlflow.trace.session#"],
        user: &["mlflow.trace.user#"],
        tool_definitions: &["mlflow.chat.tools"],
        model: &["mlflow.llm.model#", "mlflow.spanInputs#/model"],
        input_tokens: &["mlflow.chat.tokenUsage#/input_tokens"],
        cached_tokens: &["mlflow.chat.tokenUsage#/cache_read_input_tokens"],
        cache_write_tokens: &["mlflow.chat.tokenUsage#/cache_creation_input_tokens"],
        output_tokens: &["mlflow.chat.tokenUsage#/output_tokens"],
        reasoning_tokens: &[
            "mlflow.spanOutputs#/usage/completion_tokens_details/reasoning_tokens",
            "mlflow.spanOutputs#/usage/output_tokens_details/reasoning_tokens",
        ],
        cost_usd: &["mlflow.llm.cost#/total_cost"],
        tool_name: &["mlflow.spanFunctionName#"],
        input_value: &["mlflow.spanInputs#"],
        output_value: &[OUTPUTS],
        query: &["mlflow.spanInputs#/query", "mlflow.spanInputs#"],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

const OUTPUTS: &str = "mlflow.spanOutputs#";

fn role(attributes: Attributes<'_>) -> Option<Role> {
    match attributes.text(&["mlflow.spanType#"])?.as_ref() {
        "LLM" | "CHAT_MODEL" => Some(Role::Model),
        "AGENT" => Some(Role::Agent),
        "TOOL" => Some(Role::Tool),
        "RETRIEVER" | "RERANKER" => Some(Role::Retrieval),
        "EMBEDDING" | "EVALUATOR" | "GUARDRAIL" | "PARSER" | "MEMORY" => Some(Role::Other),
        // Any other may be anything: what another convention says of it is more.
        _ => gen_ai::stated_role(attributes),
    }
}
