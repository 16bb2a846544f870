//! What is watched: every series of recent traffic beside the baseline's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::calibration::standings;
use super::{QueryError, Store, compute};
use crate::backends::store::{Selection, StoreError, StratumCount};
use crate::domain::measurement::{SeriesKind, TraceRecord};
use crate::domain::report::Estimate;
use crate::domain::time::Timestamp;
use crate::evaluate::measure::SERIES;
use crate::watch::baseline::Baseline;
use crate::watch::estimate;
use crate::watch::key::{ALL, SeriesKey};
use crate::watch::segments::{SegmentPattern, is_watched};
use crate::watch::standings::Standings;
use crate::watch::summarize::Summarizer;
use crate::watch::summary::{Distribution, SeriesSummary};
use crate::watch::watched::Epoch;

/// Newest traces that stand for recent traffic when no time is asked for.
const RECENT_TRACES: usize = 2_000;

/// Every series, over all traces of its service and over each segment that is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchedSeries {
    /// The baseline that is watched against; absent until it is created.
    pub baseline: Option<String>,
    /// The traffic that `current` is of.
    pub window: Window,
    /// The traffic's exact totals by service and sampling stratum, chosen for judging or not.
    pub strata: Vec<StratumCount>,
    /// By service and name.
    pub series: Vec<SeriesView>,
}

/// One series, then and now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesView {
    /// What `/series/{key}` is asked with.
    pub key: SeriesKey,
    /// `service.name`.
    pub service: String,
    /// The series.
    pub series: String,
    /// `all`, or `dimension=value`.
    pub segment: String,
    /// Its kind, which decides what `estimate` is.
    pub kind: SeriesKind,
    /// Unit of a measured number, or what is counted.
    pub unit: Option<String>,
    /// Whether alarms are raised on it.
    pub watched: bool,
    /// Why not, if not.
    pub why: Option<String>,
    /// Whether the judge that scored it, then and now, is calibrated; absent where no judge did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<bool>,
    /// In the baseline.
    pub baseline: Option<Figures>,
    /// In the window.
    pub current: Option<Figures>,
}

/// What the service watches.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    /// Name of the baseline.
    pub baseline: &'a str,
    /// Segments beside the whole of each service.
    pub segments: &'a [SegmentPattern],
}

/// One series with the traffic that it is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesDetail {
    /// The baseline that is watched against; absent until it is created.
    pub baseline_name: Option<String>,
    /// The traffic that `current` is of.
    pub window: Window,
    /// The series.
    #[serde(flatten)]
    pub series: SeriesView,
}

/// The traces that a summary is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// End of the first, in nanoseconds since the Unix epoch; absent when there is none.
    pub since: Option<Timestamp>,
    /// End of the last.
    pub until: Option<Timestamp>,
    /// How many.
    pub traces: u64,
    /// Those of them of which it is not known with what probability upstream sampling kept them.
    pub upstream_unknown: u64,
}

/// A series in numbers, with what they are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Mean, share true, or share of the largest category, with its 95 % interval and the number of traces.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Conversations behind it; absent for categories and sequences.
    pub clusters: Option<u64>,
    /// Sum of inverse sampling probabilities: traces that it stands for.
    pub weight: Option<f64>,
    /// Variance of the mean over that of independent values.
    pub over_dispersion: f64,
    /// Median, of numbers.
    pub p50: Option<f64>,
    /// 95th percentile, of numbers.
    #[serde(default)]
    pub p95: Option<f64>,
    /// 99th percentile, of numbers.
    pub p99: Option<f64>,
    /// Share of each category or transition, largest first.
    pub shares: Vec<Share>,
    /// How many traces have a value.
    pub coverage: Coverage,
}

/// How much of what could have a value has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Traces of the service; absent where only the summary is kept.
    pub traces: Option<u64>,
    /// Traces with a usable value.
    pub with_value: u64,
    /// Traces whose value was not usable.
    pub rejected: u64,
}

