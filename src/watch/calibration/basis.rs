//! Which labels a calibration rests on, and whether they are enough; the parent module says the rule.

use super::{Basis, ENOUGH_OF_VERDICT, ENOUGH_TO_CORRECT, LEAST_RESPONSE, LabelCounts};
use crate::domain::label::{HeldLabel, Origin};

impl Basis {
    /// In the order in which they are preferred.
    const ALL: [Self; 3] = [Self::Audit, Self::ImportedSample, Self::Imported];

    /// Whether an item is of this sample. What was drawn here may have its label from anywhere, and what was labelled
    /// elsewhere may have been drawn here too.
    pub(super) fn holds(self, is_drawn: bool, label: HeldLabel) -> bool {
        label.answer.passes().is_some()
            && match self {
                Self::Audit => is_drawn,
                Self::ImportedSample => label.origin == Origin::Import && label.has_probability,
                Self::Imported => label.origin == Origin::Import && !label.has_probability,
            }
    }
}

/// The labels of a judge's revision, counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) counts: LabelCounts,
    /// By sample, on what the judge fails and passes.
    on_verdict: [[u64; 2]; 3],
}

impl Tally {
    /// Counts judgements that are alike.
    pub(super) fn add(&mut self, passed: bool, is_drawn: bool, label: Option<HeldLabel>, count: u64) {
        let counts = &mut self.counts;
        counts.drawn += if is_drawn { count } else { 0 };
        let Some(label) = label else { return };
        let of_place = match () {
            () if label.answer.passes().is_none() => &mut counts.skipped,
            () if is_drawn => &mut counts.audit,
            () if Basis::ImportedSample.holds(is_drawn, label) => &mut counts.imported_sample,
            () if Basis::Imported.holds(is_drawn, label) => &mut counts.imported,
            () => &mut counts.flagged,
        };
        *of_place += count;
        for basis in Basis::ALL.into_iter().filter(|basis| basis.holds(is_drawn, label)) {
            self.on_verdict[basis as usize][usize::from(passed)] += count;
        }
    }

    /// Share of the drawn items that are labelled; `None` where none was drawn.
    pub(super) fn response_rate(&self) -> Option<f64> {
        (self.counts.drawn > 0).then(|| self.counts.audit as f64 / self.counts.drawn as f64)
    }

    /// The sample that counts.
    pub(super) fn basis(&self) -> Basis {
        let labels = |basis: Basis| self.on_verdict[basis as usize].iter().sum::<u64>();
        let is_answered = |basis| basis != Basis::Audit || self.response_rate().is_some_and(|it| it >= LEAST_RESPONSE);
        let is_enough = |basis: &Basis| labels(*basis) >= ENOUGH_TO_CORRECT && is_answered(*basis);
        let enough = Basis::ALL.into_iter().find(is_enough);
        let any = || Basis::ALL.into_iter().find(|basis| labels(*basis) > 0);
        enough.or_else(any).unwrap_or(Basis::Audit)
    }

    /// Why a judge with these labels is calibrated, or is not.
    pub(super) fn standing(&self) -> Result<String, String> {
        let [fails, passes] = self.on_verdict[self.basis() as usize];
        if passes.min(fails) >= ENOUGH_OF_VERDICT {
            return Ok(format!("{passes} labels on its passes and {fails} on its fails"));
        }
        Err(format!(
            "{passes} labels on its passes and {fails} on its fails; {ENOUGH_OF_VERDICT} of each are needed, because \
             with fewer its error rates and kappa are known to no better than a quarter either way"
        ))
    }
}
