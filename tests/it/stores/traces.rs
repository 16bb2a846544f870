//! What is recorded of a trace, and how a later version takes the place of an earlier one.

use std::collections::BTreeMap;
use std::time::Duration;

use driftline::backends::store::{DueTrace, JudgeJob, RecordReport, StoredEvaluation, TraceBody};
use driftline::domain::evaluation::{AnnotatorKind, FailureClass, Outcome};

use super::contract;
use super::fixtures::{
    LEASE, POLICY, TestStore, chunk, claim_jobs, evaluation, item, judge_job, plain, put_off, record_judgement,
    recorded, seconds, stored_evaluation, trace_id,
};

contract!(
    a_recorded_trace_reads_back_as_it_was_given,
    evaluations_of_every_kind_read_back_as_they_were_given,
    a_score_may_follow_an_absent_one_in_the_same_statement,
    a_recorded_trace_is_no_longer_pending,
    a_trace_that_grew_while_it_was_evaluated_is_evaluated_again,
    a_late_piece_makes_a_recorded_trace_pending_again,
    a_later_version_takes_the_place_of_the_earlier,
    a_stale_worker_changes_nothing,
    a_stale_trace_in_a_batch_does_not_keep_the_others_back,
    a_thousand_traces_are_one_batch,
    hostile_text_is_kept_as_far_as_a_database_can,
    a_judgement_is_recorded_once_and_flags_its_trace,
    a_judgement_of_a_superseded_version_changes_nothing,
    a_job_that_failed_is_claimed_again_when_it_is_due,
    a_worker_that_lost_its_claim_cannot_give_the_job_back,
    judgements_are_counted_by_service_and_by_the_end_of_their_trace,
    two_judges_at_once_never_share_a_job,
);

async fn a_recorded_trace_reads_back_as_it_was_given(it: TestStore) {
    let mut full = plain(1);
    full.trace.release = Some("2.1".to_owned());
    full.trace.model = Some("m-1".to_owned());
    full.trace.environment = Some("production".to_owned());
    full.trace.conversation_id = Some("c-1".to_owned());
    full.trace.user_id = Some("Zoë".to_owned());
    full.trace.attributes =
        BTreeMap::from([("tier".to_owned(), "gold".to_owned()), ("order".to_owned(), "17".to_owned())]);
    (full.trace.failing, full.trace.error, full.trace.sampled) = (true, true, true);
    full.trace.decision = r#"{"probability":0.1}"#.to_owned();
    let bare = plain(2);
    it.store.record_traces(&[full.clone(), bare.clone()], seconds(9)).await.unwrap();
    assert_eq!(it.store.trace(trace_id(1)).await.unwrap(), Some(full.trace));
    assert_eq!(it.store.trace(trace_id(2)).await.unwrap(), Some(bare.trace));
    assert_eq!(it.store.trace(trace_id(3)).await.unwrap(), None);
}

async fn evaluations_of_every_kind_read_back_as_they_were_given(it: TestStore) {
    let mut given: Vec<StoredEvaluation> = Outcome::ALL
        .into_iter()
        .map(|outcome| {
            let value = (outcome == Outcome::Scored).then_some(0.75);
            let mut stored = stored_evaluation(trace_id(1), outcome.as_str(), value);
            stored.evaluation.outcome = outcome;
            stored
        })
        .collect();
    given[1].evaluation.annotator_kind = AnnotatorKind::Code;
    given[2].evaluation.explanation = None;
    given[3].probability = 0.125;
    // A score of zero is a score.
    given.push(stored_evaluation(trace_id(1), "zero", Some(0.0)));
    let mut trace = plain(1);
    trace.evaluations = given.clone();
    it.store.record_traces(&[trace], seconds(9)).await.unwrap();
    given.sort_by(|a, b| a.evaluation.evaluator.cmp(&b.evaluation.evaluator));
    assert_eq!(it.store.evaluations(trace_id(1)).await.unwrap(), given);
}

async fn a_score_may_follow_an_absent_one_in_the_same_statement(it: TestStore) {
    for (number, value) in [(1, None), (2, Some(0.5)), (3, None)] {
        let mut trace = plain(number);
        trace.evaluations = vec![stored_evaluation(trace_id(number), "loop", value)];
        it.store.record_traces(&[trace], seconds(9)).await.unwrap();
        assert_eq!(it.store.evaluations(trace_id(number)).await.unwrap()[0].evaluation.value, value);
    }
}

