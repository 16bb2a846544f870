//! The pass rate that people would give; which method holds when, the parent module says.

use std::collections::BTreeSet;

use super::sample::{Item, Sample, sized, verdicts};
use super::{Basis, CONFIDENCE, Correction, ENOUGH_TO_TUNE, LEAST_OF_CLASS, LEAST_RESPONSE, Method};
use crate::stats::agreement::Confusion;
use crate::stats::by_verdict::share_by_verdict;
use crate::stats::interval::{Interval, wilson};
use crate::stats::prediction_powered::{Drawn, Labelled, PoweredMean, augmented_mean, cross_fitted_mean, powered_mean};
use crate::stats::rogan_gladen::rogan_gladen;

/// The rate by the labels of a sample, which are `effective` ones; or why there is none.
pub(super) fn corrected(
    sample: &Sample<'_>,
    response_rate: Option<f64>,
    effective: &Confusion,
) -> Result<Correction, String> {
    if sample.used.is_empty() {
        return Err("there are no labels".to_owned());
    }
    match sample.basis {
        Basis::Audit => check_response(response_rate.unwrap_or_default())?,
        Basis::ImportedSample => {}
        Basis::Imported => return by_error_rates(sample, effective),
    }
    Ok(by_sample(sample))
}

fn check_response(response: f64) -> Result<(), String> {
    if response >= LEAST_RESPONSE {
        return Ok(());
    }
    Err(format!(
        "only {:.0} % of the drawn items are labelled, and below {:.0} % what was left out may differ from what was not",
        100.0 * response,
        100.0 * LEAST_RESPONSE
    ))
}

/// The rate by error rates that were learned on other items.
fn by_error_rates(sample: &Sample<'_>, labelled: &Confusion) -> Result<Correction, String> {
    let judged = sized(&verdicts(sample.population()));
    let corrected =
        rogan_gladen(judged.share, judged.size, labelled, CONFIDENCE).map_err(|refused| refused.to_string())?;
    Ok(correction(Method::RoganGladen, corrected.estimate, corrected.interval))
}

/// The rate by labels whose probabilities are known.
fn by_sample(sample: &Sample<'_>) -> Correction {
    let passes = sample.used.iter().filter(|item| item.person_passes() == Some(true)).count();
    if passes.min(sample.used.len() - passes) < LEAST_OF_CLASS {
        return labels_alone(sample);
    }
    if let Some(corrected) = by_probabilities(sample) {
        return corrected;
    }
    let labelled: Vec<Labelled> = sample.used.iter().filter_map(labelled).collect();
    // Where people have seen everything, the judge's verdicts on that stand for what they have not.
    let unseen = Some(sample.unseen()).filter(|unseen| unseen.count > 0);
    let unseen = unseen.unwrap_or_else(|| verdicts(sample.population()));
    if labelled.len() < ENOUGH_TO_TUNE {
        powered(Method::Ppi, &powered_mean(&labelled, &unseen, 1.0))
    } else {
        powered(Method::PpiCrossFitted, &cross_fitted_mean(&labelled, &unseen))
    }
}

/// The estimate where items had different probabilities; `None` where all had the same.
fn by_probabilities(sample: &Sample<'_>) -> Option<Correction> {
    let are_equal = |verdict: Option<bool>| probabilities(sample, verdict).len() <= 1;
    if are_equal(None) {
        return None;
    }
    // An audit's probabilities follow from verdict and time alone.
    if sample.basis == Basis::Audit || are_equal(Some(true)) && are_equal(Some(false)) {
        return Some(by_verdict(sample).unwrap_or_else(|| labels_alone(sample)));
    }
    let disagreements = sample.used.iter().filter(|item| item.disagreement().is_some()).count();
    if disagreements < LEAST_OF_CLASS {
        return Some(labels_alone(sample));
    }
    let drawn = |item: &Item<'_>| Some(Drawn { labelled: labelled(item)?, probability: sample.probability(item) });
    let drawn: Vec<Drawn> = sample.used.iter().filter_map(drawn).collect();
    Some(powered(Method::AugmentedInverseProbability, &augmented_mean(&drawn, &sample.unseen())))
}

/// The different probabilities, as far as they are known, of all items or of those with one verdict.
fn probabilities(sample: &Sample<'_>, verdict: Option<bool>) -> BTreeSet<u64> {
    let is_meant = |passed: bool| verdict.is_none_or(|meant| meant == passed);
    let of_labels = sample.used.iter().filter(|item| is_meant(item.judgement.passed));
    let of_labels = of_labels.map(|item| sample.probability(item).to_bits());
    let of_draws = sample.population().filter(|sum| sample.basis == Basis::Audit && is_meant(sum.passed));
    of_labels.chain(of_draws.filter_map(|sum| Some(sum.draw?.probability.to_bits()))).collect()
}

fn by_verdict(sample: &Sample<'_>) -> Option<Correction> {
    let judged = sized(&verdicts(sample.population()));
    let (passes, fails) = (sample.share_passing(Some(true)), sample.share_passing(Some(false)));
    let (estimate, interval) = share_by_verdict(judged, passes, fails, CONFIDENCE)?;
    Some(correction(Method::ByVerdict, estimate, interval))
}

fn labels_alone(sample: &Sample<'_>) -> Correction {
    let of = sample.share_passing(None);
    correction(Method::LabelsAlone, of.share, wilson(of.share, of.size, CONFIDENCE))
}

fn labelled(item: &Item<'_>) -> Option<Labelled> {
    Some(Labelled {
        label: f64::from(item.person_passes()?),
        verdict: f64::from(item.judgement.passed),
        weight: item.judgement.weight,
    })
}

fn powered(method: Method, mean: &PoweredMean) -> Correction {
    let Interval { low, high } = mean.interval(CONFIDENCE);
    correction(method, mean.estimate, Interval { low: low.clamp(0.0, 1.0), high: high.clamp(0.0, 1.0) })
}

fn correction(method: Method, estimate: f64, interval: Interval) -> Correction {
    Correction { method, estimate: estimate.clamp(0.0, 1.0), low: interval.low, high: interval.high }
}
