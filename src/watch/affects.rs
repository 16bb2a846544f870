//! Which traces does an alert affect?
//!
//! **Question.** A series has moved; whose business was it? Every trace since the onset either shows the change or does
//! not, and which do must be the same whoever asks, however late.
//!
//! **Rule**, fixed when the alert is raised or confirmed by another detector; the shipped rules with limits of their own
//! say themselves which runs they count:
//!
//! | series | affected |
//! | --- | --- |
//! | true or false | the value that became more frequent |
//! | numbers | beyond the baseline's tenth or ninetieth percentile, in the direction of the change |
//! | categories, tool transitions | one occurs that is new, or at least twice as frequent |
//! | values that are missing, budgets | none |
//!
//! **Where it ends.** Beyond a percentile of the baseline lie some traces of any hour: of ten affected traces of a number,
//! as many are to be expected without any change as the baseline's share of that hour. A category or transition that was
//! common and grew by less than that marks nobody: most runs had it before, and which would not have it now, no run tells.

use super::key::PARTS;
use super::summary::{Distribution, SeriesSummary, cell_counts, number};
use crate::domain::alert::Alert;
use crate::domain::explanation::Affects;
use crate::domain::measurement::{TraceRecord, Value};
use crate::domain::report::Transition;
use crate::stats::histogram::{Histogram, Scale};

/// By how much a category or transition must have grown for its occurrence to tell a run of the change from one before.
const GROWN: f64 = 2.0;

/// What decides whether a trace is affected by an alert about the summarised series, which is the baseline's where there
/// is one.
#[must_use]
pub fn affects(alert: &Alert, summary: &SeriesSummary) -> Affects {
    let is_up = alert.direction == "up";
    match &summary.distribution {
        Distribution::Boolean { .. } if is_up => Affects::True,
        Distribution::Boolean { .. } => Affects::False,
        Distribution::Number { histogram, .. } => beyond_percentile(histogram, is_up),
        Distribution::Categorical { .. } | Distribution::Sequence { .. } => grown(alert),
    }
}

/// Whether a trace with this value in the alert's series is affected. A score of one half or more counts as true.
#[must_use]
pub fn includes(affects: &Affects, value: &Value) -> bool {
    let is = |holds: &dyn Fn(f64) -> bool| number(value).is_some_and(holds);
    match affects {
        Affects::Nothing => false,
        Affects::True => is(&|value| value >= 0.5),
        Affects::False => is(&|value| value < 0.5),
        Affects::Above(limit) => is(&|value| value > *limit),
        Affects::AtMost(limit) => is(&|value| value <= *limit),
        Affects::Cells(cells) => {
            let counts = cell_counts(value);
            cells.iter().any(|cell| counts.contains_key(cell))
        }
    }
}

/// The trace's value in the alert's series, if the alert affects it.
#[must_use]
pub fn affected_value<'a>(record: &'a TraceRecord, alert: &Alert) -> Option<&'a Value> {
    let value = observed_value(record, alert).filter(|_| is_in_segment(record, &alert.segment))?;
    includes(&alert.evidence.affects, value).then_some(value)
}

/// The trace's value in the alert's series, of the revision that moved.
pub(super) fn observed_value<'a>(record: &'a TraceRecord, alert: &Alert) -> Option<&'a Value> {
    let measurement = record.measurement(&alert.series)?;
    let revisions = alert.evidence.revision.as_ref().zip(measurement.revision.as_ref());
    revisions.is_none_or(|(moved, scored)| moved == scored).then_some(&measurement.value)
}

/// Whether a trace belongs to a segment. Segments that part a series itself hold every trace.
#[must_use]
pub fn is_in_segment(record: &TraceRecord, segment: &str) -> bool {
    match segment.split_once('=') {
        Some((dimension, value)) if !PARTS.contains(&dimension) => {
            record.segments.get(dimension).is_some_and(|it| it == value)
        }
        _ => true,
    }
}

/// On bin edges, as the detectors count. Where a tenth of the scores lie in the last bin, none lies beyond it, and those
/// in it are what there is more of.
fn beyond_percentile(histogram: &Histogram, is_up: bool) -> Affects {
    let scale = histogram.scale();
    let Some(bin) = histogram.quantile_bin(if is_up { 0.9 } else { 0.1 }) else { return Affects::Nothing };
    let is_last = scale == Scale::Unit && bin == scale.bin(f64::from(u8::from(is_up)));
    let (low, high) = (scale.lower_edge(bin), scale.upper_edge(bin));
    match (is_up, is_last) {
        (true, false) => Affects::Above(high),
        (true, true) => Affects::Above(low),
        (false, false) => Affects::AtMost(low),
        (false, true) => Affects::AtMost(high),
    }
}

