//! The run as a whole: tokens, texts, identity, and what is missing.

use super::builder::{failed, raw, span, trace};
use crate::domain::trace::Trace;
use crate::normalize::{AttributeMapping, Inspection, normalize};
use crate::otlp::Span;
use crate::otlp::span::Event;

const CHAT: (&str, &str) = ("gen_ai.operation.name", "chat");
const AGENT: (&str, &str) = ("gen_ai.operation.name", "invoke_agent");

fn said(role: &str, text: &str) -> String {
    format!(r#"[{{"role":"{role}","parts":[{{"type":"text","content":"{text}"}}]}}]"#)
}

#[test]
fn tokens_are_summed_over_leaves_and_absent_is_not_zero() {
    let tokens = ("gen_ai.usage.input_tokens", "10");
    let found = trace(vec![
        span(1, 0, &[AGENT, ("gen_ai.usage.input_tokens", "30")]),
        span(2, 1, &[CHAT, ("gen_ai.usage.input_tokens", "20")]),
        span(3, 2, &[CHAT, tokens]),
        span(4, 2, &[CHAT, tokens]),
        span(5, 1, &[CHAT]),
    ]);
    assert_eq!(found.model_calls().count(), 3);
    assert_eq!(found.input_tokens(), Some(20));
    assert_eq!(found.output_tokens(), None);
    assert!(found.missing.contains(&"gen_ai.usage.input_tokens"), "one call carries none");
}

#[test]
fn a_model_call_around_a_tool_or_agent_keeps_its_own_tokens() {
    let tokens = |count| ("gen_ai.usage.input_tokens", count);
    for between in [AGENT, ("gen_ai.operation.name", "execute_tool")] {
        let chat = |id, parent, count| span(id, parent, &[CHAT, tokens(count)]);
        let found = trace(vec![chat(1, 0, "1000"), span(2, 1, &[between]), chat(3, 2, "100")]);
        assert_eq!((found.input_tokens(), found.model_calls().count()), (Some(1100), 2), "{between:?}");
    }
}

#[test]
fn a_model_call_of_an_operation_we_do_not_know_is_told_by_its_model_and_what_it_said() {
    let model = ("gen_ai.request.model", "m");
    let tokens = ("gen_ai.usage.output_tokens", "3");
    let answer = ("gen_ai.output.messages", "[]");
    let calls = |operation, more: &[(&str, &str)]| {
        let named = [("gen_ai.operation.name", operation)];
        trace(vec![span(1, 0, &[&named, more].concat())]).model_calls().count()
    };
    assert_eq!(calls("responses", &[model, tokens]), 1);
    assert_eq!(calls("invoke_model", &[model, answer]), 1);
    assert_eq!(calls("invoke_model", &[model]), 0);
    assert_eq!(calls("invoke_model", &[tokens]), 0);
    for other in ["embeddings", "rerank", "create_agent", "update_memory", "evaluation", "fetch_response"] {
        assert_eq!(calls(other, &[model, tokens, answer]), 0, "{other}");
    }
}

#[test]
fn a_reason_to_stop_is_one_word_whatever_the_provider_calls_it() {
    let common = [
        ("FinishReason.MAX_TOKENS", "length"),
        ("FINISH_REASON_STOP", "stop"),
        ("model_context_window_exceeded", "length"),
        ("incomplete", "length"),
        ("guardrail_intervened", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("recitation", "content_filter"),
        ("tool-calls", "tool_call"),
        ("paused", "paused"),
    ];
    for (reason, word) in common {
        let found = trace(vec![span(1, 0, &[CHAT, ("gen_ai.response.finish_reasons", reason)])]);
        assert_eq!(found.model_calls().next().unwrap().finish_reasons, [word], "{reason}");
    }
}

#[test]
fn legacy_and_newest_names_mean_the_same() {
    let names = [
        (("gen_ai.request.model", "m"), "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"),
        (CHAT, "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
        (("llm.model", "m"), "llm.prompt_tokens", "llm.completion_tokens"),
    ];
    for (role, input, output) in names {
        let found = trace(vec![span(1, 0, &[role, (input, "7"), (output, "3")])]);
        assert_eq!((found.input_tokens(), found.output_tokens()), (Some(7), Some(3)), "{input}");
    }
}

#[test]
fn the_outer_span_of_a_vercel_generation_counts_only_when_it_is_alone() {
    let operation = |id, parent, operation| {
        span(id, parent, &[("ai.operationId", operation), ("ai.usage.inputTokens", "4"), ("ai.response.text", "hi")])
    };
    let outer = operation(1, 0, "ai.generateText");
    assert_eq!(trace(vec![outer.clone()]).input_tokens(), Some(4));
    let found = trace(vec![outer, operation(2, 1, "ai.generateText.doGenerate")]);
    assert_eq!((found.input_tokens(), found.model_calls().count()), (Some(4), 1));
}

#[test]
fn what_a_sub_agent_hears_and_says_is_not_the_users_question_nor_the_answer() {
    let (question, answer) = (said("user", "what is due?"), said("assistant", "42 EUR"));
    let (order, report) = (said("user", "read the ledger"), said("assistant", "ledger says 42"));
    let found = trace(vec![
        span(1, 0, &[AGENT]),
        span(2, 1, &[CHAT, ("gen_ai.input.messages", &question), ("gen_ai.output.messages", &answer)]),
        span(3, 1, &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "delegate")]),
        span(4, 3, &[AGENT]),
        span(5, 4, &[CHAT, ("gen_ai.input.messages", &order), ("gen_ai.output.messages", &report)]),
    ]);
    assert_eq!((found.input.as_deref(), found.output.as_deref()), (Some("what is due?"), Some("42 EUR")));
    assert_eq!(found.model_calls().count(), 2);
}

#[test]
fn of_a_recorded_history_only_what_followed_the_last_answer_is_new() {
    let history = r#"[{"role":"system","parts":[{"type":"text","content":"be kind"}]},
        {"role":"user","parts":[{"type":"text","content":"first"}]},
        {"role":"assistant","parts":[{"type":"text","content":"yes?"}]},
        {"role":"user","parts":[{"type":"text","content":"second"},{"type":"tool_call_response","id":"c","response":1}]}]"#;
    let found = trace(vec![span(1, 0, &[CHAT, ("gen_ai.input.messages", history)])]);
    assert_eq!(found.input.as_deref(), Some("second"));
    assert_eq!(found.system_instructions.as_deref(), Some("be kind"));
}

