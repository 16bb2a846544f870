//! What share would people pass, when labels were drawn at one rate from what a judge passes and at another from what it
//! fails?
//!
//! **Statistic.** Post-stratified by verdict: P(judge passes)·mean(label | passes) + P(judge fails)·mean(label | fails).
//! With two verdicts this is PPI++ at its best λ (arXiv 2406.04291), and each verdict may have its own probability.
//!
//! A judge's error rates and kappa are functions of the same shares, [`measure_by_verdict`].
//!
//! **Interval.** The Wilson intervals of its three shares, put together by the method of variance estimates recovery
//! (Zou and Donner 2008). A normal interval fails here: the judge's few wrong passes are seldom drawn and stand for many.
//!
//! **Where it ends.** Sizes may be effective sizes, which makes it approximate. Of a measure, the judge's own pass rate is
//! taken for known.

use super::interval::{Interval, wilson};

/// A share and the number that it was seen in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SizedShare {
    /// The share.
    pub share: f64,
    /// The number.
    pub size: f64,
}

/// The estimate and its interval: `verdicts` is the judge's pass rate, `passes` and `fails` the share of labels that
/// pass among what the judge passes and fails. `None` where a verdict has no label.
#[must_use]
pub fn share_by_verdict(
    verdicts: SizedShare,
    passes: SizedShare,
    fails: SizedShare,
    confidence: f64,
) -> Option<(f64, Interval)> {
    if !(verdicts.size > 0.0 && passes.size > 0.0 && fails.size > 0.0) {
        return None;
    }
    let weight = verdicts.share;
    let estimate = weight * passes.share + (1.0 - weight) * fails.share;
    let parts = [(verdicts, passes.share - fails.share), (passes, weight), (fails, 1.0 - weight)];
    let reach = |is_low: bool| {
        let part = |(of, slope): &(SizedShare, f64)| {
            let Interval { low, high } = wilson(of.share, of.size, confidence);
            let end = if is_low == (*slope >= 0.0) { of.share - low } else { high - of.share };
            (slope * end).powi(2)
        };
        parts.iter().map(part).sum::<f64>().sqrt()
    };
    let interval = Interval { low: (estimate - reach(true)).max(0.0), high: (estimate + reach(false)).min(1.0) };
    Some((estimate, interval))
}

/// A measure of a judge's errors and its interval, from the share of labels that fail among what the judge passes
/// (`false_passes`) and among what it fails (`true_fails`). The `measure` must fall with the first and rise with the
/// second, as sensitivity, specificity and kappa do. `None` where a verdict has no label, or the measure no value.
#[must_use]
pub fn measure_by_verdict(
    false_passes: SizedShare,
    true_fails: SizedShare,
    confidence: f64,
    measure: impl Fn(f64, f64) -> Option<f64>,
) -> Option<(f64, Interval)> {
    if !(false_passes.size > 0.0 && true_fails.size > 0.0) {
        return None;
    }
    let (passes, fails) = (false_passes.share, true_fails.share);
    let (of_passes, of_fails) =
        (wilson(passes, false_passes.size, confidence), wilson(fails, true_fails.size, confidence));
    let value = measure(passes, fails)?;
    let reach =
        |passes_end, fails_end| Some((measure(passes_end, fails)? - value).hypot(measure(passes, fails_end)? - value));
    let (below, above) = (reach(of_passes.high, of_fails.low)?, reach(of_passes.low, of_fails.high)?);
    Some((value, Interval { low: value - below, high: value + above }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(share: f64, size: f64) -> SizedShare {
        SizedShare { share, size }
    }

    #[test]
    fn a_judge_that_says_nothing_leaves_the_share_of_the_labels() {
        let (estimate, interval) = share_by_verdict(of(0.5, 1e9), of(0.8, 100.0), of(0.8, 100.0), 0.95).unwrap();
        let alone = wilson(0.8, 200.0, 0.95);
        assert!((estimate - 0.8).abs() < 1e-12);
        assert!((interval.low - alone.low).abs() < 0.005 && (interval.high - alone.high).abs() < 0.005, "{interval:?}");
    }

    #[test]
    fn the_interval_stays_wide_where_no_wrong_pass_was_drawn() {
        let (_, interval) = share_by_verdict(of(0.9, 2_000.0), of(1.0, 60.0), of(0.4, 40.0), 0.95).unwrap();
        assert!(interval.low < 0.9 && interval.high > 0.94, "{interval:?}");
        assert_eq!(share_by_verdict(of(0.9, 2_000.0), of(1.0, 60.0), of(0.0, 0.0), 0.95), None);
    }
}
