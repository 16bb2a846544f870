//! Which versions came when, from nothing but the versions that traces carry.
//!
//! **Question.** Which releases, models, prompts and agents did a service run, since when, and which runs now?
//!
//! **Rule.** Each hour says how many traces carried which value. A value is *settled*, and thereby a release, once
//! [`LEAST_TRACES`] traces and [`LEAST_SHARE`] of the traffic since its first trace carry it; a test call or a typing
//! error never is. It is first seen once: a value that vanishes and returns is the same release. The *main* version is
//! the one most traces carry; it changes when another has led in `STEADY_HOURS` hours of traffic in a row, so that two
//! versions that run beside each other, or a rollout that goes to and fro, are no stream of changes. A main version that
//! was main before is a rollback.
//!
//! **Where it ends.** Hours are counted as they are known: a late trace can move a first hour back, never invent a value.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::domain::measurement::TraceRecord;
use crate::domain::release::{ChangeEvent, ChangeKind, Release, ReleaseStatus, VERSION_DIMENSIONS, VersionHour};
use crate::domain::time::Timestamp;

/// Fewest traces of a release.
pub const LEAST_TRACES: u64 = 20;
/// Least share of the traffic since its first trace.
pub const LEAST_SHARE: f64 = 0.01;
/// Hours in a row that a version must lead in to be the main one.
const STEADY_HOURS: usize = 2;
/// What counts as recent, back from the service's last trace.
const RECENT: Duration = Duration::from_hours(24);

/// What was noticed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Noticed {
    /// Every version, last come first.
    pub releases: Vec<Release>,
    /// When the versions of settled releases came and went back, earliest first.
    pub changes: Vec<ChangeEvent>,
}

/// One dimension of one service: traces by hour and value.
type Hours<'a> = BTreeMap<Timestamp, Vec<&'a VersionHour>>;

/// Finds the releases in hours that may come in any order.
#[must_use]
pub fn notice(hours: &[VersionHour]) -> Noticed {
    let mut histories: BTreeMap<(&str, &str), Hours<'_>> = BTreeMap::new();
    for hour in hours.iter().filter(|hour| !hour.value.is_empty()) {
        let history = histories.entry((&hour.service, &hour.dimension)).or_default();
        history.entry(hour.hour).or_default().push(hour);
    }
    let mut noticed = Noticed::default();
    for history in histories.values() {
        let mains = main_versions(history);
        let releases = releases(history, mains.last().map(|(_, value)| *value));
        noticed.changes.extend(releases.iter().filter_map(arrival));
        noticed.changes.extend(rollbacks(history, &mains));
        noticed.releases.extend(releases);
    }
    noticed.releases.sort_by(|a, b| b.first_seen_at.cmp(&a.first_seen_at).then_with(|| a.value.cmp(&b.value)));
    noticed.changes.sort_by_key(|change| change.at);
    noticed
}

/// Counts the versions that records carry, by hour.
#[must_use]
pub fn version_hours<'a>(records: impl IntoIterator<Item = &'a TraceRecord>) -> Vec<VersionHour> {
    let mut hours = VersionHours::default();
    records.into_iter().for_each(|record| hours.add(record));
    hours.finish()
}

/// The versions that records carry, by hour, while they are read.
#[derive(Debug, Default)]
pub(super) struct VersionHours {
    /// By service, dimension and value.
    hours: BTreeMap<(String, &'static str, String), BTreeMap<Timestamp, VersionHour>>,
}

impl VersionHours {
    pub(super) fn add(&mut self, record: &TraceRecord) {
        for dimension in VERSION_DIMENSIONS {
            let Some(value) = record.segments.get(dimension) else { continue };
            let of_version = self.hours.entry((record.service.clone(), dimension, value.clone())).or_default();
            let counted = of_version.entry(record.ended_at.hour()).or_insert_with(|| VersionHour {
                service: record.service.clone(),
                dimension: dimension.to_owned(),
                value: value.clone(),
                hour: record.ended_at.hour(),
                traces: 0,
                first_at: record.ended_at,
                last_at: record.ended_at,
            });
            counted.traces += 1;
            counted.first_at = counted.first_at.min(record.ended_at);
            counted.last_at = counted.last_at.max(record.ended_at);
        }
    }

