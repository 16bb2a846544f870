//! What agents do, under the names that dashboards for AI services already use: without a prefix of ours.
//!
//! What is counted here is counted by this process when a trace is first evaluated, and links to that trace by an
//! exemplar. Shares and estimates are of the whole fleet, weighted by sampling, and read from the store.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::{CounterWithExemplar, HistogramWithExemplars};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What stands for the values of a label beyond those that have a place of their own.
pub const OTHER: &str = "other";
/// Values of one label of requests that have a place of their own, first come first served.
const MOST_VALUES: usize = 50;
/// Longest value of a label, in bytes.
const LONGEST_VALUE: usize = 100;
/// Series and services that are published.
const MOST_SERIES: usize = 1_000;
/// Upper ends in seconds, as the GenAI semantic conventions advise for the duration of operations.
const SECONDS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// One request of an agent to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRequest {
    /// The model.
    pub model: String,
    /// What the agent was doing: the feature, else the agent's name.
    pub operation: String,
    /// Tier of the user.
    pub user_tier: String,
    /// Tokens in and out; 0 where the span does not say.
    pub tokens: u64,
    /// Price in US dollars.
    pub cost_usd: Option<f64>,
    /// How long it took; absent where clocks are invented.
    pub seconds: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    operation: String,
    user_tier: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    model: String,
    operation: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Exemplar {
    trace_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SeriesLabels {
    service: String,
    series: String,
}

/// A series of one service in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesEstimate {
    /// `service.name`.
    pub service: String,
    /// The series.
    pub series: String,
    /// Weighted mean, or share true.
    pub estimate: f64,
    /// Lower and upper end of its 95 % interval, where there is one.
    pub interval: Option<(f64, f64)>,
    /// Traces behind it.
    pub traces: u64,
}

/// What is left of an error budget.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetLeft {
    /// `service.name`.
    pub service: String,
    /// The objective in words.
    pub objective: String,
    /// The share of it; negative when the objective is missed.
    pub remaining: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectiveLabels {
    service: String,
    objective: String,
}

/// Shares of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceShares {
    /// `service.name`.
    pub service: String,
    /// Share of tool calls that did not succeed.
    pub tool_errors: Option<f64>,
    /// Share of runs that completed their task.
    pub completed: Option<f64>,
}

type FloatGauge = Gauge<f64, AtomicU64>;

/// Given back when it is dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The metrics about agents.
#[derive(Debug, Default)]
pub struct AgentMetrics {
    tokens: Family<RequestLabels, CounterWithExemplar<Exemplar>>,
    cost: Family<RequestLabels, Counter<f64, AtomicU64>>,
    seconds: Durations,
    tool_error_rate: Family<ServiceLabels, FloatGauge>,
    task_completion_rate: Family<ServiceLabels, FloatGauge>,
    estimate: Family<SeriesLabels, FloatGauge>,
    low: Family<SeriesLabels, FloatGauge>,
    high: Family<SeriesLabels, FloatGauge>,
    traces: Family<SeriesLabels, Gauge>,
    error_budget: Family<ObjectiveLabels, FloatGauge>,
    published_at: AtomicI64,
    /// Whether somebody works out what is to be published.
    is_estimating: AtomicBool,
    models: Values,
    operations: Values,
    tiers: Values,
}

/// Histograms of seconds.
#[derive(Debug)]
struct Durations(Family<DurationLabels, Duration, fn() -> Duration>);

type Duration = HistogramWithExemplars<Exemplar>;

impl Default for Durations {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Duration::new(SECONDS.into_iter())))
    }
}

/// The values that a label has had.
#[derive(Debug, Default)]
struct Values(Mutex<HashSet<String>>);

impl Values {
    /// The value, or [`OTHER`] when there is no place for it: names come from traces, and could be made up without end.
    fn bounded(&self, value: &str) -> String {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if value.len() > LONGEST_VALUE || (seen.len() >= MOST_VALUES && !seen.contains(value)) {
            return OTHER.to_owned();
        }
        if !seen.contains(value) {
            seen.insert(value.to_owned());
        }
        value.to_owned()
    }
}

impl AgentMetrics {
    /// Puts the metrics into a registry without a prefix, and those of series into one with ours.
    pub(super) fn register(&self, plain: &mut Registry, own: &mut Registry) {
        plain.register("ai_tokens", "Tokens of requests to models, in and out", self.tokens.clone());
        let help = "Time of requests to models";
        plain.register_with_unit("ai_request_duration", help, Unit::Seconds, self.seconds.0.clone());
        plain.register("agent_token_cost", "Price of requests to models in US dollars", self.cost.clone());
        let help = "Share of tool calls that did not succeed, of recent runs";
        plain.register("agent_tool_error_rate", help, self.tool_error_rate.clone());
        let help = "Share of recent runs that completed their task: by the judge task_completion where it is on, else \
                    those that ended with an answer";
        plain.register("agent_task_completion_rate", help, self.task_completion_rate.clone());
        own.register("series_estimate", "Weighted mean or share of a series, of recent runs", self.estimate.clone());
        own.register("series_estimate_low", "Lower end of its 95 % interval", self.low.clone());
        own.register("series_estimate_high", "Upper end of its 95 % interval", self.high.clone());
        own.register("series_traces", "Runs behind the estimate", self.traces.clone());
        let help = "Share of the bad runs that an objective allows of the last thirty days that is left";
        own.register("error_budget_remaining", help, self.error_budget.clone());
    }

