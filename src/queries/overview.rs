//! How things stand: open alerts, each service's recent scores, and what is waiting.

use std::collections::BTreeMap;

use super::calibration::standings;
use super::series::{Figures, Watched, Window, recent, watched_baseline};
use super::{QueryError, Store, compute};
use crate::backends::store::{AlertFilter, QueueDepths, Selection, ServiceCount};
use crate::domain::alert::Alert;
use crate::domain::measurement::{SeriesKind, TraceRecord};
use crate::domain::release::ChangeEvent;
use crate::domain::report::{Estimate, HistoryPoint};
use crate::domain::time::Timestamp;
use crate::evaluate::measure::SERIES;
use crate::stats::interval::wilson;
use crate::watch::baseline::Baseline;
use crate::watch::history::course;
use crate::watch::key::{ALL, SeriesKey};
use crate::watch::releases::{notice, version_hours};
use crate::watch::segments::{SegmentPattern, is_watched};
use crate::watch::standings::Standings;
use crate::watch::summarize::Summarizer;
use crate::watch::summary::SeriesSummary;
use crate::watch::watched::Epoch;

/// What the machines do, in the order it is shown in.
const INFRASTRUCTURE: [&str; 4] = ["latency_seconds", "run_error", "tool_calls", "tool_errors"];
/// What the models do.
const MODELS: [&str; 6] =
    ["cost_usd", "input_tokens", "output_tokens", "model_calls", "model_outcomes", "finish_reasons"];
/// Services whose course is shown.
const COURSES: usize = 10;

/// How things stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Alerts that go on, loudest first.
    pub alerts: Vec<Alert>,
    /// The traffic that the services' figures are of.
    pub window: Window,
    /// By name.
    pub services: Vec<ServiceOverview>,
    /// Work that waits.
    pub queues: QueueDepths,
    /// Whether there is a baseline to watch against.
    pub has_baseline: bool,
    /// Recent series that are not watched although there is one, each with the reason.
    pub unwatched: Vec<(SeriesKey, String)>,
}

/// One service's recent traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceOverview {
    /// `service.name`.
    pub service: String,
    /// Its traces.
    pub traces: u64,
    /// Share of them that a rule or a judge flags.
    pub failing: Estimate,
    /// What the machines do: time, errors, tools.
    pub infrastructure: Vec<Measured>,
    /// What the models do: money, tokens, calls.
    pub models: Vec<Measured>,
    /// The share that passes each evaluator; of a service of the user's own the mean score.
    pub scores: Vec<ServiceScore>,
    /// The course of the worst score beside that of the cost, and the versions that came meanwhile.
    pub course: Course,
}

/// One measured series of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Which.
    pub key: SeriesKey,
    /// Its unit, or what is counted.
    pub unit: &'static str,
    /// Its kind.
    pub kind: SeriesKind,
    /// It.
    pub figures: Figures,
}

/// How quality and cost of a service went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// The score that fewest traces pass, over time.
    pub quality: Option<(String, Vec<HistoryPoint>)>,
    /// Cost of a trace in US dollars, over time.
    pub cost: Vec<HistoryPoint>,
    /// Versions that came meanwhile, earliest first.
    pub changes: Vec<ChangeEvent>,
}

/// What one evaluator makes of a service's recent traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceScore {
    /// The evaluator.
    pub series: String,
    /// The share that passes, or the mean score.
    pub figures: Figures,
    /// Whether the judge that scored is calibrated; `None` where no judge did.
    pub calibrated: Option<bool>,
}

/// Looks at everything at once.
///
/// # Errors
/// The store failed.
pub async fn overview(store: &Store, watched: Watched<'_>, now: Timestamp) -> Result<Overview, QueryError> {
    let mut alerts = store.alerts(&AlertFilter { open_only: true, service: None }).await?;
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
    let records = recent(store, &Selection::default()).await?;
    let window = Window::of(&records);
    let counts = store.services(&Selection { since: window.since, ..Selection::default() }).await?;
    let standings = standings(store).await?;
    let baseline = watched_baseline(store, watched.baseline).await?;
    let (has_baseline, segments) = (baseline.is_some(), watched.segments.to_vec());
    let (services, unwatched) = compute(move || {
        let mut summarizer = Summarizer::following(&segments);
        records.iter().for_each(|record| summarizer.add(record.clone()));
        let current = summarizer.finish("", Timestamp::default(), "");
        let unwatched = baseline.map(|baseline| unwatched(&baseline, &segments, &current)).unwrap_or_default();
        let mut services = services(counts, &current, &standings);
        add_courses(&mut services, &records);
        (services, unwatched)
    })
    .await?;
    Ok(Overview { alerts, window, services, queues: store.queue_depths(now).await?, has_baseline, unwatched })
}

/// Series of recent traffic that the baseline does not let watch.
fn unwatched(baseline: &Baseline, segments: &[SegmentPattern], current: &Baseline) -> Vec<(SeriesKey, String)> {
    let epoch = Epoch::of(baseline, segments, 1.0, 1.0);
    let listed = current.series.iter().filter(|(key, _)| is_watched(&key.segment, segments));
    listed.filter_map(|(key, summary)| Some((key.clone(), epoch.why_unwatched(key, Some(summary))?))).collect()
}

