//! Compares each hour of each service with the baseline, once, and raises and resolves alerts.
//!
//! Rules that need no baseline read hours before there is one, and hours in which nothing came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Shared;
use super::crash_point::crash_point;
use super::hour_alerts::HourAlerts;
use super::invariant::Invariant;
use super::leadership::Leadership;
use crate::backends::store::{HourCommit, Selection, StoreError};
use crate::domain::alert::Alert;
use crate::domain::time::Timestamp;
use crate::watch::alerts::StreamSignal;
use crate::watch::baseline::Baseline;
use crate::watch::detect::{Finding, Signal, StreamState};
use crate::watch::explanation::explain;
use crate::watch::key::SeriesKey;
use crate::watch::rules::{Hour, Pace, RulePolicy, RuleState};
use crate::watch::segments::SegmentPattern;
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
/// Older hours are no news to rules that read them alone.
const NEWS: Duration = Duration::from_hours(24);

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
    /// Segments that are watched beside the whole of each service.
    pub segments: Vec<SegmentPattern>,
    /// Limits of the rules.
    pub rules: RulePolicy,
    /// The baseline, once it was there: one of that name never changes.
    pub loaded: Arc<OnceLock<Baseline>>,
}

/// Watches until the process is to end.
pub async fn watch(shared: Shared, watching: Watching) {
    let mut leadership = Leadership::of("watch");
    while !shared.is_stopping() {
        let reading = async {
            match watching.step(&shared).await {
                Ok(false) => watching.listen(&shared).await,
                step => step,
            }
        };
        let step = leadership.lead(&shared, reading).await;
        shared.rest("watch", watching.interval, step).await;
    }
}

/// What the detectors of a service remember.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Detectors {
    /// The baseline they compare with; another one starts them afresh. Empty while there is none.
    baseline: String,
    /// One for each series of the service.
    streams: BTreeMap<SeriesKey, StreamState>,
    #[serde(default)]
    rules: RuleState,
    /// The last hour that they observed.
    #[serde(default)]
    observed: Option<Timestamp>,
}

/// One hour of a service as it was read.
struct Seen<'a> {
    service: &'a str,
    at: Timestamp,
    window: Baseline,
    pace: Pace,
}

impl Watching {
    /// Consumes every hour that is ripe; whether there was one. Without a baseline none is consumed, and rules read them.
    ///
    /// # Errors
    /// The store failed; hours that were consumed stay so.
    pub async fn step(&self, shared: &Shared) -> Result<bool, StoreError> {
        let now = shared.now();
        let baseline = self.load(shared).await?;
        let hours = shared.store.unwatched_hours(now.minus(self.lateness)).await?;
        let Some(baseline) = baseline else { return self.rule(shared, hours, now).await };
        let (mut consumed, mut waiting) = (false, BTreeSet::new());
        for (service, hour) in hours {
            // A service's hours are consumed in order: behind one that waits, the later ones wait too.
            if shared.is_stopping() || waiting.contains(&service) {
                continue;
            }
            if self.is_ripe(shared, &service, hour, now).await? {
                consumed |= self.consume(shared, baseline, &service, hour).await?;
            } else {
                waiting.insert(service);
            }
        }
        Ok(consumed)
    }

    async fn load(&self, shared: &Shared) -> Result<Option<&Baseline>, StoreError> {
        if let Some(baseline) = self.loaded.get() {
            return Ok(Some(baseline));
        }
        let Some(json) = shared.store.baseline(&self.baseline).await? else { return Ok(None) };
        match serde_json::from_str(&json) {
            Ok(baseline) => Ok(Some(self.loaded.get_or_init(|| baseline))),
            Err(error) => {
                tracing::error!(baseline = self.baseline, %error, "baseline cannot be read; nothing is compared with it");
                Ok(None)
            }
        }
    }

    /// Lets the rules that need no baseline read each of these hours once; the hours stay to be consumed.
    async fn rule(&self, shared: &Shared, hours: Vec<(String, Timestamp)>, now: Timestamp) -> Result<bool, StoreError> {
        let mut by_service: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for (service, hour) in hours.into_iter().filter(|(_, hour)| *hour >= now.minus(NEWS)) {
            by_service.entry(service).or_default().push(hour);
        }
        let mut has_read = false;
        for (service, hours) in by_service {
            let rules = kept(shared.store.detector_state(&service).await?.as_deref()).unwrap_or_default().rules;
            for hour in hours.into_iter().filter(|hour| rules.is_news(*hour)) {
                let seen = Seen::read(shared, &service, hour).await?;
                has_read |= self.commit_rules(shared, &seen).await?;
            }
        }
        Ok(has_read)
    }

    /// Lets the rules that need no baseline read the hours that have passed since a service's last traces, for a day;
    /// whether there were any.
    ///
    /// # Errors
    /// The store failed.
    pub async fn listen(&self, shared: &Shared) -> Result<bool, StoreError> {
        let now = shared.now();
        let closed = now.minus(self.lateness);
        let with_traces: BTreeSet<_> = shared.store.unwatched_hours(closed).await?.into_iter().collect();
        let mut has_read = false;
        for service in shared.store.watched_services().await? {
            let rules = kept(shared.store.detector_state(&service).await?.as_deref()).unwrap_or_default().rules;
            let Some(mut hour) = rules.observed().map(|observed| observed.plus(HOUR)) else { continue };
            while hour >= now.minus(NEWS)
                && hour.plus(HOUR) <= closed
                && !with_traces.contains(&(service.clone(), hour))
            {
                has_read |= self.commit_rules(shared, &Seen::nothing(&service, hour)).await?;
                hour = hour.plus(HOUR);
            }
        }
        Ok(has_read)
    }

