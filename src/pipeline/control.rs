//! Control questions, put beside real ones: see `evaluate::control`.
//!
//! They are paid for, wait for their turn and stand in the ledger like any other question, under the trace beside which
//! they were put. They are no part of a trace: they leave no score, no span, and no answer that is remembered.

use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::Shared;
use super::judgment::{Asker, Decided, judgment};
use super::notify::JUDGE_CONTROL as DETECTOR;
use super::standings::standings;
use crate::backends::store::{AlertFilter, StoreError};
use crate::domain::alert::{Alert, AlertState, Severity};
use crate::domain::explanation::Evidence;
use crate::domain::time::Timestamp;
use crate::evaluate::cases::trace_of;
use crate::evaluate::control::{Catches, LEAST_CATCH_RATE, WINDOW_DAYS};
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::judge::Judge;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::revision::resolved;
use crate::evaluate::run::Evaluators;
use crate::telemetry::metrics::ControlLabels;

/// How old the figures of an open alert may be: it tells of a rate over days, and what it is marked with costs a reading
/// of all labels.
const RENEWED: Duration = Duration::from_secs(10);

/// Puts one of the judge's control questions; what was decided, `None` when there is none or no verdict.
///
/// `draw` chooses among them: a number of [0, 1).
pub(super) async fn ask<A: Asker + Sync>(
    asker: &A,
    definition: &EvaluatorDefinition,
    judge: &Judge,
    draw: f64,
) -> Option<Decided> {
    let choices = definition.controls().count();
    let case = definition.controls().nth((draw * choices as f64) as usize)?;
    let trace = trace_of(&case.trace);
    let prepared = judge.prepare(&trace).ok()?;
    judgment(asker, &prepared).await.ok()
}

/// Counts an answer for the revision that the model which gave it makes, and says when the judge is in doubt, or no
/// longer.
pub(super) async fn count(shared: &Shared, definition: &EvaluatorDefinition, decided: &Decided) {
    let is_caught = !decided.is_yes();
    let result = if is_caught { "caught" } else { "missed" };
    let (evaluator, revision) = (&definition.name, resolved(&definition.revision, decided.model()));
    let labels = ControlLabels { evaluator: evaluator.clone(), revision: revision.clone(), result: result.to_owned() };
    shared.metrics.judge_controls.get_or_create(&labels).inc();
    if !is_caught {
        tracing::warn!(evaluator, revision, "a judge answered a control question as its text asked for");
    }
    if let Err(error) = record(shared, evaluator, &revision, is_caught).await {
        tracing::warn!(%error, "the answer to a control question is not counted");
    }
}

async fn record(shared: &Shared, evaluator: &str, revision: &str, is_caught: bool) -> Result<(), StoreError> {
    let (store, now) = (&shared.store, shared.now());
    store.count_control(evaluator, revision, is_caught, now).await?;
    let counted = store.controls(WINDOW_DAYS, now).await?;
    let of_this = counted.iter().find(|it| it.evaluator == evaluator && it.revision == revision);
    let catches = of_this.map(|it| Catches { caught: it.caught, missed: it.missed }).unwrap_or_default();
    let fingerprint = fingerprint(evaluator, revision);
    let open = store.alerts(&AlertFilter { open_only: true, service: None }).await?;
    let of_judge = open.into_iter().filter(|alert| alert.detector == DETECTOR && alert.series == evaluator);
    let (this, others): (Vec<Alert>, Vec<Alert>) = of_judge.partition(|alert| alert.fingerprint == fingerprint);
    // What another revision was in doubt for ends with it.
    for other in others {
        store.put_alert(&over(other, now), now).await?;
    }
    match (this.into_iter().next(), catches.is_in_doubt()) {
        (Some(open), true) if now < open.updated_at.plus(RENEWED) => Ok(()),
        (open, true) => {
            let raised = alert(evaluator, revision, catches, now);
            let calibrated = standings(store).await?.is_calibrated(evaluator, revision);
            let (onset_at, raised_at) = open.map_or((now, now), |open| (open.onset_at, open.raised_at));
            store.put_alert(&Alert { onset_at, raised_at, ..raised.marked(Some(calibrated)) }, now).await
        }
        (Some(open), false) => {
            let current = catches.rate().map(|rate| rate.value);
            store.put_alert(&Alert { current, ..over(open, now) }, now).await
        }
        (None, false) => Ok(()),
    }
}

