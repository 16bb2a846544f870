//! What a value must be beyond its type.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Settings;
use crate::domain::measurement::SeriesKind;
use crate::evaluate::measure::SERIES;
use crate::evaluate::redaction::Redactor;
use crate::watch::rules::Objective;

/// Times are kept in nanoseconds of 64 bits: ten years either way leave room to count with them.
const LONGEST: Duration = Duration::from_hours(24 * 3650);
/// A day, and what is still under way when it ends.
const SHORTEST_LEDGER: Duration = Duration::from_hours(48);
/// The store is asked at every one.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// People and machines are told at every one.
const SHORTEST_REMINDER: Duration = Duration::from_secs(1);

/// What waits for a lock holds one, and who asks whether the service is ready needs another. The upper end is more than any
/// server has for one process.
const STORE_CONNECTIONS: RangeInclusive<u32> = 2..=1_000;

/// A round of anchors costs money.
const SHORTEST_ROUND: Duration = Duration::from_mins(1);

/// A value out of its range: `key: remedy`.
#[derive(Debug)]
pub(super) struct Problem {
    path: String,
    remedy: &'static str,
}

impl Problem {
    /// The key within its table.
    pub(super) fn key(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.remedy)
    }
}

/// Every value that is out of its range.
pub(super) fn problems(settings: &Settings) -> Vec<Problem> {
    let mut problems = addresses(settings);
    problems.extend(amounts(settings));
    problems.extend(rates(settings));
    problems.extend(durations(settings));
    problems.extend(money(settings));
    problems.extend(redaction(settings));
    problems
}

fn redaction(settings: &Settings) -> Vec<Problem> {
    let redaction = &settings.redaction;
    let detectors = Redactor::new(&redaction.detect, &BTreeMap::new()).is_ok();
    let pattern = |(name, pattern): (&String, &String)| {
        let alone = BTreeMap::from([(name.clone(), pattern.clone())]);
        let remedy = "write a regular expression (crate regex) that asks for something";
        require(Redactor::new(&[], &alone).is_ok(), format!("redaction.patterns.{name}"), remedy)
    };
    let names = "name detectors of the table in evaluators/README.md, such as payment_card";
    let detectors = require(detectors, "redaction.detect", names);
    detectors.into_iter().chain(redaction.patterns.iter().filter_map(pattern)).collect()
}

/// Below this share of healthy traces, judges see too few of them.
const LEAST_HEALTHY_RATE: f64 = 0.01;

/// What may be meant and seldom is, each as a sentence.
pub(super) fn doubts(settings: &Settings) -> Vec<String> {
    let services = settings.sampling.services.iter();
    let of_services =
        services.filter_map(|(name, of)| Some((format!("services.{name}.healthy_rate"), of.healthy_rate?)));
    let rates = [("healthy_rate".to_owned(), settings.sampling.healthy_rate)].into_iter().chain(of_services);
    let is_low = |(_, rate): &(String, f64)| *rate < LEAST_HEALTHY_RATE;
    let doubt = |(key, rate): (String, f64)| {
        format!(
            "sampling.{key} is {rate}: judges see all failed traces and one healthy trace of {:.0}, so that what they \
             score in an hour of fewer rests on failures alone; {LEAST_HEALTHY_RATE} or more keeps their series usable",
            1.0 / rate
        )
    };
    rates.filter(is_low).map(doubt).collect()
}

fn require(holds: bool, path: impl Into<String>, remedy: &'static str) -> Option<Problem> {
    (!holds).then(|| Problem { path: path.into(), remedy })
}

fn addresses(settings: &Settings) -> Vec<Problem> {
    let store = ["sqlite://", "postgres://", "postgresql://"];
    let is_stored = store.iter().any(|scheme| settings.store.url.starts_with(scheme));
    let queue = settings.queue.url.as_str();
    let is_queue = queue == "embedded" || queue.starts_with("amqp://") || queue.starts_with("amqps://");
    let is_unencrypted = queue.starts_with("amqp://") && queue.contains("cacertfile=");
    let bucket = settings.archive.directory.strip_prefix("s3://");
    let is_named = bucket.is_none_or(|bucket| !bucket.is_empty() && !bucket.starts_with('/'));
    let problems = [
        require(is_stored, "store.url", "write sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE"),
        require(is_queue, "queue.url", "write \"embedded\" or amqp://USER:PASSWORD@HOST:5672/%2f"),
        require(!is_unencrypted, "queue.url", "cacertfile checks a broker that is spoken to over TLS: write amqps://"),
        require(is_named, "archive.directory", "name the bucket: s3://BUCKET/PREFIX"),
    ];
    problems.into_iter().flatten().collect()
}

