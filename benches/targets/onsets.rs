//! Row 12: since when.

use driftline::domain::time::Timestamp;
use driftline::stats::e_process::AlertBudget;
use driftline::stats::onset::onset_of_share;
use driftline::stats::windows::WindowSum;
use fastrand::Rng;

use super::population::Population;
use super::watched::{Shipped, summary};
use super::{Effort, Measured, Target};

const WINDOWS: usize = 60;
const ONSET: usize = 40;
const WINDOW: usize = 200;
const BASELINE_WINDOWS: usize = 50;
/// Windows after the change in which the service has to have alarmed, or the run does not count.
const LATEST: usize = 300;
/// Twenty streams of a month, in both directions.
const BUDGET: AlertBudget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 40 };

/// Row 12: at 60 windows, and as the alerts of a service say it, at the window in which they are raised.
pub(crate) fn coverage(effort: Effort) -> Vec<Measured> {
    let mut rng = Rng::with_seed(12);
    let mut all = Vec::new();
    for drop in [0.1, 0.05, 0.02] {
        let runs = effort.times(500);
        let sets: Vec<Vec<usize>> = (0..runs).map(|_| set(drop, &mut rng)).collect();
        let held = sets.iter().filter(|set| set.contains(&ONSET)).count();
        all.extend(lines(&format!("{:.0} points", drop * 100.0), held, sets.iter().map(Vec::len).sum(), runs));
    }
    for drop in [0.1, 0.05, 0.03] {
        let ranges: Vec<(usize, usize)> = (0..effort.times(50)).filter_map(|_| alerted(drop, &mut rng)).collect();
        let held = ranges.iter().filter(|(first, last)| (*first..=*last).contains(&ONSET)).count();
        let size = ranges.iter().map(|(first, last)| last - first + 1).sum();
        all.extend(lines(&format!("{:.0} points, of alerts", drop * 100.0), held, size, ranges.len()));
    }
    all
}

fn lines(name: &str, held: usize, size: usize, runs: usize) -> [Measured; 2] {
    [
        Measured::percent(format!("{name}: %"), held, runs, Target::AtLeast(95.0)),
        Measured::new(format!("{name}: windows in the set"), size as f64 / runs as f64, Target::Told),
    ]
}

/// The onset set of a drop that is looked at from the end.
fn set(drop: f64, rng: &mut Rng) -> Vec<usize> {
    let window = |at: usize| {
        let share = if at < ONSET { 0.9 } else { 0.9 - drop };
        WindowSum { sum: (0..WINDOW).filter(|_| rng.f64() < share).count() as f64, size: WINDOW as f64 }
    };
    let windows: Vec<WindowSum> = (0..WINDOWS).map(window).collect();
    onset_of_share(&windows, 1.0).expect("there are windows").positions
}

/// The first and last window that the alert on a drop gives for its beginning; `None` where none is raised in time, or
/// before there is anything to find.
fn alerted(drop: f64, rng: &mut Rng) -> Option<(usize, usize)> {
    let population = Population::binary(0.9);
    let lowered = population.lowered(drop);
    let baseline: Vec<Vec<f64>> = (0..BASELINE_WINDOWS).map(|_| population.draw(WINDOW, rng)).collect();
    let baseline = summary(&population, &baseline);
    let mut shipped = Shipped::new(&baseline, &BUDGET);
    let mut found = (0..ONSET + LATEST).filter_map(|at| {
        let population = if at < ONSET { &population } else { &lowered };
        let finding = shipped.finding_at(&summary(population, &[population.draw(WINDOW, rng)]))?;
        Some((at, finding.onset_between?))
    });
    let (_, range) = found.next().filter(|(at, _)| *at >= ONSET)?;
    // The first hour is that of the first window.
    let position = |hour: Timestamp| (hour.0 / Timestamp::NANOS_PER_HOUR - 1) as usize;
    Some((position(range.0), position(range.1)))
}
