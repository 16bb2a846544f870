//! The pass rate that people would give; which method holds when, the parent module says.

use std::collections::BTreeSet;

use super::{
    Basis, CONFIDENCE, Correction, ENOUGH_TO_TUNE, Item, LEAST_OF_CLASS, LEAST_RESPONSE, Method, counts_for,
    label_weight, raw_size, share_of,
};
use crate::stats::agreement::Confusion;
use crate::stats::by_verdict::{SizedShare, share_by_verdict};
use crate::stats::interval::{Interval, wilson};
use crate::stats::prediction_powered::{
    Drawn, Judged, Labelled, PoweredMean, augmented_mean, cross_fitted_mean, powered_mean,
};
use crate::stats::rogan_gladen::rogan_gladen;

/// The rate by error rates that were learned on other items.
pub(super) fn from_imported((share, size): &(f64, f64), labelled: &Confusion) -> Result<Correction, String> {
    let corrected = rogan_gladen(*share, *size, labelled, CONFIDENCE).map_err(|refused| refused.to_string())?;
    Ok(correction(Method::RoganGladen, corrected.estimate, corrected.interval))
}

/// The rate by the audit sample.
pub(super) fn from_audit(
    items: &[Item<'_>],
    used: &[Item<'_>],
    response_rate: Option<f64>,
) -> Result<Correction, String> {
    let response = response_rate.ok_or("there are no labels")?;
    if response < LEAST_RESPONSE {
        return Err(format!(
            "only {:.0} % of the drawn items are labelled, and below {:.0} % what was left out may differ from what was \
             not",
            100.0 * response,
            100.0 * LEAST_RESPONSE
        ));
    }
    let passes = used.iter().filter(|item| item.person_passes() == Some(true)).count();
    if passes.min(used.len() - passes) < LEAST_OF_CLASS {
        return Ok(labels_alone(used));
    }
    let population = population(items);
    if let Some(corrected) = by_probabilities(&population, used, response) {
        return Ok(corrected);
    }
    let (labelled, judged) = (labelled(used), judged(&population));
    Ok(if used.len() < ENOUGH_TO_TUNE {
        powered(Method::Ppi, &powered_mean(&labelled, &judged, 1.0))
    } else {
        powered(Method::PpiCrossFitted, &cross_fitted_mean(&labelled, &judged))
    })
}

/// The estimate where items had different probabilities; `None` where all had the same.
fn by_probabilities(population: &[Item<'_>], used: &[Item<'_>], response: f64) -> Option<Correction> {
    let different = |passed: Option<bool>| {
        let of = population.iter().filter(|item| passed.is_none_or(|passed| item.judgement.passed == passed));
        of.filter_map(|item| Some(item.probability()?.to_bits())).collect::<BTreeSet<u64>>().len()
    };
    if different(None) <= 1 {
        return None;
    }
    if different(Some(true)) <= 1 && different(Some(false)) <= 1 {
        return Some(by_verdict(population, used).unwrap_or_else(|| labels_alone(used)));
    }
    let disagreements = used.iter().filter(|item| item.disagreement().is_some()).count();
    if disagreements < LEAST_OF_CLASS {
        return Some(labels_alone(used));
    }
    Some(powered(Method::AugmentedInverseProbability, &augmented_mean(&drawn(population, response))))
}

fn by_verdict(population: &[Item<'_>], used: &[Item<'_>]) -> Option<Correction> {
    let sized = |(share, size): (f64, f64)| SizedShare { share, size };
    let labels = |passed: bool| {
        let of = used.iter().filter(|item| item.judgement.passed == passed);
        sized(share_of(of.filter_map(|item| Some((f64::from(item.person_passes()?), item.judgement.weight)))))
    };
    let (estimate, interval) = share_by_verdict(sized(raw_size(population)), labels(true), labels(false), CONFIDENCE)?;
    Some(correction(Method::ByVerdict, estimate, interval))
}

/// The items that could have been drawn: those that had a draw; where labels bring their probabilities themselves, all.
fn population<'a>(items: &[Item<'a>]) -> Vec<Item<'a>> {
    let has_draws = items.iter().any(|item| item.judgement.draw.is_some());
    let could_be_drawn = |item: &Item<'_>| item.probability().map_or(!has_draws, |probability| probability > 0.0);
    items.iter().copied().filter(could_be_drawn).collect()
}

fn labels_alone(used: &[Item<'_>]) -> Correction {
    let labelled =
        used.iter().filter_map(|item| Some((f64::from(item.person_passes()?), label_weight(item, Basis::Audit))));
    let (share, size) = share_of(labelled);
    correction(Method::LabelsAlone, share, wilson(share, size, CONFIDENCE))
}

fn labelled(used: &[Item<'_>]) -> Vec<Labelled> {
    let item = |item: &Item<'_>| {
        Some(Labelled {
            label: f64::from(item.person_passes()?),
            verdict: f64::from(item.judgement.passed),
            weight: item.judgement.weight,
        })
    };
    used.iter().filter_map(item).collect()
}

/// What only the judge has seen; all that it has seen where people have seen everything.
fn judged(items: &[Item<'_>]) -> Vec<Judged> {
    let of = |item: &Item<'_>| Judged { verdict: f64::from(item.judgement.passed), weight: item.judgement.weight };
    let unseen: Vec<Judged> = items.iter().filter(|item| !counts_for(Basis::Audit, item)).map(of).collect();
    if unseen.is_empty() { items.iter().map(of).collect() } else { unseen }
}

/// Items that could have been drawn. Those who answered stand for those who did not.
fn drawn(items: &[Item<'_>], response: f64) -> Vec<Drawn> {
    let item = |item: &Item<'_>| Drawn {
        verdict: f64::from(item.judgement.passed),
        weight: item.judgement.weight,
        probability: item.probability().unwrap_or(1.0) * response,
        label: item.person_passes().filter(|_| counts_for(Basis::Audit, item)).map(f64::from),
    };
    items.iter().map(item).collect()
}

fn powered(method: Method, mean: &PoweredMean) -> Correction {
    let Interval { low, high } = mean.interval(CONFIDENCE);
    correction(method, mean.estimate, Interval { low: low.clamp(0.0, 1.0), high: high.clamp(0.0, 1.0) })
}

fn correction(method: Method, estimate: f64, interval: Interval) -> Correction {
    Correction { method, estimate: estimate.clamp(0.0, 1.0), low: interval.low, high: interval.high }
}
