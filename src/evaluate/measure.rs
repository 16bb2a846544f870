//! What is measured on every trace without anyone configuring it.
//!
//! A fact that the telemetry does not carry is no measurement: absent is not zero.

use std::collections::BTreeMap;

use super::kinds::clip;
use crate::domain::measurement::{EMPTY_RESULT, FILLED_RESULT, Measurement, SeriesKind, Value};
use crate::domain::trace::{ModelErrorClass, ToolCall, ToolStatus, Trace};

/// Tool calls of one run whose order is kept; how many there were is a series of its own.
const MOST_CALLS: usize = 1_000;
/// Categories of one run that are kept apart.
const MOST_CATEGORIES: usize = 100;
/// What stands for the categories beyond them.
const OTHER: &str = "other";

/// One measured series.
#[derive(Debug)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: SeriesKind,
    /// Unit of a number, or what is counted.
    pub unit: &'static str,
    /// One line for tables.
    pub doc: &'static str,
    value: fn(&Trace) -> Option<Value>,
}

/// Every series that [`measure`] fills.
pub const SERIES: &[Series] = &[
    Series {
        name: "latency_seconds",
        kind: SeriesKind::Numeric,
        unit: "seconds",
        doc: "wall time of the run",
        value: |trace| trace.latency_seconds().map(Value::Number),
    },
    Series {
        name: "cost_usd",
        kind: SeriesKind::Numeric,
        unit: "US dollars",
        doc: "price of the run's model calls",
        value: |trace| trace.cost_usd().filter(|cost| cost.is_finite()).map(Value::Number),
    },
    Series {
        name: "input_tokens",
        kind: SeriesKind::Numeric,
        unit: "tokens",
        doc: "prompt tokens of the run",
        value: |trace| count(trace.input_tokens()),
    },
    Series {
        name: "output_tokens",
        kind: SeriesKind::Numeric,
        unit: "tokens",
        doc: "completion tokens of the run, reasoning included",
        value: |trace| count(trace.output_tokens()),
    },
    Series {
        name: "reasoning_tokens",
        kind: SeriesKind::Numeric,
        unit: "tokens",
        doc: "reasoning tokens of the run",
        value: |trace| count(trace.reasoning_tokens()),
    },
    Series {
        name: "output_tokens_per_call",
        kind: SeriesKind::Numeric,
        unit: "tokens",
        doc: "mean completion tokens of a model call",
        value: output_tokens_per_call,
    },
    Series {
        name: "steps",
        kind: SeriesKind::Numeric,
        unit: "steps",
        doc: "model calls, tool calls and retrievals",
        value: |trace| count(Some(trace.steps.len() as u64)),
    },
    Series {
        name: "model_calls",
        kind: SeriesKind::Numeric,
        unit: "calls",
        doc: "model calls",
        value: |trace| count(Some(trace.model_calls().count() as u64)),
    },
    Series {
        name: "tool_calls",
        kind: SeriesKind::Numeric,
        unit: "calls",
        doc: "tool calls",
        value: |trace| count(Some(trace.tool_calls().count() as u64)),
    },
    Series {
        name: "tool_errors",
        kind: SeriesKind::Numeric,
        unit: "calls",
        doc: "tool calls that did not succeed, of runs that call tools",
        value: |trace| {
            of_tool_calls(trace, |calls| calls.iter().filter(|call| call.status != ToolStatus::Success).count())
        },
    },
    Series {
        name: "tool_repeats",
        kind: SeriesKind::Numeric,
        unit: "calls",
        doc: "tool calls that repeat the call right before them, of runs that call tools",
        value: |trace| {
            of_tool_calls(trace, |calls| (1..calls.len()).filter(|index| repeats_previous_call(calls, *index)).count())
        },
    },
    Series {
        name: "answer_length",
        kind: SeriesKind::Numeric,
        unit: "characters",
        doc: "length of the final answer",
        value: |trace| count(trace.output.as_ref().map(|answer| answer.chars().count() as u64)),
    },
    Series {
        name: "finish_reasons",
        kind: SeriesKind::Categorical,
        unit: "model calls",
        doc: "why the model stopped",
        value: |trace| counts(trace.model_calls().flat_map(|call| call.finish_reasons.iter().map(String::as_str))),
    },
    Series {
        name: "tool_outcomes",
        kind: SeriesKind::Categorical,
        unit: "tool calls",
        doc: "how tool calls ended",
        value: |trace| counts(trace.tool_calls().map(|call| call.status.as_str())),
    },
    Series {
        name: "model_outcomes",
        kind: SeriesKind::Categorical,
        unit: "model calls",
        doc: "how model calls ended: success, or the class of their error",
        value: |trace| {
            counts(trace.model_calls().map(|call| call.error_class.map_or("success", ModelErrorClass::as_str)))
        },
    },
    Series {
        name: "tool_chosen",
        kind: SeriesKind::Categorical,
        unit: "tool calls",
        doc: "which tools were called",
        value: |trace| counts(trace.tool_calls().map(|call| call.name.as_str())),
    },
    Series {
        name: "tool_results",
        kind: SeriesKind::Categorical,
        unit: "tool calls",
        doc: "which tools returned something, and which nothing, where the call succeeded",
        value: tool_results,
    },
    Series {
        name: "model_answered",
        kind: SeriesKind::Categorical,
        unit: "model calls",
        doc: "which models answered",
        value: |trace| counts(trace.model_calls().filter_map(|call| call.model.as_deref())),
    },
    Series {
        name: "answer_format",
        kind: SeriesKind::Categorical,
        unit: "answers",
        doc: "form of the final answer: empty, json, code, markdown or prose",
        value: |trace| counts(trace.output.as_deref().map(answer_format).into_iter()),
    },
    Series {
        name: "run_error",
        kind: SeriesKind::Boolean,
        unit: "runs",
        doc: "whether the run ended in an error",
        value: |trace| Some(Value::Boolean(trace.error.is_some())),
    },
    Series {
        name: "tool_transitions",
        kind: SeriesKind::Sequence,
        unit: "tool calls",
        doc: "the tools in the order they were called",
        value: |trace| {
            Some(Value::Sequence(trace.tool_calls().take(MOST_CALLS).map(|call| clip(&call.name)).collect()))
        },
    },
];

