//! A judge's error rates and its agreement with people, each with its interval.
//!
//! Labels of equal weight are a simple sample: Wilson for the rates, the textbook's error for kappa. Where weights are
//! unequal both are far too narrow: if what a judge fails was drawn more often, its few wrong passes stand for many (74 %
//! coverage instead of 95 for specificity). Then the intervals come from the shares within each verdict, weighted too.

use std::collections::BTreeSet;

use super::sample::{Sample, estimate, verdicts};
use super::{Agreement, CONFIDENCE};
use crate::domain::report::Estimate;
use crate::stats::agreement::{Confusion, Kappa};
use crate::stats::by_verdict::{SizedShare, measure_by_verdict};
use crate::stats::interval::Interval;
use crate::stats::moments::Moments;

/// What is measured of a judge.
pub(super) struct Measures {
    pub(super) sensitivity: Option<Estimate>,
    pub(super) specificity: Option<Estimate>,
    pub(super) kappa: Option<Agreement>,
}

/// The measures by the labels of a sample, whose weights are `effective`.
pub(super) fn measures(sample: &Sample<'_>, effective: &Confusion) -> Measures {
    let weights: BTreeSet<u64> = sample.used.iter().map(|item| sample.weight(item).to_bits()).collect();
    if weights.len() > 1 {
        return by_verdict(sample);
    }
    Measures {
        sensitivity: right_on(sample, true),
        specificity: right_on(sample, false),
        kappa: effective.kappa().map(agreement_of),
    }
}

/// Share of what people pass, or fail, on which the judge says the same; `None` where they pass, or fail, nothing.
fn right_on(sample: &Sample<'_>, passes: bool) -> Option<Estimate> {
    let of_class = sample.used.iter().filter(|item| item.person_passes() == Some(passes));
    let values: Vec<(f64, f64)> = of_class.map(|item| (f64::from(item.judgement.passed == passes), 1.0)).collect();
    (!values.is_empty()).then(|| estimate(values.len() as u64, Moments::of_clusters(values.chunks(1))))
}

fn by_verdict(sample: &Sample<'_>) -> Measures {
    let judge_passes = verdicts(sample.population()).mean;
    let confusion = |false_passes: f64, true_fails: f64| Confusion {
        true_pass: judge_passes * (1.0 - false_passes),
        false_pass: judge_passes * false_passes,
        true_fail: (1.0 - judge_passes) * true_fails,
        false_fail: (1.0 - judge_passes) * (1.0 - true_fails),
    };
    let failing = |verdict: bool| {
        let SizedShare { share, size } = sample.share_passing(Some(verdict));
        SizedShare { share: 1.0 - share, size }
    };
    let (passes, fails) = (failing(true), failing(false));
    let measure = |of: fn(&Confusion) -> Option<f64>| {
        measure_by_verdict(passes, fails, CONFIDENCE, |false_passes, true_fails| {
            of(&confusion(false_passes, true_fails))
        })
    };
    let of_class = |class: bool| sample.used.iter().filter(|item| item.person_passes() == Some(class)).count();
    let rate = |n: usize, (share, interval): (f64, Interval)| Estimate {
        n: n as u64,
        estimate: Some(share),
        low: Some(interval.low.max(0.0)),
        high: Some(interval.high.min(1.0)),
        upstream_unknown: 0,
    };
    Measures {
        sensitivity: measure(Confusion::sensitivity).map(|it| rate(of_class(true), it)),
        specificity: measure(Confusion::specificity).map(|it| rate(of_class(false), it)),
        kappa: measure(|it| Some(it.kappa()?.value)).map(|(value, interval)| agreement(value, interval)),
    }
}

/// Agreement of items that count alike.
pub(in crate::watch) fn agreement_of(kappa: Kappa) -> Agreement {
    agreement(kappa.value, kappa.interval(CONFIDENCE))
}

fn agreement(value: f64, Interval { low, high }: Interval) -> Agreement {
    let word = Kappa { value, standard_error: 0.0 }.word().to_owned();
    Agreement { value, low, high, word, scale: "Altman 1991".to_owned() }
}
