//! From the spans of a trace to an agent run as everything else understands it, whatever emitted them.
//!
//! Each span is read through every convention that recognises it, each fact from the first that carries it, so that
//! traces and even spans that mix conventions work. A new convention is a file with one constant and one line in the
//! list of `convention`. Everything in a trace is hostile: no walk recurses over the span tree, and each is
//! near-linear in the number of spans.

mod agent_version;
mod attributes;
mod claude_code;
mod convention;
pub mod facts;
mod flat_messages;
mod gen_ai;
mod general;
mod google_adk;
mod inspection;
mod json;
mod langfuse;
mod langsmith;
mod mapping;
mod message_json;
mod messages;
mod missing;
mod mlflow;
mod model_calls;
mod model_error;
mod open_inference;
mod openllmetry;
mod plain;
mod prices;
mod pydantic_ai;
mod run;
mod sampling;
mod span_view;
mod structure;
mod tool_calls;
mod tool_messages;
mod tool_outcome;
mod tool_result;
mod tree;
mod vercel_ai;

#[cfg(test)]
mod tests;

pub use inspection::{InspectedTool, Inspection};
pub use mapping::AttributeMapping;
pub use prices::{Price, PriceTable};
pub use run::{normalize, normalize_priced};
