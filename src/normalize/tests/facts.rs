//! What a sender is told to add is what is read once it is added.

use super::builder::{span, trace};
use super::dialects::DIALECTS;
use crate::domain::trace::Trace;
use crate::normalize::AttributeMapping;
use crate::normalize::facts::{
    CONVERSATION, COST, Fact, INPUT, INPUT_TOKENS, MODEL, OUTPUT, OUTPUT_TOKENS, RATIONALE, TOOL_ARGUMENTS,
    TOOL_RESULT, USER,
};

type Texts<'a> = Vec<(&'a str, &'a str)>;

/// What tells agent, model and tool apart in conventions that the dialects do not cover.
const KINDS: [(&str, [(&str, &str); 3]); 3] = [
    (
        "gen_ai",
        [
            ("gen_ai.operation.name", "invoke_agent"),
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.operation.name", "execute_tool"),
        ],
    ),
    (
        "openinference",
        [("openinference.span.kind", "AGENT"), ("openinference.span.kind", "LLM"), ("openinference.span.kind", "TOOL")],
    ),
    (
        "openllmetry",
        [("traceloop.span.kind", "agent"), ("gen_ai.operation.name", "chat"), ("traceloop.span.kind", "tool")],
    ),
];

fn kinds() -> impl Iterator<Item = (&'static str, [(&'static str, &'static str); 3])> {
    let of_dialects = DIALECTS.iter().filter(|dialect| !["google_adk", "pydantic_ai", "plain"].contains(&dialect.name));
    of_dialects.map(|dialect| (dialect.name, dialect.kinds())).chain(KINDS)
}

/// A run whose agent, model and tool carry these.
fn run([agent, model, tool]: [Texts<'_>; 3]) -> Trace {
    trace(vec![span(1, 0, &agent), span(2, 1, &model), span(3, 1, &tool)])
}

/// An attribute and its value; a member of JSON is put where it is looked for.
fn placed<'a>(attribute: &'a str, value: &str) -> (&'a str, String) {
    let Some((name, path)) = attribute.split_once('#') else { return (attribute, value.to_owned()) };
    let wrap = |inner: serde_json::Value, member: &str| serde_json::json!({ member: inner });
    let inner = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    (name, path.rsplit('/').filter(|member| !member.is_empty()).fold(inner, wrap).to_string())
}

fn value(fact: &Fact) -> &'static str {
    match fact.name {
        "input" => r#"[{"role":"user","content":"what is due?"}]"#,
        "output" => r#"[{"role":"assistant","content":"42 EUR"}]"#,
        _ => "7",
    }
}

#[test]
fn what_a_bare_run_is_told_to_add_is_read_once_it_is_there() {
    let facts = [
        &USER,
        &CONVERSATION,
        &INPUT,
        &OUTPUT,
        &RATIONALE,
        &MODEL,
        &INPUT_TOKENS,
        &OUTPUT_TOKENS,
        &COST,
        &TOOL_ARGUMENTS,
        &TOOL_RESULT,
    ];
    for (convention, kinds) in kinds() {
        let bare = run(kinds.map(|kind| vec![kind]));
        assert_eq!(bare.convention, convention);
        for fact in facts {
            assert_eq!(fact.is_carried(&bare), Some(false), "{convention} {}", fact.name);
            let attribute = fact.attribute(convention, &AttributeMapping::default());
            let (name, value) = placed(&attribute, value(fact));
            let mut spans = kinds.map(|kind| vec![kind]);
            let place = ["run", "model call", "tool call"].iter().position(|place| *place == fact.place).unwrap();
            spans[place].push((name, &value));
            assert_eq!(fact.is_carried(&run(spans)), Some(true), "{convention} {}: {name} = {value}", fact.name);
        }
    }
}