async fn a_recorded_trace_is_no_longer_pending(it: TestStore) {
    let due = it.claimed(&[1]).await;
    let report = it.store.record_traces(&[recorded(&due[0])], seconds(6)).await.unwrap();
    assert_eq!(report, RecordReport { recorded: 1, stale: 0 });
    assert!(it.store.claim_due(seconds(900), LEASE, 10).await.unwrap().is_empty());
}

async fn a_trace_that_grew_while_it_was_evaluated_is_evaluated_again(it: TestStore) {
    let due = it.claimed(&[1]).await;
    it.store.append_chunks(&[chunk(1, "late", false)], seconds(6), &POLICY).await.unwrap();
    it.store.record_traces(&[recorded(&due[0])], seconds(7)).await.unwrap();
    // The claim ended with the recording, not with its lease.
    let again = it.store.claim_due(seconds(11), LEASE, 10).await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].generation, again[0].version, again[0].body.chunks.len()), (2, 1, 2));
}

async fn a_late_piece_makes_a_recorded_trace_pending_again(it: TestStore) {
    let due = it.claimed(&[1]).await;
    it.store.record_traces(&[recorded(&due[0])], seconds(6)).await.unwrap();
    it.store.append_chunks(&[chunk(1, "late", false)], seconds(50), &POLICY).await.unwrap();
    let again = it.store.claim_due(seconds(80), LEASE, 10).await.unwrap();
    assert_eq!((again[0].trace_id, again[0].version, again[0].body.chunks.len()), (trace_id(1), 1, 2));
}

async fn a_later_version_takes_the_place_of_the_earlier(it: TestStore) {
    let mut first = plain(1);
    first.trace.attributes = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
    first.evaluations = vec![stored_evaluation(trace_id(1), "loop", Some(0.0))];
    first.judge_jobs = vec![judge_job("grounded"), judge_job("polite")];
    it.store.record_traces(std::slice::from_ref(&first), seconds(9)).await.unwrap();

    let mut second = plain(1);
    second.trace.version = 2;
    second.evaluations = vec![stored_evaluation(trace_id(1), "empty", Some(1.0))];
    second.judge_jobs = vec![judge_job("grounded")];
    it.store.record_traces(std::slice::from_ref(&second), seconds(10)).await.unwrap();

    assert_eq!(it.store.trace(trace_id(1)).await.unwrap(), Some(second.trace));
    assert_eq!(it.store.evaluations(trace_id(1)).await.unwrap(), second.evaluations);
    let jobs = claim_jobs(&it.store, seconds(11), LEASE, 10).await;
    assert_eq!(jobs.iter().map(|job| (&*job.evaluator, job.trace_version)).collect::<Vec<_>>(), [("grounded", 2)]);
}

async fn a_stale_worker_changes_nothing(it: TestStore) {
    let slow = it.claimed(&[1]).await;
    let fast = it.store.claim_due(seconds(100), LEASE, 10).await.unwrap();
    let mut good = recorded(&fast[0]);
    good.evaluations = vec![stored_evaluation(trace_id(1), "loop", Some(1.0))];
    it.store.record_traces(std::slice::from_ref(&good), seconds(101)).await.unwrap();
    it.store.append_chunks(&[chunk(1, "late", true)], seconds(102), &POLICY).await.unwrap();

    let mut stale = recorded(&slow[0]);
    stale.evaluations = vec![stored_evaluation(trace_id(1), "loop", Some(0.0))];
    stale.judge_jobs = vec![judge_job("grounded")];
    stale.outbox = vec![item("backend", "stale")];
    stale.trace.service = "other".to_owned();
    let report = it.store.record_traces(&[stale], seconds(103)).await.unwrap();

    assert_eq!(report, RecordReport { recorded: 0, stale: 1 });
    assert_eq!(it.store.trace(trace_id(1)).await.unwrap(), Some(good.trace));
    assert_eq!(it.store.evaluations(trace_id(1)).await.unwrap(), good.evaluations);
    let depths = it.store.queue_depths(seconds(200)).await.unwrap();
    assert_eq!((depths.pending, depths.judge_jobs, depths.outbox), (1, 0, 0));
    assert_eq!(it.store.unwatched_hours(seconds(9_000)).await.unwrap().len(), 1);
}

