//! What agents used and cost, which tools failed, and what of it counts for budgets.

use std::collections::BTreeSet;

use driftline::backends::store::{AgentCostRow, AgentDimension, RecordedTrace, Selection, Verdict};
use driftline::domain::money::NanoUsd;
use driftline::domain::usage::{ModelUsage, ToolUsage, Usage};

use super::contract;
use super::fixtures::{TestStore, plain, seconds, stored_evaluation, trace_id};

contract!(
    costs_are_told_apart_and_every_trace_counts_by_its_upstream_probability,
    a_later_version_takes_back_what_the_earlier_had_spent,
    a_charge_belongs_to_the_day_on_which_the_run_ended,
    hostile_sums_stop_short_of_overflowing,
    tools_are_ranked_by_failures_and_conversations_by_tool_calls,
    traces_are_found_by_what_an_evaluator_said,
);

/// Seconds of a day, and the day that begins at second 0 of these tests.
const DAY: i64 = 86_400;
const FIRST_DAY: i64 = 20_000;
const CENT: i64 = 10_000_000;

fn model(cost: i64, input_tokens: u64, cached_tokens: u64) -> ModelUsage {
    ModelUsage { calls: 2, unpriced: 1, input_tokens, output_tokens: 10, cached_tokens, cost: NanoUsd(cost) }
}

/// A trace of a feature, kept upstream with a probability, that spent so much on each model.
fn spending(number: u64, feature: &str, probability: Option<f64>, models: &[(&str, i64)]) -> RecordedTrace {
    let mut it = plain(number);
    it.trace.attributes = [("feature".to_owned(), feature.to_owned())].into();
    it.trace.record.upstream_probability = probability;
    it.trace.conversation_id = Some(format!("c-{feature}"));
    it.usage = Usage {
        operation: Some(feature.to_owned()),
        models: models.iter().map(|(name, cost)| ((*name).to_owned(), model(*cost, 100, 40))).collect(),
        ..Usage::default()
    };
    it.budgets = BTreeSet::from([format!("feature={feature}")]);
    it
}

async fn spent(it: &TestStore, day: i64, scope: &str) -> i64 {
    let found = it.store.agent_budget_day(day, Some(scope), NanoUsd(i64::MIN), 1).await.unwrap();
    found.first().map_or(0, |day| day.spent.0)
}

async fn costs_are_told_apart_and_every_trace_counts_by_its_upstream_probability(it: TestStore) {
    let traces = [
        spending(1, "refunds", Some(0.25), &[("small", CENT), ("", 3 * CENT)]),
        spending(2, "refunds", None, &[("small", 5 * CENT)]),
        spending(3, "orders", Some(1.0), &[("large", 2 * CENT)]),
    ];
    it.store.record_traces(&traces, seconds(9)).await.unwrap();
    let parts = async |by: AgentDimension, selection: Selection| -> Vec<(Option<String>, u64, i64)> {
        let rows = it.store.agent_costs(&by, &selection, 10).await.unwrap();
        rows.into_iter().map(|row| (row.part, row.traces, (row.cost / CENT as f64).round() as i64)).collect()
    };
    let name = |name: &str| Some(name.to_owned());
    let all = Selection::default;
    assert_eq!(
        parts(AgentDimension::Model, all()).await,
        [(None, 1, 12), (name("small"), 2, 9), (name("large"), 1, 2)]
    );
    let feature = AgentDimension::Attribute("feature".to_owned());
    assert_eq!(parts(feature, all()).await, [(name("refunds"), 2, 21), (name("orders"), 1, 2)]);
    assert_eq!(parts(AgentDimension::Operation, all()).await, [(name("refunds"), 2, 21), (name("orders"), 1, 2)]);
    assert_eq!(parts(AgentDimension::Day, all()).await, [(name("2024-10-04"), 3, 23)]);
    assert_eq!(parts(AgentDimension::User, all()).await, [(None, 3, 23)]);
    let orders = Selection { attributes: [("feature".to_owned(), "orders".to_owned())].into(), ..all() };
    assert_eq!(parts(AgentDimension::Conversation, orders).await, [(name("c-orders"), 1, 2)]);

    let total: AgentCostRow = it.store.agent_cost(&all()).await.unwrap().unwrap();
    assert_eq!((total.traces, total.upstream_unknown), (3, 1));
    assert_eq!((total.calls, total.unpriced), (20.0, 10.0), "four times two models, and two more");
    assert_eq!((total.input_tokens, total.output_tokens, total.cached_tokens), (1000.0, 100.0, 400.0));
    let none = Selection { service: Some("nobody".to_owned()), ..all() };
    assert_eq!(it.store.agent_cost(&none).await.unwrap(), None);
}

