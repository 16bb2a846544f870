//! Has a stream changed at an unknown time, and has it come back?
//!
//! **Question.** Scores in [0, 1] arrive window after window, for ever. Has their mean fallen below `bound`?
//! Checks of a rise run on 1 - x; checks of a shape run on calibrated p-values (below).
//!
//! **Statistic.** Under the null E[x | past] >= bound, each bet λ makes L(x) = 1 + λ(bound - x) a factor with
//! expectation at most 1. A grid of bets (drops of 1 to 25 points) is run at once; each bet k keeps the
//! Shiryaev-Roberts sum M_k ← (M_k + 1)·L_k, which is a bet restarted at every window, and the evidence is their mean
//! M. A window enters through its histogram alone: log L_k = Σ count·ln(1 + λ_k(bound - value)).
//!
//! **When it fires.** When M reaches the threshold c. M_t - t is a supermartingale, so the mean time to a false
//! alarm is at least c windows, and K such detectors raise at most K·T/c false alarms in T windows, in expectation and
//! whatever their dependence. [`AlertBudget`] solves this for c.
//!
//! **Where the guarantee ends.** It assumes that the bound holds before the change. An estimated baseline is therefore
//! replaced by a lower confidence bound, a tolerance below it at least, its chance of being wrong paid from the same
//! budget. Clustered or drifting streams vary more than independent values; every window's log-factor is divided by
//! the measured over-dispersion φ ("tempering"; still an e-value for independent data, by Jensen), and the
//! guarantee is then approximate. Weighted windows enter with their effective size, also approximate.
//!
//! **Cold start.** None: M starts at 0, and each window adds what it knows. A window without values changes nothing.
//!
//! **Recovery.** [`Recovery`] bets the other way from the alarm on, restarted at every window with prior weight
//! 1/(t(t+1)): an e-process, so that "recovered" at evidence 20 is wrong for at most one alert in twenty, however long
//! the alert lasts, and a long outage does not have to be won back.
//!
//! **Shape tests.** A window's p-value becomes the e-value (1 - p + p ln p)/(p ln² p), the mean of the calibrators
//! κp^(κ-1) (Vovk and Wang 2021), and feeds the same recursion.
//!
//! Sources: Shin, Ramdas and Rinaldo (arXiv 2203.03532); Dandapanthula and Ramdas (arXiv 2501.04130) for many streams;
//! Waudby-Smith and Ramdas 2024 for the bets.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use statrs::function::beta::ln_beta;

/// Drops that the bets are tuned to, in units of the score.
const DROPS: [f64; 8] = [0.01, 0.02, 0.035, 0.05, 0.075, 0.10, 0.15, 0.25];
/// Largest part of the ruinous bet 1/(1 - bound) that is ever staked.
const LARGEST_STAKE: f64 = 0.95;
/// Scores that are multiples of one over this have their logarithms tabled: the edges of histograms of scores.
const TABLED: usize = 256;
/// Windows of so many different scores or fewer do without the table.
const FEW_SCORES: usize = 16;
/// Evidence at which a stream counts as recovered.
pub const RECOVERED: f64 = 20.0;
/// Part of the budget set aside for baselines whose confidence bound is wrong. With a tenth the threshold is a quarter
/// lower and every bound further from the mean: a drop of five points takes a tenth longer to find.
const BASELINE_PART: f64 = 1.0 / 3.0;
/// Least confidence of a baseline bound, however generous the budget.
const LEAST_CONFIDENCE: f64 = 0.9;

/// How many false alarms are tolerated, over how much watching.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AlertBudget {
    /// Expected false alarms tolerated per period, over all detectors; above zero.
    pub false_alarms: f64,
    /// Windows in a period, for example 720 hours in 30 days.
    pub windows: f64,
    /// One-sided detectors that share the budget; a stream watched in both directions counts twice.
    pub detectors: u64,
}

