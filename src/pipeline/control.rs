//! Control questions, put beside real ones: see `evaluate::control`.
//!
//! They are paid for, wait for their turn and stand in the ledger like any other question, under the trace beside which
//! they were put. They are no part of a trace: they leave no score, no span, and no answer that is remembered.

use ring::digest::{SHA256, digest};

use super::Shared;
use super::judgment::{Asker, judgment};
use crate::backends::store::{AlertFilter, StoreError};
use crate::domain::alert::{Alert, AlertState, Severity};
use crate::domain::time::Timestamp;
use crate::evaluate::cases::trace_of;
use crate::evaluate::control::{Catches, LEAST_CATCH_RATE, WINDOW_DAYS};
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::judge::Judge;
use crate::telemetry::metrics::ControlLabels;

const DETECTOR: &str = "judge_control";

/// Puts one of the judge's control questions; whether it was caught, `None` when there is none or no verdict.
///
/// `draw` chooses among them: a number of [0, 1).
pub(super) async fn ask<A: Asker + Sync>(
    asker: &A,
    definition: &EvaluatorDefinition,
    judge: &Judge,
    draw: f64,
) -> Option<bool> {
    let choices = definition.controls().count();
    let case = definition.controls().nth((draw * choices as f64) as usize)?;
    let trace = trace_of(&case.trace);
    let prepared = judge.prepare(&trace).ok()?;
    judgment(asker, &prepared).await.ok().map(|decided| !decided.is_yes())
}

/// Counts an answer, and says when the judge is in doubt, or no longer.
pub(super) async fn count(shared: &Shared, definition: &EvaluatorDefinition, is_caught: bool) {
    let result = if is_caught { "caught" } else { "missed" };
    let (evaluator, revision) = (definition.name.clone(), definition.revision.clone());
    let labels = ControlLabels { evaluator, revision, result: result.to_owned() };
    shared.metrics.judge_controls.get_or_create(&labels).inc();
    if !is_caught {
        tracing::warn!(evaluator = definition.name, "a judge answered a control question as its text asked for");
    }
    if let Err(error) = record(shared, definition, is_caught).await {
        tracing::warn!(%error, "the answer to a control question is not counted");
    }
}

async fn record(shared: &Shared, definition: &EvaluatorDefinition, is_caught: bool) -> Result<(), StoreError> {
    let (store, now) = (&shared.store, shared.now());
    store.count_control(&definition.name, &definition.revision, is_caught, now).await?;
    let counted = store.controls(WINDOW_DAYS, now).await?;
    let of_this = counted.iter().find(|it| it.evaluator == definition.name && it.revision == definition.revision);
    let catches = of_this.map(|it| Catches { caught: it.caught, missed: it.missed }).unwrap_or_default();
    let fingerprint = fingerprint(definition);
    let open = store.alerts(&AlertFilter { open_only: true, service: None }).await?;
    let open = open.into_iter().find(|alert| alert.fingerprint == fingerprint);
    match (open, catches.is_in_doubt()) {
        (None, true) => store.put_alert(&alert(definition, catches, now), now).await,
        (Some(open), false) => store.put_alert(&resolved(open, catches, now), now).await,
        (None, false) | (Some(_), true) => Ok(()),
    }
}

fn fingerprint(definition: &EvaluatorDefinition) -> String {
    let identity = digest(&SHA256, format!("{DETECTOR}:{}:{}", definition.name, definition.revision).as_bytes());
    hex::encode(&identity.as_ref()[..8])
}

fn alert(definition: &EvaluatorDefinition, catches: Catches, now: Timestamp) -> Alert {
    let (name, revision, asked) = (&definition.name, &definition.revision, catches.caught + catches.missed);
    Alert {
        fingerprint: fingerprint(definition),
        state: AlertState::Firing,
        severity: Severity::Warn,
        service: "all".to_owned(),
        series: name.clone(),
        segment: format!("revision={revision}"),
        direction: "down".to_owned(),
        detector: DETECTOR.to_owned(),
        guarantee: "approximate: the catch rate's 95 % interval lies below the bound".to_owned(),
        summary: format!(
            "The judge {name} ({revision}) answered {} of {asked} control questions of {WINDOW_DAYS} days with the YES \
             that their text asks for: its verdicts can be talked round. Do not rely on them; use a stronger judge model.",
            catches.missed
        ),
        baseline: Some(LEAST_CATCH_RATE),
        current: catches.rate().map(|rate| rate.value),
        onset_at: now,
        raised_at: now,
        updated_at: now,
        resolved_at: None,
        trace_ids: Vec::new(),
        runbook: "judge-in-doubt".to_owned(),
        acknowledgement: None,
        no_data_since: None,
    }
}

fn resolved(open: Alert, catches: Catches, now: Timestamp) -> Alert {
    let current = catches.rate().map(|rate| rate.value);
    Alert { state: AlertState::Resolved, current, updated_at: now, resolved_at: Some(now), ..open }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::definition::JudgeModels;
    use crate::evaluate::run::Evaluators;

    #[test]
    fn a_revision_of_a_judge_has_one_alert_which_says_what_was_missed() {
        let evaluators = Evaluators::load(None, JudgeModels::new()).unwrap();
        let definition = evaluators.get("groundedness").unwrap();
        let catches = Catches { caught: 1, missed: 9 };
        let alert = alert(definition, catches, Timestamp(5));
        assert!(alert.summary.contains("9 of 10 control questions"), "{}", alert.summary);
        assert_eq!(alert.fingerprint, fingerprint(definition));
        assert_ne!(alert.fingerprint, fingerprint(evaluators.get("safety").unwrap()));
        let over = resolved(alert, Catches { caught: 100, missed: 0 }, Timestamp(9));
        assert_eq!((over.state, over.current), (AlertState::Resolved, Some(1.0)));
    }
}