async fn a_stale_trace_in_a_batch_does_not_keep_the_others_back(it: TestStore) {
    it.store.record_traces(&[plain(1)], seconds(9)).await.unwrap();
    let report = it.store.record_traces(&[plain(1), plain(2)], seconds(9)).await.unwrap();
    assert_eq!(report, RecordReport { recorded: 1, stale: 1 });
    assert!(it.store.trace(trace_id(2)).await.unwrap().is_some());
}

async fn a_thousand_traces_are_one_batch(it: TestStore) {
    let traces: Vec<_> = (0..1_000)
        .map(|number| {
            let mut trace = plain(number);
            trace.evaluations = vec![stored_evaluation(trace_id(number), "loop", Some(1.0))];
            trace.outbox = vec![item("backend", &format!("{number}"))];
            trace
        })
        .collect();
    assert_eq!(it.store.record_traces(&traces, seconds(9)).await.unwrap().recorded, 1_000);
    let counts = it.store.counts().await.unwrap();
    assert_eq!((counts.traces, counts.evaluations), (1_000, 1_000));
    assert_eq!(it.store.queue_depths(seconds(9)).await.unwrap().outbox, 1_000);
}

async fn hostile_text_is_kept_as_far_as_a_database_can(it: TestStore) {
    let long = "é\0".repeat(1_000_000);
    let mut trace = plain(1);
    trace.trace.service = long.clone();
    trace.trace.conversation_id = Some(long.clone());
    trace.trace.user_id = Some("'; DROP TABLE trace; --".to_owned());
    trace.trace.attributes = BTreeMap::from([(long.clone(), long.clone()), ("nul".to_owned(), "a\0b".to_owned())]);
    trace.trace.record.conversation = long.clone();
    let mut evaluation = stored_evaluation(trace_id(1), "loop", Some(1.0));
    evaluation.evaluation.explanation = Some("a\0b".to_owned());
    trace.evaluations = vec![evaluation];
    trace.outbox = vec![item("backend", &long)];
    it.store.record_traces(std::slice::from_ref(&trace), seconds(9)).await.unwrap();
    let stored = it.store.trace(trace_id(1)).await.unwrap().unwrap();
    assert_eq!(stored.user_id, trace.trace.user_id);
    assert_eq!(stored.record, trace.trace.record, "JSON carries any text");
    assert_eq!(stored.attributes["nul"], "a\u{fffd}b");
    assert!(stored.service.starts_with("é\u{fffd}é") && stored.service.len() < 2_000);
    let found = driftline::backends::store::Selection {
        attributes: trace.trace.attributes,
        service: Some(long),
        ..Default::default()
    };
    assert_eq!(it.store.search(&found, 10).await.unwrap().len(), 1, "a name is cut alike when it is looked for");
}

/// Records a trace with these judge jobs, and claims them.
async fn claimed_jobs(it: &TestStore, evaluators: &[&str]) -> Vec<JudgeJob> {
    let mut trace = plain(1);
    trace.judge_jobs = evaluators.iter().map(|evaluator| judge_job(evaluator)).collect();
    it.store.record_traces(&[trace], seconds(9)).await.unwrap();
    claim_jobs(&it.store, seconds(10), LEASE, 10).await
}

async fn a_judgement_is_recorded_once_and_flags_its_trace(it: TestStore) {
    let jobs = claimed_jobs(&it, &["grounded", "polite"]).await;
    assert_eq!((jobs.len(), jobs[0].attempts, jobs[0].probability), (2, 1, 0.25));
    assert!(claim_jobs(&it.store, seconds(11), LEASE, 10).await.is_empty());
    for (job, value, failing) in [(&jobs[0], 1.0, false), (&jobs[1], 0.0, true)] {
        let verdict = evaluation(trace_id(1), &job.evaluator, Some(value));
        let sent = [item("backend", &job.evaluator)];
        assert!(record_judgement(&it.store, job, verdict.clone(), &sent, seconds(12)).await);
        assert!(!record_judgement(&it.store, job, verdict, &sent, seconds(13)).await);
        let trace = it.store.trace(trace_id(1)).await.unwrap().unwrap();
        assert_eq!((trace.failing, trace.failure_class), (failing, failing.then_some(FailureClass::Soft)));
    }
    let evaluations = it.store.evaluations(trace_id(1)).await.unwrap();
    assert_eq!(evaluations.len(), 2);
    assert!(evaluations.iter().all(|stored| stored.probability == 0.25 && stored.trace_version == 1));
    let depths = it.store.queue_depths(seconds(900)).await.unwrap();
    assert_eq!((depths.judge_jobs, depths.outbox), (0, 2));
}

