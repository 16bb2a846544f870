//! What single instrumentations do differently from what their conventions say, as `tests/emitters` found it.

use super::builder::{failed, span, trace};
use crate::domain::trace::{ModelCall, Trace};
use crate::otlp::Span;
use crate::otlp::span::Event;

fn only_call(attributes: &[(&str, &str)]) -> ModelCall {
    trace(vec![span(1, 0, attributes)]).model_calls().next().unwrap().clone()
}

fn tool_arguments(attributes: &[(&str, &str)]) -> Option<String> {
    trace(vec![span(1, 0, attributes)]).tool_calls().next().unwrap().arguments.clone()
}

const OPENINFERENCE_CALL: (&str, &str) = ("openinference.span.kind", "LLM");

#[test]
fn a_call_that_failed_names_its_model_among_the_parameters() {
    let parameters = ("llm.invocation_parameters", r#"{"model":"gpt-4o","stream":true}"#);
    assert_eq!(only_call(&[OPENINFERENCE_CALL, parameters]).model.as_deref(), Some("gpt-4o"));
    let both = [OPENINFERENCE_CALL, parameters, ("llm.model_name", "gpt-4o-2024-11-20")];
    assert_eq!(only_call(&both).model.as_deref(), Some("gpt-4o-2024-11-20"));
}

#[test]
fn a_text_that_stands_under_two_names_is_said_once() {
    let message = "llm.output_messages.0.message";
    let [role, whole, part, other] = ["role", "content", "contents.0", "contents.1"]
        .map(|field| format!("{message}.{field}"))
        .map(|key| if key.contains("contents") { format!("{key}.message_content.text") } else { key });
    let mut attributes = vec![OPENINFERENCE_CALL, (&role, "assistant"), (&part, "It is 42."), (&whole, "It is 42.")];
    assert_eq!(only_call(&attributes).output_text.as_deref(), Some("It is 42."));
    attributes.push((&other, "Anything else?"));
    assert_eq!(only_call(&attributes).output_text.as_deref(), Some("It is 42.\nAnything else?"));
}

#[test]
fn a_decorated_python_function_was_given_what_it_was_given_by_name() {
    let tools = [
        [("traceloop.span.kind", "tool"), ("traceloop.entity.input", r#"{"args":[],"kwargs":{"of":"acme"}}"#)],
        [
            ("langfuse.observation.type", "tool"),
            ("langfuse.observation.input", r#"{"args": [], "kwargs": {"of": "acme"}}"#),
        ],
    ];
    for tool in tools {
        assert_eq!(tool_arguments(&tool).as_deref(), Some(r#"{"of":"acme"}"#));
    }
    let unnamed = r#"{"args":["acme"],"kwargs":{}}"#;
    let tool = [("langfuse.observation.type", "tool"), ("langfuse.observation.input", unnamed)];
    assert_eq!(tool_arguments(&tool).as_deref(), Some(unnamed), "no name is made up");
}

#[test]
fn the_only_argument_of_a_decorated_agent_is_what_was_asked() {
    for input in [r#"{"args":["what is due?"],"kwargs":{}}"#, r#"{"args":[],"kwargs":{"question":"what is due?"}}"#] {
        for (kind, key) in [
            (("traceloop.span.kind", "agent"), "traceloop.entity.input"),
            (("langfuse.observation.type", "agent"), "langfuse.observation.input"),
        ] {
            assert_eq!(trace(vec![span(1, 0, &[kind, (key, input)])]).input.as_deref(), Some("what is due?"), "{key}");
        }
    }
}

#[test]
fn langfuse_passes_on_the_usage_as_openai_counts_it() {
    let usage = r#"{"prompt_tokens":1000000,"completion_tokens":1000000,
        "completion_tokens_details":{"reasoning_tokens":7},"prompt_tokens_details":{"cached_tokens":500000}}"#;
    let call = only_call(&[
        ("langfuse.observation.type", "generation"),
        ("langfuse.observation.model.name", "gpt-4o"),
        ("langfuse.observation.usage_details", usage),
        ("langfuse.observation.metadata.finish_reason", r#""stop""#),
    ]);
    assert_eq!((call.input_tokens, call.output_tokens), (Some(1_000_000), Some(1_000_000)));
    assert_eq!((call.reasoning_tokens, call.finish_reasons), (Some(7), vec!["stop".to_owned()]));
    assert_eq!(call.cost_usd, Some(1.25 + 0.625 + 10.0), "half of the prompt came from the cache");
}

#[test]
fn details_of_usage_have_names_of_pydantic_ais_own() {
    let call = only_call(&[("gen_ai.operation.name", "chat"), ("gen_ai.usage.details.reasoning_tokens", "7")]);
    assert_eq!(call.reasoning_tokens, Some(7));
}

#[test]
fn the_vercel_sdk_tells_conversation_and_user_in_its_context() {
    let context = [("ai.settings.context.sessionId", "c-1"), ("ai.settings.context.userId", "u-1")];
    for operation in [("gen_ai.operation.name", "invoke_agent"), ("ai.operationId", "ai.generateText")] {
        let trace = trace(vec![span(1, 0, &[&[operation][..], &context].concat())]);
        assert_eq!((trace.conversation_id.as_deref(), trace.user_id.as_deref()), (Some("c-1"), Some("u-1")));
    }
}

#[test]
fn gemini_counts_its_thoughts_beside_the_candidates() {
    let response = r#"{"usage_metadata":{"prompt_token_count":4,"candidates_token_count":5,"thoughts_token_count":7}}"#;
    let request = ("gcp.vertex.agent.llm_request", r#"{"contents":[]}"#);
    let call = only_call(&[request, ("gcp.vertex.agent.llm_response", response)]);
    assert_eq!((call.output_tokens, call.reasoning_tokens), (Some(12), Some(7)));
}

#[test]
fn what_failed_lacks_no_answer_and_what_has_no_price_lacks_a_cost() {
    const COST: &str = "gen_ai.usage.cost";
    const TOKENS: &str = "gen_ai.usage.input_tokens";
    let chat = |model| {
        let counts = [(TOKENS, "10"), ("gen_ai.usage.output_tokens", "5")];
        span(1, 0, &[&[("gen_ai.operation.name", "chat"), ("gen_ai.request.model", model)][..], &counts].concat())
    };
    let lacks = |trace: &Trace, name| trace.missing.contains(&name);
    let known = trace(vec![chat("gpt-4o")]);
    assert!(!lacks(&known, COST) && known.cost_usd().is_some());
    let unknown = trace(vec![chat("house-model")]);
    assert!(lacks(&unknown, COST) && unknown.cost_usd().is_none());

    let refused = failed(span(1, 0, &[("gen_ai.operation.name", "chat"), ("gen_ai.request.model", "gpt-4o")]), "no");
    let refused = trace(vec![refused]);
    assert!(!lacks(&refused, COST) && !lacks(&refused, TOKENS));
    let offline = failed(span(1, 0, &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "t")]), "no");
    assert!(!lacks(&trace(vec![offline]), "gen_ai.tool.call.result"));
}

#[test]
fn opentelemetrys_older_events_say_of_a_call_what_its_span_does_not() {
    let event = |name: &str, body: &[(&str, &str)]| Event {
        name: name.to_owned(),
        attributes: span(1, 0, body).attributes,
        ..Default::default()
    };
    let asked = r#"{"role":"assistant","tool_calls":[
        {"id":"c1","type":"function","function":{"name":"lookup","arguments":"{\"of\": \"acme\"}"}}]}"#;
    let asks = vec![
        event("gen_ai.user.message", &[("content", "what is due?")]),
        event("gen_ai.choice", &[("index", "0"), ("finish_reason", "tool_calls"), ("message", asked)]),
    ];
    let is_told = vec![event("gen_ai.tool.message", &[("content", r#"{"due": 42}"#), ("id", "c1")])];
    let chat = |id, events| Span { events, ..span(id, 1, &[("gen_ai.operation.name", "chat")]) };
    let tool =
        [("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "lookup"), ("gen_ai.tool.call.id", "c1")];
    let agent = span(1, 0, &[("gen_ai.operation.name", "invoke_agent")]);
    let trace = trace(vec![agent, chat(2, asks), span(3, 1, &tool), chat(4, is_told)]);
    let calls: Vec<_> = trace.tool_calls().map(|call| (call.arguments.as_deref(), call.result.as_deref())).collect();
    assert_eq!(calls, [(Some(r#"{"of": "acme"}"#), Some(r#"{"due": 42}"#))]);
    assert_eq!(trace.input.as_deref(), Some("what is due?"));
}
