//! Did the shares of tool transitions (or of categories) change, when the counts of one session belong together?
//!
//! **Question.** Each session yields a vector of counts over cells. A cell is a transition (from, to) between tools
//! padded with START and END, or a category, which is a cell without a "from". Did the cells' shares of all events
//! change?
//!
//! **Statistic.** Calls of one session depend on each other, so a G-test on pooled calls is wrong for a third of all
//! unchanged comparisons. Sessions are the unit instead: [`super::session`] keeps first and second moments of the
//! session vectors, and the variance of the shares is estimated from the residuals of both sides together (with
//! per-side variances rare cells alone raise 37 % false alarms). Three tests share α: Pearson's statistic over all
//! cells with the second-order Rao-Scott correction, strong when many cells move a little, and the largest |z| over
//! frequent cells with Bonferroni, strong when one does, and naming it. Cells too rare for either (a tool nobody
//! called before) are counted in sessions that have them at all, by Fisher's exact test with Bonferroni; only where
//! sessions weigh the same.
//!
//! **When it fires.** p = the smallest, times the number of tests that apply. On simulated clustered sessions (240
//! against 120) 12 of 300 unchanged comparisons have p < 0.05.
//!
//! **Cold start.** The callers ask for at least 20 sessions a side. Cells with an expected count below 5 are pooled
//! into OTHER for the first test; the second takes cells with an expected count of 20 or more, the third the rest. A
//! swap of two adjacent calls in 8 % of traces is not visible with 120 sessions.
//!
//! Sources: Rao and Scott 1981, 1984; Thomas and Rao 1987.

use std::collections::BTreeSet;

use super::contingency::{ChiSquared, jensen_shannon_distance};
use super::distribution::{normal_quantile, normal_two_sided};
use super::proportion::fisher_exact;
use super::session::{Cell, Dense, SessionCounts, other_cell};

/// Least expected count, in the smaller side, of a cell that enters the omnibus test on its own.
const LEAST_EXPECTED: f64 = 5.0;
/// Least expected count, in the smaller side, of a cell whose z is tested by name.
const LEAST_EXPECTED_BY_NAME: f64 = 20.0;

/// One cell's change.
#[derive(Debug, Clone, PartialEq)]
pub struct CellShift {
    /// The cell.
    pub cell: Cell,
    /// Its share in the baseline.
    pub baseline: f64,
    /// Its share now.
    pub current: f64,
    /// Standardised difference with the pooled, clustered variance.
    pub z: f64,
}

/// Comparison of two sets of sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionComparison {
    /// Pearson's statistic with the second-order Rao-Scott correction.
    pub omnibus: ChiSquared,
    /// p-value of the first-order correction, for reference.
    pub p_first_order: f64,
    /// The p-value of all tests together.
    pub p_value: f64,
    /// Cells by falling |z|.
    pub shifts: Vec<CellShift>,
    /// Jensen-Shannon distance (nats^½) of the shares, or of the one rare cell that changed most where that is larger.
    pub jensen_shannon_distance: f64,
}

/// Compares `current` with `baseline`; `None` when a side has no events.
#[must_use]
pub fn compare_sessions(baseline: &SessionCounts, current: &SessionCounts) -> Option<SessionComparison> {
    if baseline.weight <= 0.0 || current.weight <= 0.0 {
        return None;
    }
    let names = comparable_cells(baseline, current);
    let (before, after) = (Dense::of(baseline, &names), Dense::of(current, &names));
    let shares = |side: &Dense| side.count.iter().map(|count| count / side.weight).collect::<Vec<f64>>();
    let (p_before, p_after) = (shares(&before), shares(&after));
    let spread = before.sessions as f64 / before.weight.powi(2) + after.sessions as f64 / after.weight.powi(2);
    let effective = before.weight * after.weight / (before.weight + after.weight);
    let pooled = before.plus(&after);
    let p = shares(&pooled);
    let variance = |i: usize, j: usize| spread * pooled.residual_moment(&p, i, j);
    let (omnibus, p_first_order) = rao_scott(&p, &p_before, &p_after, effective, variance);

    let least_events = baseline.events.min(current.events);
    let is_frequent = |i: &usize| names[*i] != other_cell() && p[*i] * least_events >= LEAST_EXPECTED_BY_NAME;
    let frequent: Vec<CellShift> = (0..p.len())
        .filter(is_frequent)
        .map(|i| CellShift {
            cell: names[i].clone(),
            baseline: p_before[i],
            current: p_after[i],
            z: standardised(p_after[i] - p_before[i], variance(i, i)),
        })
        .collect();
    let rare = rare_shifts(baseline, current, &frequent);
    let p_values = [Some(omnibus.p_value).filter(|_| omnibus.degrees > 0.0), least_p(&frequent), least_p(&rare)];
    let tests = p_values.iter().flatten().count() as f64;
    let p_value = p_values.iter().flatten().fold(1.0_f64, |least, p| least.min(p * tests));
    let rarest = rare.iter().max_by(|a, b| a.z.abs().total_cmp(&b.z.abs())).map_or(0.0, |shift| {
        jensen_shannon_distance(&[shift.baseline, 1.0 - shift.baseline], &[shift.current, 1.0 - shift.current])
    });
    let distance = jensen_shannon_distance(&p_before, &p_after).max(rarest);
    let mut shifts = [frequent, rare].concat();
    shifts.sort_by(|a, b| b.z.abs().total_cmp(&a.z.abs()));
    Some(SessionComparison { omnibus, p_first_order, p_value, shifts, jensen_shannon_distance: distance })
}