fn amounts(settings: &Settings) -> Vec<Problem> {
    let budget = settings.alerts.budget_per_30_days;
    let least = "at least 1";
    let has_connections = STORE_CONNECTIONS.contains(&settings.store.connections);
    let problems = [
        require(has_connections, "store.connections", "at least 2, at most 1000"),
        require(settings.queue.prefetch > 0, "queue.prefetch", least),
        require(settings.queue.attempts > 0, "queue.attempts", least),
        require(settings.queue.max_waiting > 0, "queue.max_waiting", least),
        require(settings.queue.max_message_mib > 0, "queue.max_message_mib", least),
        require(settings.receive.max_body_mib > 0, "receive.max_body_mib", least),
        require(settings.receive.max_waiting_mib > 0, "receive.max_waiting_mib", least),
        require(settings.complete.max_trace_mib > 0, "complete.max_trace_mib", least),
        require(settings.judge.attempts > 0, "judge.attempts", least),
        require(budget > 0.0 && budget.is_finite(), "alerts.budget_per_30_days", "more than 0"),
    ];
    let models = settings.judge.models.iter();
    let idle = models.filter_map(|(name, model)| require(model.concurrency > 0, model_key(name, "concurrency"), least));
    problems.into_iter().flatten().chain(idle).chain(prices(settings)).chain(limits(settings)).collect()
}

/// Limits of the rules that alert.
fn limits(settings: &Settings) -> impl Iterator<Item = Problem> {
    let alerts = &settings.alerts;
    let pace = require(alerts.tokens_per_second > 0.0, "alerts.tokens_per_second", "more than 0; inf for no limit");
    let dollars = |(service, usd): (&String, &f64)| {
        require(*usd > 0.0, format!("alerts.daily_cost_usd.{service}"), "dollars, more than 0; inf for no limit")
    };
    let is_number = |series: &str| SERIES.iter().any(|of| of.name == series && of.kind != SeriesKind::Boolean);
    let good_or_bad = move |objective: &Objective| {
        let has_both = objective.has_limit() || !is_number(objective.series());
        require(has_both, "slo.series", "its values are neither good nor bad; write latency, run_error or an evaluator")
    };
    let costs = alerts.daily_cost_usd.iter().filter_map(dollars);
    pace.into_iter().chain(costs).chain(settings.slo.iter().filter_map(good_or_bad))
}

fn prices(settings: &Settings) -> impl Iterator<Item = Problem> {
    let is_amount = |amount: f64| amount.is_finite() && amount >= 0.0;
    let amounts = settings.prices.amounts();
    amounts
        .filter_map(move |(name, key, amount)| require(is_amount(amount), format!("prices.{name}.{key}"), "at least 0"))
}

fn rates(settings: &Settings) -> Vec<Problem> {
    let check = |path: String, rate: f64| require(rate > 0.0 && rate <= 1.0, path, "more than 0, at most 1");
    let services = settings.sampling.services.iter();
    let of_services =
        services.filter_map(|(name, of)| check(format!("sampling.services.{name}.healthy_rate"), of.healthy_rate?));
    let always = [
        check("sampling.healthy_rate".to_owned(), settings.sampling.healthy_rate),
        check("review.audit_rate".to_owned(), settings.review.audit_rate),
        check("review.audit_failing_rate".to_owned(), settings.review.audit_failing_rate),
    ];
    always.into_iter().flatten().chain(of_services).collect()
}