async fn a_later_version_takes_back_what_the_earlier_had_spent(it: TestStore) {
    let first = spending(1, "refunds", Some(0.5), &[("small", CENT)]);
    let other = spending(2, "refunds", None, &[("small", CENT)]);
    it.store.record_traces(&[first.clone(), other], seconds(9)).await.unwrap();
    assert_eq!(spent(&it, FIRST_DAY, "feature=refunds").await, 3 * CENT);
    it.store.record_traces(&[first], seconds(9)).await.unwrap();
    assert_eq!(spent(&it, FIRST_DAY, "feature=refunds").await, 3 * CENT, "the same version again counts once");

    let mut second = spending(1, "orders", Some(0.5), &[("small", 4 * CENT)]);
    second.trace.version = 2;
    it.store.record_traces(&[second], seconds(10)).await.unwrap();
    assert_eq!(spent(&it, FIRST_DAY, "feature=refunds").await, CENT);
    assert_eq!(spent(&it, FIRST_DAY, "feature=orders").await, 8 * CENT);
    assert_eq!(it.store.dearest_traces(FIRST_DAY, "feature=orders", 5).await.unwrap(), [trace_id(1)]);
    let costs = it.store.agent_cost(&Selection::default()).await.unwrap().unwrap();
    assert_eq!((costs.traces, costs.cost), (2, 9.0 * CENT as f64));
}

async fn a_charge_belongs_to_the_day_on_which_the_run_ended(it: TestStore) {
    let mut late = spending(1, "refunds", None, &[("small", CENT)]);
    late.trace.ended_at = seconds(DAY - 1);
    let mut early = spending(2, "refunds", None, &[("small", CENT)]);
    early.trace.ended_at = seconds(DAY);
    it.store.record_traces(&[late, early], seconds(DAY + 9)).await.unwrap();
    assert_eq!(
        [spent(&it, FIRST_DAY, "feature=refunds").await, spent(&it, FIRST_DAY + 1, "feature=refunds").await],
        [CENT, CENT]
    );
}

async fn hostile_sums_stop_short_of_overflowing(it: TestStore) {
    let most = 1_000_000_000_000_000;
    let mut traces: Vec<RecordedTrace> =
        (1..=40).map(|number| spending(number, "x", Some(1e-9), &[("m\0", most)])).collect();
    let tokens = 1_000_000_000_000;
    for trace in &mut traces {
        trace.usage.models.values_mut().for_each(|model| model.input_tokens = tokens);
        trace.budgets.insert("y".repeat(9_000));
    }
    it.store.record_traces(&traces, seconds(9)).await.unwrap();
    assert_eq!(spent(&it, FIRST_DAY, "feature=x").await, 40 * most);
    let cost = it.store.agent_cost(&Selection::default()).await.unwrap().unwrap();
    assert!((cost.cost / (40.0 * 1e9 * most as f64) - 1.0).abs() < 1e-9, "{cost:?}");
}

async fn tools_are_ranked_by_failures_and_conversations_by_tool_calls(it: TestStore) {
    let tool = |calls, failed, empty| ToolUsage { calls, failed, empty };
    let mut first = spending(1, "refunds", Some(0.5), &[]);
    first.usage.tools = [("find".to_owned(), tool(5, 1, 2)), ("pay".to_owned(), tool(2, 2, 0))].into();
    let mut second = spending(2, "orders", Some(1.0), &[]);
    second.usage.tools = [("find".to_owned(), tool(9, 1, 0))].into();
    it.store.record_traces(&[first, second], seconds(9)).await.unwrap();
    let tools = it.store.failing_tools(&Selection::default(), 10).await.unwrap();
    let found: Vec<_> = tools.iter().map(|it| (it.tool.as_str(), it.traces, it.calls, it.failed, it.empty)).collect();
    assert_eq!(found, [("pay", 1, 4.0, 4.0, 0.0), ("find", 2, 19.0, 3.0, 4.0)]);
    let conversations = it.store.busiest_conversations(&Selection::default(), 1).await.unwrap();
    let busiest = &conversations[0];
    assert_eq!((conversations.len(), busiest.conversation.as_str(), busiest.tool_calls), (1, "c-orders", 9));
}

async fn traces_are_found_by_what_an_evaluator_said(it: TestStore) {
    let mut traces = [plain(1), plain(2), plain(3)];
    traces[0].evaluations = vec![stored_evaluation(trace_id(1), "loop", Some(0.0))];
    traces[1].evaluations = vec![stored_evaluation(trace_id(2), "tone", Some(0.0))];
    traces[2].evaluations = vec![stored_evaluation(trace_id(3), "loop", Some(1.0))];
    it.store.record_traces(&traces, seconds(9)).await.unwrap();
    let found = async |evaluator: Option<&str>, label: &str| -> Vec<_> {
        let verdict = Some(Verdict { evaluator: evaluator.map(str::to_owned), label: label.to_owned() });
        let selection = Selection { verdict, ..Selection::default() };
        let mut found: Vec<_> =
            it.store.search(&selection, 10).await.unwrap().into_iter().map(|trace| trace.trace_id).collect();
        found.sort();
        found
    };
    assert_eq!(found(None, "fail").await, [trace_id(1), trace_id(2)]);
    assert_eq!(found(Some("loop"), "fail").await, [trace_id(1)]);
    assert_eq!(found(Some("loop"), "'; DROP TABLE trace; --").await, []);
}
