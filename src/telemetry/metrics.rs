//! Every metric of the service in one place, in OpenMetrics.
//!
//! Counters are written where the thing happens; gauges are read from the store when someone asks, so that a restart
//! or a second process shows the same.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::agents::AgentMetrics;

/// Media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name { $($(#[$field_doc])* pub $field: String),* }
    };
}

labels!(
    /// How a trace came in.
    Transport {
        /// `otlp_http`, `otlp_grpc` or `rabbitmq`.
        transport
    }
);
labels!(
    /// What became of an evaluation.
    EvaluationLabels {
        /// Name of the evaluator.
        evaluator,
        /// Outcome, as in rows.
        outcome
    }
);
labels!(
    /// How a call ended.
    CallLabels {
        /// Whom it went to: a judge model's or a destination's name.
        to,
        /// `ok`, `retry` or `failed`.
        result
    }
);
labels!(
    /// A judge model.
    JudgeModelLabels {
        /// Its name in the settings.
        to
    }
);
labels!(
    /// How a judge answered a control question.
    ControlLabels {
        /// Name of the judge.
        evaluator,
        /// Its revision.
        revision,
        /// `caught` or `missed`.
        result
    }
);
labels!(
    /// Tokens of judge calls.
    TokenLabels {
        /// A judge model's name.
        to,
        /// `input` or `output`.
        direction
    }
);
labels!(
    /// One of the queues in the store.
    QueueLabels {
        /// `pending`, `due`, `judge` or `outbox`.
        queue
    }
);
labels!(
    /// Something that always holds.
    InvariantLabels {
        /// Its name.
        invariant
    }
);
labels!(
    /// How loud an alert is.
    SeverityLabels {
        /// `info`, `warn` or `page`.
        severity
    }
);

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    /// Those whose names have no prefix of ours.
    plain: Registry,
    /// What agents do.
    pub agents: AgentMetrics,
    /// Pieces of traces that were stored.
    pub received: Family<Transport, Counter>,
    /// Spans and messages that were refused because they cannot be read.
    pub rejected: Family<Transport, Counter>,
    /// Log records that belong to no span, or are our own evaluations: they are accepted and not kept.
    pub ignored_log_records: Counter,
    /// Scores of other tools and people that were received, repeats included.
    pub external_scores: Counter,
    /// Requests answered "come back later".
    pub turned_away: Counter,
    /// Pieces that came after their trace's body was gone.
    pub too_late: Counter,
    /// Pieces that were not kept because their trace is too large.
    pub truncated_pieces: Counter,
    /// Traces evaluated by rules.
    pub evaluated: Counter,
    /// Evaluated traces of which only the first and the last pieces were read.
    pub truncated: Counter,
    /// Traces dropped because nothing but log records came of them.
    pub spanless: Counter,
    /// Traces whose evaluation failed and is tried again.
    pub evaluation_errors: Counter,
    /// Evaluations by evaluator and outcome.
    pub evaluations: Family<EvaluationLabels, Counter>,
    /// Traces whose agent version was one new version too many of its day.
    pub agent_versions_refused: Counter,
    /// Calls to judge models.
    pub judge_calls: Family<CallLabels, Counter>,
    /// Tokens of judge calls, as far as providers say.
    pub judge_tokens: Family<TokenLabels, Counter>,
    /// Judge models that are not asked because they do not answer: 1, else 0.
    pub judge_breaker_open: Family<JudgeModelLabels, Gauge>,
    /// Judgements that were known from the same question.
    pub judge_cache_hits: Counter,
    /// What was taken out of what was received.
    pub redacted: Counter,
    /// Judgements whose answer held no verdict, also when it was asked for again.
    pub judge_unreadable: Counter,
    /// Answers of judges to control questions, whose right answer is NO.
    pub judge_controls: Family<ControlLabels, Counter>,
    /// What judge calls cost, as far as prices are configured, in US dollars.
    pub judge_usd: Counter<f64, std::sync::atomic::AtomicU64>,
    /// Time from sending a question to a judge model to its answer.
    pub judge_seconds: Histogram,
    /// Deliveries from the outbox.
    pub deliveries: Family<CallLabels, Counter>,
    /// Hours that the detectors have consumed.
    pub hours_watched: Counter,
    /// Alerts raised, by severity.
    pub alerts_raised: Family<SeverityLabels, Counter>,
    /// Times that something did not hold which always does: mistakes of the program.
    pub invariant_violations: Family<InvariantLabels, Counter>,
    /// Work that waits, by queue; set it from the store before [`Metrics::encode`].
    pub queue_depth: Family<QueueLabels, Gauge>,
    /// Alerts that are open, by severity; set it from the store before [`Metrics::encode`].
    pub alerts_open: Family<SeverityLabels, Gauge>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("driftline"),
            plain: Registry::default(),
            agents: AgentMetrics::default(),
            received: Family::default(),
            rejected: Family::default(),
            ignored_log_records: Counter::default(),
            external_scores: Counter::default(),
            turned_away: Counter::default(),
            too_late: Counter::default(),
            truncated_pieces: Counter::default(),
            evaluated: Counter::default(),
            truncated: Counter::default(),
            spanless: Counter::default(),
            evaluation_errors: Counter::default(),
            evaluations: Family::default(),
            agent_versions_refused: Counter::default(),
            judge_calls: Family::default(),
            judge_tokens: Family::default(),
            judge_breaker_open: Family::default(),
            judge_cache_hits: Counter::default(),
            redacted: Counter::default(),
            judge_unreadable: Counter::default(),
            judge_controls: Family::default(),
            judge_usd: Counter::default(),
            judge_seconds: Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]),
            deliveries: Family::default(),
            hours_watched: Counter::default(),
            alerts_raised: Family::default(),
            invariant_violations: Family::default(),
            queue_depth: Family::default(),
            alerts_open: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("received_pieces", "Pieces of traces that were stored", self.received.clone());
        registry.register("rejected", "Spans, log records and messages that cannot be read", self.rejected.clone());
        let ignored = self.ignored_log_records.clone();
        registry.register("ignored_log_records", "Log records that belong to no span, or are our own", ignored);
        registry.register("external_scores", "Scores of others that were received", self.external_scores.clone());
        registry.register("turned_away", "Requests answered 429 or UNAVAILABLE", self.turned_away.clone());
        registry.register("too_late_pieces", "Pieces whose trace's body was gone", self.too_late.clone());
        let (help, left_out) = ("Pieces whose trace is too large to be kept whole", self.truncated_pieces.clone());
        registry.register("truncated_pieces", help, left_out);
        registry.register("evaluated_traces", "Traces evaluated by rules", self.evaluated.clone());
        registry.register("truncated_traces", "Traces too large to be read whole", self.truncated.clone());
        registry.register("spanless_traces", "Traces dropped without a span", self.spanless.clone());
        registry.register("evaluation_errors", "Evaluations that are tried again", self.evaluation_errors.clone());
        registry.register("evaluations", "Evaluations by evaluator and outcome", self.evaluations.clone());
        let (help, refused) = ("Traces whose agent version was one too many", self.agent_versions_refused.clone());
        registry.register("agent_versions_refused", help, refused);
        registry.register("judge_calls", "Calls to judge models", self.judge_calls.clone());
        registry.register("judge_tokens", "Tokens of judge calls", self.judge_tokens.clone());
        let (help, open) = ("Whether a judge model is left alone", self.judge_breaker_open.clone());
        registry.register("judge_breaker_open", help, open);
        registry.register("redacted", "Findings and attributes taken out before storing", self.redacted.clone());
        registry.register("judge_cache_hits", "Judgements known from before", self.judge_cache_hits.clone());
        registry.register("judge_unreadable", "Judgements without a verdict", self.judge_unreadable.clone());
        let (help, controls) = ("Answers of judges to control questions", self.judge_controls.clone());
        registry.register("judge_controls", help, controls);
        registry.register("judge_cost_usd", "Cost of judge calls in US dollars", self.judge_usd.clone());
        let (help, seconds) = ("Time to a judge model's answer", self.judge_seconds.clone());
        registry.register_with_unit("judge_call", help, Unit::Seconds, seconds);
        registry.register("deliveries", "Deliveries from the outbox", self.deliveries.clone());
        registry.register("hours_watched", "Hours the detectors have consumed", self.hours_watched.clone());
        registry.register("alerts_raised", "Alerts raised", self.alerts_raised.clone());
        let (help, violations) = ("Times that an invariant did not hold", self.invariant_violations.clone());
        registry.register("invariant_violations", help, violations);
        registry.register("queue_depth", "Work that waits in the store", self.queue_depth.clone());
        registry.register("alerts_open", "Alerts that are open", self.alerts_open.clone());
        self.agents.register(&mut self.plain, registry);
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registries = [&self.registry, &self.plain];
        // Writing to a string cannot fail.
        let written = registries.into_iter().try_for_each(|registry| encode_registry(&mut text, registry));
        let _infallible = written.and_then(|()| encode_eof(&mut text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_end_in_total_and_the_text_ends_as_openmetrics_asks() {
        let metrics = Metrics::default();
        metrics.received.get_or_create(&Transport { transport: "otlp_http".to_owned() }).inc();
        let text = metrics.encode();
        assert!(text.contains("driftline_received_pieces_total{transport=\"otlp_http\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
