//! Do the words of the answer stand in the data? A heuristic, named as one: it compares words and understands nothing.
//!
//! It is the stand-in for the judge `groundedness` where no model is at hand, and a second opinion on every trace
//! where judging is sampled. Against an answer speak
//! - **a number or a name that neither the data nor the user's own words hold**: 1 point each. Numbers are compared by
//!   value (`1,299.00` is `1299`); a date in a record holds the numbers of the date in words. Numbers up to twelve
//!   count as words, because an agent may count what it read. A name is a capitalised word that begins nothing.
//! - **a negation that denies what the data does not deny nearby**: half a point. A `not` turns a sentence round and
//!   leaves every other word in place.
//! - **neighbouring words that the data nowhere brings together** (within eight words): half a point times their share
//!   of all pairs of neighbours. An invented sentence about the right things is made of the right words in new company,
//!   which is what plain overlap of words does not see.
//!
//! The score is `1 / (1 + points / threshold)`: 1 when nothing speaks against the answer, a half at `threshold`, and
//! the run fails below a half. At the default of 1, one wrong figure fails a run, and neither one negation nor other
//! words do.
//!
//! What it cannot see: the right words wrongly joined (who paid whom), antonyms, totals and differences that follow
//! from the data, translations and paraphrases (it sees them as unsupported). Endings are English; other
//! languages match whole words. It reads what was retrieved, so it cannot say whether that was right or enough.
//!
//! Measured on graded texts that no one here wrote (the test beside this file prints the table), with the threshold
//! chosen on one half of each set and everything reported on the other. By how often a grounded answer ranks above an
//! ungrounded one (area under the ROC curve): .98 on question answering, where plain overlap has .92 (ROUGE-1) and .94
//! (ROUGE-L), and .60 on edited summaries, where overlap is no better than chance (.46 and .48). The first is flattered
//! by how that set was made: its grounded answers are quotations of a few words. The second is the honest figure for
//! well-written answers with one wrong fact: accuracy .59, balanced accuracy .62, F1 .49, where guessing has a balanced
//! accuracy of .50. That is enough to see a rate move over many traces, and far too little to convict one. The weights
//! (not the threshold) were chosen with both halves in view, so
//! expect somewhat less elsewhere. Of 450 real answers of customer-service agents it fails one in ten, some of them for
//! sums and differences that they worked out; of 1,500 simulated healthy runs it fails none.
//!
//! It is therefore shipped with severity `info`, and does not flag.
//!
//! Its series is, as that of every rule, the share of runs that pass, and not the mean of the degree. The threshold is
//! what was measured; between it and 1 the degree follows how closely answers are worded to the data, so that a prompt
//! which makes them terser or freer would move the mean while they are as right as before. The degree is in every row.
//!
//! Sources: the baselines are the precisions of ROUGE-1 and ROUGE-L (Lin, 2004). Checking names against the source is
//! the idea of Nan et al., "Entity-level Factual Consistency of Abstractive Text Summarization" (2021); the points and
//! distances are ours.

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip};
use crate::domain::trace::{Step, Trace};
use crate::evaluate::mistake::Mistake;

mod initials;
mod support;
#[cfg(test)]
mod tests;
mod tokens;

use support::{Support, support};

pub(super) const DOC: &str =
    "a heuristic without a model: numbers, names, negations and pairs of words of the answer that the data lacks";

/// Most numbers and names that an explanation lists.
const MOST_LISTED: usize = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    threshold: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { threshold: 1.0 }
    }
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    if !(settings.threshold.is_finite() && settings.threshold > 0.0) {
        let problem = format!("threshold is {}", settings.threshold);
        return Err(vec![source.mistake("threshold", &problem, "set it above zero")]);
    }
    Ok(Built::rule(LexicalSupportRule(settings.clone()), &settings))
}

#[derive(Debug)]
struct LexicalSupportRule(Settings);

impl Rule for LexicalSupportRule {
    fn check(&self, trace: &Trace) -> Finding {
        let Some(answer) = &trace.output else { return Finding::NotEvaluable("gen_ai.output.messages".to_owned()) };
        let data = trace.retrieved_data();
        if data.is_empty() {
            return without_data(trace);
        }
        match support(answer, &data, words_beside_data(trace)) {
            Some(support) => self.scored(&support),
            None => Finding::NotApplicable("the answer states nothing".to_owned()),
        }
    }
}

impl LexicalSupportRule {
    fn scored(&self, support: &Support<'_>) -> Finding {
        let value = 1.0 / (1.0 + support.points() / self.0.threshold);
        Finding::Scored {
            value,
            label: if value < 0.5 { "fail" } else { "pass" }.to_owned(),
            explanation: explanation(support),
            span: None,
        }
    }
}

fn without_data(trace: &Trace) -> Finding {
    let is_missing = |step: &Step| match step {
        Step::Tool(call) => call.result.is_none(),
        Step::Retrieval(retrieval) => !retrieval.documents_recorded,
        Step::Model(_) => false,
    };
    if trace.steps.iter().any(is_missing) {
        Finding::NotEvaluable("gen_ai.tool.call.result or gen_ai.retrieval.documents".to_owned())
    } else {
        Finding::NotApplicable("the run retrieved nothing".to_owned())
    }
}

/// Numbers and names of an answer that stand neither in the data nor in the other words.
pub(super) fn unsupported_facts<'a>(
    answer: &'a str,
    data: &[&str],
    words: impl Iterator<Item = &'a str>,
) -> Vec<&'a str> {
    support(answer, data, words).map(|support| support.unsupported).unwrap_or_default()
}

/// What the user said and what the agent was told may be repeated without being in the data.
pub(super) fn words_beside_data(trace: &Trace) -> impl Iterator<Item = &str> {
    let said = trace.model_calls().filter_map(|call| call.user_text.as_deref());
    trace.input.as_deref().into_iter().chain(said).chain(trace.system_instructions.as_deref())
}

fn explanation(support: &Support<'_>) -> String {
    let mut parts = Vec::new();
    if !support.unsupported.is_empty() {
        let listed: Vec<String> = support.unsupported.iter().take(MOST_LISTED).map(|text| clip(text)).collect();
        let more = if support.unsupported.len() > MOST_LISTED { " and more" } else { "" };
        let count = support.unsupported.len();
        parts.push(format!("{count} numbers or names are not in the data: {}{more}", listed.join(", ")));
    }
    if support.denials > 0 {
        parts.push(format!("{} negations are not", support.denials));
    }
    parts.push(format!("{} of {} pairs of words do not stand together in the data", support.apart, support.pairs));
    parts.join("; ")
}
