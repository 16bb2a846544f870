//! Is the candidate good enough, asked again after every few pairs?
//!
//! **Question.** Pairs of one task on both sides arrive, or pairs of a canary's runs with concurrent ones of the
//! baseline. Is the mean difference above minus the margin?
//!
//! **Statistic.** A difference d in [-1, 1], positive being better, becomes the score x = (d + 1)/2, and the margin the
//! mean m = (1 - margin)/2. Two players bet against "the mean is m or less" and "m or more"; each holds the average of
//! seven bets that stake between 2 and 70 % of what the worst case could take. While a claim holds, the player against
//! it has on average no more than the 1 it began with.
//!
//! **When it decides.** When a player holds 1/α. A candidate at the margin then passes with probability at most α,
//! however often anyone looks (Ville 1939). A z interval that is looked at every 50 pairs passes a third of them.
//!
//! **What it costs.** About a fifth more pairs than one look at a size fixed in advance, when the difference is none.
//!
//! Source: Waudby-Smith and Ramdas 2024.

use serde::{Deserialize, Serialize};

use super::non_inferiority::Shown;

/// Parts of the largest bet that can never be ruinous.
const STAKES: [f64; 7] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7];

/// A gate that may be looked at any time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SequentialGate {
    margin: f64,
    alpha: f64,
    pairs: f64,
    /// ln of what each bet against "not good enough" holds.
    for_good: [f64; STAKES.len()],
    /// ln of what each bet against "good enough" holds.
    for_bad: [f64; STAKES.len()],
}

impl SequentialGate {
    /// A gate without evidence yet. `margin` in [0, 1) is the largest loss that is accepted; `alpha` the
    /// probability of each wrong verdict.
    #[must_use]
    pub const fn new(margin: f64, alpha: f64) -> Self {
        Self { margin, alpha, pairs: 0.0, for_good: [0.0; STAKES.len()], for_bad: [0.0; STAKES.len()] }
    }

    /// Takes in `count` pairs of that difference, which is clamped to [-1, 1].
    pub fn observe(&mut self, difference: f64, count: f64) {
        let (score, mean) = (f64::midpoint(difference.clamp(-1.0, 1.0), 1.0), (1.0 - self.margin) / 2.0);
        self.pairs += count;
        for (stake, (good, bad)) in STAKES.iter().zip(self.for_good.iter_mut().zip(&mut self.for_bad)) {
            *good += count * (stake / mean * (score - mean)).ln_1p();
            *bad += count * (stake / (1.0 - mean) * (mean - score)).ln_1p();
        }
    }

    /// Pairs seen.
    #[must_use]
    pub const fn pairs(&self) -> f64 {
        self.pairs
    }

    /// The evidence for "good enough" and for "not good enough": each an e-value at any time.
    #[must_use]
    pub fn evidence(&self) -> (f64, f64) {
        let mean = |logs: &[f64]| logs.iter().map(|log| log.exp()).sum::<f64>() / STAKES.len() as f64;
        (mean(&self.for_good), mean(&self.for_bad))
    }

    /// The verdict as of now. The first verdict that is not [`Shown::Neither`] stands, whatever comes after it.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let (good, bad) = self.evidence();
        if good.max(bad) < 1.0 / self.alpha {
            Shown::Neither
        } else if good >= bad {
            Shown::GoodEnough
        } else {
            Shown::NotGoodEnough
        }
    }

    /// About how many more pairs like those so far decide it; `None` when they lead nowhere, or there are none yet.
    #[must_use]
    pub fn more_needed(&self) -> Option<f64> {
        let goal = (STAKES.len() as f64 / self.alpha).ln();
        let more = |log: &f64| (goal - log).max(0.0) / (log / self.pairs);
        let growing = self.for_good.iter().chain(&self.for_bad).filter(|log| **log > 0.0);
        growing.map(more).reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict when looking after every 50 pairs, one pair in `1/discordance` differing, and the pairs it took.
    fn run(difference: f64, limit: u32, rng: &mut fastrand::Rng) -> (Shown, f64) {
        let mut gate = SequentialGate::new(0.05, 0.05);
        let (up, down) = (0.06 + difference / 2.0, 0.06 - difference / 2.0);
        for pair in 1..=limit {
            let draw = rng.f64();
            gate.observe(f64::from(draw < up) - f64::from((up..up + down).contains(&draw)), 1.0);
            if pair % 50 == 0 && gate.shown() != Shown::Neither {
                break;
            }
        }
        (gate.shown(), gate.pairs())
    }

    #[test]
    fn looking_again_and_again_passes_few_candidates_at_the_margin() {
        let mut rng = fastrand::Rng::with_seed(61);
        let wrong = (0..300).filter(|_| run(-0.05, 2000, &mut rng).0 == Shown::GoodEnough).count();
        assert!(wrong <= 15, "{wrong} of 300 pass wrongly");
    }

    #[test]
    fn an_equal_candidate_passes_and_a_bad_one_fails() {
        let mut rng = fastrand::Rng::with_seed(62);
        let passed = (0..100).filter(|_| run(0.0, 2000, &mut rng).0 == Shown::GoodEnough).count();
        assert!(passed >= 95, "{passed} of 100 equal ones pass");
        let failed = (0..100).filter(|_| run(-0.12, 2000, &mut rng).0 == Shown::NotGoodEnough).count();
        assert!(failed >= 95, "{failed} of 100 bad ones fail");
    }

    #[test]
    fn it_says_how_many_more_pairs_it_needs() {
        let mut gate = SequentialGate::new(0.02, 0.05);
        assert_eq!((gate.shown(), gate.more_needed()), (Shown::Neither, None));
        gate.observe(0.0, 190.0);
        gate.observe(1.0, 5.0);
        gate.observe(-1.0, 5.0);
        assert_eq!(gate.shown(), Shown::Neither);
        let more = gate.more_needed().unwrap();
        assert!((300.0..3000.0).contains(&more), "{more}");
    }
}