fn money(settings: &Settings) -> Vec<Problem> {
    let budget = &settings.judge.budget;
    let dollars = |path: String, usd: f64| require(usd >= 0.0, path, "dollars, 0 or more; inf for no limit");
    let share = |key: &str, share: f64| require((0.0..=1.0).contains(&share), format!("judge.budget.{key}"), "0 to 1");
    let is_rate = budget.floor_rate > 0.0 && budget.floor_rate <= 1.0;
    let problems = [
        dollars("judge.budget.daily_usd".to_owned(), budget.daily_usd),
        share("full_rate_until", budget.full_rate_until),
        share("reserve", budget.reserve),
        require(is_rate, "judge.budget.floor_rate", "more than 0, at most 1"),
        require((0.0..=1.0).contains(&settings.judge.control_share), "judge.control_share", "0 to 1"),
    ];
    let services = budget.services.iter();
    let of_services = services.filter_map(|(name, usd)| dollars(format!("judge.budget.services.{name}"), *usd));
    let is_amount = |usd: f64| usd >= 0.0 && usd.is_finite();
    let agents = settings.budget.0.iter();
    let of_agents = agents.filter_map(|of| require(is_amount(of.daily_usd), "budget.daily_usd", "dollars, 0 or more"));
    problems.into_iter().flatten().chain(of_services).chain(of_agents).collect()
}

fn durations(settings: &Settings) -> Vec<Problem> {
    let (complete, watch) = (&settings.complete, &settings.watch);
    let mut durations = vec![
        ("service.drain".to_owned(), settings.service.drain),
        ("queue.retry_delay".to_owned(), settings.queue.retry_delay),
        ("complete.root_grace".to_owned(), complete.root_grace),
        ("complete.quiet_period".to_owned(), complete.quiet_period),
        ("complete.max_age".to_owned(), complete.max_age),
        ("complete.late_window".to_owned(), complete.late_window),
        ("sampling.slow_threshold".to_owned(), settings.sampling.slow_threshold),
        ("retention.traces".to_owned(), settings.retention.traces),
        ("retention.records".to_owned(), settings.retention.records),
        ("retention.judge_requests".to_owned(), settings.retention.judge_requests),
        ("retention.alert_steps".to_owned(), settings.retention.alert_steps),
        ("archive.keep".to_owned(), settings.archive.keep),
        ("judge.give_up_after".to_owned(), settings.judge.give_up_after),
        ("judge.remember".to_owned(), settings.judge.remember),
        ("review.window".to_owned(), settings.review.window),
        ("review.anchor_interval".to_owned(), settings.review.anchor_interval),
        ("watch.interval".to_owned(), watch.interval),
        ("watch.lateness".to_owned(), watch.lateness),
        ("alerts.remind_after".to_owned(), settings.alerts.remind_after),
        ("alerts.no_data_after".to_owned(), settings.alerts.no_data_after),
    ];
    durations.extend(settings.judge.models.iter().map(|(name, model)| (model_key(name, "timeout"), model.timeout)));
    durations.extend(
        settings
            .sampling
            .services
            .iter()
            .filter_map(|(name, of)| Some((format!("sampling.services.{name}.slow_threshold"), of.slow_threshold?))),
    );
    let reminders = settings.alerts.channels.iter().filter_map(|channel| channel.remind_after);
    let repeated = reminders.clone().chain([settings.alerts.remind_after]).all(|after| after >= SHORTEST_REMINDER);
    durations.extend(reminders.map(|after| ("alerts.channels.remind_after".to_owned(), after)));
    let reminder = require(repeated, "alerts.channels.remind_after", "at least \"1s\"");
    let too_long = durations.into_iter().filter_map(|(path, of)| require(of <= LONGEST, path, "at most \"3650d\""));
    let interval = require(watch.interval >= SHORTEST_INTERVAL, "watch.interval", "at least \"100ms\"");
    let anchors =
        require(settings.review.anchor_interval >= SHORTEST_ROUND, "review.anchor_interval", "at least \"1m\"");
    // The ledger of a day is what its budget is counted from.
    let ledger = settings.retention.judge_requests >= SHORTEST_LEDGER;
    let ledger = require(ledger, "retention.judge_requests", "at least \"2d\"");
    interval.into_iter().chain(reminder).chain(anchors).chain(ledger).chain(too_long).collect()
}

fn model_key(name: &str, key: &str) -> String {
    format!("judge.models.{name}.{key}")
}
