//! Plausible words: the kind and length of text that a support agent sees and says.

use fastrand::Rng;

const SUBJECTS: [&str; 8] =
    ["The order", "The parcel", "Your invoice", "The refund", "The carrier", "The warehouse", "The return", "Support"];
const VERBS: [&str; 6] = ["was confirmed", "was delayed", "has been checked", "is on its way", "was closed", "waits"];
const PLACES: [&str; 6] = ["in Lisbon", "at the depot", "by the seller", "in the system", "at customs", "on site"];
const REASONS: [&str; 5] =
    ["because an item was missing", "after the address changed", "as agreed", "within the window", "without a fee"];

fn pick<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.usize(..words.len())]
}

fn sentence(rng: &mut Rng) -> String {
    let [subject, verb, place, reason] = [&SUBJECTS[..], &VERBS, &PLACES, &REASONS].map(|words| pick(rng, words));
    format!("{subject} {verb} {place} {reason} on day {}.", rng.u32(1..60))
}

fn sentences(rng: &mut Rng, count: usize) -> String {
    (0..count).map(|_| sentence(rng)).collect::<Vec<_>>().join(" ")
}

/// What a user asks.
pub(super) fn question(rng: &mut Rng) -> String {
    format!("Where is my order A-{}? {}", rng.u32(10_000..99_999), sentences(rng, 2))
}

/// What the agent answers.
pub(super) fn answer(rng: &mut Rng) -> String {
    sentences(rng, 6)
}

/// A system prompt.
pub(super) fn instructions() -> String {
    let rules = "You answer questions about orders. Use the tools before you answer. Never promise a refund that the \
                 policy does not allow. Say so when a tool returns nothing. Keep to the user's language.";
    serde_json::json!([{"type": "text", "content": rules}]).to_string()
}

/// JSON with that many sentences, as a tool returns.
pub(super) fn record(rng: &mut Rng, count: usize) -> String {
    serde_json::json!({"status": "open", "total": rng.u32(10..900), "notes": sentences(rng, count)}).to_string()
}

/// What a search found.
pub(super) fn documents(rng: &mut Rng) -> String {
    let document = |rng: &mut Rng| serde_json::json!({"id": rng.u32(..9_999), "content": sentences(rng, 14)});
    serde_json::Value::Array((0..3).map(|_| document(rng)).collect()).to_string()
}
