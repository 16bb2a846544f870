//! How the run's model calls ended: did the model answer, and if not, why not?
//!
//! The label is the class of the worst error of the run, the explanation counts all of them. From best to worst:
//! `success`, `rate_limit`, `timeout`, `other`, `content_filter`, `context_length`. The order says whose doing it is and
//! whether it passes by itself: load goes away, a fault may, and a prompt that is blocked or too long will be blocked
//! and too long in the next attempt as well.
//!
//! **What fires.** Any model call that ended in an error, also one that was tried again with success: how often that
//! happens is what the series `model_outcomes` and this rule's rate are watched for, and a run that only limps is
//! worth a look before it falls. The severity is therefore `warn`. Whether anyone noticed is another question, which
//! `swallowed_error` asks.
//!
//! **What does not.** An answer that the model finished by itself, whatever it says. An answer that was cut off or
//! filtered without an error has a finish reason and belongs to `finish_reason`: providers report one and the same
//! filter in either way, so a run can fail one of the two rules and not the other.
//!
//! **Known misses.** The class is read from words of `error.type`, of the status message or exception, and from the HTTP
//! status (`normalize::model_error`); what says none of them is `other`, and an SDK that records only its own exception
//! name (`APIError`) hides the class. Retries inside an SDK have no span of their own, so an error that was overcome
//! there is not seen at all. Failed calls are counted on leaf spans only.
//!
//! Source: the classes are those that the requirements of this project name; `error.type` is the attribute of the
//! OpenTelemetry semantic conventions for failed operations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source};
use crate::domain::trace::{ModelCall, ModelErrorClass, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "whether every model call was answered; the label is the worst error's class";

/// From best to worst.
const SEVERITY: [ModelErrorClass; 5] = [
    ModelErrorClass::RateLimit,
    ModelErrorClass::Timeout,
    ModelErrorClass::Other,
    ModelErrorClass::ContentFilter,
    ModelErrorClass::ContextLength,
];

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    Ok(Built::rule(ModelOutcomeRule, &settings))
}

#[derive(Debug)]
struct ModelOutcomeRule;

impl Rule for ModelOutcomeRule {
    fn check(&self, trace: &Trace) -> Finding {
        let calls = trace.model_calls().count();
        let failed = || trace.model_calls().filter_map(|call| Some((call, call.error_class?)));
        if calls == 0 {
            return Finding::NotApplicable("no model calls".to_owned());
        }
        let Some((worst, class)) = failed().max_by_key(|(_, class)| severity(*class)) else {
            let explanation = format!("{calls} model calls were answered");
            return Finding::Scored { value: 1.0, label: "success".to_owned(), explanation, span: None };
        };
        Finding::Scored {
            value: 0.0,
            label: class.as_str().to_owned(),
            explanation: explanation(calls, failed()),
            span: Some(worst.span_id),
        }
    }
}

fn severity(class: ModelErrorClass) -> usize {
    SEVERITY.iter().position(|other| *other == class).unwrap_or(SEVERITY.len())
}

fn explanation<'a>(calls: usize, failed: impl Iterator<Item = (&'a ModelCall, ModelErrorClass)>) -> String {
    let mut counts: BTreeMap<ModelErrorClass, usize> = BTreeMap::new();
    for (_, class) in failed {
        *counts.entry(class).or_default() += 1;
    }
    let counted: Vec<String> = counts.iter().map(|(class, count)| format!("{count} {}", class.as_str())).collect();
    format!("of {calls} model calls {} failed: {}", counts.values().sum::<usize>(), counted.join(", "))
}
