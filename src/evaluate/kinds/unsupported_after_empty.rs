//! Confident answers that rest on nothing: everything that was looked up came back empty or failed, and the answer
//! states facts all the same.
//!
//! An agent that finds nothing should say so. The worst failure of all is the one that does not: the user gets a
//! fluent answer, with a figure or a name in it that no data holds.
//!
//! **The question** is asked of *all results since the last answer*, not of the last one alone. An agent that looks in
//! three places and finds what it needs in the first has data, whatever the third said; an empty last result before
//! a good answer is common and benign. In a conversation of several turns the results of earlier turns are still
//! there, and may be answered from. So the steps are read from the end back to the answer before: a model call that
//! wrote text to the user and was not followed by a tool.
//!
//! **What fires.** All of this together:
//! - since the last answer at least one tool or retrieval was asked, and every one of them failed or returned nothing;
//! - the answer does not own up to that (a list of English phrases such as `could not`, `no results`, `sorry`);
//! - the answer holds at least `least_facts` numbers or names that stand neither in any earlier result of the run, nor in
//!   the user's own words, nor in the system instructions.
//!
//! **What does not, and why.** A run that ends on its last look-up has not answered at all (`dead_end`). Answers without figures and names (`Is there anything else?`, `Shall I go on?`) state
//! nothing that could be invented. A tool whose purpose is an empty answer says nothing by it: `ignore_tools` names
//! them, by default the scratchpad `think`. A successful call whose result was not recorded may have held data, so
//! then the run is `not_evaluable`, unless another result is known to hold some.
//!
//! **Known misses.** Invented sentences without numbers and names. A tool that answers `{"status": "ok"}` is taken to have
//! said something. An answer that owns up to one thing and invents another. In other languages than English owning up
//! is not understood. The judge `unsupported_after_failure` reads where this rule compares words.
//!
//! **Measured.** Of 672 real runs of customer-service agents, 47 met an empty or failed look-up since the last answer, and
//! none fails (a test holds it to that). What a rule finds that looks at the last result alone was read in those
//! runs and was benign. Of simulated runs whose sources all failed and whose answer was invented,
//! `driftline evaluators report` prints the share that is found.
//!
//! Source: the definition is ours; numbers and names are compared as in `lexical_support`.

use serde::{Deserialize, Serialize};

use super::admission::admits_failure;
use super::lexical_support::{unsupported_facts, words_beside_data};
use super::{Built, Finding, Rule, Source, clip};
use crate::domain::ids::SpanId;
use crate::domain::trace::{Step, ToolStatus, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "a confident answer after every result since the last answer was empty or failed";

/// Most facts that an explanation lists.
const MOST_LISTED: usize = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    least_facts: usize,
    ignore_tools: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { least_facts: 1, ignore_tools: vec!["think".to_owned()] }
    }
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    if settings.least_facts == 0 {
        return Err(vec![source.mistake("least_facts", "least_facts is 0", "set it to 1 or more")]);
    }
    Ok(Built::rule(UnsupportedAfterEmptyRule(settings.clone()), &settings))
}

#[derive(Debug)]
struct UnsupportedAfterEmptyRule(Settings);

/// What one tool call or retrieval gave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gave {
    Data,
    /// Nothing, or an error.
    Nothing(SpanId),
    Unrecorded,
}

impl Rule for UnsupportedAfterEmptyRule {
    fn check(&self, trace: &Trace) -> Finding {
        if !matches!(trace.steps.last(), Some(Step::Model(_))) {
            return Finding::NotApplicable("the run ends without an answer".to_owned());
        }
        let results: Vec<Gave> = since_last_answer(&trace.steps).iter().filter_map(|step| self.gave(step)).collect();
        let nothing = results.iter().rev().find_map(|gave| match gave {
            Gave::Nothing(span) => Some(*span),
            Gave::Data | Gave::Unrecorded => None,
        });
        let Some(span) = nothing else {
            return Finding::NotApplicable("nothing that was looked up since the last answer was empty".to_owned());
        };
        if results.contains(&Gave::Data) {
            return Finding::pass(format!("of {} results since the last answer some hold data", results.len()));
        }
        if results.contains(&Gave::Unrecorded) {
            return Finding::NotEvaluable("gen_ai.tool.call.result".to_owned());
        }
        let Some(answer) = &trace.output else { return Finding::NotEvaluable("gen_ai.output.messages".to_owned()) };
        self.judge(trace, answer, results.len(), span)
    }
}

impl UnsupportedAfterEmptyRule {
    fn gave(&self, step: &Step) -> Option<Gave> {
        let (span, is_empty) = match step {
            Step::Model(_) => return None,
            Step::Tool(call) if self.0.ignore_tools.contains(&call.name) => return None,
            Step::Tool(call) if call.status != ToolStatus::Success => (call.span_id, Some(true)),
            Step::Tool(call) => (call.span_id, call.result_empty),
            Step::Retrieval(retrieval) => {
                let is_empty = retrieval.documents.iter().all(|document| document.trim().is_empty());
                (retrieval.span_id, retrieval.documents_recorded.then_some(is_empty))
            }
        };
        Some(match is_empty {
            Some(true) => Gave::Nothing(span),
            Some(false) => Gave::Data,
            None => Gave::Unrecorded,
        })
    }

    fn judge(&self, trace: &Trace, answer: &str, results: usize, span: SpanId) -> Finding {
        if admits_failure(answer) {
            return Finding::pass("the answer owns up to having found nothing");
        }
        let facts = unsupported_facts(answer, &trace.retrieved_data(), words_beside_data(trace));
        if facts.len() < self.0.least_facts {
            return Finding::pass("the answer states no number or name that is not known otherwise");
        }
        let listed: Vec<String> = facts.iter().take(MOST_LISTED).map(|fact| clip(fact)).collect();
        let explanation = format!(
            "all {results} results since the last answer are empty or failed, yet it states {}",
            listed.join(", ")
        );
        Finding::fail(explanation, Some(span))
    }
}

/// The steps between the last answer and the one before it.
fn since_last_answer(steps: &[Step]) -> &[Step] {
    let end = steps.iter().rposition(|step| !matches!(step, Step::Model(_))).map_or(0, |last| last + 1);
    let begin = (0..end).rev().find(|index| is_answer(steps, *index)).map_or(0, |answer| answer + 1);
    &steps[begin..end]
}

/// Whether a step is a text to the user after which the model did not go on by itself.
fn is_answer(steps: &[Step], index: usize) -> bool {
    let Step::Model(call) = &steps[index] else { return false };
    let goes_on = matches!(steps.get(index + 1), Some(Step::Tool(_) | Step::Retrieval(_)));
    call.output_text.as_deref().is_some_and(|text| !text.trim().is_empty()) && !goes_on
}
