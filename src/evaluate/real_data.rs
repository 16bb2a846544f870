//! Rules on real runs.

#![expect(clippy::print_stdout, reason = "a skipped test must be seen")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::definition::{EvaluatorDefinition, JudgeModels};
use super::kinds::{Behaviour, Finding, Rule};
use super::shipped::shipped;
use crate::domain::trace::Trace;
use crate::normalize::{AttributeMapping, normalize};
use crate::otlp::{TraceReader, assemble, split_by_trace};

pub(super) fn shared_data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("DRIFTLINE_SHARED_DATA").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// The runs of a file, read and understood as the program does.
fn runs(folder: &Path, file: &str) -> Vec<Trace> {
    let requests = TraceReader::open(&folder.join(format!("{file}.otlp.jsonl.gz"))).unwrap();
    let traces = requests.flat_map(|spans| split_by_trace(spans.unwrap()).traces);
    traces
        .filter_map(|piece| {
            normalize(&assemble(piece.trace_id, vec![piece.resource_spans]), &AttributeMapping::default())
        })
        .collect()
}

fn rule(name: &str) -> Box<dyn Rule> {
    let folder = shipped().into_iter().find(|folder| folder.name == name).unwrap();
    match EvaluatorDefinition::parse(&folder, &JudgeModels::new()).unwrap().behaviour {
        Behaviour::Rule(rule) => rule,
        Behaviour::Judge(_) | Behaviour::Service(_) => panic!("{name} is no rule"),
    }
}

fn explanation(finding: Finding) -> Option<String> {
    match finding {
        Finding::Scored { value, explanation, .. } if value < 0.5 => Some(explanation),
        _ => None,
    }
}

/// Why the runs of a file fail a shipped rule, one for each that does.
fn failures(folder: &Path, file: &str, name: &str) -> Vec<String> {
    let rule = rule(name);
    runs(folder, file).iter().filter_map(|trace| explanation(rule.check(trace))).collect()
}

#[test]
fn the_nine_looping_runs_of_the_fine_tuned_agent_are_found_and_none_before() {
    let Some(folder) = shared_data() else {
        println!("skipped: no shared data");
        return;
    };
    assert_eq!(failures(&folder, "tau_telecom_gpt-4.1", "loop"), [""; 0]);
    let found = failures(&folder, "tau_telecom_ft-gpt-4.1", "loop");
    assert_eq!(found.len(), 9, "{found:#?}");
    let longest = "get_data_usage was called 64 times in a row with the same arguments";
    assert!(found.iter().any(|explanation| explanation == longest), "{found:#?}");
}

#[test]
fn of_364_runs_without_three_calls_in_a_row_one_loops_in_a_cycle() {
    let Some(folder) = shared_data() else {
        println!("skipped: no shared data");
        return;
    };
    let files = ["tau_airline_gpt-4o", "tau_airline_gpt-4o-2024-11-20", "tau_retail_gpt-4.1-mini_base"];
    let found: Vec<String> = files.iter().flat_map(|file| failures(&folder, file, "loop")).collect();
    assert_eq!(found, ["the calls book_reservation, think were repeated 3 times with the same arguments"]);
}

const FILES: [&str; 7] = [
    "tau_airline_gpt-4o",
    "tau_airline_gpt-4o-2024-11-20",
    "tau_retail_gpt-4.1-mini_base-r1",
    "tau_retail_gpt-4.1-mini_base",
    "tau_retail_gpt-5-mini_base",
    "tau_telecom_gpt-4.1",
    "tau_telecom_ft-gpt-4.1",
];

/// The files of 672 real runs with, for each, the runs that fail one of the rules on structure and answers.
fn failing(folder: &Path, file: &str) -> Vec<(&'static str, String)> {
    let names =
        ["unsupported_after_empty", "model_outcome", "swallowed_error", "dead_end", "recursion", "broken_context"];
    let runs = runs(folder, file);
    let fail = |name: &'static str| {
        let rule = rule(name);
        let found = runs.iter().filter_map(move |trace| Some((name, explanation(rule.check(trace))?)));
        found.collect::<Vec<_>>()
    };
    names.into_iter().flat_map(fail).collect()
}

#[test]
fn of_672_real_runs_few_end_dead_or_swallow_an_error_and_none_invents_after_finding_nothing() {
    let Some(folder) = shared_data() else {
        println!("skipped: no shared data");
        return;
    };
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, why) in FILES.iter().flat_map(|file| failing(&folder, file)) {
        found.entry(name).or_default().push(why);
    }
    let counts: Vec<(&str, usize)> = found.iter().map(|(name, whys)| (*name, whys.len())).collect();
    assert_eq!(counts, [("dead_end", 3), ("swallowed_error", 2)], "{found:#?}");
}