/// Share of one category or transition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The tool before; empty for a category.
    pub from: String,
    /// The tool after, or the category.
    pub to: String,
    /// Its share.
    pub share: f64,
}

/// Shares that one answer lists.
const SHARES: usize = 30;

/// Lists every series of all services, of `selection` or of the most recent traffic.
///
/// # Errors
/// The store failed, or the watched baseline cannot be read.
pub async fn series(store: &Store, watched: Watched<'_>, selection: &Selection) -> Result<WatchedSeries, QueryError> {
    let records = recent(store, selection).await?;
    let sides = Sides::read(store, watched, records, Summarizer::following(watched.segments)).await?;
    let since = selection.since.or(sides.window.since);
    let strata = store.strata(&Selection { since, ..selection.clone() }).await?;
    compute(move || {
        let epoch = sides.epoch();
        let listed = sides.keys().filter(|key| is_watched(&key.segment, &sides.segments));
        let series = listed.filter_map(|key| sides.view(key, epoch.as_ref())).collect();
        WatchedSeries { baseline: sides.baseline_name(), window: sides.window, strata, series }
    })
    .await
}

/// One series by its key.
///
/// # Errors
/// Neither the baseline nor the traffic has the series, or the store failed.
pub async fn one_series(
    store: &Store,
    watched: Watched<'_>,
    key: &SeriesKey,
    selection: &Selection,
) -> Result<SeriesDetail, QueryError> {
    let selection = Selection { service: Some(key.service.clone()), ..selection.clone() };
    let mut records = recent(store, &selection).await?;
    records.iter_mut().for_each(|record| record.keep_only(&key.series));
    let sides = Sides::read(store, watched, records, Summarizer::default()).await?;
    sides.detail(key).ok_or_else(|| QueryError::UnknownSeries { key: key.to_string() })
}

