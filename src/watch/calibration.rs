//! How far can a judge be trusted, and what is the pass rate once its errors are taken out?
//!
//! **Labels that count.** One sample of them, never two together, for each has a design of its own. In this order, the
//! first that is [enough](ENOUGH_TO_CORRECT): what was drawn here for the audit, of which [`LEAST_RESPONSE`] must be
//! labelled, because below that who answers may depend on what there is to see; labels that were imported with the
//! probabilities of their drawing; labels that were imported without, which tell the judge's error rates and no more.
//! Where none is enough, the first that there are any of is shown for what it is. Labels of flagged traces, which
//! someone chose to look at, never count. Whether a revision is calibrated is said by all of its labels, whatever span
//! of time the estimates are of: how often it errs does not become unknown with time.
//!
//! **Weights.** A label counts one over the probability that the trace was judged and that it was drawn to be labelled;
//! sizes of shares are then effective sizes.
//!
//! **The corrected estimate.** From labels whose probabilities are known: fewer than [`LEAST_OF_CLASS`] of either class,
//! and the labels alone are read (Wilson); one probability for all and fewer than [`ENOUGH_TO_TUNE`] labels, PPI with
//! λ = 1, with more PPI++ with cross-fitting; unequal ones of the audit, or that follow from the verdict, the mean by
//! verdict; unequal ones of an import, which may follow from anything, the augmented inverse-probability mean, or the
//! labels alone where fewer than [`LEAST_OF_CLASS`] of them contradict the judge. From labels without probabilities:
//! Rogan-Gladen, refused where the judge carries no information.

mod basis;
mod correction;
mod measures;
mod sample;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::ids::TraceId;
use crate::domain::label::{Answer, JudgedSum, Judgement, Label, LabelledCount, RevisionSum};
use crate::domain::report::Estimate;
use crate::stats::agreement::Confusion;
use basis::Tally;
use correction::corrected;
pub(super) use measures::agreement_of;
use measures::measures;
use sample::{Item, Sample, confusions, estimate, verdicts};

/// Labels in each verdict of a judge from which on it counts as calibrated: with fewer, kappa is known to no better
/// than about a quarter either way.
pub const ENOUGH_OF_VERDICT: u64 = 50;
/// Labels of each class below which every normal interval fails.
pub const LEAST_OF_CLASS: usize = 10;
/// Labels from which on λ is tuned.
pub const ENOUGH_TO_TUNE: usize = 100;
/// Labels of a sample below which another is preferred.
pub const ENOUGH_TO_CORRECT: u64 = 2 * LEAST_OF_CLASS as u64;
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
    /// Imported with the probability of their drawing, of items that were not drawn here.
    #[serde(default)]
    pub imported_sample: u64,
    /// Imported without a probability, likewise.
    pub imported: u64,
    /// Of traces that someone chose to look at, or that were drawn for another revision; they never calibrate.
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
    /// Labels that came from elsewhere with the probabilities of their drawing.
    ImportedSample,
    /// Labels that came from elsewhere without.
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

/// Calibrates every revision of every judge among `judgements` and `unlabelled`, the sums of those of which there is no
/// label, in order of name and revision. Of several labels for one trace and judge the last one holds.
#[must_use]
pub fn calibrations(judgements: &[Judgement], unlabelled: &[RevisionSum], labels: &[Label]) -> Vec<Calibration> {
    let mut last: BTreeMap<(&str, TraceId), &Label> = BTreeMap::new();
    for label in labels {
        let held = last.entry((&label.evaluator, label.trace_id)).or_insert(label);
        if label.labelled_at >= held.labelled_at {
            *held = label;
        }
    }
    let mut revisions: BTreeMap<(&str, &str), Revision<'_>> = BTreeMap::new();
    for judgement in judgements {
        let of = revisions.entry((&judgement.evaluator, &judgement.revision)).or_default();
        match last.get(&(judgement.evaluator.as_str(), judgement.trace_id)) {
            Some(label) => of.items.push(Item { judgement, label }),
            None => of.unlabelled.push(judgement.sum()),
        }
    }
    for sum in unlabelled {
        revisions.entry((&sum.evaluator, &sum.revision)).or_default().unlabelled.push(sum.judged);
    }
    revisions.into_iter().map(|(name, of)| of.calibrate(name)).collect()
}

impl Calibration {
    /// The same estimates of a revision whose labels are more than those they rest on.
    #[must_use]
    pub fn with_standing(self, standing: Result<String, String>) -> Self {
        let (calibrated, standing) = told(standing);
        Self { calibrated, standing, ..self }
    }
}

/// Whether a revision is calibrated, and why.
fn told(standing: Result<String, String>) -> (bool, String) {
    (standing.is_ok(), standing.unwrap_or_else(|why| why))
}

/// What a judge's revision said.
#[derive(Debug, Default)]
struct Revision<'a> {
    /// Of traces that are labelled.
    items: Vec<Item<'a>>,
    /// Of the others.
    unlabelled: Vec<JudgedSum>,
}

impl Revision<'_> {
    fn calibrate(mut self, (evaluator, revision): (&str, &str)) -> Calibration {
        // Ids are random, so that this order follows from no label.
        self.items.sort_by_key(|item| item.judgement.trace_id);
        let tally = self.tally();
        let basis = tally.basis();
        let sample = Sample::of(basis, &self.items, &self.unlabelled);
        let (confusion, effective) = confusions(&sample);
        let measures = measures(&sample, &effective);
        let (calibrated, standing) = told(tally.standing());
        let corrected = corrected(&sample, tally.response_rate(), &effective);
        let count = |of: fn(&JudgedSum) -> u64| self.sums().map(|sum| of(&sum)).sum();
        let judged = count(|sum| sum.count);
        Calibration {
            evaluator: evaluator.to_owned(),
            revision: revision.to_owned(),
            calibrated,
            standing,
            judged,
            labels: tally.counts,
            response_rate: tally.response_rate(),
            basis,
            n: sample.used.len() as u64,
            confusion,
            sensitivity: measures.sensitivity,
            specificity: measures.specificity,
            kappa: measures.kappa,
            matthews: effective.matthews(),
            raw: Estimate {
                upstream_unknown: count(|sum| sum.upstream_unknown),
                ..estimate(judged, verdicts(self.sums()))
            },
            corrected: corrected.as_ref().ok().copied(),
            not_corrected: corrected.err(),
            disagreements: self.items.iter().filter_map(Item::disagreement).collect(),
        }
    }

    /// All that it said.
    fn sums(&self) -> impl Iterator<Item = JudgedSum> {
        self.items.iter().map(|item| item.judgement.sum()).chain(self.unlabelled.iter().copied())
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for item in &self.items {
            tally.add(item.judgement.passed, item.is_drawn(), Some(item.label.held()), 1);
        }
        for sum in &self.unlabelled {
            tally.add(sum.passed, sum.draw.is_some_and(|draw| draw.is_drawn), None, sum.count);
        }
        tally
    }
}

/// Why labels calibrate each revision, or why they do not, by judge and revision.
#[must_use]
pub fn standings(counts: &[LabelledCount]) -> BTreeMap<(String, String), Result<String, String>> {
    let mut revisions: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
    for count in counts {
        let of = revisions.entry((&count.evaluator, &count.revision)).or_default();
        of.add(count.passed, count.is_drawn, count.label, count.count);
    }
    let standing = |((evaluator, revision), tally): ((&str, &str), Tally)| {
        ((evaluator.to_owned(), revision.to_owned()), tally.standing())
    };
    revisions.into_iter().map(standing).collect()
}
