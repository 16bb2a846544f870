//! Compares each hour of each service with the baseline, once, and raises and resolves alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Shared;
use super::crash_point::crash_point;
use super::leadership::Leadership;
use crate::backends::store::{AlertFilter, HourCommit, Selection, StoreError};
use crate::domain::time::Timestamp;
use crate::watch::alerts::{StreamSignal, advance, ended_with_their_baseline};
use crate::watch::baseline::Baseline;
use crate::watch::detect::{Finding, Signal, StreamState};
use crate::watch::explanation::explain;
use crate::watch::key::SeriesKey;
use crate::watch::rules::RuleState;
use crate::watch::summarize::Summarizer;
use crate::watch::summary::SeriesSummary;
use crate::watch::watched::Epoch;

const HOUR: Duration = Duration::from_hours(1);
/// Hours in the thirty days that the alert budget is stated for.
const HOURS_PER_BUDGET: f64 = 720.0;
/// How long an hour waits for judgements before it is consumed without them.
const JUDGEMENT_PATIENCE: Duration = Duration::from_hours(1);

/// How far back the hours of a change are joined to explain it.
const EXPLAINED: Duration = Duration::from_hours(24);

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
}

/// Watches until the process is to end.
pub async fn watch(shared: Shared, watching: Watching) {
    let mut leadership = Leadership::of("watch");
    while !shared.is_stopping() {
        let step = leadership.lead(&shared, watching.step(&shared)).await;
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
    #[serde(default)]
    rules: RuleState,
    /// The last hour that they observed.
    #[serde(default)]
    observed: Option<Timestamp>,
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
        let mut summarizer = Summarizer::default();
        shared.store.visit_records(&Selection::of_hour(service, hour), |record| summarizer.add(record)).await?;
        let window = summarizer.finish("", hour, "");
        let previous_state = shared.store.detector_state(service).await?;
        let (mut detectors, is_replaced) = detectors(previous_state.as_deref(), baseline);
        // What the baseline was made from, and what came before it, cannot have moved away from it.
        let is_after_baseline = hour > baseline.ended_between.1.min(baseline.created_at).hour();
        // Hours come in order; one that first has traces when later ones were observed is counted as late, not as news.
        let is_news = is_after_baseline && detectors.observed.is_none_or(|observed| hour > observed);
        let mut signals = if is_news { self.observe(&mut detectors, &window, baseline, service, hour) } else { vec![] };
        detectors.observed = detectors.observed.max(Some(hour));
        explain_found(shared, &mut detectors, &mut signals, baseline, &window).await?;
        let filter = AlertFilter { open_only: true, service: Some(service.to_owned()) };
        let mut open = shared.store.alerts(&filter).await?;
        let mut alerts = Vec::new();
        if is_replaced {
            alerts = ended_with_their_baseline(&open, hour.plus(HOUR));
            open.retain(|one| alerts.iter().all(|ended| ended.fingerprint != one.fingerprint));
        }
        alerts.extend(advance(&open, &signals).iter().map(|change| change.alert().clone()));
        let commit = HourCommit {
            service: service.to_owned(),
            hour,
            traces: window.traces,
            previous_state,
            detector_state: json(&detectors),
            summary: json(&window.series),
            alerts,
        };
        crash_point("watch.commit");
        let is_first = shared.store.commit_hour(&commit, shared.now()).await?;
        crash_point("watch.committed");
        if is_first {
            shared.metrics.hours_watched.inc();
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
            // A revision of its own is a series of its own: it has no baseline until one is made.
            let is_comparable = |now: &&SeriesSummary| now.is_of_one_revision(watched.baseline());
            let Some(now) = window.series.get(key).filter(is_comparable) else { continue };
            let stream = detectors.streams.entry(key.clone()).or_default();
            let at = hour.plus(HOUR);
            let found = stream.observe(hour, now, &window.mix_of(key), &watched);
            signals.extend(found.into_iter().map(|signal| StreamSignal { key: key.clone(), at, signal }));
        }
        let ruled = detectors.rules.observe(hour, service, window, baseline);
        signals.extend(ruled.into_iter().map(|(key, signal)| StreamSignal { key, at: hour.plus(HOUR), signal }));
        signals
    }
}

/// The detectors as they were left, or new ones when the baseline is another; and whether they replace others.
fn detectors(state: Option<&str>, baseline: &Baseline) -> (Detectors, bool) {
    let identity = format!("{}@{}", baseline.name, baseline.created_at.0);
    let kept: Option<Detectors> = state.and_then(|state| serde_json::from_str(state).ok());
    match kept {
        Some(kept) if kept.baseline == identity => (kept, false),
        kept => (Detectors { baseline: identity, ..Detectors::default() }, kept.is_some()),
    }
}

/// Adds to each new finding of the detectors where its change comes from, and lets its detector remember it.
async fn explain_found(
    shared: &Shared,
    detectors: &mut Detectors,
    signals: &mut [StreamSignal],
    baseline: &Baseline,
    window: &Baseline,
) -> Result<(), StoreError> {
    let since = |at: Timestamp, finding: &Finding| finding.onset.max(at.minus(EXPLAINED));
    let found = signals.iter().filter_map(|one| match &one.signal {
        Signal::Found(finding) => Some((one.key.service.clone(), since(one.at, finding))),
        _ => None,
    });
    let Some((service, first)) = found.min_by_key(|(_, since)| *since) else { return Ok(()) };
    let earlier = shared.store.watched_hours(&service, first).await?;
    // Of an hour's hundreds of series, each finding reads its own.
    let earlier: Vec<(Timestamp, BTreeMap<SeriesKey, &RawValue>)> =
        earlier.iter().map(|hour| (hour.hour, serde_json::from_str(&hour.summary).unwrap_or_default())).collect();
    for StreamSignal { key, at, signal } in signals {
        let Signal::Found(finding) = signal else { continue };
        let mut current = window.series_of(key);
        for (_, series) in earlier.iter().filter(|(hour, _)| *hour >= since(*at, finding)) {
            merge_series(&mut current, key, series);
        }
        finding.explanation = explain(baseline, &current, key, finding.direction);
        if let (Some(explanation), Some(stream)) = (&finding.explanation, detectors.streams.get_mut(key)) {
            stream.explain(finding.direction, explanation);
        }
    }
    Ok(())
}

/// Joins the same series of another hour.
fn merge_series(
    current: &mut BTreeMap<SeriesKey, SeriesSummary>,
    key: &SeriesKey,
    earlier: &BTreeMap<SeriesKey, &RawValue>,
) {
    let same = earlier.iter().filter(|(other, _)| other.service == key.service && other.series == key.series);
    for (key, summary) in same {
        let Ok(summary) = serde_json::from_str::<SeriesSummary>(summary.get()) else { continue };
        // Of another kind or revision: not what the finding is about.
        let joined = current.get(key).map_or(Some(summary.clone()), |sum| sum.merge(&summary));
        current.extend(joined.map(|joined| (key.clone(), joined)));
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}