/// The baseline that is watched against, once it is there.
pub(super) async fn watched_baseline(store: &Store, name: &str) -> Result<Option<Baseline>, QueryError> {
    match super::baselines::baseline(store, name).await {
        Ok(baseline) => Ok(Some(baseline)),
        Err(QueryError::UnknownBaseline { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The records of a selection; without a time, those of its most recent traces.
pub(super) async fn recent(store: &Store, selection: &Selection) -> Result<Vec<TraceRecord>, StoreError> {
    if selection.since.is_some() || selection.until.is_some() {
        return store.records(selection).await;
    }
    let since = store.since_last(selection, RECENT_TRACES).await?;
    // Any number of traces may end at that one instant, or come in meanwhile.
    let mut records = VecDeque::new();
    let keep = |record| {
        records.push_back(record);
        if records.len() > RECENT_TRACES {
            records.pop_front();
        }
    };
    store.visit_records(&Selection { since, ..selection.clone() }, keep).await?;
    Ok(records.into())
}

impl Window {
    pub(super) fn of(records: &[TraceRecord]) -> Self {
        let ended_at = |record: &TraceRecord| record.ended_at;
        Self {
            since: records.first().map(ended_at),
            until: records.last().map(ended_at),
            traces: records.len() as u64,
            upstream_unknown: records.iter().filter(|record| record.upstream_probability.is_none()).count() as u64,
        }
    }
}

/// The watched baseline and recent traffic.
pub(super) struct Sides {
    pub(super) baseline: Option<Baseline>,
    pub(super) current: Baseline,
    segments: Vec<SegmentPattern>,
    window: Window,
    /// Traces of each service in the window.
    traces: BTreeMap<String, u64>,
    standings: Standings,
}

impl Sides {
    async fn read(
        store: &Store,
        watched: Watched<'_>,
        records: Vec<TraceRecord>,
        summarizer: Summarizer,
    ) -> Result<Self, QueryError> {
        let baseline = watched_baseline(store, watched.baseline).await?;
        let (segments, standings) = (watched.segments.to_vec(), standings(store).await?);
        compute(move || Self::of(baseline, records, summarizer).watching(segments, standings)).await
    }

    pub(super) fn of(baseline: Option<Baseline>, records: Vec<TraceRecord>, mut summarizer: Summarizer) -> Self {
        let window = Window::of(&records);
        let mut traces = BTreeMap::new();
        for record in records {
            *traces.entry(record.service.clone()).or_default() += 1;
            summarizer.add(record);
        }
        let current = summarizer.finish("", Timestamp::default(), "");
        Self { baseline, current, segments: Vec::new(), window, traces, standings: Standings::default() }
    }

    /// The same with segments that are watched, and what is known of judges.
    pub(super) fn watching(self, segments: Vec<SegmentPattern>, standings: Standings) -> Self {
        Self { segments, standings, ..self }
    }

    fn baseline_name(&self) -> Option<String> {
        self.baseline.as_ref().map(|baseline| baseline.name.clone())
    }

    fn keys(&self) -> impl Iterator<Item = &SeriesKey> {
        let of_baseline = self.baseline.iter().flat_map(|baseline| baseline.series.keys());
        of_baseline.chain(self.current.series.keys()).collect::<BTreeSet<_>>().into_iter()
    }

    /// What is watched against the baseline; neither budget nor time decides which series that are.
    fn epoch(&self) -> Option<Epoch<'_>> {
        self.baseline.as_ref().map(|baseline| Epoch::of(baseline, &self.segments, 1.0, 1.0))
    }

    pub(super) fn detail(&self, key: &SeriesKey) -> Option<SeriesDetail> {
        let series = self.view(key, self.epoch().as_ref())?;
        Some(SeriesDetail { baseline_name: self.baseline_name(), window: self.window, series })
    }

    fn view(&self, key: &SeriesKey, epoch: Option<&Epoch<'_>>) -> Option<SeriesView> {
        let why = match epoch {
            Some(epoch) => epoch.why_unwatched(key, self.current.series.get(key)),
            None => Some("there is no baseline; driftline baseline create takes one".to_owned()),
        };
        let baseline = self.baseline.as_ref().and_then(|baseline| baseline.series.get(key));
        let current = self.current.series.get(key);
        let revisions = baseline.into_iter().chain(current).flat_map(|of| of.revision.iter().map(String::as_str));
        let traces = self.traces.get(&key.service).copied().filter(|_| key.segment == ALL);
        Some(SeriesView {
            service: key.service.clone(),
            series: key.series.clone(),
            segment: key.segment.clone(),
            kind: current.or(baseline)?.kind(),
            unit: SERIES.iter().find(|series| series.name == key.series).map(|series| series.unit.to_owned()),
            watched: why.is_none(),
            why,
            calibrated: self.standings.of_series(&key.series, &revisions.collect()),
            baseline: baseline.map(|summary| Figures::of(summary, None)),
            current: current.map(|summary| Figures::of(summary, traces)),
            key: key.clone(),
        })
    }
}

impl Figures {
    /// A summary in numbers; `traces` is how many could have had a value.
    #[must_use]
    pub fn of(summary: &SeriesSummary, traces: Option<u64>) -> Self {
        let quantile = |q: f64| match &summary.distribution {
            Distribution::Number { histogram, .. } => histogram.quantile(q),
            _ => None,
        };
        Self {
            estimate: estimate(summary),
            clusters: summary.moments().map(|moments| moments.clusters),
            weight: summary.moments().map(|moments| moments.weight),
            over_dispersion: summary.over_dispersion.at_least_one(),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            shares: shares(summary),
            coverage: Coverage { traces, with_value: summary.traces, rejected: summary.rejected },
        }
    }
}

fn shares(summary: &SeriesSummary) -> Vec<Share> {
    let (Distribution::Categorical { counts, .. } | Distribution::Sequence { counts, .. }) = &summary.distribution
    else {
        return Vec::new();
    };
    let mut shares: Vec<Share> = counts.shares().map(|((from, to), share)| Share { from, to, share }).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares.truncate(SHARES);
    shares
}