impl AlertBudget {
    /// The evidence c = K·T/B at which a detector alarms, with B less the part kept for wrong baselines.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.detectors as f64 * self.windows / (self.false_alarms * (1.0 - BASELINE_PART))
    }

    /// One-sided confidence of each baseline bound, so that wrong bounds cost their part of the budget at most.
    #[must_use]
    pub fn baseline_confidence(&self) -> f64 {
        (1.0 - BASELINE_PART * self.false_alarms / self.detectors as f64).max(LEAST_CONFIDENCE)
    }
}

/// Bets that the mean of scores in [0, 1] lies below a bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Bets {
    bound: f64,
    stakes: Vec<f64>,
    /// ln of each bet's factor at each of the [`TABLED`] scores, made when a window first has many of them: taking
    /// logarithms is most of what a check costs.
    table: OnceLock<Vec<f64>>,
}

impl Bets {
    /// Bets against "mean >= bound". `variance` is that of one score near the bound; with bound·(1 - bound) each bet
    /// is exactly the likelihood ratio of a Bernoulli drop.
    #[must_use]
    pub fn against_drop(bound: f64, variance: f64) -> Self {
        let bound = bound.clamp(0.0, 1.0);
        let largest = LARGEST_STAKE / (1.0 - bound).max(f64::EPSILON);
        let stakes = DROPS.iter().map(|drop| (drop / variance.max(f64::EPSILON)).min(largest)).collect();
        Self { bound, stakes, table: OnceLock::new() }
    }

    /// Bets with given stakes, for reference values.
    #[cfg(test)]
    pub(crate) fn with_stakes(bound: f64, stakes: Vec<f64>) -> Self {
        Self { bound, stakes, table: OnceLock::new() }
    }

    /// The logarithm of each bet's factor over a window of `(value, count)` pairs, divided by the over-dispersion.
    #[must_use]
    pub fn log_factors(&self, window: &[(f64, f64)], over_dispersion: f64) -> Vec<f64> {
        let table = (window.len() > FEW_SCORES).then(|| self.table.get_or_init(|| self.tabled()));
        let mut logs = vec![0.0; self.stakes.len()];
        for (score, count) in window {
            let place = table.and_then(|table| {
                let step = score * TABLED as f64;
                let at = step as usize * logs.len();
                (step.fract() == 0.0).then(|| table.get(at..at + logs.len())).flatten()
            });
            match place {
                Some(tabled) => logs.iter_mut().zip(tabled).for_each(|(log, tabled)| *log += count * tabled),
                None => {
                    let each = logs.iter_mut().zip(&self.stakes);
                    each.for_each(|(log, stake)| *log += count * self.log_factor(*stake, *score));
                }
            }
        }
        logs.iter_mut().for_each(|log| *log /= over_dispersion.max(1.0));
        logs
    }

    fn log_factor(&self, stake: f64, score: f64) -> f64 {
        (stake * (self.bound - score)).ln_1p()
    }

    fn tabled(&self) -> Vec<f64> {
        let scores = (0..=TABLED).map(|step| step as f64 / TABLED as f64);
        scores.flat_map(|score| self.stakes.iter().map(move |stake| self.log_factor(*stake, score))).collect()
    }
}

/// One bet's running evidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Component {
    /// ln of the sum over start times of the product of factors since; `None` before the first window.
    log_sum: Option<f64>,
    /// ln of the product since the most likely start (the bet's CUSUM).
    log_best: f64,
    /// The window at which that start lies.
    onset: i64,
}

/// Shiryaev-Roberts detector over a mixture of bets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    components: Vec<Component>,
}

impl Detector {
    /// Takes in one window's log-factors, one per bet; `at` names the window in [`Detector::onset`].
    pub fn step(&mut self, log_factors: &[f64], at: i64) {
        step(&mut self.components, log_factors, at, 0.0);
    }

    /// ln M.
    #[must_use]
    pub fn log_evidence(&self) -> f64 {
        log_mean(&self.components)
    }

    /// The most likely first changed window: the last reset of the bet that won most. `None` before any window.
    #[must_use]
    pub fn onset(&self) -> Option<i64> {
        let sum = |component: &Component| component.log_sum.unwrap_or(f64::NEG_INFINITY);
        self.components.iter().max_by(|a, b| sum(a).total_cmp(&sum(b))).map(|component| component.onset)
    }
}

