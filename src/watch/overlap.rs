//! Do two alerts affect the same runs?
//!
//! **Question.** Two series of a service move in the same hours. One fault may be behind both, or two that happened to
//! begin together: answers that went wrong in one feature, and a tool that loops in another.
//!
//! **Rule.** Runs since both have begun are read, of many those that came first. Two alerts are apart when they hardly
//! affect the same ones: at most a fifth of those that the rarer of the two affects, and no more than chance gives two
//! series that have nothing to do with each other, by two standard deviations. Only runs that have a value in both series
//! count.
//!
//! **Where it ends.** Alerts that affect fewer than 20 runs, or no single run, are never apart. One fault that spoils
//! different runs in different ways looks like two; that they began with the same release tells what runs do not
//! ([`super::grouping`]).

use super::affects::{affected_value, observed_value};
use crate::domain::alert::Alert;
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;

/// Fewest affected runs of each alert that tell anything.
const LEAST_AFFECTED: f64 = 20.0;
/// Largest part of the rarer alert's runs that two faults may share.
const HARDLY: f64 = 0.2;

/// Which runs each of some alerts affects.
#[derive(Debug, Default)]
pub struct Overlap {
    alerts: Vec<Alert>,
    /// When each run ended and, of each alert, whether it is affected, `None` where the run has no value in its series.
    runs: Vec<(Timestamp, Vec<Option<bool>>)>,
}

impl Overlap {
    /// Of these alerts, over no runs yet.
    #[must_use]
    pub const fn of(alerts: Vec<Alert>) -> Self {
        Self { alerts, runs: Vec::new() }
    }

    /// Takes a run in.
    pub fn add(&mut self, record: &TraceRecord) {
        let is_affected =
            |alert: &Alert| observed_value(record, alert).map(|_| affected_value(record, alert).is_some());
        self.runs.push((record.ended_at, self.alerts.iter().map(is_affected).collect()));
    }

    /// How many runs were taken in.
    #[must_use]
    pub const fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Whether the two alerts hardly affect the same runs.
    pub(super) fn are_apart(&self, one: &Alert, other: &Alert) -> bool {
        let place = |alert: &Alert| self.alerts.iter().position(|known| known.fingerprint == alert.fingerprint);
        let (Some(one), Some(other)) = (place(one), place(other)) else { return false };
        let both_since = self.alerts[one].onset_at.max(self.alerts[other].onset_at);
        let (mut runs, mut of_one, mut of_other, mut of_both) = (0.0, 0.0, 0.0, 0.0);
        for (_, run) in self.runs.iter().filter(|(ended_at, _)| *ended_at >= both_since) {
            let (Some(is_of_one), Some(is_of_other)) = (run[one], run[other]) else { continue };
            runs += 1.0;
            of_one += f64::from(u8::from(is_of_one));
            of_other += f64::from(u8::from(is_of_other));
            of_both += f64::from(u8::from(is_of_one && is_of_other));
        }
        let rarer = f64::min(of_one, of_other);
        let by_chance: f64 = of_one * of_other / runs;
        rarer >= LEAST_AFFECTED && of_both <= HARDLY * rarer && of_both <= by_chance + 2.0 * by_chance.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::explanation::{Affects, Evidence};
    use crate::domain::measurement::{SeriesKind, Value};
    use crate::watch::samples::{measurement, record};

    fn alert(series: &str) -> Alert {
        let evidence = Evidence { affects: Affects::True, ..Evidence::default() };
        Alert { fingerprint: series.to_owned(), series: series.to_owned(), evidence, ..Alert::example() }
    }

    /// Runs of which some fail by a fault of their own, beside one in ten that fails anyway.
    fn are_apart(runs: usize, fails: impl Fn(usize) -> [bool; 2]) -> bool {
        let (mut rng, alerts) = (fastrand::Rng::with_seed(5), [alert("a"), alert("b")]);
        let mut overlap = Overlap::of(alerts.to_vec());
        for index in 0..runs {
            let mut run = record(index, "c");
            for (series, fails) in ["a", "b"].into_iter().zip(fails(index)) {
                let value = Value::Boolean(fails || rng.f64() < 0.1);
                run.measurements.push(measurement(series, SeriesKind::Boolean, value));
            }
            overlap.add(&run);
        }
        overlap.are_apart(&alerts[0], &alerts[1])
    }

    #[test]
    fn faults_of_different_runs_are_apart_and_one_that_moves_both_series_is_not() {
        assert!(are_apart(1_000, |index| [index % 20 == 0, index % 20 == 1]), "different runs");
        assert!(!are_apart(1_000, |index| [index % 20 == 0; 2]), "the same runs");
        assert!(!are_apart(1_000, |index| [index % 20 == 0, index % 2 == 0]), "the one among the other's");
        assert!(!are_apart(1_000, |index| [index % 2 == 0, index % 4 < 2]), "half of all runs is not hardly");
    }

    #[test]
    fn runs_of_before_both_began_tell_nothing() {
        let late = Alert { onset_at: record(1_000, "c").ended_at, ..alert("b") };
        let mut overlap = Overlap::of(vec![alert("a"), late.clone()]);
        for index in 0..2_000 {
            let mut run = record(index, "c");
            let fails = [index % 20 == 0, if index < 1_000 { index % 20 == 1 } else { index % 20 == 0 }];
            let values = ["a", "b"].into_iter().zip(fails.map(Value::Boolean));
            run.measurements.extend(values.map(|(series, value)| measurement(series, SeriesKind::Boolean, value)));
            overlap.add(&run);
        }
        assert!(!overlap.are_apart(&alert("a"), &late), "since both began, they affect the same runs");
    }

    #[test]
    fn few_runs_and_runs_without_both_series_tell_nothing() {
        assert!(!are_apart(50, |index| [index % 20 == 0, index % 20 == 1]));
        let mut overlap = Overlap::of(vec![alert("a"), alert("b")]);
        for index in 0..1_000 {
            let mut run = record(index, "c");
            let series = ["a", "b"][index % 2];
            run.measurements.push(measurement(series, SeriesKind::Boolean, Value::Boolean(true)));
            overlap.add(&run);
        }
        assert!(!overlap.are_apart(&alert("a"), &alert("b")), "never measured on one run");
        assert!(!overlap.are_apart(&alert("a"), &alert("c")), "an alert that it was not asked about");
    }
}
