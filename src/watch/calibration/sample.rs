//! The labels that a calibration rests on, and the judgements that they are a part of.

use super::{Basis, CONFIDENCE, Disagreement};
use crate::domain::label::{Answer, JudgedSum, Judgement, Label};
use crate::domain::report::Estimate;
use crate::stats::agreement::Confusion;
use crate::stats::by_verdict::SizedShare;
use crate::stats::interval::wilson;
use crate::stats::moments::Moments;

/// A judgement with the label that holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) judgement: &'a Judgement,
    pub(super) label: &'a Label,
}

impl Item<'_> {
    pub(super) fn is_drawn(&self) -> bool {
        self.judgement.draw.is_some_and(|draw| draw.is_drawn)
    }

    pub(super) fn person_passes(&self) -> Option<bool> {
        self.label.label.passes()
    }

    pub(super) fn disagreement(&self) -> Option<Disagreement> {
        let (judgement, label) = (self.judgement, self.label);
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

/// The labels of one basis.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) basis: Basis,
    /// Each has an answer.
    pub(super) used: Vec<Item<'a>>,
    /// What else could have been drawn for it.
    unseen: Vec<JudgedSum>,
}

impl<'a> Sample<'a> {
    pub(super) fn of(basis: Basis, items: &[Item<'a>], unlabelled: &[JudgedSum]) -> Self {
        let (used, others): (Vec<Item<'a>>, Vec<Item<'a>>) =
            items.iter().partition(|item| basis.holds(item.is_drawn(), item.label.held()));
        let sums = others.iter().map(|item| item.judgement.sum()).chain(unlabelled.iter().copied());
        let could_be_drawn =
            |sum: &JudgedSum| basis != Basis::Audit || sum.draw.is_some_and(|draw| draw.probability > 0.0);
        Self { basis, used, unseen: sums.filter(could_be_drawn).collect() }
    }

    /// Everything that the labels stand for.
    pub(super) fn population(&self) -> impl Iterator<Item = JudgedSum> {
        self.used.iter().map(|item| item.judgement.sum()).chain(self.unseen.iter().copied())
    }

    /// The verdicts on what only the judge has seen.
    pub(super) fn unseen(&self) -> Moments {
        verdicts(self.unseen.iter().copied())
    }

    /// Probability with which an item was drawn to be labelled. Error rates, which are all that labels without one
    /// tell, belong to the judge, whoever it was asked for.
    pub(super) fn probability(&self, item: &Item<'_>) -> f64 {
        let known = match self.basis {
            Basis::Audit => item.judgement.draw.map(|draw| draw.probability),
            Basis::ImportedSample => item.label.probability,
            Basis::Imported => None,
        };
        known.map_or(1.0, |probability| probability.max(f64::MIN_POSITIVE))
    }

    /// Weight of a label: one over the probability that its trace was judged, and that it was drawn.
    pub(super) fn weight(&self, item: &Item<'_>) -> f64 {
        match self.basis {
            Basis::Audit | Basis::ImportedSample => item.judgement.weight / self.probability(item),
            Basis::Imported => 1.0,
        }
    }

    /// Share of the labels that pass, of all or of those on one verdict.
    pub(super) fn share_passing(&self, verdict: Option<bool>) -> SizedShare {
        let of = self.used.iter().filter(|item| verdict.is_none_or(|passed| item.judgement.passed == passed));
        let values: Vec<(f64, f64)> =
            of.filter_map(|item| Some((f64::from(item.person_passes()?), self.weight(item)))).collect();
        sized(&Moments::of_clusters(values.chunks(1)))
    }
}

/// The verdicts of sums, one for each judgement.
pub(super) fn verdicts(sums: impl Iterator<Item = JudgedSum>) -> Moments {
    let of = |sum: JudgedSum| Moments::of_same(f64::from(sum.passed), sum.count, sum.weight, sum.weight_squared);
    sums.map(of).fold(Moments::default(), |all, one| all.merge(&one))
}

/// A share with the number of equal items that it is worth: Kish's, or less where heavy items are other ones than light
/// ones, of which Kish knows nothing.
pub(super) fn sized(moments: &Moments) -> SizedShare {
    let kish = moments.kish_size();
    let size = if moments.is_simple_sample() { kish } else { kish.min(moments.share_size()) };
    SizedShare { share: moments.mean, size }
}

/// Counts, and weights scaled to the effective number of labels; the same where all weights are.
pub(super) fn confusions(sample: &Sample<'_>) -> (Confusion, Confusion) {
    let (mut counts, mut weights) = (Confusion::default(), Confusion::default());
    let (mut sum, mut squares) = (0.0, 0.0);
    for item in &sample.used {
        let Some(person_passes) = item.person_passes() else { continue };
        let weight = sample.weight(item);
        counts.add(item.judgement.passed, person_passes, 1.0);
        weights.add(item.judgement.passed, person_passes, weight);
        (sum, squares) = (sum + weight, squares + weight * weight);
    }
    let size = if squares > 0.0 { sum * sum / squares } else { 0.0 };
    (counts, weights.scaled_to(size))
}

/// A share of `n` items with its Wilson interval.
pub(super) fn estimate(n: u64, moments: Moments) -> Estimate {
    let SizedShare { share, size } = sized(&moments);
    let interval = wilson(share, size, CONFIDENCE);
    Estimate { n, estimate: Some(share), low: Some(interval.low), high: Some(interval.high), upstream_unknown: 0 }
}
