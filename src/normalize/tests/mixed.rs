//! Spans written in several conventions, and in several dialects of one.

use super::builder::{span, trace};
use crate::domain::trace::Trace;
use crate::normalize::{AttributeMapping, PriceTable, normalize, normalize_priced};
use crate::otlp::span::Event;
use crate::otlp::{Encoding, Span, assemble, decode_logs, split_logs};

const CHAT: (&str, &str) = ("gen_ai.operation.name", "chat");

fn event(name: &str, attributes: &[(&str, &str)]) -> Event {
    Event { name: name.to_owned(), attributes: span(1, 0, attributes).attributes, ..Default::default() }
}

#[test]
fn a_span_in_two_conventions_keeps_the_facts_of_both() {
    let found = trace(vec![span(
        1,
        0,
        &[
            ("openinference.span.kind", "LLM"),
            ("llm.input_messages.0.message.role", "user"),
            ("llm.input_messages.0.message.content", "what is due?"),
            ("gen_ai.response.model", "gpt-4o"),
            ("gen_ai.usage.input_tokens", "7"),
            ("gen_ai.usage.output_tokens", "3"),
            ("gen_ai.response.finish_reasons", "[\"stop\"]"),
            ("gen_ai.output.messages", r#"[{"role":"assistant","parts":[{"type":"text","content":"42"}]}]"#),
            ("gen_ai.conversation.id", "c-1"),
        ],
    )]);
    assert_eq!(found.convention, "openinference");
    assert_eq!((found.input.as_deref(), found.output.as_deref()), (Some("what is due?"), Some("42")));
    assert_eq!((found.input_tokens(), found.output_tokens()), (Some(7), Some(3)));
    assert_eq!((found.models(), found.conversation_id.as_deref()), (vec!["gpt-4o"], Some("c-1")));
    assert!(!found.missing.contains(&"gen_ai.response.finish_reasons"), "{:?}", found.missing);
}

#[test]
fn messages_are_read_before_whatever_else_a_span_took_or_gave() {
    let found = trace(vec![span(
        1,
        0,
        &[
            ("openinference.span.kind", "LLM"),
            ("output.value", r#"{"choices":[]}"#),
            ("gen_ai.output.messages", r#"[{"role":"assistant","parts":[{"type":"text","content":"42"}]}]"#),
        ],
    )]);
    assert_eq!(found.output.as_deref(), Some("42"));
}

#[test]
fn a_span_that_one_convention_calls_anything_is_what_another_says() {
    let chain = |operation| {
        let found =
            trace(vec![span(1, 0, &[("openinference.span.kind", "CHAIN"), ("gen_ai.operation.name", operation)])]);
        (found.model_calls().count(), found.tool_calls().count())
    };
    assert_eq!(chain("chat"), (1, 0));
    assert_eq!(chain("execute_tool"), (0, 1));
    let marked = trace(vec![span(1, 0, &[CHAT, ("langfuse.environment", "live")])]);
    assert_eq!((marked.model_calls().count(), marked.environment.as_deref()), (1, Some("live")));
    let judged = trace(vec![span(1, 0, &[("openinference.span.kind", "EVALUATOR"), ("gen_ai.request.model", "m")])]);
    assert_eq!(judged.model_calls().count(), 0, "what evaluates the agent is not the agent");
}

#[test]
fn usage_of_one_convention_is_not_added_to_that_of_another() {
    let usage = r#"{"input":4,"input_cached_tokens":6,"output":5}"#;
    let found = trace(vec![span(
        1,
        0,
        &[CHAT, ("langfuse.observation.usage_details", usage), ("gen_ai.usage.input_tokens", "10")],
    )]);
    assert_eq!(found.input_tokens(), Some(10));
    let without = trace(vec![span(1, 0, &[CHAT, ("cache_read_tokens", "6"), ("gen_ai.usage.input_tokens", "10")])]);
    assert_eq!(without.input_tokens(), Some(10));
}

#[test]
fn a_call_told_by_two_instrumentations_one_inside_the_other_keeps_the_facts_of_both() {
    let outer = [
        ("openinference.span.kind", "LLM"),
        ("input.value", "what is due?"),
        ("output.value", "42"),
        ("llm.token_count.prompt", "99"),
    ];
    let inner = [CHAT, ("gen_ai.request.model", "m"), ("gen_ai.usage.input_tokens", "7")];
    let found = trace(vec![span(1, 0, &outer), span(2, 1, &inner)]);
    assert_eq!((found.input.as_deref(), found.output.as_deref()), (Some("what is due?"), Some("42")));
    assert_eq!((found.model_calls().count(), found.input_tokens(), found.models()), (1, Some(7), vec!["m"]));

    let twice = trace(vec![span(1, 0, &outer), span(2, 1, &inner[..2]), span(3, 1, &inner[..2])]);
    assert_eq!((twice.model_calls().count(), twice.input_tokens()), (2, None), "totals of several are no one's");
}

/// One question, call, result and answer in a dialect of the GenAI conventions.
fn told(attributes: &[(&str, &str)], events: Vec<Event>) -> Trace {
    trace(vec![Span { events, ..span(1, 0, &[&[CHAT], attributes].concat()) }])
}

#[test]
fn every_dialect_of_the_genai_conventions_tells_the_same() {
    let flattened = told(
        &[
            ("gen_ai.prompt.0.role", "system"),
            ("gen_ai.prompt.0.content", "be kind"),
            ("gen_ai.prompt.1.role", "user"),
            ("gen_ai.prompt.1.content", "due?"),
            ("gen_ai.completion.0.content", "42"),
            ("gen_ai.completion.0.finish_reason", "stop"),
            ("gen_ai.completion.0.tool_calls.0.name", "ledger"),
            ("gen_ai.completion.0.tool_calls.0.arguments", "{}"),
        ],
        Vec::new(),
    );
    let (input, output) = (
        r#"[{"role":"system","parts":[{"type":"text","content":"be kind"}]},
            {"role":"user","parts":[{"type":"text","content":"due?"}]}]"#,
        r#"[{"role":"assistant","parts":[{"type":"text","content":"42"},
            {"type":"tool_call","name":"ledger","arguments":{}}],"finish_reason":"stop"}]"#,
    );
    let messages = [
        ("gen_ai.input.messages", input),
        ("gen_ai.output.messages", output),
        ("gen_ai.tool.definitions", r#"[{"name":"ledger"}]"#),
    ];
    let on_span = told(&messages, Vec::new());
    let on_event = told(&[], vec![event("gen_ai.client.inference.operation.details", &messages)]);
    assert_eq!(on_span.agent_version, on_event.agent_version);
    let without_tools = told(&messages[..2], Vec::new());
    assert_ne!(on_span.agent_version, without_tools.agent_version);
    let calls = r#"[{"type":"function","function":{"name":"ledger","arguments":"{}"}}]"#;
    let one_an_event = told(
        &[],
        vec![
            event("gen_ai.system.message", &[("content", "be kind")]),
            event("gen_ai.user.message", &[("content", "due?"), ("role", "user")]),
            event("gen_ai.choice", &[("content", "42"), ("tool_calls", calls), ("finish_reason", "stop")]),
        ],
    );
    let choice = format!(r#"{{"index":0,"finish_reason":"stop","message":{{"content":"42","tool_calls":{calls}}}}}"#);
    let in_bodies = told(
        &[],
        vec![
            event("gen_ai.system.message", &[("body", r#"{"content":"be kind"}"#)]),
            event("gen_ai.user.message", &[("gen_ai.event.content", r#"{"content":"due?","role":"user"}"#)]),
            event("gen_ai.choice", &[("body", &choice)]),
        ],
    );
    let content_events = told(
        &[],
        vec![
            event(
                "gen_ai.content.prompt",
                &[("gen_ai.prompt", r#"[{"role":"system","content":"be kind"},{"role":"user","content":"due?"}]"#)],
            ),
            event(
                "gen_ai.content.completion",
                &[(
                    "gen_ai.completion",
                    &format!(r#"[{{"role":"assistant","content":"42","finish_reason":"stop","tool_calls":{calls}}}]"#),
                )],
            ),
        ],
    );
    for (dialect, found) in
        [flattened, on_span, on_event, one_an_event, in_bodies, content_events].into_iter().enumerate()
    {
        assert_eq!((found.input.as_deref(), found.output.as_deref()), (Some("due?"), Some("42")), "{dialect}");
        assert_eq!(found.system_instructions.as_deref(), Some("be kind"), "{dialect}");
        assert_eq!(found.model_calls().next().unwrap().finish_reasons, ["stop"], "{dialect}");
        let tools: Vec<_> = found.tool_calls().map(|call| (call.name.as_str(), call.arguments.as_deref())).collect();
        assert_eq!(tools, [("ledger", Some("{}"))], "{dialect}");
    }
}

#[test]
fn what_a_user_said_stays_a_text_though_it_be_json() {
    let found = told(&[], vec![event("gen_ai.user.message", &[("content", r#"{"amount": 5}"#)])]);
    assert_eq!(found.input.as_deref(), Some(r#"{"amount": 5}"#));
}

#[test]
fn a_call_costs_what_its_span_says_else_what_the_table_says_else_nothing_is_known() {
    let cost = |attributes: &[(&str, &str)]| {
        told(&[&[("gen_ai.request.model", "gpt-4o")], attributes].concat(), Vec::new()).cost_usd()
    };
    let counts = [("gen_ai.usage.input_tokens", "1000000"), ("gen_ai.usage.output_tokens", "100000")];
    assert_eq!(cost(&counts), Some(3.5));
    assert_eq!(cost(&[&counts[..], &[("gen_ai.usage.cache_read.input_tokens", "1000000")]].concat()), Some(2.25));
    assert_eq!(cost(&[&counts[..], &[("gen_ai.usage.cost", "0.5")]].concat()), Some(0.5));
    assert_eq!(cost(&counts[..1]), None, "part of a price looks like a price");
    assert_eq!(cost(&[counts[0], counts[1], ("gen_ai.response.model", "house")]), None);

    let own: PriceTable =
        serde_json::from_str(r#"{"gpt-4o":{"input_usd_per_mtok":1.0,"output_usd_per_mtok":0.0}}"#).unwrap();
    let call = [CHAT, ("gen_ai.request.model", "gpt-4o"), counts[0], counts[1]];
    let raw = super::builder::raw(&[], vec![span(1, 0, &call)]);
    let found = normalize_priced(&raw, &AttributeMapping::default(), &own).unwrap();
    assert_eq!(found.cost_usd(), Some(1.0));
}

#[test]
fn an_agents_version_follows_its_prompt_tools_and_model_and_not_the_day_or_the_user() {
    let version = |prompt: &str, tools: &str, model: &str| {
        let attributes = [
            ("gen_ai.system_instructions", prompt),
            ("gen_ai.tool.definitions", tools),
            ("gen_ai.request.model", model),
        ];
        told(&attributes, Vec::new()).agent_version
    };
    let tools = r#"[{"name":"a","description":"x"},{"name":"b"}]"#;
    let first = version("Help Alice. Today is 2026-03-02.", tools, "m");
    assert_eq!(first.as_ref().unwrap().len(), 12);
    assert_eq!(
        first,
        version("Help Bob. Today is 2026-03-03.", r#"[{"name":"b"},{"description":"x","name":"a"}]"#, "m")
    );
    assert_ne!(first, version("Hinder Alice. Today is 2026-03-02.", tools, "m"));
    assert_ne!(first, version("Help Alice. Today is 2026-03-02.", r#"[{"name":"a"}]"#, "m"));
    assert_ne!(first, version("Help Alice. Today is 2026-03-02.", tools, "n"));
    assert_eq!(told(&[("gen_ai.request.model", "m")], Vec::new()).agent_version, None);
}

#[test]
fn tool_definitions_make_the_version_in_whatever_convention() {
    let shapes: [&[(&str, &str)]; 4] = [
        &[("openinference.span.kind", "LLM"), ("llm.tools.0.tool.json_schema", r#"{"name":"a"}"#)],
        &[("llm.request.type", "chat"), ("llm.request.functions.0.name", "a")],
        &[("ai.operationId", "ai.generateText.doGenerate"), ("ai.prompt.tools", r#"["{\"name\":\"a\"}"]"#)],
        &[("mlflow.spanType", "\"LLM\""), ("mlflow.chat.tools", r#"[{"name":"a"}]"#)],
    ];
    for shape in shapes {
        assert!(trace(vec![span(1, 0, shape)]).agent_version.is_some(), "{shape:?}");
    }
}

#[test]
fn content_that_came_as_log_records_reads_as_if_it_stood_on_the_span() {
    let call = span(1, 0, &[CHAT, ("gen_ai.request.model", "m")]);
    let ids = format!(r#""traceId":"{}","spanId":"{}""#, hex::encode(&call.trace_id), hex::encode(&call.span_id));
    let record = |name: &str, body: &str| {
        format!(r#"{{{ids},"eventName":"{name}","body":{{"kvlistValue":{{"values":[{body}]}}}}}}"#)
    };
    let content = |text: &str| format!(r#"{{"key":"content","value":{{"stringValue":"{text}"}}}}"#);
    let answer = r#"{"key":"message","value":{"kvlistValue":{"values":[
        {"key":"content","value":{"stringValue":"42"}}]}}},{"key":"finish_reason","value":{"stringValue":"stop"}}"#;
    let records = [record("gen_ai.user.message", &content("due?")), record("gen_ai.choice", answer)].join(",");
    let request = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
    let logs = split_logs(decode_logs(request.as_bytes(), Encoding::Json).unwrap());
    let pieces = logs.traces.into_iter().map(|piece| piece.resource_spans);
    let spans = super::builder::raw(&[], vec![call]);
    let whole = assemble(spans.trace_id, pieces.chain([spans.resource_spans]).collect());
    let found = normalize(&whole, &AttributeMapping::default()).unwrap();
    assert_eq!((found.input.as_deref(), found.output.as_deref()), (Some("due?"), Some("42")));
    assert_eq!(
        (found.span_count, found.model_calls().next().unwrap().finish_reasons.as_slice()),
        (1, &["stop".to_owned()][..])
    );
}
