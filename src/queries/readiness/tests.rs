use super::*;
use crate::domain::time::Timestamp;
use crate::otlp::{Encoding, decode_traces, split_by_trace};
use crate::simulate::{Plan, Scenario, simulate};

/// Runs of a request that holds OTLP/JSON.
fn runs(request: &serde_json::Value) -> Vec<Trace> {
    let spans = decode_traces(request.to_string().as_bytes(), Encoding::Json).unwrap();
    let raw = split_by_trace(spans)
        .traces
        .into_iter()
        .map(|piece| crate::otlp::assemble(piece.trace_id, vec![piece.resource_spans]));
    raw.filter_map(|raw| crate::normalize::normalize(&raw, &AttributeMapping::default())).collect()
}

/// Id, parent's id or 0, attributes.
type Described<'a> = (u8, u8, &'a [(&'a str, &'a str)]);

/// A run of one service.
fn run(number: u8, spans: &[Described<'_>]) -> Trace {
    let attribute = |(key, value): &(&str, &str)| serde_json::json!({"key": key, "value": {"stringValue": value}});
    let id = |id: u8| if id == 0 { String::new() } else { format!("00000000000000{id:02x}") };
    let span = |(own, parent, attributes): &Described<'_>| {
        serde_json::json!({
            "traceId": format!("000000000000000000000000000000{number:02x}"), "spanId": id(*own),
            "parentSpanId": id(*parent), "name": "span", "startTimeUnixNano": "1000000000",
            "endTimeUnixNano": "2000000000", "attributes": attributes.iter().map(attribute).collect::<Vec<_>>(),
        })
    };
    let spans: Vec<_> = spans.iter().map(span).collect();
    let resource = serde_json::json!({"attributes": [attribute(&("service.name", "shop"))]});
    let request = serde_json::json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
    runs(&request).remove(0)
}

fn survey(runs: &[Trace]) -> ServiceReadiness {
    let mut survey = Survey::default();
    runs.iter().for_each(|run| survey.add(run));
    survey.finish(&AttributeMapping::default()).services.remove(0)
}

fn answer(service: &ServiceReadiness, name: &str) -> Answer {
    service.questions.iter().chain(&service.capabilities).find(|it| it.name == name).unwrap().answer
}

fn added<'a>(service: &'a ServiceReadiness, fact: &str) -> Option<&'a str> {
    service.facts.iter().find(|it| it.fact == fact).unwrap().add.as_deref()
}

#[test]
fn a_sender_that_records_all_but_its_reasons_cannot_say_why_it_decided() {
    let plan = Plan {
        scenario: Scenario::find("model_upgrade").unwrap(),
        traces: 40,
        seed: 3,
        start: Timestamp(480_000 * Timestamp::NANOS_PER_HOUR),
        duration: std::time::Duration::from_hours(1),
    };
    let requests = simulate(&plan).flat_map(|trace| trace.request.resource_spans).collect();
    let pieces = split_by_trace(requests).traces.into_iter();
    let raw = pieces.map(|piece| crate::otlp::assemble(piece.trace_id, vec![piece.resource_spans]));
    let runs: Vec<Trace> =
        raw.filter_map(|raw| crate::normalize::normalize(&raw, &AttributeMapping::default())).collect();
    let mut all = Survey::default();
    runs.iter().for_each(|run| all.add(run));
    let found = all.finish(&AttributeMapping::default());
    let support = &found.services[0];
    assert_eq!(support.traces, support.conventions["gen_ai"]);
    for question in ["tools", "cost", "quality", "integration_health"] {
        assert_eq!(answer(support, question), Answer::Yes, "{question}: {support:?}");
    }
    assert_eq!(support.propagation, BrokenRuns::default());
}

#[test]
fn a_bare_run_answers_nothing_and_is_told_what_to_add_in_its_own_convention() {
    let kind = |kind| ("openinference.span.kind", kind);
    let bare =
        run(1, &[(1, 0, &[kind("AGENT")]), (2, 1, &[kind("LLM")]), (3, 1, &[kind("TOOL"), ("tool.name", "find")])]);
    let found = survey(&[bare]);
    for question in &found.questions {
        assert_eq!((question.answer, question.share), (Answer::No, Some(0.0)), "{question:?}");
    }
    assert_eq!(added(&found, "service"), None);
    for (fact, line) in [
        ("conversation", "span.set_attribute(\"session.id\", …)"),
        ("input_tokens", "span.set_attribute(\"llm.token_count.prompt\", …)  # model call: each such span"),
        ("release", "OTEL_RESOURCE_ATTRIBUTES=service.version=…"),
        ("feature", "span.set_attribute(\"feature_name\", …)  # run: the root span"),
        ("rationale", "span.set_attribute(\"agent.decision_rationale\", …)"),
    ] {
        assert!(added(&found, fact).unwrap().starts_with(line), "{fact}: {:?}", added(&found, fact));
    }
    assert!(!TelemetryReadiness { services: vec![found] }.is_answered());
}

#[test]
fn a_run_without_tools_is_not_asked_which_of_them_failed() {
    let found = survey(&[run(1, &[(1, 0, &[("gen_ai.operation.name", "chat"), ("gen_ai.request.model", "m")])])]);
    assert_eq!(answer(&found, "tools"), Answer::NotApplicable);
    assert!(found.facts.iter().all(|fact| fact.fact != "tool_result"), "{:?}", found.facts);
}

#[test]
fn lost_context_is_counted_by_how_it_was_lost() {
    let tool: &[(&str, &str)] = &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "find")];
    let agent: &[(&str, &str)] = &[("gen_ai.operation.name", "invoke_agent")];
    let whole = run(1, &[(1, 0, agent), (2, 1, tool)]);
    let two_roots = run(2, &[(1, 0, agent), (2, 0, tool)]);
    let orphan = run(3, &[(1, 0, agent), (2, 9, agent)]);
    let rootless = run(4, &[(1, 9, agent), (2, 1, tool)]);
    let found = survey(&[whole, two_roots, orphan, rootless]);
    let BrokenRuns { without_root, several_roots, orphans, detached_tools, trace_ids } = &found.propagation;
    assert_eq!((*without_root, *several_roots, *orphans, *detached_tools), (1, 1, 1, 1));
    assert_eq!(trace_ids.len(), 3);
    assert!(added(&found, "one_tree").unwrap().contains("traceparent"));
}

#[test]
fn a_question_is_partly_answered_where_most_runs_carry_what_it_takes() {
    let with = |number| {
        run(
            number,
            &[(
                1,
                0,
                &[("gen_ai.tool.name", "t"), ("gen_ai.tool.call.arguments", "{}"), ("gen_ai.tool.call.result", "1")],
            )],
        )
    };
    let without = |number| run(number, &[(1, 0, &[("gen_ai.tool.name", "t")])]);
    let answer_of = |runs: &[Trace]| answer(&survey(runs), "tools");
    assert_eq!(answer_of(&[with(1), without(2)]), Answer::Partly);
    assert_eq!(answer_of(&[with(1), without(2), without(3)]), Answer::No);
    assert_eq!(answer_of(&[with(1)]), Answer::Yes);
}
