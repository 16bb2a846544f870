//! Releases: which versions came when, and what one changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calibration::standings;
use super::{QueryError, Store, compute};
use crate::backends::store::Selection;
use crate::domain::measurement::TraceRecord;
use crate::domain::release::{ChangeEvent, Release, ReleaseStatus, VERSION_DIMENSIONS, VersionHour};
use crate::domain::report::{DriftReport, DriftVerdict, Estimate, SeriesReport};
use crate::domain::time::Timestamp;
use crate::evaluate::measure::SERIES;
use crate::watch::baseline::Baseline;
use crate::watch::drift::{DriftOptions, drift};
use crate::watch::history::add_history;
use crate::watch::releases::{Noticed, notice};
use crate::watch::standings::Standings;

/// How long before and after a release is compared when nothing else is asked for.
pub const DEFAULT_WINDOW: Duration = Duration::from_hours(24);
/// What a release costs, shown beside its quality.
const COSTS: [&str; 5] = ["cost_usd", "latency_seconds", "input_tokens", "output_tokens", "reasoning_tokens"];

/// What was noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Releases {
    /// Last come first.
    pub releases: Vec<Release>,
    /// Versions that came and went back, and changes of judges, rules and settings, earliest first.
    pub changes: Vec<ChangeEvent>,
}

/// Which releases are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFilter {
    /// Only this service.
    pub service: Option<String>,
    /// Versions too that few traces carry.
    pub unsettled: bool,
}

/// Which version of a service is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseName {
    /// The service.
    pub service: String,
    /// The kind of version; without it the first kind that has the value.
    pub dimension: Option<String>,
    /// The version.
    pub value: String,
}

/// One release hour by hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseDetail {
    /// The release.
    pub release: Release,
    /// Hours of the service's traffic from the last one before it came, earliest first.
    pub hours: Vec<ReleaseHour>,
    /// What else changed between a day before it came and its last trace.
    pub changes: Vec<ChangeEvent>,
}

/// An hour of a service beside a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseHour {
    /// Start of the hour, in nanoseconds since the Unix epoch.
    pub hour: Timestamp,
    /// Traces of the release.
    pub traces: u64,
    /// Traces of all versions.
    pub all: u64,
}

/// What is compared with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseComparisonRequest {
    /// The newer side.
    pub after: ReleaseName,
    /// The older side's version; without it what most traces carried before.
    pub before: Option<String>,
    /// How long before and after the release's first trace.
    pub window: Duration,
}

/// A release beside the one before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseComparison {
    /// The service.
    pub service: String,
    /// Which kind of version.
    pub dimension: String,
    /// The older side.
    pub before: ReleaseSide,
    /// The newer side.
    pub after: ReleaseSide,
    /// Scores: evaluators, judges, feedback and labels.
    pub quality: Vec<Headline>,
    /// Money, time and tokens, mean of a trace.
    pub cost: Vec<Headline>,
    /// Every series.
    pub drift: DriftReport,
}

/// The traces of one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSide {
    /// The version.
    pub value: String,
    /// Traces compared.
    pub traces: u64,
    /// End of the first of them, in nanoseconds since the Unix epoch.
    pub since: Timestamp,
    /// End of the last.
    pub until: Timestamp,
}

/// One number before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// The series.
    pub series: String,
    /// Whether the judge that scored it is calibrated; absent where no judge did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<bool>,
    /// Unit of a measured number.
    pub unit: Option<String>,
    /// Before, with its 95 % interval.
    pub before: Estimate,
    /// After.
    pub after: Estimate,
    /// After over before, less one; absent where before is zero.
    pub change: Option<f64>,
    /// Whether it moved.
    pub verdict: DriftVerdict,
    /// Significant by itself, though not over the whole report.
    pub notable: bool,
}

/// Lists releases and changes.
///
/// # Errors
/// The store failed.
pub async fn releases(store: &Store, filter: &ReleaseFilter) -> Result<Releases, QueryError> {
    let hours = store.version_hours(filter.service.as_deref()).await?;
    let Noticed { mut releases, mut changes } = compute(move || notice(&hours)).await?;
    releases.retain(|release| filter.unsettled || release.status != ReleaseStatus::Unsettled);
    changes.extend(store.changes().await?);
    changes.sort_by_key(|change| change.at);
    Ok(Releases { releases, changes })
}

/// One release, hour by hour.
///
/// # Errors
/// There is no such kind of version or no such release, or the store failed.
pub async fn release(store: &Store, name: &ReleaseName) -> Result<ReleaseDetail, QueryError> {
    let hours = store.version_hours(Some(&name.service)).await?;
    let mut changes = store.changes().await?;
    let noticed = notice(&hours);
    let release = find(&noticed, name)?;
    changes.extend(noticed.changes.iter().cloned());
    let since = release.first_seen_at.minus(DEFAULT_WINDOW);
    changes.retain(|change| change.at >= since && change.at <= release.last_seen_at);
    changes.sort_by_key(|change| change.at);
    Ok(ReleaseDetail { hours: hours_of(&hours, &release), release, changes })
}

fn find(noticed: &Noticed, name: &ReleaseName) -> Result<Release, QueryError> {
    let rank = |release: &&Release| VERSION_DIMENSIONS.iter().position(|dimension| *dimension == release.dimension);
    if let Some(dimension) = name.dimension.as_ref().filter(|it| !VERSION_DIMENSIONS.contains(&it.as_str())) {
        let known = VERSION_DIMENSIONS.map(str::to_owned).into();
        return Err(QueryError::UnknownDimension { name: dimension.clone(), known });
    }
    let is_alike = |release: &&Release| name.dimension.as_ref().is_none_or(|it| *it == release.dimension);
    let is_meant = |release: &&Release| release.value == name.value && is_alike(release);
    let unknown = || QueryError::UnknownRelease {
        service: name.service.clone(),
        value: name.value.clone(),
        known: noticed.releases.iter().filter(is_alike).map(|release| release.value.clone()).collect(),
    };
    noticed.releases.iter().filter(is_meant).min_by_key(rank).cloned().ok_or_else(unknown)
}

