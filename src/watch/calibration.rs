//! How far can a judge be trusted, and what is the pass rate once its errors are taken out?
//!
//! **Labels that count.** Those of the audit sample, whose probabilities are known: they are weighted by one over them.
//! Where none of these suffice, labels that were imported without a probability tell the judge's error rates, and no
//! more. Labels of flagged traces, which someone chose to look at, never count.
//!
//! **The corrected estimate.** From the audit sample: fewer than [`LEAST_OF_CLASS`] labels of either class, and the
//! labels alone are read (Wilson); one probability for each verdict, the mean by verdict; probabilities that differ
//! further, the augmented inverse-probability mean, or the labels alone where fewer than [`LEAST_OF_CLASS`] of them
//! contradict the judge; one probability for all and fewer than
//! [`ENOUGH_TO_TUNE`] labels, PPI with λ = 1; else PPI++ with cross-fitting. From imported labels: Rogan-Gladen, refused
//! where the judge carries no information. Below [`LEAST_RESPONSE`] of the drawn items labelled, who answers may depend
//! on what there is to see: nothing is corrected.

mod correction;
mod measures;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::ids::TraceId;
use crate::domain::label::{Answer, Draw, Judgement, Label, Origin};
use crate::domain::report::Estimate;
use crate::stats::agreement::Confusion;
use crate::stats::interval::wilson;
use crate::stats::moments::Moments;
use correction::{from_audit, from_imported};
use measures::measures;

/// Labels in each verdict of a judge from which on it counts as calibrated: with fewer, kappa is known to no better
/// than about a quarter either way.
pub const ENOUGH_OF_VERDICT: u64 = 50;
/// Labels of each class below which every normal interval fails.
pub const LEAST_OF_CLASS: usize = 10;
/// Labels from which on λ is tuned.
pub const ENOUGH_TO_TUNE: usize = 100;
/// Share of the drawn items that must be labelled.
pub const LEAST_RESPONSE: f64 = 0.8;
const CONFIDENCE: f64 = 0.95;

/// A judge's revision against people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Whether there are enough labels.
    pub calibrated: bool,
    /// Why, in a sentence.
    pub standing: String,
    /// Traces that it has judged.
    pub judged: u64,
    /// Labels by where they come from.
    pub labels: LabelCounts,
    /// Labelled items over drawn items; `None` where none was drawn.
    pub response_rate: Option<f64>,
    /// Which labels the figures below rest on.
    pub basis: Basis,
    /// How many those are.
    pub n: u64,
    /// What judge and people say of them, as counts.
    pub confusion: Confusion,
    /// Share of what people pass that the judge passes.
    pub sensitivity: Option<Estimate>,
    /// Share of what people fail that the judge fails.
    pub specificity: Option<Estimate>,
    /// Agreement beyond chance.
    pub kappa: Option<Agreement>,
    /// Matthews correlation.
    pub matthews: Option<f64>,
    /// The judge's pass rate as it is.
    pub raw: Estimate,
    /// The pass rate that people would give.
    pub corrected: Option<Correction>,
    /// Why there is no corrected rate.
    pub not_corrected: Option<String>,
    /// Items on which judge and people differ.
    pub disagreements: Vec<Disagreement>,
}

/// Labels of a judge's revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCounts {
    /// Items of the audit sample.
    pub drawn: u64,
    /// Those of them with a label.
    pub audit: u64,
    /// Imported without a probability.
    pub imported: u64,
    /// Of traces that someone chose to look at; they never calibrate.
    pub flagged: u64,
    /// Items that a person was asked about and skipped.
    pub skipped: u64,
}

/// Which labels a calibration rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The audit sample, weighted by its probabilities.
    Audit,
    /// Labels that came from elsewhere.
    Imported,
}

/// Cohen's kappa.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// 1 for full agreement, 0 for what chance gives.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The plain word of the scale.
    pub word: String,
    /// Whose scale.
    pub scale: String,
}

/// The pass rate that people would give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// How it was found.
    pub method: Method,
    /// The rate.
    pub estimate: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How a rate was corrected; the module says when which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Labels alone: Wilson.
    LabelsAlone,
    /// Prediction-powered with λ = 1.
    Ppi,
    /// Prediction-powered with a cross-fitted λ.
    PpiCrossFitted,
    /// Post-stratified by the judge's verdict.
    ByVerdict,
    /// Augmented inverse-probability mean.
    AugmentedInverseProbability,
    /// By error rates that were learned on other items.
    RoganGladen,
}