#[test]
fn messages_are_read_from_an_event_of_the_span_where_the_span_has_none() {
    let details = span(9, 0, &[("gen_ai.output.messages", &said("assistant", "hello"))]);
    let event = Event { attributes: details.attributes, ..Default::default() };
    let found = trace(vec![Span { events: vec![event], ..span(1, 0, &[CHAT]) }]);
    assert_eq!(found.output.as_deref(), Some("hello"));
}

#[test]
fn finish_reasons_are_one_word_across_providers() {
    let reasons = |value| {
        let found = trace(vec![span(1, 0, &[CHAT, ("gen_ai.response.finish_reasons", value)])]);
        Inspection::from(&found).finish_reasons
    };
    assert_eq!(reasons(r#"["tool_calls","max_tokens"]"#), ["tool_call", "length"]);
    assert_eq!(reasons("end_turn"), ["stop"]);
    assert_eq!(reasons("[\"haunted\"]"), ["haunted"]);
}

#[test]
fn business_attributes_are_found_on_the_root_then_anywhere_then_on_the_resource() {
    let mapping: AttributeMapping =
        serde_json::from_str(r#"{"feature":["app.feature"],"basket":["basket.id"]}"#).unwrap();
    let spans = vec![
        span(1, 0, &[AGENT, ("app.feature", "billing"), ("feature_name", "not asked for")]),
        span(2, 1, &[CHAT, ("app.feature", "other"), ("invoice.id", "i-1"), ("user_id", "u-1"), ("basket.id", "b-1")]),
    ];
    let found = normalize(&raw(&[("org_id", "acme"), ("service.name", "desk")], spans), &mapping).unwrap();
    let attribute = |name: &str| found.attributes.get(name).map(String::as_str);
    assert_eq!(attribute("feature"), Some("billing"), "a name that is given replaces its default");
    assert_eq!((attribute("invoice.id"), attribute("basket")), (Some("i-1"), Some("b-1")));
    assert_eq!((attribute("organisation"), attribute("tier")), (Some("acme"), None));
    assert_eq!((found.user_id.as_deref(), found.service.as_str()), (Some("u-1"), "desk"));
}

#[test]
fn a_run_behind_a_gateway_belongs_to_the_service_of_its_agent() {
    let gateway = raw(&[("service.name", "gateway")], vec![span(1, 0, &[("http.route", "/ask")])]);
    let agent = raw(&[("service.name", "desk")], vec![span(2, 1, &[AGENT])]);
    let whole = crate::otlp::assemble(gateway.trace_id, vec![gateway.resource_spans, agent.resource_spans]);
    let found = normalize(&whole, &AttributeMapping::default()).unwrap();
    assert_eq!((found.service.as_str(), found.convention), ("desk", "gen_ai"));
}

#[test]
fn what_is_absent_is_named() {
    let found = trace(vec![span(1, 0, &[CHAT])]);
    assert_eq!(found.service, "unknown_service");
    let wanted = ["service.name", "gen_ai.conversation.id", "gen_ai.input.messages", "gen_ai.output.messages"];
    assert!(wanted.iter().all(|name| found.missing.contains(name)), "{:?}", found.missing);
    assert!(!found.missing.contains(&"gen_ai.tool.call.result"), "no tool was called");
}

#[test]
fn a_failed_root_is_the_runs_error_and_a_failed_call_its_own() {
    let found = trace(vec![failed(span(1, 0, &[AGENT]), "out of steps"), failed(span(2, 1, &[CHAT]), "")]);
    assert_eq!(found.error.as_deref(), Some("out of steps"));
    assert_eq!(found.model_calls().next().unwrap().error.as_deref(), Some("error"));
}

fn retrieval(attributes: &[(&str, &str)]) -> Trace {
    trace(vec![span(1, 0, attributes)])
}

#[test]
fn documents_are_read_and_their_absence_told_apart_from_finding_none() {
    let kind = ("openinference.span.kind", "RETRIEVER");
    let found = retrieval(&[
        kind,
        ("retrieval.documents.1.document.content", "second"),
        ("retrieval.documents.0.document.content", "first"),
        ("input.value", "where?"),
    ]);
    let retrieved = found.retrievals().next().unwrap();
    assert_eq!(retrieved.documents, ["first", "second"]);
    assert_eq!(retrieved.query.as_deref(), Some("where?"));
    let none = retrieval(&[kind, ("output.value", "[]")]);
    assert!(none.retrievals().all(|retrieval| retrieval.documents_recorded));
    let unrecorded = retrieval(&[kind]);
    assert!(unrecorded.missing.contains(&"gen_ai.retrieval.documents"));
    let gen_ai = retrieval(&[
        ("gen_ai.operation.name", "retrieval"),
        ("gen_ai.retrieval.documents", r#"[{"id":"1","score":1,"content":"text"}]"#),
    ]);
    assert_eq!(Inspection::from(&gen_ai).retrieved, 1);
}

#[test]
fn an_inspection_has_the_keys_that_users_rely_on() {
    let json = serde_json::to_value(Inspection::from(&trace(vec![span(1, 0, &[CHAT])]))).unwrap();
    let keys = "trace_id convention service release agent_version models conversation_id user_id model_calls tools retrieved \
        input_tokens output_tokens reasoning_tokens cost_usd finish_reasons error input output decision missing";
    assert!(keys.split_whitespace().all(|key| json.get(key).is_some()), "{json}");
}

#[test]
fn the_sampling_threshold_of_the_root_gives_the_probability() {
    let root = Span { trace_state: "ot=rv:ffffffffffffff;th:c".to_owned(), ..span(1, 0, &[AGENT]) };
    assert_eq!(trace(vec![root]).upstream_probability.unwrap().probability, 0.25);
}

#[test]
fn an_attribute_of_a_step_that_a_sampler_would_write_says_nothing_of_the_run() {
    let rate = ("SampleRate", "8000");
    let speech = span(2, 1, &[("gen_ai.operation.name", "execute_tool"), rate]);
    assert_eq!(trace(vec![span(1, 0, &[AGENT]), speech]).upstream_probability, None);
    let proxied = trace(vec![span(1, 0, &[]), span(2, 1, &[AGENT, ("SampleRate", "20")])]);
    assert_eq!(proxied.upstream_probability.unwrap().probability, 0.05, "the root may be another service's");
}
