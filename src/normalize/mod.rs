//! From the spans of a trace to an agent run as everything else understands it, whatever emitted them.
//!
//! Each span is read through the first of [`convention::CONVENTIONS`] that recognises it, so that traces which mix
//! conventions work. A new convention is a file with one constant and one line in that list. Everything in a trace is
//! hostile: no walk recurses over the span tree, and each is near-linear in the number of spans.

mod attributes;
mod convention;
mod gen_ai;
mod general;
mod inspection;
mod json;
mod mapping;
mod messages;
mod missing;
mod model_calls;
mod open_inference;
mod openllmetry;
mod plain;
mod run;
mod sampling;
mod span_view;
mod tool_calls;
mod tool_outcome;
mod tree;
mod vercel_ai;

#[cfg(test)]
mod tests;

pub use inspection::{InspectedTool, Inspection};
pub use mapping::AttributeMapping;
pub use run::normalize;
