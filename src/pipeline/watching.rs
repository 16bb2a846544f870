//! Compares each hour of each service with the baseline, once, and raises and resolves alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Shared;
use super::notify::{firing, told, webhook_item};
use crate::backends::store::{AlertFilter, HourCommit, NewOutboxItem, Selection, StoreError};
use crate::domain::alert::Alert;
use crate::domain::time::Timestamp;
use crate::telemetry::metrics::SeverityLabels;
use crate::watch::alerts::{StreamSignal, advance};
use crate::watch::baseline::Baseline;
use crate::watch::detect::StreamState;
use crate::watch::key::SeriesKey;
use crate::watch::watched::Epoch;

const HOUR: Duration = Duration::from_hours(1);
/// Hours in the thirty days that the alert budget is stated for.
const HOURS_PER_BUDGET: f64 = 720.0;
/// How long an hour waits for judgements before it is consumed without them.
const JUDGEMENT_PATIENCE: Duration = Duration::from_hours(1);

/// How hours are watched.
#[derive(Debug, Clone)]
pub struct Watching {
    /// How often closed hours are looked for.
    pub interval: Duration,
    /// How long after its end an hour is consumed.
    pub lateness: Duration,
    /// Name of the baseline.
    pub baseline: String,
    /// False alarms tolerated in thirty days, over everything that is watched.
    pub budget_per_30_days: f64,
    /// Whether a webhook hears of alerts.
    pub has_webhook: bool,
    /// Where traces are shown, with `{trace_id}`; or empty.
    pub trace_link: String,
}

/// Watches until the process is to end.
pub async fn watch(shared: Shared, watching: Watching) {
    while !shared.is_stopping() {
        let step = watching.step(&shared).await;
        shared.rest("watch", watching.interval, step).await;
    }
}

/// What the detectors of a service remember.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Detectors {
    /// The baseline they compare with; another one starts them afresh.
    baseline: String,
    /// One for each series of the service.
    streams: BTreeMap<SeriesKey, StreamState>,
}

impl Watching {
    /// Consumes every hour that is ripe; whether there was one.
    ///
    /// # Errors
    /// The store failed; hours that were consumed stay so.
    pub async fn step(&self, shared: &Shared) -> Result<bool, StoreError> {
        let now = shared.now();
        let Some(baseline) = self.load(shared).await? else { return Ok(false) };
        let hours = shared.store.unwatched_hours(now.minus(self.lateness)).await?;
        let (mut consumed, mut waiting) = (false, BTreeSet::new());
        for (service, hour) in hours {
            // A service's hours are consumed in order: behind one that waits, the later ones wait too.
            if shared.is_stopping() || waiting.contains(&service) {
                continue;
            }
            if self.is_ripe(shared, &service, hour, now).await? {
                consumed |= self.consume(shared, &baseline, &service, hour).await?;
            } else {
                waiting.insert(service);
            }
        }
        Ok(consumed)
    }

    async fn load(&self, shared: &Shared) -> Result<Option<Baseline>, StoreError> {
        let Some(json) = shared.store.baseline(&self.baseline).await? else { return Ok(None) };
        match serde_json::from_str(&json) {
            Ok(baseline) => Ok(Some(baseline)),
            Err(error) => {
                tracing::error!(baseline = self.baseline, %error, "baseline cannot be read; nothing is watched");
                Ok(None)
            }
        }
    }

    /// Whether the judgements of the hour are in, or late enough to go without them.
    async fn is_ripe(
        &self,
        shared: &Shared,
        service: &str,
        hour: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let end = hour.plus(HOUR);
        let is_overdue = now > end.plus(self.lateness).plus(JUDGEMENT_PATIENCE);
        Ok(is_overdue || shared.store.pending_judge_jobs_before(service, end).await? == 0)
    }

    /// Whether the hour is consumed now; another process may have been faster.
    async fn consume(
        &self,
        shared: &Shared,
        baseline: &Baseline,
        service: &str,
        hour: Timestamp,
    ) -> Result<bool, StoreError> {
        let records = shared.store.records(&Selection::of_hour(service, hour)).await?;
        let window = Baseline::from_records("", hour, "", &records);
        let previous_state = shared.store.detector_state(service).await?;
        let mut detectors = detectors(previous_state.as_deref(), baseline);
        // What the baseline was made from, and what came before it, cannot have moved away from it.
        let is_after_baseline = hour > baseline.ended_between.1.min(baseline.created_at).hour();
        let signals =
            if is_after_baseline { self.observe(&mut detectors, &window, baseline, service, hour) } else { vec![] };
        let filter = AlertFilter { open_only: true, service: Some(service.to_owned()) };
        let open = shared.store.alerts(&filter).await?;
        let changes = advance(&open, &signals);
        let news = told(&changes, &open);
        let commit = HourCommit {
            service: service.to_owned(),
            hour,
            traces: window.traces,
            previous_state,
            detector_state: json(&detectors),
            summary: json(&window.series),
            alerts: changes.iter().map(|change| firing(change.alert())).collect(),
            outbox: self.messages(&news),
        };
        let is_first = shared.store.commit_hour(&commit, shared.now()).await?;
        if is_first {
            shared.metrics.hours_watched.inc();
            announce(shared, &news);
        }
        Ok(is_first)
    }

    fn observe(
        &self,
        detectors: &mut Detectors,
        window: &Baseline,
        baseline: &Baseline,
        service: &str,
        hour: Timestamp,
    ) -> Vec<StreamSignal> {
        let epoch = Epoch::of(baseline, &BTreeSet::new(), self.budget_per_30_days, HOURS_PER_BUDGET);
        let mut signals = Vec::new();
        for (key, watched) in epoch.streams_of(service) {
            let Some(now) = window.series.get(key) else { continue };
            let stream = detectors.streams.entry(key.clone()).or_default();
            let at = hour.plus(HOUR);
            let found = stream.observe(hour, now, &watched);
            signals.extend(found.into_iter().map(|signal| StreamSignal { key: key.clone(), at, signal }));
        }
        signals
    }

    fn messages(&self, news: &[Alert]) -> Vec<NewOutboxItem> {
        if !self.has_webhook {
            return Vec::new();
        }
        news.iter().filter_map(|alert| webhook_item(alert, &self.trace_link)).collect()
    }
}

/// The detectors as they were left, or new ones when the baseline is another.
fn detectors(state: Option<&str>, baseline: &Baseline) -> Detectors {
    let identity = format!("{}@{}", baseline.name, baseline.created_at.0);
    let kept: Option<Detectors> = state.and_then(|state| serde_json::from_str(state).ok());
    kept.filter(|detectors| detectors.baseline == identity)
        .unwrap_or_else(|| Detectors { baseline: identity, streams: BTreeMap::new() })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

/// Tells of alerts in the log and in the metrics; one that got louder counts again at its new severity.
fn announce(shared: &Shared, news: &[Alert]) {
    for alert in news {
        let Alert { fingerprint, service, series, severity, summary, .. } = alert;
        if alert.state.is_open() {
            tracing::warn!(fingerprint, service, series, ?severity, summary, "alert is firing");
            let labels = SeverityLabels { severity: format!("{severity:?}").to_lowercase() };
            shared.metrics.alerts_raised.get_or_create(&labels).inc();
        } else {
            tracing::info!(fingerprint, service, series, summary, "alert is resolved");
        }
    }
}