/// Every measurement that a trace carries; each is made on every trace, so with probability 1.
#[must_use]
pub fn measure(trace: &Trace) -> Vec<Measurement> {
    let measurement = |series: &Series| {
        let value = (series.value)(trace)?;
        Some(Measurement { series: series.name.to_owned(), kind: series.kind, value, probability: 1.0, revision: None })
    };
    SERIES.iter().filter_map(measurement).collect()
}

/// Whether the call at `index` has the same tool and arguments as the one right before it.
pub(super) fn repeats_previous_call(calls: &[&ToolCall], index: usize) -> bool {
    let first_of = |index: usize| calls[index].repeat_of.unwrap_or(index);
    index > 0 && first_of(index) == first_of(index - 1)
}

fn count(count: Option<u64>) -> Option<Value> {
    count.map(|count| Value::Number(count as f64))
}

fn counts<'a>(categories: impl Iterator<Item = &'a str>) -> Option<Value> {
    counts_of(categories.map(clip))
}

fn counts_of(categories: impl Iterator<Item = String>) -> Option<Value> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for category in categories {
        let is_kept = counts.len() < MOST_CATEGORIES || counts.contains_key(&category);
        *counts.entry(if is_kept { category } else { OTHER.to_owned() }).or_default() += 1;
    }
    (!counts.is_empty()).then_some(Value::Counts(counts))
}

fn tool_results(trace: &Trace) -> Option<Value> {
    let category = |call: &ToolCall| {
        let is_empty = call.result_empty.filter(|_| call.status == ToolStatus::Success)?;
        Some(format!("{}{}", clip(&call.name), if is_empty { EMPTY_RESULT } else { FILLED_RESULT }))
    };
    counts_of(trace.tool_calls().filter_map(category))
}

fn of_tool_calls(trace: &Trace, number: fn(&[&ToolCall]) -> usize) -> Option<Value> {
    let calls: Vec<&ToolCall> = trace.tool_calls().collect();
    (!calls.is_empty()).then(|| Value::Number(number(&calls) as f64))
}

fn output_tokens_per_call(trace: &Trace) -> Option<Value> {
    let counted = trace.model_calls().filter(|call| call.output_tokens.is_some()).count();
    trace.output_tokens().map(|tokens| Value::Number(tokens as f64 / counted as f64))
}

fn answer_format(answer: &str) -> &'static str {
    let answer = answer.trim();
    let is_object_or_array = answer.starts_with(['{', '[']);
    if answer.is_empty() {
        "empty"
    } else if is_object_or_array && serde_json::from_str::<serde::de::IgnoredAny>(answer).is_ok() {
        "json"
    } else if answer.starts_with("```") {
        "code"
    } else if answer.lines().any(is_markdown) {
        "markdown"
    } else {
        "prose"
    }
}

