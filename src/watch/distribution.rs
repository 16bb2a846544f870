//! Both sides' values of a series in a few bars, for people to look at.

use std::collections::{BTreeMap, BTreeSet};

use super::summary::{Distribution, SeriesSummary, cell_counts};
use crate::domain::measurement::Value;
use crate::domain::report::DistributionBin;
use crate::stats::histogram::{Histogram, Scale};
use crate::stats::moments::Moments;
use crate::stats::session::{Cell, SessionCounts};

/// Most bars of numbers.
const MOST_BINS: i32 = 20;
/// Most bars of categories or transitions.
const MOST_CELLS: usize = 16;

/// The bars; none when the kinds differ or there is no value.
pub(crate) fn distribution(before: &SeriesSummary, after: &SeriesSummary) -> Vec<DistributionBin> {
    match (&before.distribution, &after.distribution) {
        (Distribution::Boolean { moments, .. }, Distribution::Boolean { moments: other, .. }) => {
            booleans(moments, other)
        }
        (Distribution::Number { histogram, .. }, Distribution::Number { histogram: other, .. })
            if histogram.scale() == other.scale() =>
        {
            numbers(histogram, other)
        }
        (Distribution::Categorical { counts, .. }, Distribution::Categorical { counts: other, .. })
        | (Distribution::Sequence { counts, .. }, Distribution::Sequence { counts: other, .. }) => cells(counts, other),
        _ => Vec::new(),
    }
}

fn booleans(before: &Moments, after: &Moments) -> Vec<DistributionBin> {
    let bin = |label: &str, baseline, current| DistributionBin { label: label.to_owned(), baseline, current };
    vec![bin("false", 1.0 - before.mean, 1.0 - after.mean), bin("true", before.mean, after.mean)]
}

/// The bars that a value is in, by their labels; of categories and transitions those that occur.
#[must_use]
pub fn labels(before: &SeriesSummary, after: &SeriesSummary, value: &Value) -> Vec<String> {
    match (&before.distribution, &after.distribution, value) {
        (_, _, Value::Boolean(value)) => vec![value.to_string()],
        (
            Distribution::Number { histogram, .. },
            Distribution::Number { histogram: other, .. },
            Value::Number(value),
        ) if histogram.scale() == other.scale() => {
            let groups = Groups::of(histogram, other);
            vec![groups.map_or_else(|| "0".to_owned(), |groups| groups.label(groups.group(groups.scale.bin(*value))))]
        }
        _ => cell_counts(value).keys().map(cell_label).collect(),
    }
}

/// Neighbouring bins that share a bar, as many as it takes for there to be few; zero has a bar of its own.
struct Groups {
    scale: Scale,
    first: i32,
    width: i32,
}

impl Groups {
    /// `None` where there is nothing but zeros.
    fn of(before: &Histogram, after: &Histogram) -> Option<Self> {
        let scale = before.scale();
        let bins = || before.bins().chain(after.bins()).map(|(bin, _)| bin);
        let first = bins().filter(|bin| *bin != scale.bin(0.0)).min()?;
        let width = ((bins().max()? - first + MOST_BINS) / MOST_BINS).max(1);
        Some(Self { scale, first, width })
    }

    fn group(&self, bin: i32) -> i32 {
        if bin == self.scale.bin(0.0) { -1 } else { (bin - self.first) / self.width }
    }

    fn label(&self, group: i32) -> String {
        if group < 0 {
            return "0".to_owned();
        }
        let low = self.first + group * self.width;
        let (low, high) = (self.scale.lower_edge(low), self.scale.upper_edge(low + self.width - 1));
        format!("{} to {}", short(low), short(high))
    }
}

fn numbers(before: &Histogram, after: &Histogram) -> Vec<DistributionBin> {
    let Some(groups) = Groups::of(before, after) else {
        let is_empty = before.bins().chain(after.bins()).next().is_none();
        return if is_empty { Vec::new() } else { vec![bar("0".to_owned(), 1.0, 1.0)] };
    };
    let group = |bin| groups.group(bin);
    let (before, after) = (grouped(before, group), grouped(after, group));
    let ends = || before.keys().chain(after.keys()).copied();
    let all = ends().min().unwrap_or_default()..=ends().max().unwrap_or_default();
    let share = |side: &BTreeMap<i32, f64>, group| side.get(&group).copied().unwrap_or_default();
    all.map(|group| bar(groups.label(group), share(&before, group), share(&after, group))).collect()
}

fn bar(label: String, baseline: f64, current: f64) -> DistributionBin {
    DistributionBin { label, baseline, current }
}