fn grown(alert: &Alert) -> Affects {
    let has_grown = |cell: &&Transition| cell.current > 0.0 && cell.current >= GROWN * cell.baseline;
    let grown = alert.evidence.transitions.iter().filter(has_grown);
    let cells: Vec<(String, String)> = grown.map(|cell| (cell.from.clone(), cell.to.clone())).collect();
    if cells.is_empty() { Affects::Nothing } else { Affects::Cells(cells) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::explanation::Evidence;
    use crate::domain::measurement::SeriesKind;
    use crate::domain::time::Timestamp;
    use crate::watch::baseline::Baseline;
    use crate::watch::samples::{measurement, record};

    fn summary(kind: SeriesKind, values: Vec<Value>) -> SeriesSummary {
        let records: Vec<_> = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                let mut one = record(index, &index.to_string());
                one.measurements = vec![measurement("s", kind, value)];
                one
            })
            .collect();
        Baseline::from_records("b", Timestamp(0), "", &records).overall("s").unwrap()
    }

    fn alert(direction: &str, detector: &str) -> Alert {
        Alert { direction: direction.to_owned(), detector: detector.to_owned(), ..Alert::example() }
    }

    fn numbers(kind: SeriesKind, values: impl Iterator<Item = f64>) -> SeriesSummary {
        summary(kind, values.map(Value::Number).collect())
    }

    #[test]
    fn of_yes_and_no_the_answer_that_became_more_frequent_is_affected() {
        let summary = summary(SeriesKind::Boolean, vec![Value::Boolean(true); 10]);
        let is = |direction, value| includes(&affects(&alert(direction, "d"), &summary), &value);
        assert!(is("down", Value::Boolean(false)) && !is("down", Value::Boolean(true)));
        assert!(is("up", Value::Boolean(true)) && !is("up", Value::Boolean(false)));
        assert!(is("up", Value::Number(0.5)) && is("down", Value::Number(0.4)), "what others scored");
    }

    #[test]
    fn of_numbers_those_beyond_a_tenth_of_the_baseline_are_affected_on_the_side_of_the_change() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let baseline = numbers(SeriesKind::Numeric, values.iter().copied());
        for (direction, far, near) in [("up", 990.0, 500.0), ("down", 20.0, 500.0)] {
            let affects = affects(&alert(direction, "shiryaev_roberts"), &baseline);
            let share = values.iter().filter(|value| includes(&affects, &Value::Number(**value))).count();
            assert!((50..=100).contains(&share), "{direction}: {affects:?} holds {share} of 1000");
            assert!(includes(&affects, &Value::Number(far)) && !includes(&affects, &Value::Number(near)));
        }
    }

    #[test]
    fn of_scores_that_end_at_their_best_those_that_are_worse_are_affected_and_at_their_worst_those_that_are_worst() {
        let perfect = numbers(SeriesKind::Ordinal, (0..100).map(|_| 1.0));
        let fell = affects(&alert("down", "d"), &perfect);
        assert!(includes(&fell, &Value::Number(0.5)) && !includes(&fell, &Value::Number(1.0)), "{fell:?}");
        let halves = numbers(SeriesKind::Ordinal, (0..100).map(|index| f64::from(index % 2)));
        let fell = affects(&alert("down", "d"), &halves);
        assert!(includes(&fell, &Value::Number(0.0)) && !includes(&fell, &Value::Number(1.0)), "{fell:?}");
    }

    #[test]
    fn of_tools_and_categories_runs_with_one_that_doubled_are_affected_and_not_those_with_one_that_was_common() {
        let tools = |names: &[&str]| Value::Sequence(names.iter().map(|name| (*name).to_owned()).collect());
        let baseline = summary(SeriesKind::Sequence, vec![tools(&["a", "b"]); 5]);
        let moved = |from: &str, to: &str, baseline, current| Transition {
            from: from.to_owned(),
            to: to.to_owned(),
            baseline,
            current,
            z: 5.0,
            low: 0.0,
            high: 0.0,
        };
        let affects_of = |transitions: Vec<Transition>| {
            let evidence = Evidence { transitions, ..Evidence::default() };
            affects(&Alert { evidence, ..alert("shape", "d") }, &baseline)
        };
        let common = moved("a", "b", 0.3, 0.5);
        let doubled = moved("a", "a", 0.1, 0.2);
        let (new, gone) = (moved("b", "c", 0.0, 0.1), moved("b", "END", 0.3, 0.0));
        assert_eq!(affects_of(vec![common.clone()]), Affects::Nothing);
        let affects = affects_of(vec![doubled, common, new, gone]);
        let is = |names: &[&str]| includes(&affects, &tools(names));
        assert_eq!([is(&["a", "a"]), is(&["b", "c"]), is(&["a", "b"])], [true, true, false], "{affects:?}");
    }
}