impl Method {
    /// The method as it is written in JSON and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LabelsAlone => "labels_alone",
            Self::Ppi => "ppi",
            Self::PpiCrossFitted => "ppi_cross_fitted",
            Self::ByVerdict => "by_verdict",
            Self::AugmentedInverseProbability => "augmented_inverse_probability",
            Self::RoganGladen => "rogan_gladen",
        }
    }
}

/// An item on which judge and people differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disagreement {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge's verdict.
    pub judge: Answer,
    /// The judge's reason.
    pub reason: Option<String>,
    /// The person's answer.
    pub person: Answer,
    /// The person's note.
    pub note: Option<String>,
    /// Who.
    pub reviewer: String,
}

/// Calibrates every revision of every judge among `judgements`, in order of name and revision. Of several labels for one
/// trace and judge the last one holds.
#[must_use]
pub fn calibrations(judgements: &[Judgement], labels: &[Label]) -> Vec<Calibration> {
    let mut last: BTreeMap<(&str, TraceId), &Label> = BTreeMap::new();
    for label in labels {
        let held = last.entry((&label.evaluator, label.trace_id)).or_insert(label);
        if label.labelled_at >= held.labelled_at {
            *held = label;
        }
    }
    let mut revisions: BTreeMap<(&str, &str), Vec<Item<'_>>> = BTreeMap::new();
    for judgement in judgements {
        let label = last.get(&(judgement.evaluator.as_str(), judgement.trace_id)).copied();
        revisions.entry((&judgement.evaluator, &judgement.revision)).or_default().push(Item { judgement, label });
    }
    revisions.into_iter().map(|(name, items)| calibrate(name, items)).collect()
}

/// A judgement with the label that holds.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    judgement: &'a Judgement,
    label: Option<&'a Label>,
}

/// How an item stands to the label that it has or could have.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Drawn for the audit with this probability.
    Audit(f64),
    /// Labelled elsewhere.
    Imported,
    /// Labelled because someone looked at it.
    Flagged,
    /// Not to be labelled.
    Unlabelled,
}

impl Item<'_> {
    fn place(&self) -> Place {
        match (self.judgement.draw, self.label) {
            (Some(Draw { probability, is_drawn: true }), _) => Place::Audit(probability),
            (_, Some(Label { probability: Some(probability), .. })) => Place::Audit(*probability),
            (_, Some(Label { origin: Origin::Import, .. })) => Place::Imported,
            (_, Some(_)) => Place::Flagged,
            (_, None) => Place::Unlabelled,
        }
    }

    /// The probability with which the item could have been drawn, whether it was or not.
    fn probability(&self) -> Option<f64> {
        match self.place() {
            Place::Audit(probability) => Some(probability),
            _ => self.judgement.draw.map(|draw| draw.probability),
        }
    }

    fn person_passes(&self) -> Option<bool> {
        self.label.and_then(|label| label.label.passes())
    }

    fn disagreement(&self) -> Option<Disagreement> {
        let (judgement, label) = (self.judgement, self.label?);
        (label.label.passes()? != judgement.passed).then(|| Disagreement {
            trace_id: judgement.trace_id,
            judge: Answer::of(judgement.passed),
            reason: judgement.reason.clone(),
            person: label.label,
            note: label.note.clone(),
            reviewer: label.reviewer.clone(),
        })
    }
}

fn calibrate((evaluator, revision): (&str, &str), mut items: Vec<Item<'_>>) -> Calibration {
    // Ids are random, so that this order follows from no label.
    items.sort_by_key(|item| item.judgement.trace_id);
    let labels = count_labels(&items);
    let basis = basis(&items);
    let used: Vec<Item<'_>> = items.iter().copied().filter(|item| counts_for(basis, item)).collect();
    let (confusion, effective) = confusions(&used, basis);
    let measures = measures(&items, &used, basis, &effective);
    let standing = standing(&used);
    let response_rate = (labels.drawn > 0).then(|| labels.audit as f64 / labels.drawn as f64);
    let corrected = match basis {
        Basis::Audit => from_audit(&items, &used, response_rate),
        Basis::Imported => from_imported(&raw_size(&items), &effective),
    };
    Calibration {
        evaluator: evaluator.to_owned(),
        revision: revision.to_owned(),
        calibrated: standing.is_ok(),
        standing: standing.unwrap_or_else(|why| why),
        judged: items.len() as u64,
        labels,
        response_rate,
        basis,
        n: used.len() as u64,
        confusion,
        sensitivity: measures.sensitivity,
        specificity: measures.specificity,
        kappa: measures.kappa,
        matthews: effective.matthews(),
        raw: estimate(items.len(), raw_size(&items)),
        corrected: corrected.as_ref().ok().copied(),
        not_corrected: corrected.err(),
        disagreements: items.iter().filter_map(Item::disagreement).collect(),
    }
}