/// Three digits that count.
fn short(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 9) };
    let text = format!("{value:.*}", usize::try_from(digits).unwrap_or_default());
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Share of the weight in each group.
fn grouped(histogram: &Histogram, group: impl Fn(i32) -> i32) -> BTreeMap<i32, f64> {
    let total = histogram.weight();
    let mut shares = BTreeMap::new();
    for (bin, weight) in histogram.bins() {
        *shares.entry(group(bin)).or_default() += weight / total;
    }
    shares
}

fn cells(before: &SessionCounts, after: &SessionCounts) -> Vec<DistributionBin> {
    let (before, after): (BTreeMap<Cell, f64>, BTreeMap<Cell, f64>) =
        (before.shares().collect(), after.shares().collect());
    let names: BTreeSet<&Cell> = before.keys().chain(after.keys()).collect();
    let share = |side: &BTreeMap<Cell, f64>, name: &Cell| side.get(name).copied().unwrap_or_default();
    let mut bins: Vec<DistributionBin> =
        names.into_iter().map(|name| bar(cell_label(name), share(&before, name), share(&after, name))).collect();
    bins.sort_by(|a, b| b.baseline.max(b.current).total_cmp(&a.baseline.max(a.current)));
    bins.truncate(MOST_CELLS);
    bins
}

/// A category has no tool before it.
fn cell_label((from, to): &Cell) -> String {
    if from.is_empty() { to.clone() } else { format!("{from} → {to}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::TraceId;
    use crate::domain::measurement::SeriesKind;
    use crate::domain::time::Timestamp;
    use crate::watch::summary::Observation;

    fn histogram(scale: Scale, values: &[f64]) -> Histogram {
        let mut histogram = Histogram::new(scale);
        values.iter().for_each(|value| histogram.add(*value, 1.0));
        histogram
    }

    #[test]
    fn bars_of_numbers_hold_all_values_of_both_sides_and_are_few() {
        let before = histogram(Scale::Magnitude, &[0.0, 1.0, 10.0, 100.0]);
        let after = histogram(Scale::Magnitude, &[1e6, 2e6]);
        let bins = numbers(&before, &after);
        assert!(bins.len() <= MOST_BINS as usize + 2, "{bins:?}");
        let sum = |side: fn(&DistributionBin) -> f64| bins.iter().map(side).sum::<f64>();
        assert!((sum(|bin| bin.baseline) - 1.0).abs() < 1e-12 && (sum(|bin| bin.current) - 1.0).abs() < 1e-12);
        assert_eq!((bins[0].label.as_str(), bins[0].baseline), ("0", 0.25));
    }

    #[test]
    fn a_series_that_is_always_zero_or_empty_has_a_bar_or_none() {
        let zeros = histogram(Scale::Magnitude, &[0.0, 0.0]);
        assert_eq!(numbers(&zeros, &zeros).len(), 1);
        let empty = Histogram::new(Scale::Unit);
        assert_eq!(numbers(&empty, &empty), []);
    }

    #[test]
    fn every_value_is_in_a_bar_of_its_series() {
        let values = [0.0, 0.4, 3.0, 3.2, 75.0, 800.0];
        let observed = |values: &[f64]| {
            let values: Vec<Value> = values.iter().map(|value| Value::Number(*value)).collect();
            let of = |value| Observation {
                trace_id: TraceId::from_bytes(&[1; 16]).unwrap(),
                conversation: "",
                ended_at: Timestamp(0),
                weight: 1.0,
                upstream_unknown: false,
                kind: SeriesKind::Numeric,
                value,
                revision: None,
            };
            SeriesSummary::of(&values.iter().map(of).collect::<Vec<_>>()).unwrap()
        };
        let (before, after) = (observed(&values[..3]), observed(&values[2..]));
        let bars: Vec<String> = distribution(&before, &after).into_iter().map(|bar| bar.label).collect();
        for value in values {
            let of_value = labels(&before, &after, &Value::Number(value));
            assert!(of_value.len() == 1 && bars.contains(&of_value[0]), "{value}: {of_value:?} not in {bars:?}");
        }
        let sequence = Value::Sequence(vec!["find".to_owned(), "refund".to_owned()]);
        assert!(labels(&before, &after, &sequence).contains(&"find → refund".to_owned()));
    }

    #[test]
    fn labels_have_three_digits_that_count() {
        assert_eq!([0.0, 0.001_234_5, 12.0, 1234.5].map(short), ["0", "0.00123", "12", "1234"]);
    }
}