/// p-value of the largest |z|, after Bonferroni.
fn least_p(shifts: &[CellShift]) -> Option<f64> {
    let largest = shifts.iter().map(|shift| shift.z.abs()).reduce(f64::max)?;
    Some((normal_two_sided(largest) * shifts.len() as f64).min(1.0))
}

/// The cells not among the frequent ones, each with the normal deviate of Fisher's test on the sessions that have it;
/// none when sessions weigh differently, because then
/// they cannot be counted.
fn rare_shifts(baseline: &SessionCounts, current: &SessionCounts, frequent: &[CellShift]) -> Vec<CellShift> {
    if !baseline.is_evenly_weighted() || !current.is_evenly_weighted() {
        return Vec::new();
    }
    let names: BTreeSet<Cell> = baseline.names().chain(current.names()).collect();
    names
        .into_iter()
        .filter(|name| *name != other_cell() && !frequent.iter().any(|shift| shift.cell == *name))
        .filter(|name| !baseline.may_hide(name) && !current.may_hide(name))
        .map(|cell| {
            let (with, without) = (current.sessions_with(&cell), baseline.sessions_with(&cell));
            let p_value = fisher_exact(with, current.sessions, without, baseline.sessions).max(1e-300);
            let is_rise = with as f64 * baseline.sessions as f64 >= without as f64 * current.sessions as f64;
            let z = -normal_quantile(p_value / 2.0) * if is_rise { 1.0 } else { -1.0 };
            let (before, after) = (baseline.count_of(&cell), current.count_of(&cell));
            CellShift { cell, baseline: before / baseline.weight, current: after / current.weight, z }
        })
        .collect()
}

fn standardised(difference: f64, variance: f64) -> f64 {
    if variance > 0.0 { difference / variance.sqrt() } else { 0.0 }
}

/// X² = ñ Σ(p₁-p₀)²/p over its second-order Rao-Scott law, and the p-value of the first-order correction.
fn rao_scott(
    p: &[f64],
    before: &[f64],
    after: &[f64],
    effective: f64,
    variance: impl Fn(usize, usize) -> f64,
) -> (ChiSquared, f64) {
    let statistic: f64 =
        effective * p.iter().zip(before.iter().zip(after)).map(|(p, (b, a))| (a - b).powi(2) / p).sum::<f64>();
    let degrees = p.len() as f64 - 1.0;
    let (mut trace, mut trace_of_square) = (0.0, 0.0);
    for i in 0..p.len() {
        for j in 0..p.len() {
            let a = effective * variance(i, j) / (p[i] * p[j]).sqrt();
            trace_of_square += a * a;
            trace += if i == j { a } else { 0.0 };
        }
    }
    if degrees < 1.0 || trace <= 0.0 {
        return (ChiSquared::new(0.0, 0.0), 1.0);
    }
    let mean_effect = trace / degrees;
    let variation = (degrees * trace_of_square / (trace * trace) - 1.0).max(0.0);
    let second = ChiSquared::new(statistic / (mean_effect * (1.0 + variation)), degrees / (1.0 + variation));
    (second, ChiSquared::new(statistic / mean_effect, degrees).p_value)
}