/// Ends the alerts of judges that are asked no longer: disabled, or gone from the configuration.
pub(super) async fn end_unasked(shared: &Shared, evaluators: &Evaluators) -> Result<(), StoreError> {
    let now = shared.now();
    let open = shared.store.alerts(&AlertFilter { open_only: true, service: None }).await?;
    for alert in open.into_iter().filter(|alert| is_of_unasked(alert, evaluators)) {
        shared.store.put_alert(&over(alert, now), now).await?;
    }
    Ok(())
}

fn is_of_unasked(alert: &Alert, evaluators: &Evaluators) -> bool {
    let is_judge = |definition: &EvaluatorDefinition| matches!(definition.behaviour, Behaviour::Judge(_));
    alert.detector == DETECTOR && !evaluators.get(&alert.series).is_some_and(is_judge)
}

fn fingerprint(evaluator: &str, revision: &str) -> String {
    let identity = digest(&SHA256, format!("{DETECTOR}:{evaluator}:{revision}").as_bytes());
    hex::encode(&identity.as_ref()[..8])
}

fn alert(evaluator: &str, revision: &str, catches: Catches, now: Timestamp) -> Alert {
    let asked = catches.caught + catches.missed;
    Alert {
        fingerprint: fingerprint(evaluator, revision),
        state: AlertState::Firing,
        severity: Severity::Warn,
        service: "all".to_owned(),
        series: evaluator.to_owned(),
        segment: format!("revision={revision}"),
        direction: "down".to_owned(),
        detector: DETECTOR.to_owned(),
        guarantee: "approximate: the catch rate's 95 % interval lies below the bound".to_owned(),
        summary: format!(
            "The judge {evaluator} ({revision}) answered {} of {asked} control questions of {WINDOW_DAYS} days with the YES \
             that their text asks for: its verdicts can be talked round. Do not rely on them; use a stronger judge model",
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
        calibrated: None,
        no_data_since: None,
        parent: None,
        evidence: Evidence::default(),
    }
}

fn over(open: Alert, now: Timestamp) -> Alert {
    Alert { state: AlertState::Resolved, updated_at: now, resolved_at: Some(now), ..open }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alert_of_a_judge_that_is_gone_ends_and_others_stay() {
        let evaluators = Evaluators::load(None, std::collections::BTreeMap::new()).unwrap();
        let of = |judge| alert(judge, "abc", Catches { caught: 1, missed: 9 }, Timestamp(5));
        assert!(is_of_unasked(&of("gone"), &evaluators));
        assert!(!is_of_unasked(&of("groundedness"), &evaluators));
        assert!(!is_of_unasked(&Alert { detector: "other".to_owned(), ..of("gone") }, &evaluators));
    }

    #[test]
    fn a_revision_of_a_judge_has_one_alert_which_says_what_was_missed() {
        let catches = Catches { caught: 1, missed: 9 };
        let alert = alert("groundedness", "abc", catches, Timestamp(5));
        assert!(alert.summary.contains("9 of 10 control questions"), "{}", alert.summary);
        assert_eq!(alert.fingerprint, fingerprint("groundedness", "abc"));
        assert_ne!(alert.fingerprint, fingerprint("safety", "abc"));
        assert_ne!(alert.fingerprint, fingerprint("groundedness", "abd"));
        let over = over(alert, Timestamp(9));
        assert_eq!((over.state, over.resolved_at), (AlertState::Resolved, Some(Timestamp(9))));
    }
}
