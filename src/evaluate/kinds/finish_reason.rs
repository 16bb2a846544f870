//! Answers that were cut off: a model call that stopped for another reason than having finished.

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip};
use crate::domain::trace::{ModelCall, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "a model call that was cut off (`length`) or blocked (`content_filter`)";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    fail_on: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fail_on: vec!["length".to_owned(), "content_filter".to_owned()] }
    }
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    if settings.fail_on.is_empty() {
        return Err(vec![source.mistake("fail_on", "fail_on is empty, so nothing can fail", "name a finish reason")]);
    }
    Ok(Built::rule(FinishReasonRule(settings.clone()), &settings))
}

#[derive(Debug)]
struct FinishReasonRule(Settings);

impl Rule for FinishReasonRule {
    fn check(&self, trace: &Trace) -> Finding {
        let calls: Vec<&ModelCall> = trace.model_calls().collect();
        if calls.is_empty() {
            return Finding::NotApplicable("no model calls".to_owned());
        }
        let stopped: Vec<(&ModelCall, &str)> =
            calls.iter().filter_map(|call| self.bad_reason(call).map(|reason| (*call, reason))).collect();
        if let Some((call, reason)) = stopped.first() {
            let explanation =
                format!("{} of {} model calls stopped early: {}", stopped.len(), calls.len(), clip(reason));
            return Finding::fail(explanation, Some(call.span_id));
        }
        match calls.iter().filter(|call| !call.finish_reasons.is_empty()).count() {
            0 => Finding::NotEvaluable("gen_ai.response.finish_reasons".to_owned()),
            recorded => Finding::pass(format!("none of {recorded} recorded finish reasons is an early stop")),
        }
    }
}

impl FinishReasonRule {
    fn bad_reason<'a>(&self, call: &'a ModelCall) -> Option<&'a str> {
        call.finish_reasons.iter().map(String::as_str).find(|reason| self.0.fail_on.iter().any(|bad| bad == reason))
    }
}
