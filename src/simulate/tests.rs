//! What the simulated traffic promises, read back from its spans.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;

use super::*;

/// Simulated traces of a scenario over two days.
pub(super) fn traffic(scenario: &str, traces: usize, seed: u64) -> Vec<SimulatedTrace> {
    let scenario = Scenario::find(scenario).unwrap();
    let start = Timestamp(1_780_000_000_000_000_000);
    simulate(&Plan { scenario, traces, seed, start, duration: Duration::from_secs(172_800) }).collect()
}

pub(super) fn spans(trace: &SimulatedTrace) -> &[Span] {
    &trace.request.resource_spans[0].scope_spans[0].spans
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Attribute> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

pub(super) fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    match attribute(span, key) {
        Some(Attribute::StringValue(text)) => text,
        _ => "",
    }
}

fn integer(span: &Span, key: &str) -> i64 {
    match attribute(span, key) {
        Some(Attribute::IntValue(number)) => *number,
        other => panic!("{key} is {other:?}"),
    }
}

fn json(span: &Span, key: &str) -> Value {
    serde_json::from_str(text(span, key)).unwrap_or_default()
}

fn operation<'a>(trace: &'a SimulatedTrace, name: &'a str) -> impl Iterator<Item = &'a Span> + 'a {
    spans(trace).iter().filter(move |span| text(span, "gen_ai.operation.name") == name)
}

fn tool_calls<'a>(trace: &'a SimulatedTrace, tool: &'a str) -> impl Iterator<Item = &'a Span> + 'a {
    operation(trace, "execute_tool").filter(move |span| text(span, "gen_ai.tool.name") == tool)
}

