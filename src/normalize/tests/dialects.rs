//! One small run, told in each convention that has no real traces to read: an agent asks a model, calls a tool, and
//! asks the model again.

use super::builder::{span, trace};
use crate::domain::trace::{ToolStatus, Trace};
use crate::otlp::Span;

type Texts = &'static [(&'static str, &'static str)];

/// The run in one convention: what stands on the agent's span, on both of its model calls, on the last one, and on the
/// tool's.
pub(super) struct Dialect {
    pub(super) name: &'static str,
    agent: Texts,
    model: Texts,
    answer: Texts,
    tool: Texts,
}

impl Dialect {
    /// What alone tells agent, model and tool apart.
    pub(super) const fn kinds(&self) -> [(&'static str, &'static str); 3] {
        [self.agent[0], self.model[0], self.tool[0]]
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        let answering = [self.model, self.answer].concat();
        vec![span(1, 0, self.agent), span(2, 1, self.model), span(3, 1, self.tool), span(4, 1, &answering)]
    }
}

pub(super) const DIALECTS: [Dialect; 7] = [
    Dialect {
        name: "langfuse",
        agent: &[
            ("langfuse.observation.type", "agent"),
            ("langfuse.session.id", "c-1"),
            ("langfuse.user.id", "u-1"),
            ("langfuse.release", "r-1"),
            ("langfuse.environment", "live"),
            ("langfuse.trace.input", r#"{"question":"what is due?"}"#),
            ("langfuse.trace.output", "42 EUR"),
        ],
        model: &[
            ("langfuse.observation.type", "generation"),
            ("langfuse.observation.model.name", "gpt-4o"),
            ("langfuse.observation.usage_details", r#"{"input":4,"input_cached_tokens":6,"output":5,"total":15}"#),
            ("langfuse.observation.cost_details", r#"{"input":0.25,"output":0.25,"total":0.5}"#),
            (
                "langfuse.observation.input",
                r#"[{"role":"system","content":"be kind"},{"role":"user","content":"what is due?"}]"#,
            ),
        ],
        answer: &[("langfuse.observation.output", r#"{"role":"assistant","content":"42 EUR"}"#)],
        tool: &[
            ("langfuse.observation.type", "tool"),
            ("gen_ai.tool.name", "ledger"),
            ("langfuse.observation.input", r#"{"of":"acme"}"#),
            ("langfuse.observation.output", r#"{"due":42}"#),
        ],
    },
    Dialect {
        name: "langsmith",
        agent: &[
            ("langsmith.span.kind", "chain"),
            ("langsmith.metadata.thread_id", "c-1"),
            ("langsmith.trace.session_name", "a project"),
            ("gen_ai.prompt", r#"{"input":"what is due?"}"#),
            ("gen_ai.completion", r#"{"output":"42 EUR"}"#),
        ],
        model: &[
            ("langsmith.span.kind", "llm"),
            ("langsmith.metadata.ls_model_name", "gpt-4o"),
            ("langsmith.usage_metadata", r#"{"input_tokens":10,"output_tokens":5,"total_cost":0.5}"#),
            (
                "gen_ai.prompt",
                r#"{"messages":[[{"lc":1,"type":"constructor","id":["langchain","SystemMessage"],
                "kwargs":{"content":"be kind"}},{"lc":1,"type":"constructor","id":["langchain","HumanMessage"],
                "kwargs":{"content":"what is due?","type":"human"}}]]}"#,
            ),
        ],
        answer: &[(
            "gen_ai.completion",
            r#"{"generations":[[{"text":"42 EUR","message":{"lc":1,"type":"constructor","kwargs":{"content":"42 EUR",
            "type":"ai","response_metadata":{"finish_reason":"stop"}}}}]]}"#,
        )],
        tool: &[
            ("langsmith.span.kind", "tool"),
            ("langsmith.trace.name", "ledger"),
            ("gen_ai.prompt", r#"{"of":"acme"}"#),
            ("gen_ai.completion", r#"{"due":42}"#),
        ],
    },
    Dialect {
        name: "mlflow",
        agent: &[
            ("mlflow.spanType", "\"AGENT\""),
            ("mlflow.trace.session", "\"c-1\""),
            ("mlflow.trace.user", "\"u-1\""),
            ("mlflow.spanInputs", r#"{"question":"what is due?"}"#),
            ("mlflow.spanOutputs", "\"42 EUR\""),
        ],
        model: &[
            ("mlflow.spanType", "\"CHAT_MODEL\""),
            ("mlflow.chat.tokenUsage", r#"{"input_tokens":10,"output_tokens":5,"total_tokens":15}"#),
            ("mlflow.llm.cost", r#"{"total_cost":0.5}"#),
            (
                "mlflow.spanInputs",
                r#"{"model":"gpt-4o","messages":[{"role":"system","content":"be kind"},
                {"role":"user","content":"what is due?"}]}"#,
            ),
        ],
        answer: &[(
            "mlflow.spanOutputs",
            r#"{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"42 EUR"}}]}"#,
        )],
        tool: &[
            ("mlflow.spanType", "\"TOOL\""),
            ("mlflow.spanFunctionName", "\"ledger\""),
            ("mlflow.spanInputs", r#"{"of":"acme"}"#),
            ("mlflow.spanOutputs", r#"{"due":42}"#),
        ],
    },
    Dialect {
        name: "claude_code",
        agent: &[
            ("span.type", "interaction"),
            ("session.id", "c-1"),
            ("user.id", "u-1"),
            ("user_prompt", "what is due?"),
            ("app.version", "r-1"),
        ],
        model: &[
            ("span.type", "llm_request"),
            ("model", "gpt-4o"),
            ("gen_ai.request.model", "asked for"),
            ("input_tokens", "2"),
            ("cache_read_tokens", "7"),
            ("cache_creation_tokens", "1"),
            ("output_tokens", "5"),
        ],
        answer: &[("response.model_output", "42 EUR"), ("stop_reason", "end_turn")],
        tool: &[
            ("span.type", "tool"),
            ("tool_name", "ledger"),
            ("tool_input", r#"{"of":"acme"}"#),
            ("output", r#"{"due":42}"#),
        ],
    },
    Dialect {
        name: "google_adk",
        agent: &[
            ("gen_ai.operation.name", "invoke_agent"),
            ("gcp.vertex.agent.session_id", "c-1"),
            ("gcp.vertex.agent.llm_request", "{}"),
        ],
        model: &[
            ("gen_ai.request.model", "gpt-4o"),
            (
                "gcp.vertex.agent.llm_request",
                r#"{"config":{"system_instruction":"be kind"},
                "contents":[{"role":"user","parts":[{"text":"what is due?"}]}]}"#,
            ),
            (
                "gcp.vertex.agent.llm_response",
                r#"{"content":{"role":"model","parts":[{"function_call":{"name":"ledger","args":{"of":"acme"}}}]},
                "usage_metadata":{"prompt_token_count":10,"candidates_token_count":5}}"#,
            ),
        ],
        answer: &[(
            "gcp.vertex.agent.llm_response",
            r#"{"content":{"role":"model","parts":[{"text":"42 EUR"}]},"finish_reason":"STOP",
            "usage_metadata":{"prompt_token_count":10,"candidates_token_count":5}}"#,
        )],
        tool: &[
            ("gen_ai.tool.name", "ledger"),
            ("gcp.vertex.agent.llm_request", "{}"),
            ("gcp.vertex.agent.tool_call_args", r#"{"of":"acme"}"#),
            ("gcp.vertex.agent.tool_response", r#"{"due":42}"#),
        ],
    },
    Dialect {
        name: "pydantic_ai",
        agent: &[
            ("agent_name", "clerk"),
            ("gen_ai.conversation.id", "c-1"),
            ("gen_ai.aggregated_usage.input_tokens", "20"),
            ("final_result", "42 EUR"),
            (
                "pydantic_ai.all_messages",
                r#"[{"role":"user","parts":[{"type":"text","content":"what is due?"}]},
                {"role":"assistant","parts":[{"type":"text","content":"42 EUR"}]}]"#,
            ),
        ],
        model: &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.response.model", "gpt-4o"),
            ("gen_ai.usage.input_tokens", "10"),
            ("gen_ai.usage.output_tokens", "5"),
            ("operation.cost", "0.5"),
            ("model_request_parameters", r#"{"function_tools":[{"name":"ledger"}]}"#),
            (
                "events",
                r#"[{"event.name":"gen_ai.system.message","content":"be kind","role":"system"},
                {"event.name":"gen_ai.user.message","content":"what is due?","role":"user"}]"#,
            ),
        ],
        answer: &[(
            "events",
            r#"[{"event.name":"gen_ai.system.message","content":"be kind","role":"system"},
            {"event.name":"gen_ai.user.message","content":"what is due?","role":"user"},
            {"event.name":"gen_ai.choice","index":0,"message":{"role":"assistant","content":"42 EUR"}}]"#,
        )],
        tool: &[
            ("gen_ai.tool.name", "ledger"),
            ("tool_arguments", r#"{"of":"acme"}"#),
            ("tool_response", r#"{"due":42}"#),
            ("logfire.msg", "running tool: ledger"),
        ],
    },
    Dialect {
        name: "plain",
        agent: &[
            ("session.id", "c-1"),
            ("user_id", "u-1"),
            ("decision.result", "42 EUR"),
            ("decision.confidence", "0.9"),
            ("agent.decision_rationale", "the ledger says so"),
            ("context.sources", r#"["ledger","contract"]"#),
        ],
        model: &[
            ("llm.model", "gpt-4o"),
            ("llm.prompt_tokens", "10"),
            ("llm.completion_tokens", "5"),
            ("llm.cost", "0.5"),
            ("llm.system_prompt", "be kind"),
            ("llm.prompt", "what is due?"),
        ],
        answer: &[("llm.response", "42 EUR")],
        tool: &[
            ("api.endpoint", "ledger"),
            ("http.status_code", "200"),
            ("request.body", r#"{"of":"acme"}"#),
            ("response.body", r#"{"due":42}"#),
        ],
    },
];

fn told_in(name: &str) -> Trace {
    trace(DIALECTS.iter().find(|dialect| dialect.name == name).unwrap().spans())
}

#[test]
fn the_same_run_reads_the_same_whatever_tells_it() {
    for dialect in &DIALECTS {
        let (found, name) = (trace(dialect.spans()), dialect.name);
        assert_eq!(found.models(), ["gpt-4o"], "{name}");
        assert_eq!(found.model_calls().count(), 2, "{name}");
        assert_eq!((found.input_tokens(), found.output_tokens()), (Some(20), Some(10)), "{name}");
        assert_eq!(found.conversation_id.as_deref(), Some("c-1"), "{name}");
        assert_eq!((found.input.as_deref(), found.output.as_deref()), (Some("what is due?"), Some("42 EUR")), "{name}");
        let tools: Vec<_> = found.tool_calls().collect();
        assert_eq!(tools.len(), 1, "{name}");
        assert_eq!((tools[0].name.as_str(), tools[0].status), ("ledger", ToolStatus::Success), "{name}");
        assert_eq!(tools[0].arguments.as_deref(), Some(r#"{"of":"acme"}"#), "{name}");
        assert_eq!((tools[0].result.as_deref(), tools[0].result_empty), (Some(r#"{"due":42}"#), Some(false)), "{name}");
    }
}

#[test]
fn each_convention_is_named_by_the_span_of_the_agent() {
    for dialect in &DIALECTS {
        let stated_by_gen_ai = dialect.name == "google_adk";
        let expected = if stated_by_gen_ai { "gen_ai" } else { dialect.name };
        assert_eq!(trace(dialect.spans()).convention, expected);
    }
}

#[test]
fn instructions_costs_and_users_are_read_where_the_convention_has_a_place_for_them() {
    for dialect in &DIALECTS {
        let (found, name) = (trace(dialect.spans()), dialect.name);
        let instructed = name != "claude_code";
        assert_eq!(found.system_instructions.as_deref(), instructed.then_some("be kind"), "{name}");
        assert_eq!(found.agent_version.is_some(), instructed, "{name}");
        let priced = !matches!(name, "claude_code" | "google_adk");
        assert_eq!(found.cost_usd() == Some(1.0), priced, "{name}");
        let knows_user = !matches!(name, "langsmith" | "google_adk" | "pydantic_ai");
        assert_eq!(found.user_id.as_deref(), knows_user.then_some("u-1"), "{name}");
        let knows_release = matches!(name, "langfuse" | "claude_code");
        assert_eq!(found.release.as_deref(), knows_release.then_some("r-1"), "{name}");
    }
    assert_eq!(told_in("langfuse").environment.as_deref(), Some("live"));
}

#[test]
fn a_decision_is_read_with_its_confidence_rationale_and_sources() {
    let decision = told_in("plain").decision.unwrap();
    assert_eq!((decision.result.as_deref(), decision.confidence), (Some("42 EUR"), Some(0.9)));
    assert_eq!(decision.rationale.as_deref(), Some("the ledger says so"));
    assert_eq!(decision.sources, ["ledger", "contract"]);
    assert_eq!(told_in("mlflow").decision, None);
}

#[test]
fn a_call_of_an_endpoint_fails_by_its_status_and_is_empty_by_its_size() {
    let call = |attributes: &[(&str, &str)]| {
        let found = trace(vec![span(1, 0, &[&[("api.endpoint", "/invoices")], attributes].concat())]);
        let call = found.tool_calls().next().unwrap().clone();
        (call.name, call.status, call.result_empty)
    };
    let name = || "/invoices".to_owned();
    assert_eq!(call(&[("http.status_code", "429")]), (name(), ToolStatus::RateLimited, None));
    assert_eq!(call(&[("http.response.status_code", "500")]), (name(), ToolStatus::Error, None));
    assert_eq!(call(&[("http.status_code", "200"), ("response.size", "0")]), (name(), ToolStatus::Success, Some(true)));
    assert_eq!(call(&[("response.size", "17")]), (name(), ToolStatus::Success, Some(false)));
}

#[test]
fn what_a_retriever_found_is_a_list_in_whatever_envelope_or_one_text() {
    let documents = |output: &str| {
        let attributes = [("langfuse.observation.type", "retriever"), ("langfuse.observation.output", output)];
        trace(vec![span(1, 0, &attributes)]).retrievals().next().unwrap().documents.clone()
    };
    assert_eq!(documents(r#"[{"page_content":"a"},{"text":"b"},"c"]"#), ["a", "b", "c"]);
    assert_eq!(documents(r#"{"documents":[{"content":"a"}]}"#), ["a"]);
    assert_eq!(documents("a whole page"), ["a whole page"]);
    assert_eq!(documents("[]"), [""; 0]);
}

#[test]
fn content_that_was_left_out_is_absent_and_not_what_stands_in_its_place() {
    let redacted = trace(vec![span(1, 0, &[("span.type", "interaction"), ("user_prompt", "<REDACTED>")])]);
    assert_eq!(redacted.input, None);
    let silent = [
        ("gen_ai.tool.name", "t"),
        ("gcp.vertex.agent.tool_call_args", "{}"),
        ("gcp.vertex.agent.tool_response", "{}"),
    ];
    let found = trace(vec![span(1, 0, &silent)]);
    let call = found.tool_calls().next().unwrap();
    assert_eq!((&call.arguments, &call.result, call.result_empty), (&None, &None, None));
}

#[test]
fn the_span_that_merges_tool_calls_is_not_another_call() {
    let merged = [
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "(merged tools)"),
        ("gcp.vertex.agent.tool_call_args", "N/A"),
    ];
    let found = trace(vec![span(1, 0, &merged)]);
    assert_eq!(found.tool_calls().count(), 0);
}

#[test]
fn a_tool_of_claude_code_and_its_execution_are_one_call_that_ends_as_the_execution_does() {
    let tool =
        span(1, 0, &[("span.type", "tool"), ("tool_name", "Bash"), ("tool_use_id", "t-1"), ("full_command", "ls")]);
    let execution = span(2, 1, &[("span.type", "tool.execution"), ("tool_use_id", "t-1"), ("error", "exit status 2")]);
    let found = trace(vec![tool, execution]);
    let calls: Vec<_> = found.tool_calls().collect();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].name.as_str(), calls[0].status), ("Bash", ToolStatus::Error));
}