    /// In order of service, dimension, value and hour.
    pub(super) fn finish(self) -> Vec<VersionHour> {
        self.hours.into_values().flat_map(BTreeMap::into_values).collect()
    }
}

/// What changed nearest to an onset, of everything that could have moved a series of a service: not after the onset, and
/// not longer before it than a day. Of changes within the range of the onset the first kind by
/// [`ChangeKind`]'s order counts: versions before judges, judges before settings.
#[must_use]
pub fn nearest_change(
    changes: &[ChangeEvent],
    (service, series): (&str, &str),
    (first, last): (Timestamp, Timestamp),
) -> Option<ChangeEvent> {
    let is_of_series = |change: &&ChangeEvent| match change.kind {
        ChangeKind::Judge | ChangeKind::Evaluator => change.subject == series,
        ChangeKind::Release | ChangeKind::Rollback | ChangeKind::Configuration => {
            change.service.as_ref().is_none_or(|of| of == service)
        }
    };
    let range = first.minus(RECENT)..last.plus(Duration::from_hours(1));
    let near = changes.iter().filter(|change| range.contains(&change.at)).filter(is_of_series);
    near.min_by_key(|change| (first.0.saturating_sub(change.at.0).max(0), change.kind, change.at)).cloned()
}

/// The main versions in order, each with the hour from which it led.
fn main_versions<'a>(history: &Hours<'a>) -> Vec<(Timestamp, &'a str)> {
    let mut mains: Vec<(Timestamp, &str)> = Vec::new();
    // The version that leads without being the main one yet, since when, and for how many hours.
    let mut rising: Option<(&str, Timestamp, usize)> = None;
    for (hour, values) in history {
        let Some(leader) = leader(values) else { continue };
        if mains.last().is_some_and(|(_, main)| *main == leader) {
            rising = None;
            continue;
        }
        let (since, led) = match rising {
            Some((value, since, led)) if value == leader => (since, led + 1),
            _ => (*hour, 1),
        };
        if mains.is_empty() || led >= STEADY_HOURS {
            mains.push((since, leader));
            rising = None;
        } else {
            rising = Some((leader, since, led));
        }
    }
    mains
}

/// The value with most traces; of equals the later one by name, so that the answer is one.
fn leader<'a>(values: &[&'a VersionHour]) -> Option<&'a str> {
    values.iter().max_by_key(|hour| (hour.traces, &hour.value)).map(|hour| hour.value.as_str())
}

fn releases(history: &Hours<'_>, main: Option<&str>) -> Vec<Release> {
    let values: BTreeSet<&str> = history.values().flatten().map(|hour| hour.value.as_str()).collect();
    values.into_iter().filter_map(|value| release(history, value, main)).collect()
}

fn release(history: &Hours<'_>, value: &str, main: Option<&str>) -> Option<Release> {
    let of_value = || history.values().flatten().filter(|hour| hour.value == value);
    let first = of_value().min_by_key(|hour| hour.first_at)?;
    let last_seen_at = of_value().map(|hour| hour.last_at).max()?;
    let latest = history.values().flatten().map(|hour| hour.last_at).max()?;
    let traces = of_value().map(|hour| hour.traces).sum();
    let share = share_since(history, value, first.hour);
    let recent_share = share_since(history, value, latest.minus(RECENT).hour());
    let status = match () {
        () if traces < LEAST_TRACES || share < LEAST_SHARE => ReleaseStatus::Unsettled,
        () if recent_share == 0.0 => ReleaseStatus::Gone,
        () if main == Some(value) => ReleaseStatus::Main,
        () => ReleaseStatus::Concurrent,
    };
    Some(Release {
        service: first.service.clone(),
        dimension: first.dimension.clone(),
        value: value.to_owned(),
        previous: version_before(history, first),
        first_seen_at: first.first_at,
        last_seen_at,
        traces,
        share,
        recent_share,
        status,
    })
}

fn share_since(history: &Hours<'_>, value: &str, since: Timestamp) -> f64 {
    let (mut of_value, mut all) = (0, 0);
    for hour in history.range(since..).flat_map(|(_, values)| values) {
        all += hour.traces;
        of_value += if hour.value == value { hour.traces } else { 0 };
    }
    of_value as f64 / all.max(1) as f64
}