    async fn commit_rules(&self, shared: &Shared, seen: &Seen<'_>) -> Result<bool, StoreError> {
        let previous_state = shared.store.detector_state(seen.service).await?;
        let mut detectors = kept(previous_state.as_deref()).unwrap_or_default();
        let signals = self.ruled(&mut detectors, seen, None);
        let of_hour = HourAlerts {
            service: seen.service,
            hour: seen.at,
            window: &seen.window,
            baseline: None,
            is_replaced: false,
            is_news: true,
        };
        let alerts = of_hour.changed(shared, &signals).await?;
        shared.store.commit_rules(&commit(seen, previous_state, &detectors, alerts), shared.now()).await
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
        let seen = Seen::read(shared, service, hour).await?;
        let previous_state = shared.store.detector_state(service).await?;
        let (mut detectors, is_replaced) = detectors(previous_state.as_deref(), baseline);
        // What the baseline was made from, and what came before it, cannot have moved away from it.
        let is_after_baseline = hour > baseline.ended_between.1.min(baseline.created_at).hour();
        // Hours come in order; one that first has traces when later ones were observed is counted as late, not as news.
        let is_news = is_after_baseline && detectors.observed.is_none_or(|observed| hour > observed);
        let mut signals = if is_news { self.observe(&mut detectors, &seen, baseline) } else { vec![] };
        detectors.observed = detectors.observed.max(Some(hour));
        explain_found(shared, &mut detectors, &mut signals, baseline, &seen.window).await?;
        let of_hour =
            HourAlerts { service, hour, window: &seen.window, baseline: Some(baseline), is_replaced, is_news };
        let alerts = of_hour.changed(shared, &signals).await?;
        let commit = commit(&seen, previous_state, &detectors, alerts);
        crash_point("watch.commit");
        let is_first = shared.store.commit_hour(&commit, shared.now()).await?;
        if is_first {
            let holds = !is_news || detectors.streams.values().all(|stream| stream.is_in_order(hour));
            Invariant::HoursAreObservedOnce.check(&shared.metrics, holds);
            shared.metrics.hours_watched.inc();
        }
        Ok(is_first)
    }

    fn observe(&self, detectors: &mut Detectors, seen: &Seen<'_>, baseline: &Baseline) -> Vec<StreamSignal> {
        let epoch = Epoch::of(baseline, &self.segments, self.budget_per_30_days, HOURS_PER_BUDGET);
        let (mut signals, at) = (Vec::new(), seen.at.plus(HOUR));
        for (key, watched) in epoch.streams_of(seen.service) {
            // A revision of its own is a series of its own: it has no baseline until one is made, and what was known of
            // the one before is over.
            let Some(now) = seen.window.series.get(key) else { continue };
            if !now.is_of_one_revision(watched.baseline()) {
                detectors.streams.remove(key);
                continue;
            }
            let stream = detectors.streams.entry(key.clone()).or_default();
            let found = stream.observe(seen.at, now, &seen.window.mix_of(key), &watched);
            signals.extend(found.into_iter().map(|signal| StreamSignal { key: key.clone(), at, signal }));
        }
        signals.extend(self.ruled(detectors, seen, Some(baseline)));
        signals
    }

    fn ruled(&self, detectors: &mut Detectors, seen: &Seen<'_>, baseline: Option<&Baseline>) -> Vec<StreamSignal> {
        let Seen { service, at, window, pace } = seen;
        let hour = Hour { at: *at, service, window, pace, policy: &self.rules };
        let signals = detectors.rules.observe(&hour, baseline).into_iter();
        signals.map(|(key, signal)| StreamSignal { key, at: at.plus(HOUR), signal }).collect()
    }
}

impl<'a> Seen<'a> {
    async fn read(shared: &Shared, service: &'a str, at: Timestamp) -> Result<Self, StoreError> {
        let (mut summarizer, mut pace) = (Summarizer::default(), Pace::default());
        let take_in = |record| {
            pace.add(&record);
            summarizer.add(record);
        };
        shared.store.visit_records(&Selection::of_hour(service, at), take_in).await?;
        Ok(Self { service, at, window: summarizer.finish("", at, ""), pace })
    }

    /// An hour without traces.
    fn nothing(service: &'a str, at: Timestamp) -> Self {
        Self { service, at, window: Summarizer::default().finish("", at, ""), pace: Pace::default() }
    }
}

/// What the detectors were left with.
fn kept(state: Option<&str>) -> Option<Detectors> {
    state.and_then(|state| serde_json::from_str(state).ok())
}

/// The detectors as they were left, or new ones when the baseline is another; and whether they replace others. Rules that
/// need no baseline go on.
fn detectors(state: Option<&str>, baseline: &Baseline) -> (Detectors, bool) {
    let identity = format!("{}@{}", baseline.name, baseline.created_at.0);
    match kept(state) {
        Some(kept) if kept.baseline == identity => (kept, false),
        Some(kept) => {
            (Detectors { baseline: identity, rules: kept.rules.without_baseline(), ..Detectors::default() }, true)
        }
        None => (Detectors { baseline: identity, ..Detectors::default() }, false),
    }
}

fn commit(seen: &Seen<'_>, previous_state: Option<String>, detectors: &Detectors, alerts: Vec<Alert>) -> HourCommit {
    HourCommit {
        service: seen.service.to_owned(),
        hour: seen.at,
        traces: seen.window.traces,
        previous_state,
        detector_state: json(detectors),
        rules: json(&detectors.rules),
        summary: json(&seen.window.series),
        alerts,
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