    /// Counts a request of a trace.
    pub fn count(&self, request: &ModelRequest, trace_id: &str) {
        let exemplar = || Some(Exemplar { trace_id: trace_id.to_owned() });
        let labels = RequestLabels {
            model: self.models.bounded(&request.model),
            operation: self.operations.bounded(&request.operation),
            user_tier: self.tiers.bounded(&request.user_tier),
        };
        if let Some(seconds) = request.seconds {
            let labels = DurationLabels { model: labels.model.clone(), operation: labels.operation.clone() };
            self.seconds.0.get_or_create(&labels).observe(seconds, exemplar(), None);
        }
        if let Some(usd) = request.cost_usd.filter(|usd| usd.is_finite() && *usd >= 0.0) {
            self.cost.get_or_create(&labels).inc_by(usd);
        }
        if request.tokens > 0 {
            self.tokens.get_or_create(&labels).inc_by(request.tokens, exemplar(), None);
        }
    }

    /// The turn to work out what is to be published; `None` while somebody has it.
    pub fn turn(&self) -> Option<Turn<'_>> {
        let was_taken = self.is_estimating.swap(true, Ordering::Acquire);
        (!was_taken).then(|| Turn(&self.is_estimating))
    }

    /// Whether something was published at or after an instant, in nanoseconds since the Unix epoch.
    pub fn is_published_since(&self, instant: i64) -> bool {
        self.published_at.load(Ordering::Relaxed) >= instant
    }

    /// Replaces what is published of error budgets.
    pub fn publish_budgets(&self, budgets: &[BudgetLeft]) {
        self.error_budget.clear();
        for BudgetLeft { service, objective, remaining } in budgets.iter().take(MOST_SERIES) {
            let labels = ObjectiveLabels { service: service.clone(), objective: objective.clone() };
            self.error_budget.get_or_create(&labels).set(*remaining);
        }
    }

    /// Replaces what is published of series and services, of so many at most, at an instant in nanoseconds since the
    /// Unix epoch. Nothing is no news: it is soon replaced.
    pub fn publish(&self, series: &[SeriesEstimate], services: &[ServiceShares], at: i64) {
        if !series.is_empty() {
            self.published_at.store(at, Ordering::Relaxed);
        }
        for family in [&self.estimate, &self.low, &self.high] {
            family.clear();
        }
        self.traces.clear();
        for of in series.iter().take(MOST_SERIES) {
            let labels = SeriesLabels { service: of.service.clone(), series: of.series.clone() };
            self.estimate.get_or_create(&labels).set(of.estimate);
            self.traces.get_or_create(&labels).set(i64::try_from(of.traces).unwrap_or(i64::MAX));
            if let Some((low, high)) = of.interval {
                self.low.get_or_create(&labels).set(low);
                self.high.get_or_create(&labels).set(high);
            }
        }
        let shares = [
            (&self.tool_error_rate, (|of| of.tool_errors) as fn(&ServiceShares) -> Option<f64>),
            (&self.task_completion_rate, |of| of.completed),
        ];
        for (family, share) in shares {
            family.clear();
            for of in services.iter().take(MOST_SERIES) {
                let labels = ServiceLabels { service: of.service.clone() };
                if let Some(share) = share(of) {
                    family.get_or_create(&labels).set(share);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn request(model: &str) -> ModelRequest {
        ModelRequest {
            model: model.to_owned(),
            operation: "support".to_owned(),
            user_tier: "free".to_owned(),
            tokens: 120,
            cost_usd: Some(0.25),
            seconds: Some(0.5),
        }
    }

    #[test]
    fn a_request_is_counted_under_the_names_of_others_and_links_to_its_trace() {
        let metrics = Metrics::default();
        metrics.agents.count(&request("m"), "00000000000000000000000000000abc");
        let text = metrics.encode();
        let labels = r#"model="m",operation="support""#;
        for expected in [
            format!(
                "ai_tokens_total{{{labels},user_tier=\"free\"}} 120 # {{trace_id=\"00000000000000000000000000000abc\"}}"
            ),
            format!("agent_token_cost_total{{{labels},user_tier=\"free\"}} 0.25"),
            format!("ai_request_duration_seconds_bucket{{le=\"0.64\",{labels}}} 1 # {{trace_id="),
        ] {
            assert!(text.contains(&format!("\n{expected}")), "{expected} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    }

    #[test]
    fn names_that_are_made_up_without_end_share_one_place() {
        let metrics = Metrics::default();
        for number in 0..1_000 {
            metrics.agents.count(&request(&format!("model-{number}")), "a");
        }
        metrics.agents.count(&request(&"x".repeat(LONGEST_VALUE + 1)), "a");
        let text = metrics.encode();
        let places = text.lines().filter(|line| line.starts_with("ai_tokens_total{"));
        assert_eq!(places.count(), MOST_VALUES + 1);
        assert!(
            text.contains("ai_tokens_total{model=\"other\",operation=\"support\",user_tier=\"free\"} 114120 "),
            "{text}"
        );
    }

    #[test]
    fn what_is_published_replaces_what_was() {
        let metrics = Metrics::default();
        let shares =
            |service: &str| ServiceShares { service: service.to_owned(), tool_errors: Some(0.125), completed: None };
        metrics.agents.publish(&[], &[shares("old")], 1);
        metrics.agents.publish(&[], &[shares("new")], 2);
        let text = metrics.encode();
        assert!(text.contains("\nagent_tool_error_rate{service=\"new\"} 0.125\n"), "{text}");
        assert!(!text.contains("\"old\"") && !text.contains("\nagent_task_completion_rate{"), "{text}");
    }
}
