//! Loops: is the agent going round in circles?
//!
//! A call *repeats* an earlier one when it names the same tool with the same arguments and its answer says nothing
//! new. Arguments that are fresh in every call by design (`request_id`, `idempotency_key`, `timestamp`) are not
//! compared; but as a timestamp may be what is asked about, any other answer to it is new. A loop is one pattern of up
//! to `longest_cycle` calls repeated `same_arguments` times with no other call in between: `A A A`, or `A B A B A B`.
//!
//! What is not a loop:
//! - **The same tool with other arguments**: reading ten orders one after another is work.
//! - **Going back once**: `A B A B` is common in good runs (re-check after a change), so a cycle needs as many
//!   repetitions as a single call does.
//! - **The user asking for the same cycle again**: a cycle is only counted within one user turn. A single call is
//!   counted across turns too: an agent that reads one and the same record turn after turn, is told the same and tries
//!   nothing else is stuck, however patiently the user answers. On real runs of a fine-tuned agent, four of the nine
//!   that got stuck did so in that way.
//! - **Waiting for something that moves**: `queued`, `running`, `done` from the same call is progress. An answer is
//!   new when its status or its words differ. Numbers alone do not make it new, unless they count progress
//!   (`progress: 40`, `40%`): every refund of a refund loop carries a fresh id, time and balance, and the refund loop is
//!   what this rule exists for. Waiting that is answered three times with the same words is busy waiting, and is
//!   found; a tool that is meant to be waited on so is listed in `polling_tools`.
//!   So is a list of other ids: `[100, 200]`, then `[101, 201]` are the pages behind a cursor that the tool keeps. A
//!   list of one is no page, for it may hold the refund's fresh id.
//! - **A retry that works**: `timeout`, `timeout`, `success` is two repetitions and an answer.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Built, Finding, Rule, Source, clip};
use crate::domain::trace::{Step, ToolCall, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "one tool called again and again with the same arguments, or a cycle of such calls";

/// Arguments that are fresh in every call, in lower case and without separators.
const FRESH: [&str; 3] = ["requestid", "idempotencykey", TIMESTAMP];
const TIMESTAMP: &str = "timestamp";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    same_arguments: usize,
    longest_cycle: usize,
    polling_tools: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { same_arguments: 3, longest_cycle: 4, polling_tools: Vec::new() }
    }
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let mut mistakes = Vec::new();
    if settings.same_arguments < 2 {
        let problem = format!("same_arguments is {}, and one call is no repetition", settings.same_arguments);
        mistakes.push(source.mistake("same_arguments", &problem, "set it to 2 or more"));
    }
    if !(1..=16).contains(&settings.longest_cycle) {
        let problem = format!("longest_cycle is {}", settings.longest_cycle);
        mistakes.push(source.mistake("longest_cycle", &problem, "set it between 1 and 16"));
    }
    if mistakes.is_empty() { Ok(Built::rule(LoopRule(settings.clone()), &settings)) } else { Err(mistakes) }
}

#[derive(Debug)]
struct LoopRule(Settings);

impl Rule for LoopRule {
    fn check(&self, trace: &Trace) -> Finding {
        let calls = calls_in_order(trace);
        if calls.is_empty() {
            return Finding::NotApplicable("no tool calls".to_owned());
        }
        if let Some(found) = (1..=self.0.longest_cycle).find_map(|period| self.longest_stretch(&calls, period)) {
            return found.finding(&calls);
        }
        if self.could_hide_a_loop(&calls) {
            return Finding::NotEvaluable("gen_ai.tool.call.arguments".to_owned());
        }
        Finding::pass(format!("no loop in {} tool calls", calls.len()))
    }
}

/// A tool call with what decides whether another call repeats it.
struct Position<'a> {
    call: &'a ToolCall,
    /// The first call of this run with the same tool and arguments.
    identity: usize,
    /// Number of new user messages before the call.
    turn: usize,
}

fn calls_in_order(trace: &Trace) -> Vec<Position<'_>> {
    let mut positions = Vec::new();
    let mut without_fresh = BTreeMap::new();
    let mut turn = 0;
    let mut last_user_text = None;
    for step in &trace.steps {
        match step {
            Step::Model(call) => {
                let user_text = call.user_text.as_deref();
                if user_text.is_some() && user_text != last_user_text {
                    turn += 1;
                    last_user_text = user_text;
                }
            }
            Step::Tool(call) => {
                let identity = match compared(call) {
                    Some(arguments) => *without_fresh.entry((&call.name, arguments)).or_insert(positions.len()),
                    None => call.repeat_of.unwrap_or(positions.len()),
                };
                positions.push(Position { call, identity, turn });
            }
            Step::Retrieval(_) => {}
        }
    }
    positions
}

