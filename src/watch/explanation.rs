//! Where does a change come from?
//!
//! **Question.** A service's mean has moved. Has the traffic moved to other segments, or have answers changed within them,
//! and in which?
//!
//! **Statistic.** Kitagawa's split of the difference, exact and symmetric, by every dimension. Segments are ranked by what
//! they contribute to the change within; each contribution has a 95 % interval. A segment that the baseline has not
//! seen counts as mix, and a version among them is named: it is the nearest change of release, model or prompt.
//!
//! **Which dimension.** The one in which one segment explains most of the change within.
//!
//! **What it is worth.** It ranks; it does not test. What raised the alarm is the detector's evidence.
//!
//! Source: Kitagawa 1955.

use std::collections::{BTreeMap, BTreeSet};

use super::baseline::Baseline;
use super::detect::Direction;
use super::expectation::VERSIONS;
use super::key::SeriesKey;
use super::score::{Score, furthest};
use super::summary::{Distribution, SeriesSummary};
use crate::domain::explanation::{Contribution, Explanation};
use crate::domain::ids::TraceId;
use crate::stats::mix::{SegmentShift, kitagawa};

/// Segments listed.
const LISTED: usize = 5;
/// Part of the traffic that a new version must have to be named.
const LEAST_SHARE: f64 = 0.05;

/// Takes the change of a series apart: `current` holds all summaries since the onset. `None` where no dimension has
/// values on both sides, and for categories and sequences, whose moved cells are the explanation.
#[must_use]
pub fn explain(
    baseline: &Baseline,
    current: &BTreeMap<SeriesKey, SeriesSummary>,
    key: &SeriesKey,
    direction: Direction,
) -> Option<Explanation> {
    let whole = baseline.series.get(key)?;
    let score = Score::of(direction, whole, whole.over_dispersion)?;
    let by = |dimension: &String| Sides::of(baseline, current, key, dimension)?.split(&score, dimension);
    let focus = |one: &Explanation| one.segments.first().map_or(0.0, |first| first.contribution.abs());
    let mut best = baseline.mix.keys().filter_map(by).max_by(|a, b| focus(a).total_cmp(&focus(b)))?;
    best.new_versions = new_versions(baseline, current, key);
    let first = best.segments.first().map(|first| SeriesKey { segment: first.segment.clone(), ..key.clone() });
    best.trace_ids = first.and_then(|first| current.get(&first)).map_or_else(Vec::new, |one| shown(one, direction));
    Some(best)
}

fn shown(summary: &SeriesSummary, direction: Direction) -> Vec<TraceId> {
    match &summary.distribution {
        Distribution::Boolean { extremes, .. } | Distribution::Number { extremes, .. } => furthest(extremes, direction),
        Distribution::Categorical { .. } | Distribution::Sequence { .. } => Vec::new(),
    }
}

/// Versions with a notable part of the traffic that the baseline has not seen.
fn new_versions(baseline: &Baseline, current: &BTreeMap<SeriesKey, SeriesSummary>, key: &SeriesKey) -> Vec<String> {
    let weight = |summary: &SeriesSummary| summary.moments().map_or(0.0, |moments| moments.weight);
    let total = current.get(key).map_or(0.0, weight);
    let is_new = |other: &SeriesKey| {
        let dimension = other.segment.split_once('=').map_or("", |(dimension, _)| dimension);
        VERSIONS.contains(&dimension) && !baseline.series.contains_key(other)
    };
    let of_series = current.iter().filter(|(other, _)| other.service == key.service && other.series == key.series);
    let new = of_series.filter(|(other, summary)| is_new(other) && weight(summary) >= LEAST_SHARE * total);
    new.map(|(other, _)| other.segment.clone()).collect()
}

/// A series by the segments of one dimension, on both sides.
struct Sides<'a> {
    segments: Vec<(String, Option<&'a SeriesSummary>, Option<&'a SeriesSummary>)>,
}

impl<'a> Sides<'a> {
    fn of(
        baseline: &'a Baseline,
        current: &'a BTreeMap<SeriesKey, SeriesSummary>,
        key: &SeriesKey,
        dimension: &str,
    ) -> Option<Self> {
        let prefix = format!("{dimension}=");
        let is_of = |other: &&SeriesKey| {
            other.service == key.service && other.series == key.series && other.segment.starts_with(&prefix)
        };
        let keys: BTreeSet<&SeriesKey> = baseline.series.keys().chain(current.keys()).filter(is_of).collect();
        let sides = |one: &&SeriesKey| (one.segment.clone(), baseline.series.get(*one), current.get(*one));
        let segments: Vec<_> = keys.iter().map(sides).collect();
        let has_both = segments.iter().any(|(_, before, after)| before.is_some() && after.is_some());
        Some(Self { segments }).filter(|sides| has_both && sides.segments.len() > 1)
    }

    fn split(&self, score: &Score, dimension: &str) -> Option<Explanation> {
        let weight = |side: Option<&SeriesSummary>| side.and_then(SeriesSummary::moments).map_or(0.0, |it| it.weight);
        let before: f64 = self.segments.iter().map(|(_, before, _)| weight(*before)).sum();
        let after: f64 = self.segments.iter().map(|(_, _, after)| weight(*after)).sum();
        let mean = |side: Option<&SeriesSummary>| Some(score.shown(score.mean_of(&side?.distribution)?));
        let shift = |(_, one, other): &(String, Option<&SeriesSummary>, Option<&SeriesSummary>)| {
            let (baseline, current) = (mean(*one), mean(*other));
            SegmentShift {
                baseline_share: weight(*one) / before,
                current_share: weight(*other) / after,
                baseline_mean: baseline.or(current).unwrap_or_default(),
                current_mean: current.or(baseline).unwrap_or_default(),
            }
        };
        let shifts: Vec<SegmentShift> = self.segments.iter().map(shift).collect();
        let parts = kitagawa(&shifts);
        let each = self.segments.iter().zip(&shifts).zip(&parts.within_by_segment);
        let mut segments: Vec<Contribution> = each
            .filter_map(|(((name, one, other), shift), part)| {
                contribution(name, ((*one)?, (*other)?), shift, *part, score)
            })
            .collect();
        // Those that go the way of the whole come first.
        segments.sort_by(|a, b| (b.contribution * parts.within).total_cmp(&(a.contribution * parts.within)));
        segments.truncate(LISTED);
        let (mix, within) = (parts.mix, parts.within);
        let (new_versions, trace_ids) = (Vec::new(), Vec::new());
        (mix + within).is_finite().then_some(Explanation {
            dimension: dimension.to_owned(),
            mix,
            within,
            segments,
            new_versions,
            trace_ids,
        })
    }
}

fn contribution(
    name: &str,
    (before, after): (&SeriesSummary, &SeriesSummary),
    shift: &SegmentShift,
    part: f64,
    score: &Score,
) -> Option<Contribution> {
    let squared_error = |side: &SeriesSummary, mean: f64| {
        let size = side.moments()?.kish_size() / side.over_dispersion.at_least_one();
        Some(score.variance(mean.clamp(0.0, 1.0)) / size)
    };
    let (baseline, current) = (shift.baseline_mean, shift.current_mean);
    let error = (squared_error(before, baseline)? + squared_error(after, current)?).sqrt();
    let half = 1.96 * error * f64::midpoint(shift.baseline_share, shift.current_share);
    let (low, high) = (part - half, part + half);
    Some(Contribution {
        segment: name.to_owned(),
        traces: after.traces,
        baseline,
        current,
        contribution: part,
        low,
        high,
    })
}
