//! Which judged traces people are asked to label: a random sample whose probabilities are known.
//!
//! What a judge fails is drawn more often, because few labels of failures make specificity wide; the probability is
//! kept with the draw, so that no estimate is bent by it. The draw follows from trace id and seed alone: a repeat draws
//! alike, what a low rate draws a higher one draws too, and all judges of a trace draw it together.

use ring::digest::{SHA256, digest};

use crate::domain::ids::TraceId;
use crate::domain::label::Draw;

/// How the audit sample is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AuditPolicy {
    /// Probability for what a judge passes.
    pub rate: f64,
    /// Probability for what a judge fails.
    pub failing_rate: f64,
    /// Another seed draws another sample.
    pub seed: u64,
}

impl AuditPolicy {
    /// The draw of a trace that a judge passes or fails.
    #[must_use]
    pub fn draw(&self, trace_id: TraceId, passed: bool) -> Draw {
        let probability = if passed { self.rate } else { self.failing_rate };
        Draw { probability, is_drawn: uniform(trace_id, self.seed) < probability }
    }
}

/// A number in [0, 1) that follows from the trace; its salt is its own, so that it is independent of sampling and of
/// the judging rate.
fn uniform(trace_id: TraceId, seed: u64) -> f64 {
    let salted = [b"driftline.audit.".as_slice(), &seed.to_be_bytes(), trace_id.as_bytes()].concat();
    let hash = digest(&SHA256, &salted);
    let bits = hash.as_ref().iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    // 53 bits are what a double holds exactly.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(policy: &AuditPolicy, passed: bool) -> Vec<bool> {
        let ids = (1..=20_000_u128).map(|id| TraceId::from_bytes(&id.to_be_bytes()).unwrap());
        ids.map(|id| policy.draw(id, passed).is_drawn).collect()
    }

    fn share(drawn: &[bool]) -> f64 {
        drawn.iter().filter(|is_drawn| **is_drawn).count() as f64 / drawn.len() as f64
    }

    #[test]
    fn what_a_judge_fails_is_drawn_at_its_own_rate_and_the_rate_is_kept() {
        let policy = AuditPolicy { rate: 0.1, failing_rate: 0.5, seed: 1 };
        // Four standard deviations of a binomial share at this size.
        assert!((share(&drawn(&policy, true)) - 0.1).abs() < 0.009);
        assert!((share(&drawn(&policy, false)) - 0.5).abs() < 0.015);
        let id = TraceId::from_bytes(&7_u128.to_be_bytes()).unwrap();
        assert_eq!((policy.draw(id, true).probability, policy.draw(id, false).probability), (0.1, 0.5));
    }

    #[test]
    fn draws_repeat_nest_and_change_with_the_seed() {
        let policy = AuditPolicy { rate: 0.1, failing_rate: 0.5, seed: 1 };
        let (passes, fails) = (drawn(&policy, true), drawn(&policy, false));
        assert_eq!(passes, drawn(&policy, true));
        assert!(passes.iter().zip(&fails).all(|(low, high)| *high || !low));
        assert_ne!(passes, drawn(&AuditPolicy { seed: 2, ..policy }, true));
    }
}