/// What most traces carried in the last hour of traffic before a version came, or beside it in its first hour.
fn version_before(history: &Hours<'_>, first: &VersionHour) -> Option<String> {
    let before = history.range(..first.hour).next_back().map(|(_, values)| values.as_slice());
    let beside = || history.get(&first.hour).map(Vec::as_slice);
    let others: Vec<&VersionHour> = before
        .or_else(beside)?
        .iter()
        .copied()
        .filter(|hour| hour.value != first.value && (hour.hour < first.hour || hour.first_at < first.first_at))
        .collect();
    leader(&others).map(str::to_owned)
}

/// A settled release that replaces another.
fn arrival(release: &Release) -> Option<ChangeEvent> {
    let is_settled = release.status != ReleaseStatus::Unsettled;
    let from = release.previous.clone().filter(|_| is_settled)?;
    Some(ChangeEvent {
        at: release.first_seen_at,
        kind: ChangeKind::Release,
        service: Some(release.service.clone()),
        subject: release.dimension.clone(),
        from: Some(from),
        to: release.value.clone(),
    })
}

fn rollbacks(history: &Hours<'_>, mains: &[(Timestamp, &str)]) -> Vec<ChangeEvent> {
    let Some(any) = history.values().flatten().next() else { return Vec::new() };
    let is_return = |place: usize| mains[..place].iter().any(|(_, earlier)| *earlier == mains[place].1);
    let event = |place: usize| ChangeEvent {
        at: mains[place].0,
        kind: ChangeKind::Rollback,
        service: Some(any.service.clone()),
        subject: any.dimension.clone(),
        from: Some(mains[place - 1].1.to_owned()),
        to: mains[place].1.to_owned(),
    };
    (1..mains.len()).filter(|place| is_return(*place)).map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours from 0 on, each a list of (value, traces).
    fn history(hours: &[&[(&str, u64)]]) -> Vec<VersionHour> {
        let at = |hour: usize| Timestamp(hour as i64 * Timestamp::NANOS_PER_HOUR);
        let one = |hour: usize, value: &str, traces| VersionHour {
            service: "shop".to_owned(),
            dimension: "release".to_owned(),
            value: value.to_owned(),
            hour: at(hour),
            traces,
            first_at: Timestamp(at(hour).0 + i64::from(value == "2")),
            last_at: Timestamp(at(hour).0 + 60),
        };
        let hours = hours.iter().enumerate();
        hours.flat_map(|(hour, values)| values.iter().map(move |(value, traces)| one(hour, value, *traces))).collect()
    }

    fn find<'a>(noticed: &'a Noticed, value: &str) -> &'a Release {
        noticed.releases.iter().find(|release| release.value == value).unwrap()
    }

    #[test]
    fn a_new_version_is_noticed_with_its_share_and_what_it_replaced() {
        let noticed = notice(&history(&[&[("1", 50)], &[("1", 30), ("2", 20)], &[("2", 50)], &[("2", 50)]]));
        let new = find(&noticed, "2");
        assert_eq!((new.traces, new.share, new.previous.as_deref()), (120, 120.0 / 150.0, Some("1")));
        assert_eq!((new.status, find(&noticed, "1").status), (ReleaseStatus::Main, ReleaseStatus::Concurrent));
        assert_eq!(noticed.releases[0].value, "2", "last come first");
        assert_eq!(find(&noticed, "1").previous, None);
        let kinds: Vec<(ChangeKind, &str)> = noticed.changes.iter().map(|it| (it.kind, it.to.as_str())).collect();
        assert_eq!(kinds, [(ChangeKind::Release, "2")]);
    }

    #[test]
    fn a_few_stray_traces_are_no_release() {
        let noticed = notice(&history(&[&[("1", 3000)], &[("1", 3000), ("2", 21)], &[("1", 30), ("x", 3)]]));
        assert_eq!(find(&noticed, "2").status, ReleaseStatus::Unsettled, "21 of 3051 is under one in a hundred");
        assert_eq!(find(&noticed, "x").status, ReleaseStatus::Unsettled);
        assert_eq!(noticed.changes, []);
    }

    #[test]
    fn versions_that_take_turns_are_two_releases_and_no_stream_of_changes() {
        let turns: Vec<&[(&str, u64)]> = (0..20)
            .map(|hour| if hour % 2 == 0 { &[("1", 30), ("2", 25)][..] } else { &[("1", 25), ("2", 30)] })
            .collect();
        let noticed = notice(&history(&turns));
        assert_eq!(noticed.changes.len(), 1, "{:?}", noticed.changes);
        assert_eq!(find(&noticed, "1").status, ReleaseStatus::Main);
        assert_eq!(find(&noticed, "2").status, ReleaseStatus::Concurrent);
    }

    #[test]
    fn a_main_version_that_was_main_before_is_a_rollback_and_no_new_release() {
        let one: &[(&str, u64)] = &[("1", 50)];
        let two: &[(&str, u64)] = &[("2", 50)];
        let noticed = notice(&history(&[one, one, two, two, two, one, one]));
        let changes: Vec<_> = noticed.changes.iter().map(|it| (it.kind, it.to.as_str(), it.at)).collect();
        let hour = |hour: i64| Timestamp(hour * Timestamp::NANOS_PER_HOUR);
        let first_of_two = Timestamp(hour(2).0 + 1);
        assert_eq!(changes, [(ChangeKind::Release, "2", first_of_two), (ChangeKind::Rollback, "1", hour(5))]);
        assert_eq!(find(&noticed, "1").first_seen_at, hour(0));
    }

    #[test]
    fn what_has_no_recent_trace_is_gone() {
        let mut hours = history(&[&[("1", 50)], &[("2", 50)]]);
        for hour in hours.iter_mut().filter(|hour| hour.value == "2") {
            *hour = VersionHour {
                hour: Timestamp(hour.hour.0 * 100),
                last_at: Timestamp(hour.hour.0 * 100),
                ..hour.clone()
            };
        }
        assert_eq!(find(&notice(&hours), "1").status, ReleaseStatus::Gone);
    }

    #[test]
    fn the_nearest_change_is_of_the_series_and_not_after_the_onset() {
        let hour = |hour: i64| Timestamp(hour * Timestamp::NANOS_PER_HOUR);
        let change = |at: i64, kind, subject: &str| ChangeEvent {
            at: hour(at),
            kind,
            service: (kind == ChangeKind::Release).then(|| "shop".to_owned()),
            subject: subject.to_owned(),
            from: Some("1".to_owned()),
            to: at.to_string(),
        };
        let changes = [
            change(9, ChangeKind::Release, "release"),
            change(50, ChangeKind::Release, "release"),
            change(55, ChangeKind::Configuration, "sampling"),
            change(58, ChangeKind::Judge, "grounded"),
            change(59, ChangeKind::Evaluator, "loop"),
            change(70, ChangeKind::Release, "model"),
        ];
        let nearest = |service, series, first: i64, last: i64| {
            nearest_change(&changes, (service, series), (hour(first), hour(last))).map(|change| change.to)
        };
        assert_eq!(nearest("shop", "grounded", 60, 61).as_deref(), Some("58"));
        assert_eq!(nearest("shop", "loop", 60, 61).as_deref(), Some("59"));
        assert_eq!(nearest("shop", "cost_usd", 60, 61).as_deref(), Some("55"), "no judge moves costs");
        assert_eq!(nearest("shop", "cost_usd", 49, 61).as_deref(), Some("50"), "of several in range, the version");
        assert_eq!(nearest("other", "cost_usd", 51, 51), None, "a release of another service");
        assert_eq!(nearest("shop", "cost_usd", 40, 41), None, "a day and more before");
        assert_eq!(nearest("shop", "cost_usd", 69, 70).as_deref(), Some("70"), "within the last hour of the range");
    }

    #[test]
    fn records_are_counted_by_hour_and_those_that_tell_nothing_are_left_out() {
        let mut records: Vec<TraceRecord> = (0..15).map(|index| crate::watch::samples::record(index, "c")).collect();
        for record in &mut records[..12] {
            record.segments.insert("model".to_owned(), "m".to_owned());
        }
        let hours: Vec<u64> = version_hours(&records).iter().map(|hour| hour.traces).collect();
        assert_eq!(hours, [10, 2]);
    }
}
