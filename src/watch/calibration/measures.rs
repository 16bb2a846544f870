//! A judge's error rates and its agreement with people, each with its interval.
//!
//! Labels of equal weight are a simple sample: Wilson for the rates, the textbook's error for kappa. Where what a judge
//! fails was drawn more often, its few wrong passes stand for many, and both are far too narrow (74 % instead of 95 for
//! specificity); then the intervals come from the two shares that were sampled simply, those within each verdict.

use std::collections::BTreeSet;

use super::{Agreement, Basis, CONFIDENCE, Item, estimate, label_weight, raw_size, share_of};
use crate::domain::report::Estimate;
use crate::stats::agreement::{Confusion, Kappa};
use crate::stats::by_verdict::{SizedShare, measure_by_verdict};
use crate::stats::interval::Interval;

/// What is measured of a judge.
pub(super) struct Measures {
    pub(super) sensitivity: Option<Estimate>,
    pub(super) specificity: Option<Estimate>,
    pub(super) kappa: Option<Agreement>,
}

/// The measures by the labels that are `used`, whose weights are `effective`.
pub(super) fn measures(items: &[Item<'_>], used: &[Item<'_>], basis: Basis, effective: &Confusion) -> Measures {
    let weights: BTreeSet<u64> = used.iter().map(|item| label_weight(item, basis).to_bits()).collect();
    if weights.len() > 1 {
        return by_verdict(items, used);
    }
    let kappa = |kappa: Kappa| agreement(kappa.value, kappa.interval(CONFIDENCE));
    Measures {
        sensitivity: right_on(used, true),
        specificity: right_on(used, false),
        kappa: effective.kappa().map(kappa),
    }
}

/// Share of what people pass, or fail, on which the judge says the same; `None` where they pass, or fail, nothing.
fn right_on(used: &[Item<'_>], passes: bool) -> Option<Estimate> {
    let of_class: Vec<&Item<'_>> = used.iter().filter(|item| item.person_passes() == Some(passes)).collect();
    let values = of_class.iter().map(|item| (f64::from(item.judgement.passed == passes), 1.0));
    (!of_class.is_empty()).then(|| estimate(of_class.len(), share_of(values)))
}

fn by_verdict(items: &[Item<'_>], used: &[Item<'_>]) -> Measures {
    let (judge_passes, _) = raw_size(items);
    let failing = |passed: bool| {
        let of_verdict = used.iter().filter(|item| item.judgement.passed == passed);
        let fails = of_verdict.filter_map(|item| Some((f64::from(!item.person_passes()?), item.judgement.weight)));
        let (share, size) = share_of(fails);
        SizedShare { share, size }
    };
    let confusion = |false_passes: f64, true_fails: f64| Confusion {
        true_pass: judge_passes * (1.0 - false_passes),
        false_pass: judge_passes * false_passes,
        true_fail: (1.0 - judge_passes) * true_fails,
        false_fail: (1.0 - judge_passes) * (1.0 - true_fails),
    };
    let (passes, fails) = (failing(true), failing(false));
    let measure = |of: fn(&Confusion) -> Option<f64>| {
        measure_by_verdict(passes, fails, CONFIDENCE, |false_passes, true_fails| {
            of(&confusion(false_passes, true_fails))
        })
    };
    let of_class = |class: bool| used.iter().filter(|item| item.person_passes() == Some(class)).count();
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

fn agreement(value: f64, Interval { low, high }: Interval) -> Agreement {
    let word = Kappa { value, standard_error: 0.0 }.word().to_owned();
    Agreement { value, low, high, word, scale: "Altman 1991".to_owned() }
}