fn services(counts: Vec<ServiceCount>, summary: &Baseline, standings: &Standings) -> Vec<ServiceOverview> {
    let mut by_service: BTreeMap<&str, Vec<(&SeriesKey, &SeriesSummary)>> = BTreeMap::new();
    for (key, of) in summary.series.iter().filter(|(key, _)| key.segment == ALL) {
        by_service.entry(&key.service).or_default().push((key, of));
    }
    let of_service = |count: ServiceCount| {
        let failing = failing_share(&count);
        let ServiceCount { service, traces, .. } = count;
        let series = by_service.get(service.as_str()).into_iter().flatten().copied();
        let figures = |of: &SeriesSummary| Figures::of(of, Some(traces));
        let measured =
            |names: &[&str]| names.iter().filter_map(|name| measured(series.clone(), name, traces)).collect();
        let is_score = |(key, of): &(&SeriesKey, &SeriesSummary)| {
            matches!(of.kind(), SeriesKind::Boolean | SeriesKind::Ordinal)
                && SERIES.iter().all(|measured| measured.name != key.series)
        };
        let score = |(key, of): (&SeriesKey, &SeriesSummary)| ServiceScore {
            series: key.series.clone(),
            figures: figures(of),
            calibrated: standings.of_series(&key.series, &of.revision.iter().map(String::as_str).collect()),
        };
        let scores = series.clone().filter(is_score).map(score).collect();
        ServiceOverview {
            traces,
            failing,
            infrastructure: measured(&INFRASTRUCTURE),
            models: measured(&MODELS),
            scores,
            course: Course::default(),
            service: service.clone(),
        }
    };
    counts.into_iter().map(of_service).collect()
}

fn measured<'a>(
    mut series: impl Iterator<Item = (&'a SeriesKey, &'a SeriesSummary)>,
    name: &str,
    traces: u64,
) -> Option<Measured> {
    let unit = SERIES.iter().find(|series| series.name == name)?.unit;
    let (key, summary) = series.find(|(key, _)| key.series == name)?;
    Some(Measured { key: key.clone(), unit, kind: summary.kind(), figures: Figures::of(summary, Some(traces)) })
}

/// How the first services' quality and cost went; further ones have pages of their own series.
fn add_courses(services: &mut [ServiceOverview], records: &[TraceRecord]) {
    let changes = notice(&version_hours(records.iter())).changes;
    for service in services.iter_mut().take(COURSES) {
        let value = |score: &&ServiceScore| score.figures.estimate.estimate.unwrap_or(1.0);
        let worst = service.scores.iter().min_by(|a, b| value(a).total_cmp(&value(b)));
        let is_of = |change: &&ChangeEvent| change.service.as_ref() == Some(&service.service);
        service.course = Course {
            quality: worst.map(|score| (score.series.clone(), course(records, &service.service, &score.series))),
            cost: course(records, &service.service, "cost_usd"),
            changes: changes.iter().filter(is_of).cloned().collect(),
        };
    }
}

/// Every trace is checked by rules, so it counts by what upstream sampling made of it. The interval is Wilson's on the
/// size of a share as [`crate::stats::moments::Moments::share_size`] has it; with equal weights that is the count.
fn failing_share(count: &ServiceCount) -> Estimate {
    let (all, flagged, traces) = (count.all, count.flagged, count.traces as f64);
    let share = (flagged.weight / all.weight).clamp(0.0, 1.0);
    let kish = all.weight.powi(2) / all.squared;
    let spread = (1.0 - share).powi(2) * flagged.squared + share.powi(2) * (all.squared - flagged.squared);
    let error = spread / all.weight.powi(2) + 0.5 / kish.powi(2);
    let is_even = kish >= traces * (1.0 - 1e-9) || spread <= 0.0;
    let size = if is_even { kish } else { (share * (1.0 - share) / error).clamp(1.0, all.weight.max(traces)) };
    let interval = wilson(share, size, 0.95);
    Estimate {
        n: count.traces,
        estimate: Some(share),
        low: Some(interval.low),
        high: Some(interval.high),
        upstream_unknown: count.upstream_unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::store::WeightSums;

    #[test]
    fn the_share_of_flagged_traces_is_weighted_by_upstream_sampling() {
        // 100 flagged traces that were all kept, and 45 of 900 others: one in ten is flagged, not two in three.
        let (flagged, others) = (WeightSums { weight: 100.0, squared: 100.0 }, (900.0, 45.0 * 400.0));
        let all = WeightSums { weight: 100.0 + others.0, squared: 100.0 + others.1 };
        let count = ServiceCount { service: "a".into(), traces: 145, failing: 100, upstream_unknown: 0, all, flagged };
        let share = failing_share(&count);
        assert!((share.estimate.unwrap() - 0.1).abs() < 1e-12);
        assert!(share.low.unwrap() < 0.09 && share.high.unwrap() > 0.11, "{share:?}");
        let even = WeightSums { weight: 100.0, squared: 100.0 };
        let flagged = WeightSums { weight: 20.0, squared: 20.0 };
        let plain = failing_share(&ServiceCount { traces: 100, failing: 20, all: even, flagged, ..count });
        assert!((plain.low.unwrap() - wilson(0.2, 100.0, 0.95).low).abs() < 1e-12);
    }
}
