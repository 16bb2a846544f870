//! Pydantic AI's own names, versions 1 to 5 of its instrumentation, around GenAI attributes.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role, SAYS_NOTHING};
use super::gen_ai;
use super::json::Json;
use super::message_json;
use super::messages::{Message, Side};

pub(super) const CONVENTION: Convention = Convention {
    name: "pydantic_ai",
    signs: &[
        "pydantic_ai.",
        "logfire.",
        ALL_EVENTS,
        FINAL,
        "model_request_parameters",
        "operation.cost",
        USAGE_DETAILS,
        "tool_arguments",
        "tool_response",
    ],
    role,
    messages,
    names: FactNames {
        agent: &["agent_name"],
        tool_definitions: &["model_request_parameters#/function_tools"],
        reasoning_tokens: &["gen_ai.usage.details.reasoning_tokens"],
        cost_usd: &["operation.cost"],
        tool_arguments: &["tool_arguments"],
        tool_result: &["tool_response"],
        output_value: &[FINAL],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

const USAGE_DETAILS: &str = "gen_ai.usage.details.";
const ALL: &str = "pydantic_ai.all_messages";
const ALL_EVENTS: &str = "all_messages_events";
const FINAL: &str = "final_result";

/// Says what only the agent's span carries; the others name their operation or their tool in GenAI attributes.
fn role(attributes: Attributes<'_>) -> Option<Role> {
    let agent = [ALL, ALL_EVENTS, FINAL].iter().any(|key| attributes.value(key).is_some());
    agent.then_some(Role::Agent)
}

/// Of an agent the whole conversation in one list, of a model until version 1 its events in one list.
fn messages(attributes: Attributes<'_>, side: Side) -> Vec<Message<'_>> {
    if attributes.value(FINAL).is_some() && side == Side::Output {
        return Vec::new();
    }
    let Some(json) = attributes.json(&[ALL, ALL_EVENTS, "events"]) else { return Vec::new() };
    let mut input: Vec<Message<'_>> = json.items().iter().flat_map(message).collect();
    let ends_in_answer = input.last().is_some_and(|message| message.role == "assistant");
    let output = if ends_in_answer { input.pop() } else { None };
    side.pick(input, output.into_iter().collect())
}

/// A message, or the event of one, whose name may say what its role does not.
fn message<'a>(item: &Json<'a>) -> Vec<Message<'a>> {
    let event = item.get("event.name").and_then(Json::as_text).map_or("", |name| name.as_ref());
    let speaker = if event == gen_ai::CHOICE { "assistant" } else { "user" };
    message_json::read(item, speaker)
}
