//! The drift report: every series of two selections compared, with one false-discovery rate over all of it.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::baseline::Baseline;
use super::comparison::{Comparison, Label, NO_ESTIMATE};
use super::distribution::distribution;
use super::key::{ALL, SeriesKey};
use super::summary::SeriesSummary;
use super::unpaired;
use crate::domain::report::{DriftReport, DriftVerdict, SeriesReport, Sides};
use crate::stats::mix::{SegmentShift, kitagawa};
use crate::stats::moments::Moments;
use crate::stats::multiplicity::benjamini_hochberg;

/// How to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftOptions {
    /// False-discovery rate over the whole report.
    pub alpha: f64,
    /// Dimension to compare by, beside the comparison over all traces.
    pub by: Option<String>,
    /// Seed of simulated null distributions.
    pub seed: u64,
}

impl Default for DriftOptions {
    fn default() -> Self {
        Self { alpha: 0.05, by: None, seed: 0 }
    }
}

/// A series that is compared: where it stands in the report, and its key on each side.
pub(crate) struct Matched {
    pub(crate) label: Label,
    pub(crate) baseline: SeriesKey,
    pub(crate) current: SeriesKey,
}

/// Compares two selections series by series, from their summaries alone.
///
/// When each side holds one service, they are compared whatever the services' names; otherwise each common service by
/// itself, in the segment `service=NAME`.
#[must_use]
pub fn drift(baseline: &Baseline, current: &Baseline, options: &DriftOptions) -> DriftReport {
    report(baseline, current, options, |matched, before, after, rng| {
        unpaired::compare(&matched.label, before, after, rng)
    })
}

/// Compares two selections with any comparison of the series that both have.
pub(crate) fn report(
    baseline: &Baseline,
    current: &Baseline,
    options: &DriftOptions,
    mut compare: impl FnMut(&Matched, &SeriesSummary, &SeriesSummary, &mut Rng) -> Comparison,
) -> DriftReport {
    let mut rng = Rng::with_seed(options.seed);
    let mut comparisons = Vec::new();
    for matched in matches(baseline, current, options.by.as_deref()) {
        let comparison = match (baseline.series.get(&matched.baseline), current.series.get(&matched.current)) {
            (Some(before), Some(after)) => {
                match baseline.revision_conflict(current, &matched.label.series, (before, after)) {
                    Some(conflict) => {
                        let (kind, before, after) =
                            (after.kind(), unpaired::estimate(before), unpaired::estimate(after));
                        Comparison::new(&matched.label, kind, before, after).note(&conflict)
                    }
                    None => {
                        let mut comparison = compare(&matched, before, after, &mut rng);
                        comparison.report.distribution = distribution(before, after);
                        comparison
                    }
                }
            }
            (Some(before), None) => {
                Comparison::new(&matched.label, before.kind(), unpaired::estimate(before), NO_ESTIMATE)
                    .note("the series is missing on the current side")
            }
            (None, Some(after)) => {
                Comparison::new(&matched.label, after.kind(), NO_ESTIMATE, unpaired::estimate(after))
                    .note("the series is missing on the baseline side")
            }
            (None, None) => continue,
        };
        let is_notable = comparison.judged_p_value().is_some_and(|p| p <= options.alpha);
        let by = options.by.as_deref().filter(|_| is_notable && matched.baseline.segment == ALL);
        let split = by.and_then(|by| mix_split(baseline, current, &matched, by));
        comparisons.push(match split {
            Some(split) => comparison.note(&split),
            None => comparison,
        });
    }
    let series = conclude(comparisons, options.alpha);
    DriftReport {
        verdict: overall(&series),
        alpha: options.alpha,
        traces: Sides { baseline: baseline.traces, current: current.traces },
        series,
        mix: mix(baseline, current),
        changes: Vec::new(),
        notes: notes(baseline, current, options),
    }
}

/// Adjusts over all judged rows, concludes each, and puts drift first and then small p-values.
fn conclude(comparisons: Vec<Comparison>, alpha: f64) -> Vec<SeriesReport> {
    let p_values: Vec<f64> = comparisons.iter().filter_map(Comparison::judged_p_value).collect();
    let mut adjusted = benjamini_hochberg(&p_values).into_iter();
    let mut series: Vec<SeriesReport> = comparisons
        .into_iter()
        .map(|comparison| {
            let adjusted = comparison.judged_p_value().and_then(|_| adjusted.next());
            comparison.conclude(adjusted, alpha)
        })
        .collect();
    let rank = |row: &SeriesReport| (row.verdict != DriftVerdict::Drift, row.p_value.is_none());
    series.sort_by(|a, b| {
        let p_value = |row: &SeriesReport| row.p_value.unwrap_or(1.0);
        rank(a).cmp(&rank(b)).then(p_value(a).total_cmp(&p_value(b)))
    });
    series
}

fn overall(series: &[SeriesReport]) -> DriftVerdict {
    let any = |verdict| series.iter().any(|row| row.verdict == verdict);
    [DriftVerdict::Drift, DriftVerdict::NoDrift]
        .into_iter()
        .find(|verdict| any(*verdict))
        .unwrap_or(DriftVerdict::InsufficientEvidence)
}

