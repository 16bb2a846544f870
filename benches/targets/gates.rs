//! Row 10: gates.

use driftline::stats::distribution::normal_quantile;
use driftline::stats::interval::newcombe;
use driftline::stats::non_inferiority::{Shown, needed_size, shown};
use driftline::stats::sequential::SequentialGate;
use fastrand::Rng;

use super::{Effort, Measured, Target};

/// Pairs between two looks.
const LOOK: u32 = 50;
const ALPHA: f64 = 0.05;
/// Share of pairs that differ.
const DISCORDANCE: f64 = 0.12;

/// What a gate over pairs with that mean difference says at the end, ours and one that reads a z interval at every look,
/// and the pairs that ours took.
fn run(difference: f64, margin: f64, pairs: u32, rng: &mut Rng) -> (Shown, bool, f64) {
    let (up, down) = (f64::midpoint(DISCORDANCE, difference), f64::midpoint(DISCORDANCE, -difference));
    let mut gate = SequentialGate::new(margin, ALPHA);
    let (mut sum, mut squares, mut peeking_passes) = (0.0, 0.0, false);
    let (mut verdict, mut took) = (Shown::Neither, f64::from(pairs));
    for pair in 1..=pairs {
        let draw = rng.f64();
        let value = f64::from(i8::from(draw < up)) - f64::from(i8::from((up..up + down).contains(&draw)));
        gate.observe(value, 1.0);
        (sum, squares) = (sum + value, squares + value * value);
        if pair % LOOK != 0 {
            continue;
        }
        let count = f64::from(pair);
        let mean = sum / count;
        let error = ((squares / count - mean * mean).max(0.0) / count).sqrt();
        peeking_passes |= error > 0.0 && mean - normal_quantile(1.0 - ALPHA) * error > -margin;
        if verdict == Shown::Neither && gate.shown() != Shown::Neither {
            (verdict, took) = (gate.shown(), count);
        }
    }
    (verdict, peeking_passes, took)
}

/// Row 10.
pub(crate) fn peeking(effort: Effort) -> Vec<Measured> {
    let (at_margin, runs, mut rng) = (effort.times(240), effort.times(60), Rng::with_seed(10));
    let mut all = Vec::new();
    for margin in [0.02, 0.05] {
        let outcomes: Vec<_> = (0..at_margin).map(|_| run(-margin, margin, 5_000, &mut rng)).collect();
        let percent = |count: usize| count as f64 * 100.0 / at_margin as f64;
        let wrong = percent(outcomes.iter().filter(|outcome| outcome.0 == Shown::GoodEnough).count());
        let peeked = percent(outcomes.iter().filter(|outcome| outcome.1).count());
        let points = margin * 100.0;
        all.push(Measured::new(
            format!("at a margin of {points} points: passed wrongly, %"),
            wrong,
            Target::AtMost(5.0),
        ));
        all.push(Measured::new(
            format!("at a margin of {points} points, z interval: passed wrongly, %"),
            peeked,
            Target::Peer,
        ));
    }
    let equal: Vec<_> = (0..runs).map(|_| run(0.0, 0.02, 10_000, &mut rng)).collect();
    let passed = equal.iter().filter(|outcome| outcome.0 == Shown::GoodEnough).count();
    let mut took: Vec<f64> = equal.iter().map(|outcome| outcome.2).collect();
    took.sort_by(f64::total_cmp);
    all.push(Measured::new(
        "no difference, 2 points: passed, %",
        passed as f64 * 100.0 / runs as f64,
        Target::AtLeast(90.0),
    ));
    all.push(Measured::new("no difference, 2 points: pairs, median", took[runs / 2], Target::Told));
    let worse = (0..runs).filter(|_| run(-0.06, 0.02, 10_000, &mut rng).0 == Shown::NotGoodEnough).count();
    all.push(Measured::new(
        "6 points worse, 2 points: failed, %",
        worse as f64 * 100.0 / runs as f64,
        Target::AtLeast(95.0),
    ));
    all.extend(two_hundred(effort, &mut rng));
    all
}

/// 200 traces a side cannot certify two points, and the gate says what could.
fn two_hundred(effort: Effort, rng: &mut Rng) -> [Measured; 2] {
    let runs = effort.times(200);
    let mut side = || (0..200).filter(|_| rng.f64() < 0.9).count() as f64 / 200.0;
    let verdicts: Vec<Shown> =
        (0..runs).map(|_| shown(newcombe(side(), 200.0, side(), 200.0, 1.0 - 2.0 * ALPHA), 0.02)).collect();
    let undecided = verdicts.iter().filter(|verdict| **verdict == Shown::Neither).count();
    let share = undecided as f64 * 100.0 / runs as f64;
    [
        Measured::new("200 traces a side, no difference, 2 points: inconclusive, %", share, Target::AtLeast(75.0)),
        Measured::new(
            "traces a side that it then asks for",
            needed_size(0.18, 0.02, ALPHA, 0.8),
            Target::Between(2780.0, 2785.0),
        ),
    ]
}