/// Everything the agent was shown, a tool result or document list a line.
pub(super) fn data(trace: &SimulatedTrace) -> String {
    let keys = ["gen_ai.tool.call.result", "gen_ai.retrieval.documents"];
    let shown = spans(trace).iter().flat_map(|span| keys.map(|key| text(span, key)));
    shown.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

fn last_text(messages: &Value) -> String {
    messages.as_array().unwrap().last().unwrap()["parts"][0]["content"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn answer(trace: &SimulatedTrace) -> String {
    last_text(&json(&spans(trace)[0], "gen_ai.output.messages"))
}

pub(super) fn question(trace: &SimulatedTrace) -> String {
    last_text(&json(&spans(trace)[0], "gen_ai.input.messages"))
}

/// Runs of digits, commas between thousands left out.
fn numbers(text: &str) -> BTreeSet<String> {
    let text = text.replace(',', "");
    text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).map(str::to_owned).collect()
}

fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// Whether the spans show the fault, by a reading that knows nothing of how they were made.
fn shows(trace: &SimulatedTrace, fault: Fault) -> bool {
    match fault {
        Fault::RefundLoop => {
            let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
            tool_calls(trace, "issue_refund")
                .for_each(|call| *calls.entry(text(call, "gen_ai.tool.call.arguments")).or_default() += 1);
            calls.values().any(|count| *count >= 5)
        }
        Fault::EmptyResult => tool_calls(trace, "get_fare_rules")
            .any(|call| text(call, "gen_ai.tool.call.result") == "{}" && call.status.is_none()),
        Fault::InventedAnswerAfterFailure => {
            data(trace).lines().all(|line| line == "[]" || line.contains("\"error\""))
                && !numbers(&answer(trace)).is_empty()
        }
        Fault::ToolTimeoutsAndInvalidArgs => tool_calls(trace, "search_flights")
            .any(|call| ["timeout", "invalid_args"].contains(&text(call, "error.type"))),
        Fault::CutOffAnswer => operation(trace, "chat").any(|call| ends_for(call, "length")),
        Fault::MisquotedPolicy => {
            let rules: String =
                tool_calls(trace, "get_fare_rules").map(|call| text(call, "gen_ai.tool.call.result")).collect();
            rules.contains("passage")
                && tool_calls(trace, "issue_refund").next().is_none()
                && text(&spans(trace)[0], "feature_name") == "fare_rules"
                && !numbers(&answer(trace)).is_subset(&numbers(&rules))
        }
        Fault::QuantityTenTimesOff => {
            let quantity = |tool| {
                tool_calls(trace, tool).last().map(|call| json(call, "gen_ai.tool.call.result")["quantity"].clone())
            };
            let (billed, ordered) = (quantity("get_invoice"), quantity("get_purchase_order"));
            tool_calls(trace, "approve_invoice").next().is_some()
                && billed.and_then(|q| q.as_i64()) == ordered.and_then(|q| q.as_i64()).map(|q| q * 10)
        }
        Fault::UngroundedClaim => {
            let (answer, data) = (answer(trace).replace("[1]", ""), data(trace));
            operation(trace, "retrieval").last().is_some_and(|last| text(last, "gen_ai.retrieval.documents") != "[]")
                && (!numbers(&answer).is_subset(&numbers(&data))
                    || quoted(&answer).iter().any(|name| !data.contains(name)))
        }
        Fault::CostRunaway => total_tokens(trace) > 200_000,
        Fault::StopsReasoning => {
            let reasoning = operation(trace, "chat").map(|call| integer(call, "gen_ai.usage.reasoning.output_tokens"));
            trace.truth.agent == Agent::Research
                && tool_calls(trace, "verify_citation").next().is_none()
                && reasoning.sum::<i64>() < 40 * operation(trace, "chat").count() as i64
        }
        Fault::BehaviourTrade => {
            tool_calls(trace, "issue_refund").next().is_some()
                && tool_calls(trace, "check_refund_eligibility").next().is_none()
        }
        Fault::SlowTool => operation(trace, "execute_tool")
            .any(|call| call.end_time_unix_nano - call.start_time_unix_nano > 120_000_000_000),
        Fault::DeadEnd => answer(trace).is_empty(),
        Fault::RunawayRecursion => operation(trace, "invoke_agent").count() > 4,
        Fault::SwallowedError => {
            let tools: BTreeSet<&[u8]> = operation(trace, "execute_tool").map(|call| call.span_id.as_slice()).collect();
            spans(trace).iter().any(|span| span.status.is_some() && tools.contains(span.parent_span_id.as_slice()))
        }
        Fault::LostContext => {
            let ids: BTreeSet<&[u8]> = spans(trace).iter().map(|span| span.span_id.as_slice()).collect();
            spans(trace)[1..].iter().any(|span| !ids.contains(span.parent_span_id.as_slice()))
        }
        Fault::FailedModelCall => operation(trace, "chat").any(|call| call.status.is_some()),
    }
}

fn total_tokens(trace: &SimulatedTrace) -> i64 {
    let counts = ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"];
    let answered = operation(trace, "chat").filter(|call| call.status.is_none());
    answered.flat_map(|call| counts.map(|count| integer(call, count))).sum()
}

fn ends_for(call: &Span, reason: &str) -> bool {
    match attribute(call, "gen_ai.response.finish_reasons") {
        Some(Attribute::ArrayValue(reasons)) => {
            reasons.values.iter().any(|one| one.value == Some(Attribute::StringValue(reason.to_owned())))
        }
        None => false,
        other => panic!("finish reasons are {other:?}"),
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let bytes = |seed| {
        let traces = traffic("model_upgrade", 150, seed);
        traces.iter().flat_map(|trace| trace.request.encode_to_vec()).collect::<Vec<u8>>()
    };
    assert_eq!(bytes(5), bytes(5));
    assert_ne!(bytes(5), bytes(6));
}

#[test]
fn a_plan_gives_exactly_its_traces_in_order_of_their_end() {
    let traces = traffic("model_upgrade", 701, 2);
    assert_eq!(traces.len(), 701);
    let ends: Vec<u64> = traces.iter().map(|trace| spans(trace)[0].end_time_unix_nano).collect();
    assert!(ends.is_sorted());
    let ids: BTreeSet<&[u8]> = traces.iter().map(|trace| spans(trace)[0].trace_id.as_slice()).collect();
    assert_eq!(ids.len(), 701);
}

#[test]
fn the_truth_is_read_back_from_its_line() {
    for trace in traffic("model_upgrade", 40, 13) {
        let line = serde_json::to_string(&trace.truth).unwrap();
        assert_eq!(serde_json::from_str::<Truth>(&line).unwrap(), trace.truth, "{line}");
    }
}

#[test]
fn spans_are_unique_children_of_their_root_within_its_time() {
    for trace in traffic("model_upgrade", 400, 3) {
        let spans = spans(&trace);
        let root = &spans[0];
        assert!(root.parent_span_id.is_empty());
        assert_eq!(root.trace_id, trace.truth.trace_id.as_bytes());
        let ids: BTreeSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
        assert_eq!(ids.len(), spans.len());
        for (earlier, later) in spans[1..].iter().zip(&spans[2..]) {
            assert!(earlier.end_time_unix_nano <= later.start_time_unix_nano);
        }
        for child in &spans[1..] {
            assert_eq!((&child.parent_span_id, &child.trace_id), (&root.span_id, &root.trace_id));
            assert!(root.start_time_unix_nano <= child.start_time_unix_nano);
            assert!(child.start_time_unix_nano < child.end_time_unix_nano);
            assert!(child.end_time_unix_nano <= root.end_time_unix_nano);
        }
    }
}

#[test]
fn a_trace_shows_exactly_the_faults_that_its_truth_states() {
    let mut seen = BTreeSet::new();
    for scenario in SCENARIOS {
        let traces = if scenario.faults.len() > 1 { 1500 } else { 250 };
        for trace in traffic(scenario.name, traces, 11) {
            let shown: BTreeSet<Fault> = Fault::ALL.into_iter().filter(|fault| shows(&trace, *fault)).collect();
            let stated: BTreeSet<Fault> = trace.truth.faults.iter().copied().collect();
            assert_eq!(shown, stated, "{} {:?}: {}", scenario.name, trace.truth.trace_id, answer(&trace));
            assert!(stated.iter().all(|fault| fault.agent() == trace.truth.agent));
            seen.extend(stated);
        }
    }
    assert_eq!(seen.len(), Fault::ALL.len());
}

#[test]
fn faults_come_only_after_the_change_and_at_their_stated_rates() {
    let traces = traffic("model_upgrade", 3000, 4);
    let (before, after): (Vec<_>, Vec<_>) = traces.iter().partition(|trace| trace.truth.phase == Phase::Baseline);
    assert!((1480..1520).contains(&before.len()), "{}", before.len());
    assert!(before.iter().all(|trace| trace.truth.faults.is_empty() && trace.truth.release == "1.4.0"));
    for &(fault, _) in
        Scenario::find("model_upgrade").unwrap().faults.iter().filter(|(fault, _)| !fault.is_behavioural())
    {
        let runs = after.iter().filter(|trace| trace.truth.agent == fault.agent()).count() as f64;
        let hits = after.iter().filter(|trace| trace.truth.faults.contains(&fault)).count() as f64;
        assert!((0.03..0.14).contains(&(hits / runs)), "{}: {hits} of {runs}", fault.name());
    }
}

#[test]
fn the_healthy_scenario_has_no_fault_and_steady_rare_errors() {
    let traces = traffic("healthy", 4000, 8);
    assert!(traces.iter().all(|trace| trace.truth.faults.is_empty() && trace.truth.phase == Phase::Baseline));
    let has_error = |trace: &SimulatedTrace| spans(trace).iter().any(|span| attribute(span, "error.type").is_some());
    let errors = |half: &[SimulatedTrace]| half.iter().filter(|trace| has_error(trace)).count();
    let (first, second) = (errors(&traces[..2000]), errors(&traces[2000..]));
    assert!((15..60).contains(&first) && first.abs_diff(second) < 20, "{first} {second}");
}

#[test]
fn runs_have_the_size_and_length_of_real_ones() {
    let traces = traffic("healthy", 1000, 9);
    let quantiles = |mut values: Vec<usize>| {
        values.sort_unstable();
        [values[50], values[500], values[950]]
    };
    let span_counts = quantiles(traces.iter().map(|trace| spans(trace).len()).collect());
    let sizes = quantiles(traces.iter().map(|trace| trace.request.encoded_len()).collect());
    let seconds = quantiles(
        traces
            .iter()
            .map(|trace| (spans(trace)[0].end_time_unix_nano - spans(trace)[0].start_time_unix_nano) / 1_000_000_000)
            .map(|seconds| seconds as usize)
            .collect(),
    );
    assert!(span_counts[0] >= 6 && span_counts[2] <= 25, "{span_counts:?}");
    assert!(sizes[0] > 5_000 && sizes[2] < 60_000, "{sizes:?}");
    assert!(seconds[0] >= 3 && seconds[2] < 60, "{seconds:?}");
}

#[test]
fn token_counts_follow_the_texts() {
    for trace in traffic("healthy", 200, 10) {
        let mut context = 0;
        for call in operation(&trace, "chat") {
            let input = integer(call, "gen_ai.usage.input_tokens");
            assert!(input > context && integer(call, "gen_ai.usage.cache_read.input_tokens") == context);
            context = input;
            let reasoning = integer(call, "gen_ai.usage.reasoning.output_tokens");
            let written = integer(call, "gen_ai.usage.output_tokens") - reasoning;
            let characters = text(call, "gen_ai.output.messages").len() as i64;
            assert!(written >= 4 && written <= characters / 4 + 1, "{written} {characters}");
        }
    }
}

#[test]
fn stories_vary_and_support_conversations_go_on() {
    let traces = traffic("healthy", 1200, 12);
    for agent in Agent::ALL {
        let own: Vec<_> = traces.iter().filter(|trace| trace.truth.agent == agent).collect();
        assert!(own.len() > 200, "{} {}", agent.name(), own.len());
        let answers: BTreeSet<String> = own.iter().map(|trace| answer(trace)).collect();
        let courses: BTreeSet<Vec<&str>> =
            own.iter().map(|trace| spans(trace).iter().map(|span| span.name.as_str()).collect()).collect();
        assert!(answers.len() > 48 && courses.len() > 8, "{} {} {}", agent.name(), answers.len(), courses.len());
    }
    let support = || traces.iter().filter(|trace| trace.truth.agent == Agent::Support);
    let conversations: BTreeSet<&str> =
        support().map(|trace| text(&spans(trace)[0], "gen_ai.conversation.id")).collect();
    assert!(conversations.len() * 5 < support().count() * 4);
}
