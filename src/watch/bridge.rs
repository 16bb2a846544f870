//! Two revisions of one evaluator on the same traces: how far their series can be compared.
//!
//! **Question.** By how much does a score move when only the revision changes? Each trace is its own control.
//!
//! **Statistic.** The mean paired difference, new less old, each trace counting for itself: Bonett and Price's interval
//! (2012) where all scores are yes or no, else Student's t over the differences.
//!
//! **Where it ends.** It says what holds for traces like those of the sample. A difference between the series that is no
//! larger than the interval's farther end may come from the revision alone.

use serde::Serialize;

use crate::stats::distribution::student_quantile;
use crate::stats::moments::Moments;
use crate::stats::paired::bonett_price;

/// Confidence of the interval.
const CONFIDENCE: f64 = 0.95;
/// Fewer pairs say nothing.
pub const LEAST_PAIRS: usize = 10;

/// What two revisions made of the same traces.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bridge {
    /// Traces that both scored.
    pub pairs: usize,
    /// Mean score of the old revision.
    pub old: f64,
    /// Mean score of the new revision.
    pub new: f64,
    /// Share of traces on which both give the same score.
    pub agreement: f64,
    /// Mean of new less old.
    pub difference: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Bridge {
    /// The smallest difference between the old series and the new that is not explained by the revision.
    #[must_use]
    pub fn comparable_beyond(&self) -> f64 {
        self.low.abs().max(self.high.abs())
    }
}

/// Compares scores `(old, new)` of the same traces; `None` below [`LEAST_PAIRS`].
#[must_use]
pub fn bridge(pairs: &[(f64, f64)]) -> Option<Bridge> {
    if pairs.len() < LEAST_PAIRS {
        return None;
    }
    let count = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let share = |of: fn(&(f64, f64)) -> bool| pairs.iter().filter(|pair| of(pair)).count() as f64 / count;
    let is_yes_or_no = pairs.iter().all(|(old, new)| [old, new].iter().all(|score| **score == 0.0 || **score == 1.0));
    let rows: Vec<[(f64, f64); 1]> = pairs.iter().map(|(old, new)| [(new - old, 1.0)]).collect();
    let differences = Moments::of_clusters(rows.iter().map(<[(f64, f64); 1]>::as_slice));
    let (low, high) = if is_yes_or_no {
        let (gained, lost) = (share(|(old, new)| new > old) * count, share(|(old, new)| new < old) * count);
        let interval = bonett_price(gained, lost, count, CONFIDENCE).1;
        (interval.low, interval.high)
    } else {
        let t = student_quantile(f64::midpoint(1.0, CONFIDENCE), count - 1.0);
        let half = t * differences.standard_error();
        (differences.mean - half, differences.mean + half)
    };
    Some(Bridge {
        pairs: pairs.len(),
        old: mean(|(old, _)| *old),
        new: mean(|(_, new)| *new),
        agreement: share(|(old, new)| old == new),
        difference: differences.mean,
        // Scores lie between 0 and 1.
        low: low.max(-1.0),
        high: high.min(1.0),
    })
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    #[test]
    fn the_interval_holds_the_true_difference_as_often_as_it_says() {
        let mut rng = Rng::with_seed(7);
        // A YES becomes a NO once in five times, and a NO a YES once in ten: 0.7 becomes 0.59.
        let (runs, truth) = (2_000, 0.7 * 0.8 + 0.3 * 0.1 - 0.7);
        let held = (0..runs).filter(|_| {
            let pair = |rng: &mut Rng| {
                let old = rng.f64() < 0.7;
                let new = if old { rng.f64() < 0.8 } else { rng.f64() < 0.1 };
                (f64::from(u8::from(old)), f64::from(u8::from(new)))
            };
            let pairs: Vec<(f64, f64)> = (0..100).map(|_| pair(&mut rng)).collect();
            let bridge = bridge(&pairs).unwrap();
            bridge.low <= truth && truth <= bridge.high
        });
        let share = held.count() as f64 / f64::from(runs);
        assert!((0.93..=0.975).contains(&share), "{share}");
    }

    #[test]
    fn two_revisions_that_agree_are_comparable_to_within_the_sample() {
        let pairs =
            |count: usize| -> Vec<(f64, f64)> { (0..count).map(|at| ((at % 2) as f64, (at % 2) as f64)).collect() };
        let (small, large) = (bridge(&pairs(20)).unwrap(), bridge(&pairs(2_000)).unwrap());
        assert_eq!((small.agreement, small.difference, small.old), (1.0, 0.0, 0.5));
        assert!(small.comparable_beyond() > 0.05 && large.comparable_beyond() < 0.005, "{small:?} {large:?}");
        assert_eq!(bridge(&pairs(9)), None);
        let graded: Vec<(f64, f64)> = (0..40).map(|at| (0.5, 0.5 + f64::from(at % 3) / 10.0)).collect();
        let graded = bridge(&graded).unwrap();
        assert!(graded.low > 0.0 && graded.high < 0.2 && graded.agreement < 0.5, "{graded:?}");
    }
}
