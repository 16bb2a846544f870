//! Row 9: tool sequences.

use std::collections::BTreeMap;

use driftline::stats::contingency::{jensen_shannon_distance, likelihood_ratio};
use driftline::stats::sequence::compare_sessions;
use driftline::stats::session::{Cell, SessionCounts, transitions};
use fastrand::Rng;

use super::{Effort, Measured, Target};

type Session = (BTreeMap<Cell, f64>, f64);

/// Sessions of some traces each, whose taste for searching again differs between sessions.
fn sessions(count: usize, loop_rate: f64, rng: &mut Rng) -> Vec<Session> {
    let session = |rng: &mut Rng| {
        let taste = rng.f64() * 0.4;
        let mut cells: BTreeMap<Cell, f64> = BTreeMap::new();
        for _ in 0..rng.usize(2..8) {
            for (cell, count) in transitions(&trace(taste, loop_rate, rng)) {
                *cells.entry(cell).or_default() += count;
            }
        }
        let events = cells.values().sum();
        (cells, events)
    };
    (0..count).map(|_| session(rng)).collect()
}

fn trace(taste: f64, loop_rate: f64, rng: &mut Rng) -> Vec<String> {
    let mut names = vec!["search".to_owned()];
    while rng.f64() < taste + loop_rate {
        names.push("search".to_owned());
    }
    names.push(if rng.f64() < taste { "write" } else { "read" }.to_owned());
    if rng.f64() < 0.5 {
        names.push("write".to_owned());
    }
    names
}

/// Counts of all sessions on common cells.
fn pooled(before: &[Session], after: &[Session]) -> (Vec<f64>, Vec<f64>) {
    let mut cells: BTreeMap<&Cell, (f64, f64)> = BTreeMap::new();
    for (cell, count) in before.iter().flat_map(|(cells, _)| cells) {
        cells.entry(cell).or_default().0 += count;
    }
    for (cell, count) in after.iter().flat_map(|(cells, _)| cells) {
        cells.entry(cell).or_default().1 += count;
    }
    cells.into_values().unzip()
}

/// Population stability index, shares of empty cells taken as 1e-4, as Evidently does.
fn stability_index(before: &[f64], after: &[f64]) -> f64 {
    let (size, other) = (before.iter().sum::<f64>(), after.iter().sum::<f64>());
    let share = |count: f64, size: f64| if count > 0.0 { count / size } else { 1e-4 };
    let term = |(a, b): (&f64, &f64)| {
        let (p, q) = (share(*a, size), share(*b, other));
        (q - p) * (q / p).ln()
    };
    before.iter().zip(after).map(term).sum()
}

/// Row 9.
pub(crate) fn tool_drift(effort: Effort) -> Vec<Measured> {
    let (runs, mut rng) = (effort.times(100), Rng::with_seed(9));
    let mut measure = |loop_rate: f64| {
        let (mut fired, mut named) = ([0.0; 4], 0.0_f64);
        for _ in 0..runs {
            let (before, after) = (sessions(240, 0.1, &mut rng), sessions(120, loop_rate, &mut rng));
            let result = compare_sessions(&SessionCounts::of_sessions(&before), &SessionCounts::of_sessions(&after))
                .expect("both sides have sessions");
            let (counts, other) = pooled(&before, &after);
            let is_found = result.p_value < 0.05;
            let rules = [
                is_found,
                likelihood_ratio(&counts, &other).p_value < 0.05,
                jensen_shannon_distance(&counts, &other) > 0.1,
                stability_index(&counts, &other) > 0.1,
            ];
            fired.iter_mut().zip(rules).for_each(|(fired, rule)| *fired += f64::from(u8::from(rule)));
            // The shares of all other transitions fall when one is repeated: the cause is among those that rose.
            let risen = result.shifts.iter().find(|shift| shift.z > 0.0);
            let is_loop = |cell: &Cell| cell.0 == "search" && cell.1 == "search";
            named += f64::from(u8::from(is_found && risen.is_some_and(|shift| is_loop(&shift.cell))));
        }
        let found = fired[0].max(1.0);
        (fired.map(|count| count * 100.0 / runs as f64), named * 100.0 / found)
    };
    let (false_alarms, _) = measure(0.1);
    let (power, named) = measure(0.2);
    let rules = ["sessions", "G test on calls", "Jensen-Shannon distance over 0.1", "PSI over 0.1"];
    let mut all = Vec::new();
    for (at, rule) in rules.into_iter().enumerate() {
        let pick = |target| if at == 0 { target } else { Target::Peer };
        all.push(Measured::new(format!("{rule}: false alarms, %"), false_alarms[at], pick(Target::AtMost(6.0))));
        all.push(Measured::new(format!("{rule}: loops found, %"), power[at], pick(Target::AtLeast(60.0))));
    }
    all.push(Measured::new("the loop is the transition that rose most, %", named, Target::AtLeast(85.0)));
    all
}