async fn a_judgement_of_a_superseded_version_changes_nothing(it: TestStore) {
    let jobs = claimed_jobs(&it, &["grounded"]).await;
    let mut later = plain(1);
    later.trace.version = 2;
    later.judge_jobs = vec![judge_job("grounded")];
    it.store.record_traces(&[later], seconds(11)).await.unwrap();
    let verdict = evaluation(trace_id(1), "grounded", Some(0.0));
    assert!(!record_judgement(&it.store, &jobs[0], verdict, &[item("backend", "x")], seconds(12)).await);
    assert!(it.store.evaluations(trace_id(1)).await.unwrap().is_empty());
    assert!(!it.store.trace(trace_id(1)).await.unwrap().unwrap().failing);
    let depths = it.store.queue_depths(seconds(900)).await.unwrap();
    assert_eq!((depths.judge_jobs, depths.outbox), (1, 0));
}

async fn a_job_that_failed_is_claimed_again_when_it_is_due(it: TestStore) {
    let jobs = claimed_jobs(&it, &["grounded"]).await;
    put_off(&it.store, &jobs[0], seconds(40), "provider is down").await;
    assert!(claim_jobs(&it.store, seconds(39), LEASE, 10).await.is_empty());
    let again = claim_jobs(&it.store, seconds(40), LEASE, 10).await;
    assert_eq!(again[0].attempts, 2);
}

async fn a_worker_that_lost_its_claim_cannot_give_the_job_back(it: TestStore) {
    let slow = claimed_jobs(&it, &["grounded"]).await;
    let fast = claim_jobs(&it.store, seconds(70), LEASE, 10).await;
    put_off(&it.store, &slow[0], seconds(71), "too late").await;
    assert!(claim_jobs(&it.store, seconds(72), LEASE, 10).await.is_empty());
    let verdict = evaluation(trace_id(1), "grounded", None);
    assert!(record_judgement(&it.store, &fast[0], verdict, &[], seconds(73)).await);
}

async fn judgements_are_counted_by_service_and_by_the_end_of_their_trace(it: TestStore) {
    claimed_jobs(&it, &["grounded", "polite"]).await;
    assert_eq!(it.store.pending_judge_jobs_before("shop", seconds(1)).await.unwrap(), 0);
    assert_eq!(it.store.pending_judge_jobs_before("shop", seconds(2)).await.unwrap(), 2);
    assert_eq!(it.store.pending_judge_jobs_before("other", seconds(2)).await.unwrap(), 0);
}

async fn two_judges_at_once_never_share_a_job(it: TestStore) {
    let traces: Vec<_> = (0..60)
        .map(|number| {
            let due = DueTrace {
                trace_id: trace_id(number),
                generation: 1,
                version: 0,
                attempts: 1,
                body: TraceBody::default(),
            };
            let mut trace = recorded(&due);
            trace.judge_jobs = vec![judge_job("grounded"), judge_job("polite")];
            trace
        })
        .collect();
    it.store.record_traces(&traces, seconds(9)).await.unwrap();
    let judge = |store: driftline::backends::store::Store| {
        tokio::spawn(async move {
            let mut judged = 0;
            loop {
                let jobs = claim_jobs(&store, seconds(10), Duration::from_secs(60), 5).await;
                if jobs.is_empty() {
                    return judged;
                }
                for job in jobs {
                    let verdict = evaluation(job.trace_id, &job.evaluator, Some(1.0));
                    assert!(record_judgement(&store, &job, verdict, &[], seconds(11)).await);
                    judged += 1;
                }
            }
        })
    };
    let judges = [judge(it.store.clone()), judge(it.store.clone())];
    let mut judged = 0;
    for judge in judges {
        judged += judge.await.unwrap();
    }
    assert_eq!(judged, 120);
    assert_eq!(it.store.counts().await.unwrap().evaluations, 120);
}
