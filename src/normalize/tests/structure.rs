//! Errors that stop half way up, agents inside of agents, and agents that hang on nothing.

use super::builder::{failed, span, trace};
use crate::otlp::Span;

const AGENT: (&str, &str) = ("gen_ai.operation.name", "invoke_agent");
const TOOL: (&str, &str) = ("gen_ai.operation.name", "execute_tool");

fn agent(id: u32, parent: u32, name: &str) -> Span {
    span(id, parent, &[AGENT, ("gen_ai.agent.name", name)])
}

fn tool(id: u32, parent: u32, name: &str) -> Span {
    span(id, parent, &[TOOL, ("gen_ai.tool.name", name)])
}

#[test]
fn an_agent_inside_itself_is_counted_and_one_beside_itself_is_not() {
    let wide = trace(vec![agent(1, 0, "a"), agent(2, 1, "b"), agent(3, 1, "b"), agent(4, 1, "b")]);
    assert_eq!((wide.structure.agents, wide.structure.nesting, wide.structure.recursion), (4, 2, None));
    let deep =
        trace(vec![agent(1, 0, "a"), tool(2, 1, "delegate"), agent(3, 2, "a"), agent(4, 3, "b"), agent(5, 4, "a")]);
    let recursion = deep.structure.recursion.unwrap();
    assert_eq!((deep.structure.nesting, recursion.agent.as_str(), recursion.depth), (4, "a", 3));
}

#[test]
fn agents_in_a_ring_end() {
    let ring = trace(vec![agent(1, 3, "a"), agent(2, 1, "a"), agent(3, 2, "a")]);
    assert_eq!(ring.structure.recursion.unwrap().depth, 3);
}

#[test]
fn an_agent_hangs_on_nothing_when_its_parent_never_arrived_or_it_is_a_second_root() {
    let missing = |spans: Vec<Span>| -> Vec<bool> {
        trace(spans).structure.detached_agents.iter().map(|agent| agent.missing_parent.is_some()).collect()
    };
    assert_eq!(missing(vec![agent(1, 0, "a"), agent(2, 1, "b")]), [false; 0]);
    assert_eq!(missing(vec![agent(1, 9, "a")]), [true]);
    assert_eq!(missing(vec![agent(1, 0, "a"), agent(2, 9, "b"), agent(3, 0, "c"), tool(4, 9, "t")]), [true, false]);
    assert_eq!(missing(vec![span(1, 0, &[]), agent(2, 1, "a")]), [false; 0]);
}

#[test]
fn an_error_is_contained_where_its_parent_says_ok_and_retried_where_the_same_succeeds_later() {
    let contained = |spans: Vec<Span>| -> Vec<(String, bool)> {
        let errors = trace(spans).structure.contained_errors;
        errors.into_iter().map(|error| (error.name, error.is_retried)).collect()
    };
    let boom = |span: Span| failed(span, "boom");
    let error = |name: &str, is_retried: bool| (name.to_owned(), is_retried);
    assert_eq!(contained(vec![agent(1, 0, "a"), boom(tool(2, 1, "t"))]), [error("t", false)]);
    assert_eq!(contained(vec![boom(agent(1, 0, "a")), boom(tool(2, 1, "t"))]), []);
    let again = vec![agent(1, 0, "a"), boom(tool(2, 1, "t")), boom(tool(3, 1, "u")), tool(4, 1, "t")];
    assert_eq!(contained(again), [error("t", true), error("u", false)]);
    let before = vec![agent(1, 0, "a"), tool(2, 1, "t"), boom(tool(3, 1, "t"))];
    assert_eq!(contained(before), [error("t", false)], "what succeeded before is no second attempt");
    let handed_up =
        vec![agent(1, 0, "a"), boom(tool(2, 1, "t")), boom(Span { name: "GET".to_owned(), ..span(3, 2, &[]) })];
    assert_eq!(contained(handed_up), [error("t", false)], "only where the error stops");
}

#[test]
fn the_class_of_a_model_error_is_read_from_type_message_and_status() {
    let class = |span: Span| trace(vec![span]).model_calls().next().unwrap().error_class.map(|class| class.as_str());
    let chat = ("gen_ai.operation.name", "chat");
    assert_eq!(class(span(1, 0, &[chat])), None);
    assert_eq!(class(failed(span(1, 0, &[chat]), "maximum context length is 8192")), Some("context_length"));
    let typed = span(1, 0, &[chat, ("error.type", "APIError"), ("http.response.status_code", "429")]);
    assert_eq!(class(typed), Some("rate_limit"));
    assert_eq!(class(failed(span(1, 0, &[chat]), "")), Some("other"));
}
