//! Numbers that no one looked at: an argument far outside what its tool usually gets, such as a quantity ten times off.
//!
//! What is usual is learned from a baseline of traces by [`learn`], which `driftline evaluators learn` calls, and kept as
//! a file of the evaluator's folder; until then every run with tool calls is `not_evaluable`, and the row names the
//! command. It is learned from the service's own good traffic, because what is far outside for one is usual for another.
//! A person can read, correct and review it, and it is part of the revision, because other bounds are other scores. The
//! rule itself is a function of that file and one trace.
//!
//! For every tool and every numeric argument (also inside objects and lists, `lines[].quantity`) the file holds the
//! number of values, and their 1 % and 99 % quantiles. A value is far outside when it is more than `times` times beyond
//! one of them. Beyond means on a scale that is logarithmic for values of the usual size and linear around zero
//! (the inverse hyperbolic sine of the value over a hundredth of the usual size), so that negative values, zeros and
//! prices of different magnitude need no settings. An argument with fewer than `least_values` learned values is not
//! judged: a quantile of ten values says nothing.
//!
//! At the default of 3 times, a fresh value of what was learned lies outside in fewer than 1 of 1,000 cases even when
//! the values are spread over two orders of magnitude (a test holds it to that). A value ten times the usual one is
//! found where the usual values lie close together, and not where they are spread wide anyway.
//!
//! Numbers that only name something, or say when, are no quantities: arguments whose last word is `id`, `code`,
//! `number`, `year`, `at` or the like are neither learned nor judged (`order_id`, `orderId`, `order_ids[]`, and not
//! `amount_paid`). Texts that hold numbers are not numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::learned::{LEARNED, mistake_of_times, quantiles, read};
use super::{Behaviour, Built, Finding, Rule, Source, changed_from_default, clip};
use crate::domain::trace::{ToolCall, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "a numeric tool argument far outside what that tool usually gets";

/// Most outliers that an explanation lists.
const MOST_LISTED: usize = 5;
/// Most arguments that are learned: a hostile baseline could name a new one in every call.
const MOST_LEARNED: usize = 10_000;
/// Numbers of one call that are looked at, and bytes of the path to one: a call is written by whoever talks to the agent.
const MOST_NUMBERS: usize = 10_000;
const LONGEST_PATH: usize = 512;
/// Last words of names of numbers that are no quantities.
const NAMES_ONLY: [&str; 10] =
    ["id", "code", "number", "phone", "zip", "zipcode", "postcode", "year", "timestamp", "at"];

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    learned_file: String,
    times: f64,
    least_values: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { learned_file: LEARNED.to_owned(), times: 3.0, least_values: 30 }
    }
}

/// What is usual: tool, then argument, then its values in short.
pub type Learned = BTreeMap<String, BTreeMap<String, Usual>>;

/// The values that one argument of one tool usually has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usual {
    /// Number of values.
    pub values: usize,
    /// Their 1 % quantile, weighted by how many runs each stands for.
    pub low: f64,
    /// Their 99 % quantile.
    pub high: f64,
}

/// Learns what is usual, run by run: of each argument the values with the weights of their runs.
#[derive(Debug, Default)]
pub struct Learner(BTreeMap<(String, String), Vec<(f64, f64)>>);

impl Learner {
    /// Takes in the tool calls of one run, which stands for `weight` runs.
    pub fn add(&mut self, trace: &Trace, weight: f64) {
        for call in trace.tool_calls() {
            for (argument, value) in numbers(call) {
                let key = (call.name.clone(), argument);
                if self.0.len() < MOST_LEARNED || self.0.contains_key(&key) {
                    self.0.entry(key).or_default().push((value, weight));
                }
            }
        }
    }

    /// What the calls usually get; as JSON, the file that the evaluator reads.
    #[must_use]
    pub fn learned(self) -> Learned {
        let mut learned = Learned::new();
        for ((tool, argument), values) in self.0 {
            learned.entry(tool).or_default().insert(argument, Usual::of(values));
        }
        learned
    }
}

/// What the calls of these traces usually get.
#[must_use]
pub fn learn<'a>(traces: impl IntoIterator<Item = &'a Trace>) -> Learned {
    let mut learner = Learner::default();
    traces.into_iter().for_each(|trace| learner.add(trace, 1.0));
    learner.learned()
}