fn count_labels(items: &[Item<'_>]) -> LabelCounts {
    let mut counts = LabelCounts::default();
    for item in items {
        let is_labelled = u64::from(item.person_passes().is_some());
        counts.skipped += u64::from(item.label.is_some()) - is_labelled;
        match item.place() {
            Place::Audit(_) => (counts.drawn, counts.audit) = (counts.drawn + 1, counts.audit + is_labelled),
            Place::Imported => counts.imported += is_labelled,
            Place::Flagged => counts.flagged += is_labelled,
            Place::Unlabelled => {}
        }
    }
    counts
}

fn counts_for(basis: Basis, item: &Item<'_>) -> bool {
    let is_of_basis = match basis {
        Basis::Audit => matches!(item.place(), Place::Audit(_)),
        Basis::Imported => item.place() == Place::Imported,
    };
    is_of_basis && item.person_passes().is_some()
}

/// The audit sample, unless it is too small and there are more labels from elsewhere.
fn basis(items: &[Item<'_>]) -> Basis {
    let of = |basis| items.iter().copied().filter(|item| counts_for(basis, item)).collect::<Vec<_>>();
    let (audit, imported) = (of(Basis::Audit), of(Basis::Imported));
    if standing(&audit).is_ok() || audit.len() >= imported.len() { Basis::Audit } else { Basis::Imported }
}

/// Why a judge with these labels is calibrated, or is not.
fn standing(used: &[Item<'_>]) -> Result<String, String> {
    let of = |passed| used.iter().filter(|item| item.judgement.passed == passed).count() as u64;
    let (passes, fails) = (of(true), of(false));
    if passes.min(fails) >= ENOUGH_OF_VERDICT {
        return Ok(format!("{passes} labels on its passes and {fails} on its fails"));
    }
    Err(format!(
        "{passes} labels on its passes and {fails} on its fails; {ENOUGH_OF_VERDICT} of each are needed, because with \
         fewer its error rates and kappa are known to no better than a quarter either way"
    ))
}

/// Weight of a labelled item: one over the probability that it was judged, and that it was drawn.
fn label_weight(item: &Item<'_>, basis: Basis) -> f64 {
    match (basis, item.place()) {
        (Basis::Audit, Place::Audit(probability)) => item.judgement.weight / probability.max(f64::MIN_POSITIVE),
        // Error rates belong to the judge, whoever it was asked for.
        _ => 1.0,
    }
}

/// Counts, and weights scaled to the effective number of labels; the same where all weights are.
fn confusions(used: &[Item<'_>], basis: Basis) -> (Confusion, Confusion) {
    let (mut counts, mut weights) = (Confusion::default(), Confusion::default());
    let (mut sum, mut squares) = (0.0, 0.0);
    for item in used {
        let Some(person_passes) = item.person_passes() else { continue };
        let weight = label_weight(item, basis);
        counts.add(item.judgement.passed, person_passes, 1.0);
        weights.add(item.judgement.passed, person_passes, weight);
        (sum, squares) = (sum + weight, squares + weight * weight);
    }
    let size = if squares > 0.0 { sum * sum / squares } else { 0.0 };
    (counts, weights.scaled_to(size))
}

/// A share that is worth `size` equal items, with its Wilson interval.
fn estimate(n: usize, (share, size): (f64, f64)) -> Estimate {
    let interval = wilson(share, size, CONFIDENCE);
    Estimate {
        n: n as u64,
        estimate: Some(share),
        low: Some(interval.low),
        high: Some(interval.high),
        upstream_unknown: 0,
    }
}

/// The judge's weighted pass rate, and the number of equal traces that it is worth.
fn raw_size(items: &[Item<'_>]) -> (f64, f64) {
    share_of(items.iter().map(|item| (f64::from(item.judgement.passed), item.judgement.weight)))
}

fn share_of(values: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let values: Vec<(f64, f64)> = values.collect();
    let moments = Moments::of_clusters(values.chunks(1));
    (moments.mean, moments.kish_size())
}
