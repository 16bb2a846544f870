//! How large is a mean, seen again after every window? An interval that may be looked at any time.
//!
//! **Question.** Since a release, scores in [0, 1] arrive. Between which bounds does their mean lie?
//!
//! **Statistic.** For each candidate mean m two players bet that the scores lie above and below it, with a stake that
//! follows from the scores of the windows before. A candidate at which a player won 2/α is ruled out, for good. What is
//! left holds the mean at all times at once with probability 1 - α.
//!
//! **Cold start.** The interval is [0, 1] before any window.
//!
//! Source: Waudby-Smith and Ramdas 2024, hedged capital with predictable plug-in bets; windows of one score are exactly
//! theirs.

use super::interval::Interval;

/// Candidate means are multiples of one over this.
const GRID: u32 = 1000;
/// Part of the bet that would be ruinous that is staked at most.
const LARGEST_STAKE: f64 = 0.5;

/// A betting confidence sequence of a mean in [0, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct ConfidenceSequence {
    alpha: f64,
    count: f64,
    sum: f64,
    /// Σ of squared distances from the mean as known at the time.
    spread: f64,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    mean: f64,
    log_above: f64,
    log_below: f64,
}

impl ConfidenceSequence {
    /// A sequence without scores, whose intervals all hold with probability 1 - `alpha`.
    #[must_use]
    pub fn new(alpha: f64) -> Self {
        let candidate = |step| Candidate { mean: f64::from(step) / f64::from(GRID), log_above: 0.0, log_below: 0.0 };
        Self { alpha, count: 0.0, sum: 0.0, spread: 0.0, candidates: (0..=GRID).map(candidate).collect() }
    }

    /// Takes in a window of `(score, count)` pairs, scores in [0, 1].
    pub fn observe(&mut self, window: &[(f64, f64)]) {
        let size: f64 = window.iter().map(|(_, count)| count).sum();
        if size <= 0.0 {
            return;
        }
        let stake = self.stake(size);
        let limit = (2.0 / self.alpha).ln();
        self.candidates.retain_mut(|candidate| {
            candidate.bet(stake, window);
            candidate.log_above.max(candidate.log_below) < limit
        });
        self.count += size;
        self.sum += window.iter().map(|(score, count)| score * count).sum::<f64>();
        let mean = (0.5 + self.sum) / (self.count + 1.0);
        self.spread += window.iter().map(|(score, count)| count * (score - mean).powi(2)).sum::<f64>();
    }

    /// The interval as of now; `None` when every candidate is ruled out, which happens when the mean itself moved.
    #[must_use]
    pub fn interval(&self) -> Option<Interval> {
        Some(Interval { low: self.candidates.first()?.mean, high: self.candidates.last()?.mean })
    }

    /// What to stake on a window of that size, from the scores before it.
    fn stake(&self, size: f64) -> f64 {
        let variance = (0.25 + self.spread) / (self.count + 1.0);
        let end = self.count + size;
        (2.0 * (2.0 / self.alpha).ln() / (variance * end * end.ln_1p())).sqrt()
    }
}

impl Candidate {
    fn bet(&mut self, stake: f64, window: &[(f64, f64)]) {
        let above = stake.min(LARGEST_STAKE / self.mean);
        let below = stake.min(LARGEST_STAKE / (1.0 - self.mean));
        for (score, count) in window {
            self.log_above += count * (above * (score - self.mean)).ln_1p();
            self.log_below += count * (below * (self.mean - score)).ln_1p();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_stays_inside_at_all_times_and_the_interval_closes_in() {
        let mut rng = fastrand::Rng::with_seed(81);
        let (mut missed, mut widths) = (0, 0.0);
        for _ in 0..100 {
            let mut sequence = ConfidenceSequence::new(0.1);
            let is_inside = (0..20).all(|_| {
                let passed = (0..100).filter(|_| rng.f64() < 0.85).count() as f64;
                sequence.observe(&[(1.0, passed), (0.0, 100.0 - passed)]);
                sequence.interval().is_some_and(|interval| interval.low <= 0.85 && 0.85 <= interval.high)
            });
            missed += usize::from(!is_inside);
            widths += sequence.interval().map_or(0.0, |interval| interval.high - interval.low);
        }
        assert!(widths < 6.0, "after 2,000 scores intervals are {} wide", widths / 100.0);
        assert!(missed <= 10, "{missed} of 100 sequences missed the mean once");
    }

    #[test]
    fn nothing_seen_rules_out_nothing() {
        let mut sequence = ConfidenceSequence::new(0.05);
        sequence.observe(&[]);
        assert_eq!(sequence.interval(), Some(Interval { low: 0.0, high: 1.0 }));
    }
}