fn matches(baseline: &Baseline, current: &Baseline, by: Option<&str>) -> Vec<Matched> {
    let (before, after) = (baseline.services(), current.services());
    let is_one_to_one = before.len() == 1 && after.len() == 1;
    let services: Vec<(&str, &str)> = if is_one_to_one {
        before.iter().copied().zip(after.iter().copied()).collect()
    } else {
        before.intersection(&after).map(|service| (*service, *service)).collect()
    };
    services
        .into_iter()
        .flat_map(|(service, other)| {
            let names = |side: &Baseline, service: &str| {
                let keys = side.series.keys().filter(|key| key.service == service && is_wanted(&key.segment, by));
                keys.map(|key| (key.series.clone(), key.segment.clone())).collect::<BTreeSet<_>>()
            };
            let all: BTreeSet<(String, String)> =
                names(baseline, service).union(&names(current, other)).cloned().collect();
            all.into_iter().map(move |(series, segment)| Matched {
                label: Label { series: series.clone(), segment: shown_segment(service, &segment, is_one_to_one) },
                baseline: SeriesKey { service: service.to_owned(), series: series.clone(), segment: segment.clone() },
                current: SeriesKey { service: other.to_owned(), series, segment },
            })
        })
        .collect()
}

/// Whether a segment is compared: all traces always, others when the report is split by their dimension.
fn is_wanted(segment: &str, by: Option<&str>) -> bool {
    let is_of = |dimension: &str| segment.strip_prefix(dimension).is_some_and(|rest| rest.starts_with('='));
    segment == ALL || by.is_some_and(is_of)
}

fn shown_segment(service: &str, segment: &str, is_one_to_one: bool) -> String {
    match (is_one_to_one, segment) {
        (true, segment) => segment.to_owned(),
        (false, ALL) => format!("service={service}"),
        (false, segment) => format!("service={service},{segment}"),
    }
}

/// How much of a change of a mean comes from the traffic's mix of segments, and how much from within them.
fn mix_split(baseline: &Baseline, current: &Baseline, matched: &Matched, by: &str) -> Option<String> {
    let (before, after) = (segments(baseline, &matched.baseline, by), segments(current, &matched.current, by));
    let total = |side: &BTreeMap<&str, Moments>| side.values().map(|moments| moments.weight).sum::<f64>();
    let (total_before, total_after) = (total(&before), total(&after));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let shift = |name: &&str| {
        let (one, other) = (before.get(name), after.get(name));
        // A segment on one side only has that side's mean on both, which books it as mix.
        let mean = |side: Option<&Moments>| side.or(one).or(other).map_or(0.0, |moments| moments.mean);
        SegmentShift {
            baseline_share: one.map_or(0.0, |moments| moments.weight) / total_before,
            current_share: other.map_or(0.0, |moments| moments.weight) / total_after,
            baseline_mean: mean(one),
            current_mean: mean(other),
        }
    };
    let split = kitagawa(&names.iter().map(shift).collect::<Vec<_>>());
    let change = split.mix + split.within;
    let text = format!(
        "of the change {change:+.4}, {:+.4} comes from another mix of {by} and {:+.4} from within its segments",
        split.mix, split.within
    );
    (total_before > 0.0 && total_after > 0.0).then_some(text)
}

/// The moments of a series in each segment of a dimension.
fn segments<'a>(side: &'a Baseline, key: &SeriesKey, by: &str) -> BTreeMap<&'a str, Moments> {
    let of_series = side.series.iter().filter(|(other, _)| other.service == key.service && other.series == key.series);
    of_series
        .filter(|(other, _)| other.segment != ALL && is_wanted(&other.segment, Some(by)))
        .filter_map(|(other, summary)| summary.moments().map(|moments| (other.segment.as_str(), *moments)))
        .collect()
}

/// Share of traces, weighted by upstream sampling, by dimension and value on each side.
fn mix(baseline: &Baseline, current: &Baseline) -> BTreeMap<String, BTreeMap<String, (f64, f64)>> {
    let share = |side: &Baseline, dimension: &str, value: &str| {
        let weight = side.mix.get(dimension).and_then(|values| values.get(value)).copied().unwrap_or(0.0);
        // A baseline of an earlier release has no weight, and no trace stands for less than itself.
        weight / side.weight.max(side.traces.max(1) as f64)
    };
    let mut mix: BTreeMap<String, BTreeMap<String, (f64, f64)>> = BTreeMap::new();
    for (dimension, values) in baseline.mix.iter().chain(&current.mix) {
        let shares = mix.entry(dimension.clone()).or_default();
        for value in values.keys() {
            shares.insert(value.clone(), (share(baseline, dimension, value), share(current, dimension, value)));
        }
    }
    mix
}

fn notes(baseline: &Baseline, current: &Baseline, options: &DriftOptions) -> Vec<String> {
    let mut notes: Vec<String> = baseline.upstream_note(current).into_iter().collect();
    if baseline.identity == current.identity && baseline.traces == current.traces && baseline.traces > 0 {
        notes.push("baseline and current hold the same traces".to_owned());
    } else if !baseline.identity.is_disjoint(&current.identity) {
        notes.push("baseline and current share traces; p-values assume that they do not".to_owned());
    }
    let (before, after) = (baseline.services(), current.services());
    if before.len() != 1 || after.len() != 1 {
        let lone: Vec<&str> = before.symmetric_difference(&after).copied().collect();
        if !lone.is_empty() {
            notes.push(format!("services on one side only are not compared: {}", lone.join(", ")));
        }
    }
    if let Some(by) =
        options.by.as_deref().filter(|by| !baseline.mix.contains_key(*by) && !current.mix.contains_key(*by))
    {
        notes.push(format!("no trace has the dimension {by}"));
    }
    notes
}