/// Whether a line is a heading, list item, table row, fence or holds bold text.
fn is_markdown(line: &str) -> bool {
    let line = line.trim_start();
    let numbered = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    let starts = ["# ", "## ", "### ", "- ", "* ", "```", "| "];
    numbered || starts.iter().any(|start| line.starts_with(start)) || line.matches("**").count() >= 2
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::evaluate::cases::trace_of;

    fn measured(description: serde_json::Value) -> BTreeMap<String, Value> {
        let trace = trace_of(&serde_json::from_value(description).unwrap());
        measure(&trace).into_iter().map(|measurement| (measurement.series, measurement.value)).collect()
    }

    #[test]
    fn series_have_unique_names_and_docs() {
        let names: BTreeSet<_> = SERIES.iter().map(|series| series.name).collect();
        assert_eq!(names.len(), SERIES.len());
        assert!(SERIES.iter().all(|series| !series.doc.is_empty() && !series.unit.is_empty()));
    }

    #[test]
    fn every_series_is_measured_on_a_run_that_records_everything() {
        let measured = measured(json!({
            "input": "q", "output": "done", "seconds": 2.5,
            "steps": [
                {"model": "m", "input_tokens": 10, "output_tokens": 4, "reasoning_tokens": 1, "cost_usd": 0.5, "finish_reasons": ["tool_call"]},
                {"tool": "a", "arguments": {}, "result": "x", "status": "timeout", "times": 2},
                {"model": "m", "output_tokens": 8, "finish_reasons": ["stop"], "error_class": "timeout"},
                {"tool": "b", "arguments": {}, "result": "y"}
            ]
        }));
        assert_eq!(measured.len(), SERIES.len(), "{:?}", measured.keys());
        assert_eq!(measured["latency_seconds"], Value::Number(2.5));
        assert_eq!(measured["output_tokens_per_call"], Value::Number(6.0));
        assert_eq!(measured["tool_errors"], Value::Number(2.0));
        assert_eq!(measured["tool_repeats"], Value::Number(1.0));
        assert_eq!(measured["tool_transitions"], Value::Sequence(vec!["a".into(), "a".into(), "b".into()]));
        assert_eq!(measured["tool_outcomes"], Value::Counts([("success".into(), 1), ("timeout".into(), 2)].into()));
        assert_eq!(measured["model_outcomes"], Value::Counts([("success".into(), 1), ("timeout".into(), 1)].into()));
        assert_eq!(measured["run_error"], Value::Boolean(false));
        assert_eq!(
            measured["tool_results"],
            Value::Counts([("b: filled".into(), 1)].into()),
            "a timeout returns nothing"
        );
    }

    #[test]
    fn what_is_absent_is_not_measured_and_never_zero() {
        let measured = measured(json!({"clock_is_real": false, "steps": [{"model": ""}]}));
        let names: Vec<&str> = measured.keys().map(String::as_str).collect();
        assert_eq!(names, ["model_calls", "model_outcomes", "run_error", "steps", "tool_calls", "tool_transitions"]);
    }

    #[test]
    fn a_name_of_any_length_makes_a_short_category() {
        let measured = measured(json!({"steps": [{"tool": "x".repeat(100_000)}]}));
        for series in ["tool_chosen", "tool_transitions"] {
            assert!(serde_json::to_string(&measured[series]).unwrap().len() < 120, "{series}");
        }
    }

    #[test]
    fn a_run_of_any_length_makes_a_bounded_record() {
        let step = |number: usize| json!({"tool": format!("tool_{}", number % 3_000), "arguments": {}});
        let measured = measured(json!({"steps": (0..5_000).map(step).collect::<Vec<_>>()}));
        let Value::Counts(chosen) = &measured["tool_chosen"] else { panic!() };
        assert_eq!((chosen.len(), chosen.values().sum::<u32>()), (MOST_CATEGORIES + 1, 5_000));
        assert_eq!(chosen["other"], 5_000 - 2 * 100);
        assert!(matches!(&measured["tool_transitions"], Value::Sequence(names) if names.len() == MOST_CALLS));
        assert_eq!(measured["tool_calls"], Value::Number(5_000.0));
    }

    #[test]
    fn the_form_of_an_answer_is_told_by_its_text() {
        for (answer, format) in [
            ("  ", "empty"),
            ("{\"status\": \"ok\"}", "json"),
            ("[1, 2]", "json"),
            ("{not json}", "prose"),
            ("Your order is on its way.", "prose"),
            ("Options:\n- one\n- two", "markdown"),
            ("1. first\n2. second", "markdown"),
            ("It is **done**.", "markdown"),
            ("```json\n{}\n```", "code"),
            ("In 2024. That was the year", "prose"),
        ] {
            assert_eq!(answer_format(answer), format, "{answer}");
        }
    }
}