/// ln of the e-value against a share being exactly `share`, from counts since a known time: the likelihood under a
/// Beta(1, 1) mixture of shares over that under `share` (Robbins 1970). Two-sided, and may be looked at any time.
#[must_use]
pub fn log_mixture_evidence(successes: f64, failures: f64, share: f64) -> f64 {
    let term = |count: f64, probability: f64| if count > 0.0 { count * probability.ln() } else { 0.0 };
    ln_beta(1.0 + successes, 1.0 + failures) - term(successes, share) - term(failures, 1.0 - share)
}

/// Evidence, since an alarm, that the stream is back on the right side of its bound.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    components: Vec<Component>,
    windows: u32,
}

impl Recovery {
    /// Takes in one window's log-factors of the opposite bets.
    pub fn step(&mut self, log_factors: &[f64]) {
        self.windows += 1;
        let (t, at) = (f64::from(self.windows), i64::from(self.windows));
        step(&mut self.components, log_factors, at, -(t * (t + 1.0)).ln());
    }

    /// The e-process: the mixture over start times, those still to come counting 1.
    #[must_use]
    pub fn evidence(&self) -> f64 {
        log_mean(&self.components).exp() + 1.0 / (f64::from(self.windows) + 1.0)
    }

    /// Whether the evidence has reached [`RECOVERED`].
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.evidence() >= RECOVERED
    }
}

fn step(components: &mut Vec<Component>, log_factors: &[f64], at: i64, log_start: f64) {
    components.resize(log_factors.len(), Component { log_sum: None, log_best: 0.0, onset: at });
    for (component, log_factor) in components.iter_mut().zip(log_factors) {
        if component.log_best <= 0.0 {
            (component.log_best, component.onset) = (0.0, at);
        }
        component.log_best += log_factor;
        let log_sum = component.log_sum.map_or(log_start, |log_sum| log_add(log_sum, log_start));
        component.log_sum = Some(log_sum + log_factor);
    }
}

fn log_mean(components: &[Component]) -> f64 {
    let log_sum = components.iter().filter_map(|component| component.log_sum).fold(f64::NEG_INFINITY, log_add);
    log_sum - (components.len() as f64).max(1.0).ln()
}

