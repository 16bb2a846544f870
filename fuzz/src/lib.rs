//! What must hold for any bytes at all, target by target.
//!
//! A target is a function over bytes that panics where something does not hold. The fuzzer calls it with inputs of its
//! own making, `tests/it/fuzz_seeds.rs` with the seeds of this folder.

pub mod choices;
pub mod conventions;
pub mod files;
pub mod invariants;
pub mod texts;
pub mod wire;

/// A function that panics where something does not hold.
pub type Check = fn(&[u8]);

/// Every target by name; its file in `fuzz_targets` and its folder in `seeds` are named alike.
pub const TARGETS: [(&str, Check); 12] = [
    ("otlp_protobuf", wire::protobuf),
    ("otlp_json", wire::json),
    ("logs_protobuf", wire::logs_protobuf),
    ("logs_json", wire::logs_json),
    ("trace_file", wire::trace_file),
    ("compressed", wire::compressed),
    ("conventions", conventions::check),
    ("texts", texts::check),
    ("expression", files::expression),
    ("evaluator", files::evaluator),
    ("gate_policy", files::gate_policy),
    ("small_texts", files::small_texts),
];