impl Usual {
    /// What values with weights usually are.
    fn of(of: Vec<(f64, f64)>) -> Self {
        let values = of.len();
        let [low, high] = quantiles(of, [0.01, 0.99]);
        Self { values, low, high }
    }

    fn is_far_outside(&self, value: f64, times: f64) -> bool {
        let hundredth = self.low.abs().max(self.high.abs()) / 100.0;
        let scale = if hundredth > 0.0 { hundredth } else { 1.0 };
        let place = |value: f64| (value / scale).asinh();
        place(value) > place(self.high) + times.ln() || place(value) < place(self.low) - times.ln()
    }
}

/// The quantities among the arguments of a call, each with the path to it.
fn numbers(call: &ToolCall) -> Vec<(String, f64)> {
    let mut numbers = Vec::new();
    if let Some(arguments) = call.arguments.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        add_numbers(&arguments, "", &mut numbers);
    }
    numbers
}

fn add_numbers(value: &Value, path: &str, numbers: &mut Vec<(String, f64)>) {
    if numbers.len() >= MOST_NUMBERS || path.len() > LONGEST_PATH {
        return;
    }
    match value {
        Value::Number(number) if !only_names(path) => {
            numbers.extend(number.as_f64().map(|number| (path.to_owned(), number)));
        }
        Value::Array(items) => items.iter().for_each(|item| add_numbers(item, &format!("{path}[]"), numbers)),
        Value::Object(entries) => {
            for (key, entry) in entries {
                let path = if path.is_empty() { clip(key) } else { format!("{path}.{}", clip(key)) };
                add_numbers(entry, &path, numbers);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether the number at a path names something. In a list the plural counts as the singular (`zip_codes[]`); elsewhere
/// a plural is a quantity (`years`).
fn only_names(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    let own = name.trim_end_matches("[]");
    let word = last_word(own);
    let singular = if own.len() < name.len() { word.strip_suffix('s').unwrap_or(&word) } else { &word };
    NAMES_ONLY.contains(&singular)
}

/// The last word of a name in snake case or camel case, in lower case.
fn last_word(name: &str) -> String {
    let word = name.rsplit(|character: char| !character.is_alphanumeric()).next().unwrap_or(name);
    let follows_lower = |at: usize| word[..at].ends_with(char::is_lowercase);
    let start = word.char_indices().rfind(|(at, character)| character.is_uppercase() && follows_lower(*at));
    word[start.map_or(0, |(at, _)| at)..].to_lowercase()
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let mut mistakes: Vec<Mistake> = mistake_of_times(source, settings.times).into_iter().collect();
    let learned = learned_of(source, &settings).map_err(|mistake| mistakes.push(mistake));
    let (Ok(learned), true) = (learned, mistakes.is_empty()) else { return Err(mistakes) };
    let canonical = json!({ "settings": changed_from_default(&settings), "learned": learned });
    let rule: Box<dyn Rule> = match learned {
        Some(learned) => Box::new(ArgumentOutlierRule { settings, learned }),
        None => Box::new(NothingLearned { evaluator: source.folder.name.clone(), file: settings.learned_file }),
    };
    Ok(Built { behaviour: Behaviour::Rule(rule), canonical })
}

/// What the file says is usual; `None` before it is written.
fn learned_of(source: &Source<'_>, settings: &Settings) -> Result<Option<Learned>, Mistake> {
    let file = &settings.learned_file;
    let remedy = "correct it: {\"TOOL\": {\"ARGUMENT\": {\"values\": N, \"low\": X, \"high\": Y}}}";
    let Some(learned) = read::<Learned>(source, file, remedy)? else { return Ok(None) };
    match learned.values().flatten().find(|(_, usual)| usual.low > usual.high) {
        Some((argument, _)) => Err(source.folder.mistake(file, &format!("low of {argument:?} is above high"), remedy)),
        None => Ok(Some(learned)),
    }
}

/// The rule before anything was learned: it judges nothing, and says what to do.
#[derive(Debug)]
struct NothingLearned {
    evaluator: String,
    file: String,
}

impl Rule for NothingLearned {
    fn check(&self, trace: &Trace) -> Finding {
        if trace.tool_calls().next().is_none() {
            return Finding::NotApplicable("no tool calls".to_owned());
        }
        let Self { evaluator, file } = self;
        Finding::NotEvaluable(format!("{file}; write it with driftline evaluators learn {evaluator} --from SOURCE"))
    }
}

#[derive(Debug)]
struct ArgumentOutlierRule {
    settings: Settings,
    learned: Learned,
}

impl Rule for ArgumentOutlierRule {
    fn check(&self, trace: &Trace) -> Finding {
        let calls: Vec<&ToolCall> = trace.tool_calls().filter(|call| self.learned.contains_key(&call.name)).collect();
        if calls.is_empty() {
            return Finding::NotApplicable("no call of a tool that was learned".to_owned());
        }
        if calls.iter().all(|call| call.arguments.is_none()) {
            return Finding::NotEvaluable("gen_ai.tool.call.arguments".to_owned());
        }
        let (mut judged, mut outliers, mut span) = (0, Vec::new(), None);
        for call in calls {
            for (argument, value) in numbers(call) {
                let Some(usual) = self.usual(&call.name, &argument) else { continue };
                judged += 1;
                if usual.is_far_outside(value, self.settings.times) && outliers.len() < MOST_LISTED {
                    span = span.or(Some(call.span_id));
                    let Usual { low, high, .. } = usual;
                    outliers.push(format!("{argument} of {} is {value}, usually {low} to {high}", clip(&call.name)));
                }
            }
        }
        if judged == 0 {
            return Finding::NotApplicable("no argument of which enough was learned".to_owned());
        }
        if outliers.is_empty() {
            return Finding::pass(format!("{judged} numbers are as usual"));
        }
        Finding::fail(outliers.join("; "), span)
    }
}

impl ArgumentOutlierRule {
    fn usual(&self, tool: &str, argument: &str) -> Option<&Usual> {
        let usual = self.learned.get(tool)?.get(argument)?;
        (usual.values >= self.settings.least_values).then_some(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{failure, mistakes_with, passes, rule, run};
    use super::*;

    fn order(quantity: Value) -> Trace {
        run(json!({"steps": [{"tool": "order", "arguments": {"order_id": 70_123, "lines": [{"quantity": quantity}]}}]}))
    }

    fn learned_from(quantities: impl Iterator<Item = f64>) -> Box<dyn Rule> {
        let traces: Vec<Trace> = quantities.map(|quantity| order(json!(quantity))).collect();
        let text = serde_json::to_string(&learn(&traces)).unwrap();
        rule("argument_outlier", "", &[("learned.json", &text)])
    }

    #[test]
    fn a_quantity_ten_times_off_is_found_and_usual_ones_are_not() {
        let rule = learned_from((0..200).map(|number| f64::from(number % 12 + 1)));
        for usual in [1, 5, 12, 30] {
            assert!(passes(&rule.check(&order(json!(usual)))), "{usual}");
        }
        let trace = order(json!(120));
        let finding = rule.check(&trace);
        assert_eq!(failure(&finding), Some("lines[].quantity of order is 120, usually 1 to 12"));
        assert!(
            matches!(finding, Finding::Scored { span: Some(span), .. } if trace.tool_calls().any(|call| call.span_id == span))
        );
        assert!(failure(&rule.check(&order(json!(-12)))).is_some());
    }

    #[test]
    fn numbers_that_name_something_are_told_from_quantities_by_their_last_word() {
        for path in
            ["id", "orderId", "userID", "order_ids[]", "zip_codes[]", "lines[].sku-number", "year", "created_at"]
        {
            assert!(only_names(path), "{path}");
        }
        for path in ["amount_paid", "bid", "format", "lines[].quantity", "loan_years", "coordinates[]", ""] {
            assert!(!only_names(path), "{path}");
        }
    }

    #[test]
    fn failing_runs_that_sampling_kept_all_of_are_no_more_usual_than_they_were() {
        let mut learner = Learner::default();
        (0..20).for_each(|number| learner.add(&order(json!(number % 10 + 1)), 20.0));
        (0..3).for_each(|_| learner.add(&order(json!(500)), 1.0));
        assert_eq!(learner.learned()["order"]["lines[].quantity"], Usual { values: 23, low: 1.0, high: 10.0 });
    }

    #[test]
    fn the_scale_of_the_values_does_not_matter() {
        for scale in [1e-6, 1.0, 1e9, -1.0] {
            let rule = learned_from((0..200).map(|number| scale * f64::from(number % 12 + 1)));
            assert!(passes(&rule.check(&order(json!(12.0 * scale)))), "{scale}");
            assert!(failure(&rule.check(&order(json!(120.0 * scale)))).is_some(), "{scale}");
        }
        let rule = learned_from((0..200).map(|_| 0.0));
        assert!(passes(&rule.check(&order(json!(0)))) && failure(&rule.check(&order(json!(50)))).is_some());
    }

    #[test]
    fn fresh_values_of_what_was_learned_seldom_lie_outside() {
        let mut rng = fastrand::Rng::with_seed(11);
        // Sum of twelve uniform numbers: nearly normal; its exponential is spread over two orders of magnitude.
        let mut spread = || (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        let rule = learned_from((0..500).map(|_| spread().exp()).collect::<Vec<_>>().into_iter());
        let outside = (0..10_000).filter(|_| failure(&rule.check(&order(json!(spread().exp())))).is_some()).count();
        assert!(outside <= 10, "{outside} of 10000");
    }

    #[test]
    fn ids_texts_and_arguments_of_which_little_is_known_are_not_judged() {
        let few = learned_from((0..29).map(f64::from));
        assert!(matches!(few.check(&order(json!(1e9))), Finding::NotApplicable(_)));
        let rule = learned_from((0..200).map(f64::from));
        assert!(matches!(rule.check(&order(json!("1e9"))), Finding::NotApplicable(_)));
        let learned = learn(&[order(json!(1))]);
        assert_eq!(learned["order"].keys().collect::<Vec<_>>(), ["lines[].quantity"], "order_id names an order");
    }

    #[test]
    fn of_a_call_of_any_size_a_bounded_part_is_looked_at() {
        let mut deep = json!(vec![7; 20_000]);
        for _ in 0..100 {
            deep = json!({ "a_name_of_some_length": deep });
        }
        let call = |arguments: Value| run(json!({"steps": [{"tool": "order", "arguments": arguments}]}));
        let found = |trace: &Trace| trace.tool_calls().flat_map(numbers).count();
        assert_eq!((found(&call(deep)), found(&call(json!({ "quantities": vec![7; 20_000] })))), (0, MOST_NUMBERS));
    }

    #[test]
    fn other_tools_do_not_apply_and_arguments_that_are_not_recorded_cannot_be_judged() {
        let rule = learned_from((0..200).map(f64::from));
        assert!(matches!(rule.check(&run(json!({"steps": [{"tool": "other"}]}))), Finding::NotApplicable(_)));
        let finding = rule.check(&run(json!({"steps": [{"tool": "order"}]})));
        assert_eq!(finding, Finding::NotEvaluable("gen_ai.tool.call.arguments".to_owned()));
    }

    #[test]
    fn before_anything_was_learned_nothing_is_judged_and_the_command_is_named() {
        let rule = rule("argument_outlier", "", &[]);
        let expected = "learned.json; write it with driftline evaluators learn mine --from SOURCE";
        assert_eq!(rule.check(&order(json!(9e9))), Finding::NotEvaluable(expected.to_owned()));
        assert!(matches!(rule.check(&run(json!({}))), Finding::NotApplicable(_)));
    }

    #[test]
    fn a_file_that_cannot_be_what_is_usual_is_refused() {
        let mistakes = |table: &str, text: &str| mistakes_with("argument_outlier", table, &[("learned.json", text)]);
        assert!(mistakes("", "{\n\"t\": 1}").contains("learned.json:2: invalid type"));
        let turned = r#"{"t": {"a": {"values": 99, "low": 2, "high": 1}}}"#;
        assert!(mistakes("", turned).contains("low of \"a\" is above high"));
        assert!(mistakes("times = 1.0", "{}").contains("set it above 1"));
    }
}