/// ln(e^a + e^b) without overflow.
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// ln of the e-value that a p-value is worth; p = 1 is worth one half.
#[must_use]
pub fn log_calibrated(p_value: f64) -> f64 {
    let p = p_value.clamp(1e-300, 1.0);
    let log = p.ln();
    // Near p = 1 the quotient is 0/0; its series is 1/2 - ln(p)/6.
    if log > -1e-4 {
        return (0.5 - log / 6.0).ln();
    }
    (1.0 - p + p * log).ln() - log - 2.0 * (-log).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(share: f64, size: u32, rng: &mut fastrand::Rng) -> Vec<(f64, f64)> {
        let passed = (0..size).filter(|_| rng.f64() < share).count() as f64;
        vec![(1.0, passed), (0.0, f64::from(size) - passed)]
    }

    /// Windows until the alarm, at most `limit`.
    fn run_length(share: f64, threshold: f64, limit: i64, rng: &mut fastrand::Rng) -> Option<(i64, i64)> {
        let bets = Bets::against_drop(0.9, 0.09);
        let mut detector = Detector::default();
        (0..limit).find_map(|at| {
            detector.step(&bets.log_factors(&window(share, 50, rng), 1.0), at);
            (detector.log_evidence() >= threshold.ln()).then(|| (at, detector.onset().unwrap()))
        })
    }

    #[test]
    fn false_alarms_stay_within_the_budget_and_a_drop_is_found_soon() {
        let mut rng = fastrand::Rng::with_seed(8);
        let budget = AlertBudget { false_alarms: 5.0, windows: 200.0, detectors: 100 };
        let alarms = (0..100).filter(|_| run_length(0.9, budget.threshold(), 200, &mut rng).is_some()).count();
        assert!(alarms <= 8, "{alarms} false alarms where 4.5 are expected at most");
        let delays: Vec<i64> = (0..40)
            .map(|_| run_length(0.8, budget.threshold(), 200, &mut rng).expect("a ten-point drop is found").0)
            .collect();
        let mean = delays.iter().sum::<i64>() as f64 / 40.0;
        assert!(mean < 6.0, "ten points took {mean} windows of 50 on average");
    }

    #[test]
    fn the_onset_is_where_the_change_was_planted() {
        let mut rng = fastrand::Rng::with_seed(9);
        let bets = Bets::against_drop(0.9, 0.09);
        let mut errors: Vec<i64> = (0..30)
            .map(|_| {
                let mut detector = Detector::default();
                for at in 0..46 {
                    let share = if at < 40 { 0.9 } else { 0.75 };
                    detector.step(&bets.log_factors(&window(share, 100, &mut rng), 1.0), at);
                }
                (detector.onset().unwrap() - 40).abs()
            })
            .collect();
        errors.sort_unstable();
        assert!(errors[15] <= 1, "median onset error {}", errors[15]);
    }

    #[test]
    fn recovery_is_seen_after_a_long_outage_and_not_while_it_lasts() {
        let mut rng = fastrand::Rng::with_seed(10);
        let bets = Bets::against_drop(0.15, 0.15 * 0.85);
        let mirrored = |share: f64, rng: &mut fastrand::Rng| window(1.0 - share, 100, rng);
        let mut false_recoveries = 0;
        for _ in 0..60 {
            let mut recovery = Recovery::default();
            for _ in 0..100 {
                recovery.step(&bets.log_factors(&mirrored(0.84, &mut rng), 1.0));
            }
            false_recoveries += usize::from(recovery.is_complete());
            let windows = (1..200).find(|_| {
                recovery.step(&bets.log_factors(&mirrored(0.95, &mut rng), 1.0));
                recovery.is_complete()
            });
            assert!(windows.is_some_and(|windows| windows < 30), "recovery took {windows:?} windows");
        }
        assert!(false_recoveries <= 6, "{false_recoveries} of 60");
    }

    #[test]
    fn a_window_of_many_scores_is_worth_the_same_as_its_parts() {
        let bets = Bets::against_drop(0.7, 0.03);
        let window: Vec<(f64, f64)> = (0..300).map(|step| (f64::from(step) / 299.0, 2.0)).collect();
        let edges: Vec<(f64, f64)> = (0..=256).map(|step| (f64::from(step) / 256.0, 1.5)).collect();
        for window in [window, edges] {
            let mut parts = vec![0.0; DROPS.len()];
            for part in window.chunks(FEW_SCORES) {
                parts.iter_mut().zip(bets.log_factors(part, 2.0)).for_each(|(sum, log)| *sum += log);
            }
            let whole = bets.log_factors(&window, 2.0);
            assert!(
                whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-9 * b.abs().max(1.0)),
                "{whole:?} {parts:?}"
            );
        }
    }

    #[test]
    fn calibrated_p_values_are_e_values() {
        let steps = 200_000;
        let mean: f64 = (0..steps).map(|i| log_calibrated((f64::from(i) + 0.5) / f64::from(steps)).exp()).sum::<f64>()
            / f64::from(steps);
        assert!((0.85..=1.0).contains(&mean), "mean e-value {mean}");
        assert!((log_calibrated(1.0).exp() - 0.5).abs() < 1e-9);
        assert!((log_calibrated(1.0 - 2e-4) - log_calibrated(1.0 - 0.5e-4)).abs() < 1e-3);
        assert!(log_calibrated(0.0).is_finite());
    }

    #[test]
    fn more_detectors_or_a_smaller_budget_ask_for_more_evidence() {
        let budget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 500 };
        assert!((budget.threshold() - 540_000.0).abs() < 1e-6);
        assert!((budget.baseline_confidence() - (1.0 - 1.0 / 1500.0)).abs() < 1e-12);
        assert_eq!(AlertBudget { false_alarms: 50.0, detectors: 2, ..budget }.baseline_confidence(), 0.9);
    }
}