/// The arguments of a call that names fresh ones, without them; `None` for any other call.
fn compared(call: &ToolCall) -> Option<String> {
    let text = call.arguments.as_deref()?;
    let written = plain(text);
    if !FRESH.iter().any(|name| written.contains(name)) {
        return None;
    }
    let mut arguments: Value = serde_json::from_str(text).ok()?;
    arguments.as_object_mut()?.retain(|name, _| !FRESH.contains(&plain(name).as_str()));
    arguments.sort_all_objects();
    Some(arguments.to_string())
}

fn plain(name: &str) -> String {
    name.replace(['_', '-'], "").to_lowercase()
}

/// Calls `start..start + length` repeat with this period.
struct Stretch {
    start: usize,
    length: usize,
    period: usize,
}

impl LoopRule {
    /// Whether some tool was called often enough for a loop without its arguments being recorded.
    fn could_hide_a_loop(&self, calls: &[Position<'_>]) -> bool {
        let mut unrecorded: BTreeMap<&str, usize> = BTreeMap::new();
        for position in calls.iter().filter(|position| position.call.arguments.is_none()) {
            *unrecorded.entry(&position.call.name).or_default() += 1;
        }
        unrecorded.values().any(|count| *count >= self.0.same_arguments)
    }

    fn longest_stretch(&self, calls: &[Position<'_>], period: usize) -> Option<Stretch> {
        let mut longest: Option<Stretch> = None;
        let mut start = 0;
        for index in period..calls.len() {
            let (later, earlier) = (&calls[index], &calls[index - period]);
            let is_new_request = period > 1 && later.turn != earlier.turn;
            if is_new_request || !self.repeats(later, earlier) {
                start = index + 1 - period;
            }
            let length = index + 1 - start;
            if length >= period * self.0.same_arguments && longest.as_ref().is_none_or(|best| best.length < length) {
                longest = Some(Stretch { start, length, period });
            }
        }
        longest
    }

    fn repeats(&self, later: &Position<'_>, earlier: &Position<'_>) -> bool {
        later.identity == earlier.identity
            && later.call.arguments.is_some()
            && !self.0.polling_tools.contains(&later.call.name)
            && !says_something_new(earlier.call, later.call)
    }
}

impl Stretch {
    fn finding(&self, calls: &[Position<'_>]) -> Finding {
        let names: Vec<String> =
            calls[self.start..self.start + self.period].iter().map(|position| clip(&position.call.name)).collect();
        let times = self.length / self.period;
        let explanation = match names.as_slice() {
            [name] => format!("{name} was called {times} times in a row with the same arguments"),
            names => format!("the calls {} were repeated {times} times with the same arguments", names.join(", ")),
        };
        Finding::fail(explanation, Some(calls[self.start + self.period].call.span_id))
    }
}

fn says_something_new(earlier: &ToolCall, later: &ToolCall) -> bool {
    if earlier.status != later.status {
        return true;
    }
    match (&earlier.result, &later.result) {
        (Some(was), Some(is)) => was != is && (names_time(later) || !words(was).eq(words(is)) || lists_others(was, is)),
        _ => false,
    }
}

fn names_time(call: &ToolCall) -> bool {
    call.arguments.as_deref().is_some_and(|arguments| plain(arguments).contains(TIMESTAMP))
}

/// Whether both answers list ids, and the later none of the earlier.
fn lists_others(earlier: &str, later: &str) -> bool {
    let (earlier, later) = (listed_ids(earlier), listed_ids(later));
    let is_list = earlier.len() > 1 || later.len() > 1;
    is_list && !earlier.is_empty() && !later.is_empty() && earlier.is_disjoint(&later)
}

fn listed_ids(answer: &str) -> HashSet<String> {
    let mut ids = HashSet::new();
    if let Ok(answer) = serde_json::from_str(answer) {
        add_listed_ids(&answer, false, &mut ids);
    }
    ids
}

/// Adds whole numbers, texts with a digit, and the `id` of objects, where they are items of a list. A text may be JSON
/// itself.
fn add_listed_ids(value: &Value, is_item: bool, ids: &mut HashSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| add_listed_ids(item, true, ids)),
        Value::Object(entries) => match entries.get("id").filter(|_| is_item) {
            Some(id) => add_listed_ids(id, true, ids),
            None => entries.values().for_each(|entry| add_listed_ids(entry, false, ids)),
        },
        Value::String(text) => match serde_json::from_str(text) {
            Ok(inner @ (Value::Array(_) | Value::Object(_))) => add_listed_ids(&inner, false, ids),
            _ => ids.extend((is_item && text.contains(char::is_numeric)).then(|| text.clone())),
        },
        Value::Number(number) if is_item && !number.is_f64() => ids.extend([number.to_string()]),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The words of an answer without ids, times and amounts (anything with a digit), but with counts of progress.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut counts_progress = false;
    text.split(|character: char| character.is_whitespace() || "\"'{}[](),;:".contains(character))
        .filter(|word| !word.is_empty())
        .filter(move |word| {
            let is_kept =
                counts_progress || word.ends_with('%') || !word.contains(|character: char| character.is_numeric());
            counts_progress = word.contains("progress") || word.contains("percent");
            is_kept
        })
}
