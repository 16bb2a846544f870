//! What is the true pass rate, when a judge errs at rates that are known from labels of other items?
//!
//! **Statistic.** Rogan and Gladen (1978): (p + specificity - 1)/J with J = sensitivity + specificity - 1, where p is the
//! judge's pass rate; the interval of Lang and Reiczigel (2014), which keeps its coverage at small numbers of labels.
//!
//! **Where it ends.** The judge must err on these items as it did on the labelled ones; their pass rate may differ.
//! With J near zero the judge carries no information and the quotient explodes: below [`LEAST_YOUDEN`] it is refused.

use super::agreement::Confusion;
use super::distribution::normal_quantile;
use super::interval::Interval;

/// The least sensitivity + specificity - 1 with which a judge can be corrected.
pub const LEAST_YOUDEN: f64 = 0.2;

/// The judge tells passes and fails apart hardly better than chance, or one of the two was never labelled.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("sensitivity + specificity - 1 is {youden:.2}, and a judge below {LEAST_YOUDEN} carries no information")]
pub struct Uninformative {
    /// Sensitivity + specificity - 1; NaN where a class has no label.
    pub youden: f64,
}

/// A corrected pass rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corrected {
    /// The estimate, within [0, 1].
    pub estimate: f64,
    /// Its standard error by the delta method.
    pub standard_error: f64,
    /// The Lang-Reiczigel interval, within [0, 1].
    pub interval: Interval,
}

/// Corrects a pass `share` that a judge gave in `size` trials (which may be an effective size) by what labels say of its
/// errors.
///
/// # Errors
/// The judge carries no information.
pub fn rogan_gladen(share: f64, size: f64, labelled: &Confusion, confidence: f64) -> Result<Corrected, Uninformative> {
    let (passes, fails) = (labelled.person_passes(), labelled.person_fails());
    let plain = Rates {
        share,
        size,
        sensitivity: labelled.true_pass / passes,
        passes,
        specificity: labelled.true_fail / fails,
        fails,
    };
    let z = normal_quantile(f64::midpoint(1.0, confidence));
    let adjusted = plain.with_pseudo_counts(z);
    // Of few labels the pseudo-counts may leave nothing of an index.
    for youden in [plain.youden(), adjusted.youden()] {
        if youden.is_nan() || youden < LEAST_YOUDEN {
            return Err(Uninformative { youden });
        }
    }
    let (centre, half_width) = lang_reiczigel(&adjusted, z);
    Ok(Corrected {
        estimate: plain.corrected().clamp(0.0, 1.0),
        standard_error: plain.standard_error(),
        interval: Interval { low: (centre - half_width).clamp(0.0, 1.0), high: (centre + half_width).clamp(0.0, 1.0) },
    })
}

/// A judge's shares, each with the number it was seen in.
struct Rates {
    share: f64,
    size: f64,
    sensitivity: f64,
    passes: f64,
    specificity: f64,
    fails: f64,
}

impl Rates {
    fn youden(&self) -> f64 {
        self.sensitivity + self.specificity - 1.0
    }

    /// The rates that the interval is made of: z²/2 judged runs added to either verdict, a label to each outcome.
    fn with_pseudo_counts(&self, z: f64) -> Self {
        Self {
            share: (self.size * self.share + z * z / 2.0) / (self.size + z * z),
            size: self.size + z * z,
            sensitivity: (self.passes * self.sensitivity + 1.0) / (self.passes + 2.0),
            passes: self.passes + 2.0,
            specificity: (self.fails * self.specificity + 1.0) / (self.fails + 2.0),
            fails: self.fails + 2.0,
        }
    }

    fn corrected(&self) -> f64 {
        (self.share + self.specificity - 1.0) / self.youden()
    }

    fn standard_error(&self) -> f64 {
        let estimate = self.corrected();
        let of_passes = estimate * estimate * variance(self.sensitivity, self.passes);
        let of_fails = (1.0 - estimate) * (1.0 - estimate) * variance(self.specificity, self.fails);
        (variance(self.share, self.size) + of_passes + of_fails).sqrt() / self.youden()
    }
}

fn variance(share: f64, size: f64) -> f64 {
    share * (1.0 - share) / size
}

/// Centre and half width of the interval: of the rates with pseudo-counts, the estimate shifted.
fn lang_reiczigel(adjusted: &Rates, z: f64) -> (f64, f64) {
    let estimate = adjusted.corrected();
    let of_passes = estimate * variance(adjusted.sensitivity, adjusted.passes);
    let of_fails = (1.0 - estimate) * variance(adjusted.specificity, adjusted.fails);
    (estimate + 2.0 * z * z * (of_passes - of_fails), z * adjusted.standard_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_without_information_is_refused_also_when_a_class_has_no_label() {
        let coin = Confusion { true_pass: 27.0, false_fail: 23.0, true_fail: 25.0, false_pass: 25.0 };
        assert!((rogan_gladen(0.5, 100.0, &coin, 0.95).unwrap_err().youden - 0.04).abs() < 1e-12);
        let one_sided = Confusion { true_pass: 50.0, ..Confusion::default() };
        assert!(rogan_gladen(0.5, 100.0, &one_sided, 0.95).unwrap_err().youden.is_nan());
    }

    #[test]
    fn estimates_stay_shares() {
        let labelled = Confusion { true_pass: 45.0, false_fail: 5.0, true_fail: 45.0, false_pass: 5.0 };
        let corrected = rogan_gladen(0.99, 400.0, &labelled, 0.95).unwrap();
        assert_eq!((corrected.estimate, corrected.interval.high), (1.0, 1.0));
    }
}