/// The cells to compare, in order of name: those expected often enough in the smaller side; the rest is OTHER, which
/// takes in the next rarest until it is expected often enough itself. A cell that one side had to pool away is pooled
/// on both.
fn comparable_cells(baseline: &SessionCounts, current: &SessionCounts) -> Vec<Cell> {
    let weight = baseline.weight + current.weight;
    let least_events = baseline.events.min(current.events);
    let names: BTreeSet<Cell> = baseline.names().chain(current.names()).collect();
    let hidden = |name: &Cell| baseline.may_hide(name) || current.may_hide(name);
    let mut by_count: Vec<(f64, Cell)> = names
        .into_iter()
        .map(|name| ((baseline.count_of(&name) + current.count_of(&name)) / weight * least_events, name))
        .collect();
    by_count.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut pooled, mut kept) = (None::<f64>, BTreeSet::new());
    for (expected, name) in by_count {
        let is_thin = expected < LEAST_EXPECTED || pooled.is_some_and(|pooled| pooled < LEAST_EXPECTED);
        if is_thin || name == other_cell() || hidden(&name) {
            pooled = Some(pooled.unwrap_or(0.0) + expected);
        } else {
            kept.insert(name);
        }
    }
    if pooled.is_some() {
        kept.insert(other_cell());
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fastrand::Rng;

    use super::*;
    use crate::stats::session::{CELL_LIMIT, transitions};

    /// Sessions of a few traces each, whose taste for repeating a search differs between sessions.
    fn sessions(count: usize, loop_rate: f64, rng: &mut Rng) -> Vec<(BTreeMap<Cell, f64>, f64)> {
        (0..count)
            .map(|_| {
                let taste = rng.f64() * 0.4;
                let mut cells: BTreeMap<Cell, f64> = BTreeMap::new();
                for _ in 0..rng.usize(2..8) {
                    for (cell, count) in transitions(&trace(taste, loop_rate, rng)) {
                        *cells.entry(cell).or_default() += count;
                    }
                }
                let events = cells.values().sum();
                (cells, events)
            })
            .collect()
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

    fn compare(baseline: f64, current: f64, rng: &mut Rng) -> SessionComparison {
        let (before, after) = (sessions(240, baseline, rng), sessions(120, current, rng));
        compare_sessions(&SessionCounts::of_sessions(&before), &SessionCounts::of_sessions(&after)).unwrap()
    }

    #[test]
    fn clustered_sessions_raise_few_false_alarms_and_a_loop_is_found_and_named() {
        let mut rng = Rng::with_seed(11);
        let false_alarms = (0..300).filter(|_| compare(0.1, 0.1, &mut rng).p_value < 0.05).count();
        assert!(false_alarms <= 24, "{false_alarms} of 300 at 5 %");
        let found: Vec<SessionComparison> =
            (0..60).map(|_| compare(0.1, 0.25, &mut rng)).filter(|result| result.p_value < 0.05).collect();
        let repeats = |result: &&SessionComparison| result.shifts[0].cell.0 == "search";
        let named = found.iter().filter(repeats).count();
        assert!(found.len() >= 54 && named * 10 >= found.len() * 7, "{} of 60 found, {named} named", found.len());
    }

    #[test]
    fn merging_parts_equals_the_whole() {
        let mut rng = Rng::with_seed(12);
        let all = sessions(50, 0.1, &mut rng);
        let (left, right) = all.split_at(20);
        let merged = SessionCounts::of_sessions(left).merge(&SessionCounts::of_sessions(right));
        assert_eq!(merged, SessionCounts::of_sessions(&all));
    }

    #[test]
    fn a_hostile_vocabulary_is_bounded_and_pooled_on_both_sides() {
        let names = |from: usize| (from..from + 500).map(|name| format!("tool{name}")).collect::<Vec<_>>();
        let session = |from: usize| {
            let cells = transitions(&names(from));
            let events = cells.values().sum();
            (cells, events)
        };
        let hostile = SessionCounts::of_sessions(&(0..30).map(session).collect::<Vec<_>>());
        assert!(hostile.names().count() <= CELL_LIMIT);
        assert!((hostile.shares().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
        let merged = hostile.merge(&SessionCounts::of_sessions(&(700..730).map(session).collect::<Vec<_>>()));
        assert!(merged.names().count() <= CELL_LIMIT);
        assert!(compare_sessions(&hostile, &merged).is_none_or(|result| result.p_value >= 0.0));
    }

    #[test]
    fn equal_sides_are_p_one_and_an_empty_side_is_none() {
        let counts = SessionCounts::of_sessions(&sessions(60, 0.1, &mut Rng::with_seed(13)));
        let result = compare_sessions(&counts, &counts).unwrap();
        assert!(result.p_value > 0.99 && result.jensen_shannon_distance < 1e-9);
        assert!(compare_sessions(&counts, &SessionCounts::default()).is_none());
    }

    #[test]
    fn a_category_nobody_had_before_is_found_in_a_small_sample_and_rare_ones_raise_few_alarms() {
        let mut rng = Rng::with_seed(14);
        let draw = |count: usize, new: f64, rng: &mut Rng| {
            let session = |_| {
                let rare = rng.u32(0..200);
                let name = if rng.f64() < new {
                    "new".to_owned()
                } else if rare < 15 {
                    rare.to_string()
                } else {
                    "stop".to_owned()
                };
                (BTreeMap::from([((String::new(), name), 1.0)]), 1.0)
            };
            SessionCounts::of_sessions(&(0..count).map(session).collect::<Vec<_>>())
        };
        let baseline = draw(3000, 0.0, &mut rng);
        let found = compare_sessions(&baseline, &draw(60, 0.1, &mut rng)).unwrap();
        assert!(found.p_value < 1e-4 && found.shifts[0].cell.1 == "new" && found.shifts[0].z > 4.0);
        let false_alarms =
            (0..200).filter(|_| compare_sessions(&baseline, &draw(60, 0.0, &mut rng)).unwrap().p_value < 0.05).count();
        assert!(false_alarms <= 17, "{false_alarms} of 200 at 5 %");
    }
}