fn hours_of(hours: &[VersionHour], release: &Release) -> Vec<ReleaseHour> {
    let mut by_hour = std::collections::BTreeMap::<Timestamp, (u64, u64)>::new();
    for hour in hours.iter().filter(|hour| hour.dimension == release.dimension) {
        let (of_release, all) = by_hour.entry(hour.hour).or_default();
        *all += hour.traces;
        *of_release += if hour.value == release.value { hour.traces } else { 0 };
    }
    let first = release.first_seen_at.hour();
    let since = by_hour.range(..first).next_back().map_or(first, |(hour, _)| *hour);
    let row =
        |(hour, (traces, all)): (&Timestamp, &(u64, u64))| ReleaseHour { hour: *hour, traces: *traces, all: *all };
    by_hour.range(since..).map(row).collect()
}

/// Compares a release with the one before it, over equal times around its first trace.
///
/// # Errors
/// There is no such kind of version or no such release, nothing was before it, a side has no trace in the window, or the store failed.
pub async fn compare(store: &Store, request: &ReleaseComparisonRequest) -> Result<ReleaseComparison, QueryError> {
    let name = &request.after;
    let noticed = notice(&store.version_hours(Some(&name.service)).await?);
    let release = find(&noticed, name)?;
    let before = match &request.before {
        Some(value) => {
            let name = ReleaseName { dimension: Some(release.dimension.clone()), value: value.clone(), ..name.clone() };
            find(&noticed, &name)?.value
        }
        None => release.previous.clone().ok_or_else(|| QueryError::NothingBefore { value: release.value.clone() })?,
    };
    if before == release.value {
        return Err(QueryError::SameSides { text: before });
    }
    let came_at = first_use(&noticed, &release, &before);
    let [before, after] = sides(store, &release, before, came_at, request.window).await?;
    let standings = standings(store).await?;
    compute(move || comparison(&release, before, after, &standings)).await
}

/// When the newer of both versions came, which is what the window lies around.
fn first_use(noticed: &Noticed, release: &Release, before: &str) -> Timestamp {
    let other = noticed.releases.iter().find(|it| it.value == before && it.dimension == release.dimension);
    other.map_or(release.first_seen_at, |other| other.first_seen_at.max(release.first_seen_at))
}

/// A version and its traces.
type SideRecords = (String, Vec<TraceRecord>);

async fn sides(
    store: &Store,
    release: &Release,
    before: String,
    came_at: Timestamp,
    window: Duration,
) -> Result<[SideRecords; 2], QueryError> {
    let selection = Selection {
        service: Some(release.service.clone()),
        since: Some(came_at.minus(window)),
        until: Some(came_at.plus(window)),
        ..Selection::default()
    };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let sort = |record: TraceRecord| match record.segments.get(&release.dimension) {
        Some(value) if *value == release.value => new.push(record),
        Some(value) if *value == before => old.push(record),
        _ => {}
    };
    store.visit_records(&selection, sort).await?;
    for (value, records) in [(&before, &old), (&release.value, &new)] {
        if records.is_empty() {
            let text =
                format!("{}={value} within {} of the change", release.dimension, humantime::format_duration(window));
            return Err(QueryError::EmptySource { text });
        }
    }
    Ok([(before, old), (release.value.clone(), new)])
}

fn comparison(release: &Release, before: SideRecords, after: SideRecords, standings: &Standings) -> ReleaseComparison {
    let summary = |(value, records): &SideRecords| Baseline::from_records(value, Timestamp::default(), value, records);
    let (old, new) = (summary(&before), summary(&after));
    let mut report = drift(&old, &new, &DriftOptions::default());
    standings.mark_drift(&mut report, [&old, &new]);
    add_history(&mut report, &before.1, &after.1);
    let is_cost = |row: &&SeriesReport| COSTS.contains(&row.series.as_str());
    let is_score = |row: &&SeriesReport| {
        row.baseline.n.max(row.current.n) > 0 && !SERIES.iter().any(|series| series.name == row.series)
    };
    let mut cost: Vec<Headline> = report.series.iter().filter(is_cost).map(headline).collect();
    cost.sort_by_key(|headline| COSTS.iter().position(|name| *name == headline.series));
    ReleaseComparison {
        service: release.service.clone(),
        dimension: release.dimension.clone(),
        before: side(before.0, &old),
        after: side(after.0, &new),
        quality: report.series.iter().filter(is_score).map(headline).collect(),
        cost,
        drift: report,
    }
}

fn side(value: String, summary: &Baseline) -> ReleaseSide {
    ReleaseSide { value, traces: summary.traces, since: summary.ended_between.0, until: summary.ended_between.1 }
}

fn headline(row: &SeriesReport) -> Headline {
    let ratio = |before: f64, after: f64| (before != 0.0).then(|| after / before - 1.0);
    Headline {
        series: row.series.clone(),
        calibrated: row.calibrated,
        unit: SERIES.iter().find(|series| series.name == row.series).map(|series| series.unit.to_owned()),
        before: row.baseline,
        after: row.current,
        change: row.baseline.estimate.zip(row.current.estimate).and_then(|(before, after)| ratio(before, after)),
        verdict: row.verdict,
        notable: row.notable,
    }
}
