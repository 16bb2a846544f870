//! The books of judging: lanes, rates, money, the ledger, and what is known already.

use std::collections::BTreeMap;
use std::time::Duration;

use driftline::backends::store::{
    Backfill, CostDimension, CostSelection, FinishedJob, JobEnd, JudgeCall, Lane, NewJudgeJob, Selection, Settled,
    Store,
};
use driftline::domain::evaluation::{Evaluation, Outcome};
use driftline::domain::judge::TokenUsage;
use driftline::domain::money::NanoUsd;
use driftline::domain::time::Timestamp;
use driftline::limits::budget::{Admission, BudgetPolicy, JudgingRates, Ladder, day_of};
use fastrand::Rng;

use super::contract;
use super::fixtures::{
    LEASE, TestStore, claim_jobs, evaluation, finished, judge_job, plain, put_off, record_judgement, seconds, trace_id,
};

contract!(
    lanes_are_claimed_apart_and_strays_are_those_of_no_lane,
    the_judging_rate_of_the_first_claim_stays_with_the_job,
    an_attempt_that_did_not_happen_does_not_count,
    a_group_of_judgements_is_recorded_each_for_itself,
    a_request_is_in_the_ledger_before_it_leaves_and_never_below_what_it_cost,
    a_call_that_is_settled_twice_gives_its_money_back_once,
    a_call_of_before_midnight_is_not_paid_for_by_the_next_day,
    a_call_waits_for_money_under_way_and_is_refused_when_there_is_none,
    a_service_is_held_by_its_own_budget_beside_that_of_all,
    a_limit_that_is_set_later_counts_what_was_spent_before,
    a_process_that_does_not_know_a_limit_yet_does_not_lower_what_counts_towards_it,
    many_workers_of_which_some_die_never_commit_more_than_the_budget,
    what_the_budget_left_out_is_planned_again_once_and_with_its_probability,
    a_verdict_is_remembered_until_it_is_forgotten,
    shared_values_are_changed_one_after_the_other,
    an_old_ledger_is_summed_up_by_the_hour_and_costs_stay_the_same,
    a_judgement_by_another_model_takes_the_place_of_the_row_that_said_why_there_was_none,
    a_model_is_new_once,
);

const LONGEST: Duration = Duration::from_secs(300);

fn policy(limits: &[(&str, i64)]) -> BudgetPolicy {
    BudgetPolicy {
        daily: limits.iter().map(|(scope, limit)| ((*scope).to_owned(), NanoUsd(*limit))).collect(),
        ladder: Ladder { full_rate_until: 0.5, reserve: 0.1, floor_rate: 0.05 },
    }
}

fn call(number: u8, service: &str, reserved: i64, at: Timestamp) -> JudgeCall {
    JudgeCall {
        id: [number; 16],
        reserved_at: at,
        lane: "default".to_owned(),
        evaluator: "grounded".to_owned(),
        revision: "r1".to_owned(),
        service: service.to_owned(),
        trace_id: trace_id(1),
        reserved: NanoUsd(reserved),
        settled: None,
    }
}

fn settled(call: &JudgeCall, charged: i64, at: Timestamp) -> JudgeCall {
    let settled = Settled {
        charged: NanoUsd(charged),
        outcome: "answered".to_owned(),
        response_model: Some("m-1".to_owned()),
        usage: TokenUsage { input: 100, output: 7 },
        sent_at: at,
        at,
    };
    JudgeCall { settled: Some(settled), ..call.clone() }
}

async fn reserve(store: &Store, calls: &[JudgeCall], policy: &BudgetPolicy, now: Timestamp) -> Vec<Admission> {
    store.reserve_calls(calls, policy, LONGEST, now).await.unwrap().admissions
}

async fn committed(store: &Store, now: Timestamp) -> BTreeMap<String, i64> {
    let budgets = store.budget_day(day_of(now)).await.unwrap();
    budgets.into_iter().map(|budget| (budget.scope, budget.committed.0)).collect()
}

/// Settles calls by way of a job that is put off.
async fn settle(store: &Store, calls: Vec<JudgeCall>, now: Timestamp) {
    let job = super::fixtures::job(1, "none");
    let end = JobEnd::Later { due_at: now, error: None, is_attempt: false, first_attempt_at: None };
    store.finish_judge_jobs(&[FinishedJob { job, end, calls, outbox: Vec::new() }], now).await.unwrap();
}

/// Records a trace with jobs of these evaluators, each in the lane of its name.
async fn planned(store: &Store, number: u64, evaluators: &[&str]) {
    let mut trace = plain(number);
    let job = |name: &&str| NewJudgeJob { lane: (*name).to_owned(), ..judge_job(name) };
    trace.judge_jobs = evaluators.iter().map(job).collect();
    store.record_traces(&[trace], seconds(0)).await.unwrap();
}

async fn lanes_are_claimed_apart_and_strays_are_those_of_no_lane(it: TestStore) {
    planned(&it.store, 1, &["fast", "slow", "gone"]).await;
    let claim = async |lane: Lane<'_>| {
        let jobs = it.store.claim_judge_jobs(lane, seconds(1), LEASE, 10, &JudgingRates::full()).await.unwrap();
        jobs.into_iter().map(|job| job.evaluator).collect::<Vec<_>>()
    };
    let known = ["fast".to_owned(), "slow".to_owned()];
    assert_eq!(claim(Lane::Of("slow")).await, ["slow"]);
    assert_eq!(claim(Lane::Of("slow")).await, [""; 0]);
    assert_eq!(claim(Lane::Strays(&known)).await, ["gone"]);
    assert_eq!(claim(Lane::Of("fast")).await, ["fast"]);
}

async fn the_judging_rate_of_the_first_claim_stays_with_the_job(it: TestStore) {
    planned(&it.store, 1, &["a"]).await;
    let rates = |overall, own| JudgingRates { overall, services: [("shop".to_owned(), own)].into() };
    let claim = async |at, rates: JudgingRates| {
        it.store.claim_judge_jobs(Lane::Of("a"), seconds(at), LEASE, 1, &rates).await.unwrap().remove(0)
    };
    let first = claim(1, rates(1.0, 0.5)).await;
    assert_eq!((first.judging_rate, first.probability, first.service.as_str()), (0.5, 0.125, "shop"));
    put_off(&it.store, &first, seconds(5), "no answer").await;
    let second = claim(5, rates(0.05, 1.0)).await;
    assert_eq!((second.judging_rate, second.probability), (0.5, 0.125));
    assert_eq!(second.first_attempt_at, Some(seconds(0)));
}

async fn an_attempt_that_did_not_happen_does_not_count(it: TestStore) {
    planned(&it.store, 1, &["default"]).await;
    for at in [1, 2, 3] {
        let job = claim_jobs(&it.store, seconds(at), LEASE, 1).await.remove(0);
        assert_eq!((job.attempts, job.first_attempt_at), (1, None));
        let end = JobEnd::Later { due_at: seconds(at + 1), error: None, is_attempt: false, first_attempt_at: None };
        let back = FinishedJob { job, end, calls: Vec::new(), outbox: Vec::new() };
        it.store.finish_judge_jobs(&[back], seconds(at)).await.unwrap();
    }
}

async fn a_group_of_judgements_is_recorded_each_for_itself(it: TestStore) {
    for number in 0..70 {
        let mut trace = plain(number);
        trace.judge_jobs = vec![judge_job("grounded"), judge_job("polite")];
        it.store.record_traces(&[trace], seconds(0)).await.unwrap();
    }
    let jobs = claim_jobs(&it.store, seconds(1), LEASE, 200).await;
    assert_eq!(jobs.len(), 140);
    assert!(record_judgement(&it.store, &jobs[3], evaluation(jobs[3].trace_id, "x", Some(1.0)), &[], seconds(2)).await);
    let row = |job: &driftline::backends::store::JudgeJob| Evaluation {
        evaluator: job.evaluator.clone(),
        ..evaluation(job.trace_id, "", Some(0.0))
    };
    let all: Vec<FinishedJob> = jobs.iter().map(|job| finished(job, row(job), &[])).collect();
    let recorded = it.store.finish_judge_jobs(&all, seconds(3)).await.unwrap();
    assert_eq!(recorded.iter().filter(|is_recorded| !**is_recorded).count(), 1);
    assert!(!recorded[3], "it was done already");
    assert_eq!(it.store.queue_depths(seconds(3)).await.unwrap().judge_jobs, 0);
    assert!(it.store.trace(trace_id(69)).await.unwrap().unwrap().failing);
    assert_eq!(it.store.evaluations(trace_id(69)).await.unwrap().len(), 2);
}

async fn a_request_is_in_the_ledger_before_it_leaves_and_never_below_what_it_cost(it: TestStore) {
    let (now, policy) = (seconds(0), policy(&[("", 1_000)]));
    let calls = [call(1, "shop", 400, now), call(2, "shop", 300, now)];
    assert_eq!(reserve(&it.store, &calls, &policy, now).await, [Admission::Admit; 2]);
    let costs = async |by| it.store.costs(by, &CostSelection::default()).await.unwrap();
    let before = costs(CostDimension::Service).await.remove(0);
    assert_eq!(
        (before.requests, before.answered, before.charged, before.unsettled),
        (2, 0, NanoUsd(700), NanoUsd(700))
    );
    assert_eq!(committed(&it.store, now).await[""], 700);

    settle(&it.store, vec![settled(&calls[0], 90, seconds(2))], seconds(2)).await;
    let after = costs(CostDimension::ResponseModel).await;
    let answered = after.iter().find(|row| row.part.as_deref() == Some("m-1")).unwrap();
    assert_eq!((answered.charged, answered.input_tokens, answered.output_tokens), (NanoUsd(90), 100, 7));
    let lost = after.iter().find(|row| row.part.is_none()).unwrap();
    assert_eq!((lost.charged, lost.unsettled), (NanoUsd(300), NanoUsd(300)), "no one knows whether it left");
    assert_eq!(committed(&it.store, now).await[""], 390);
}

async fn a_call_that_is_settled_twice_gives_its_money_back_once(it: TestStore) {
    let (policy, first) = (policy(&[("", 100)]), call(1, "shop", 60, seconds(0)));
    assert_eq!(reserve(&it.store, std::slice::from_ref(&first), &policy, seconds(0)).await, [Admission::Admit]);
    for _ in 0..2 {
        it.store.settle_calls(&[settled(&first, 10, seconds(1))]).await.unwrap();
        assert_eq!(committed(&it.store, seconds(1)).await[""], 10);
    }
    settle(&it.store, vec![settled(&first, 20, seconds(2))], seconds(2)).await;
    assert_eq!(committed(&it.store, seconds(2)).await[""], 10);
}

async fn a_call_of_before_midnight_is_not_paid_for_by_the_next_day(it: TestStore) {
    let (policy, midnight) = (policy(&[("", 100)]), seconds(86_400));
    let calls = [call(1, "shop", 10, seconds(86_399)), call(2, "shop", 20, midnight)];
    assert_eq!(reserve(&it.store, &calls, &policy, midnight).await, [Admission::Wait, Admission::Admit]);
    assert_eq!(committed(&it.store, midnight).await[""], 20);
}

async fn a_call_waits_for_money_under_way_and_is_refused_when_there_is_none(it: TestStore) {
    let (now, policy) = (seconds(0), policy(&[("", 100)]));
    let first = call(1, "shop", 80, now);
    assert_eq!(reserve(&it.store, std::slice::from_ref(&first), &policy, now).await, [Admission::Admit]);
    let second = [call(2, "shop", 30, seconds(1))];
    assert_eq!(reserve(&it.store, &second, &policy, seconds(1)).await, [Admission::Wait]);
    let late = it.store.reserve_calls(&second, &policy, LONGEST, seconds(301)).await.unwrap();
    assert_eq!((late.admissions, late.refused), (vec![Admission::Refuse], vec![String::new()]), "the first is lost");
    assert_eq!(it.store.budget_day(day_of(now)).await.unwrap()[0].stopped_at, Some(seconds(301)));

    settle(&it.store, vec![settled(&first, 10, seconds(302))], seconds(302)).await;
    assert_eq!(
        reserve(&it.store, &second, &policy, seconds(303)).await,
        [Admission::Admit],
        "it was not lost after all"
    );
    assert_eq!(it.store.costs(CostDimension::Service, &CostSelection::default()).await.unwrap()[0].requests, 2);
}

async fn a_service_is_held_by_its_own_budget_beside_that_of_all(it: TestStore) {
    let (now, policy) = (seconds(0), policy(&[("", 100), ("chat", 50)]));
    let calls =
        [call(1, "chat", 40, now), call(2, "chat", 40, now), call(3, "mail", 40, now), call(4, "mail", 40, now)];
    let [admit, wait] = [Admission::Admit, Admission::Wait];
    assert_eq!(reserve(&it.store, &calls, &policy, now).await, [admit, wait, admit, wait]);
    let expected = [(String::new(), 80), ("chat".to_owned(), 40)].into();
    assert_eq!(committed(&it.store, now).await, expected);
}

async fn a_limit_that_is_set_later_counts_what_was_spent_before(it: TestStore) {
    let now = seconds(0);
    let first = call(1, "shop", 80, now);
    assert_eq!(reserve(&it.store, std::slice::from_ref(&first), &policy(&[]), now).await, [Admission::Admit]);
    settle(&it.store, vec![settled(&first, 60, seconds(1))], seconds(1)).await;
    let policy = policy(&[("", 100), ("other", 100)]);
    let calls = [call(2, "shop", 50, seconds(2)), call(3, "other", 30, seconds(2))];
    assert_eq!(reserve(&it.store, &calls, &policy, seconds(2)).await, [Admission::Refuse, Admission::Admit]);
}

async fn a_process_that_does_not_know_a_limit_yet_does_not_lower_what_counts_towards_it(it: TestStore) {
    let (now, old, new) = (seconds(0), policy(&[("", 100)]), policy(&[("", 100), ("chat", 50)]));
    assert_eq!(reserve(&it.store, &[call(1, "chat", 20, now)], &new, now).await, [Admission::Admit]);
    let by_old = call(2, "chat", 20, now);
    assert_eq!(reserve(&it.store, std::slice::from_ref(&by_old), &old, now).await, [Admission::Admit]);
    assert_eq!(committed(&it.store, now).await["chat"], 40);
    settle(&it.store, vec![settled(&by_old, 5, seconds(1))], seconds(1)).await;
    assert_eq!(committed(&it.store, now).await, [(String::new(), 25), ("chat".to_owned(), 25)].into());
    assert_eq!(reserve(&it.store, &[call(3, "chat", 30, now)], &new, now).await, [Admission::Wait]);
}

async fn many_workers_of_which_some_die_never_commit_more_than_the_budget(it: TestStore) {
    const LIMIT: i64 = 20_000;
    let policy = policy(&[("", LIMIT)]);
    let worker = |number: u64| {
        let (store, policy, mut rng) = (it.store.clone(), policy.clone(), Rng::with_seed(number));
        async move {
            let mut bill = 0;
            for round in 0..12 {
                let at = seconds(round);
                let mut calls: Vec<JudgeCall> =
                    (0..rng.usize(1..6)).map(|_| call(0, "shop", rng.i64(1..400), at)).collect();
                calls.iter_mut().for_each(|call| rng.fill(&mut call.id));
                let admissions = reserve(&store, &calls, &policy, at).await;
                let sent = calls.into_iter().zip(admissions).filter(|(_, it)| *it == Admission::Admit);
                let billed: Vec<(JudgeCall, i64)> =
                    sent.map(|(call, _)| (call.clone(), rng.i64(0..=call.reserved.0))).collect();
                bill += billed.iter().map(|(_, bill)| bill).sum::<i64>();
                if rng.u8(..10) == 0 {
                    break;
                }
                settle(&store, billed.iter().map(|(call, bill)| settled(call, *bill, at)).collect(), at).await;
                assert!(committed(&store, at).await[""] <= LIMIT);
            }
            bill
        }
    };
    let bills = futures_util::future::join_all((0..24).map(|number| tokio::spawn(worker(number)))).await;
    let billed: i64 = bills.into_iter().map(Result::unwrap).sum();
    let committed = committed(&it.store, seconds(0)).await[""];
    assert!(billed <= committed && committed <= LIMIT, "{billed} of {committed} of {LIMIT}");
    let in_ledger = it.store.costs(CostDimension::Service, &CostSelection::default()).await.unwrap()[0].charged.0;
    assert_eq!(in_ledger, committed, "the budget is what the ledger adds up to");
    assert!(committed > LIMIT / 2, "the budget was put to the test: {committed}");
}

async fn what_the_budget_left_out_is_planned_again_once_and_with_its_probability(it: TestStore) {
    planned(&it.store, 1, &["default"]).await;
    planned(&it.store, 2, &["default"]).await;
    let rates = JudgingRates { overall: 0.5, services: BTreeMap::new() };
    let jobs = it.store.claim_judge_jobs(Lane::Of("default"), seconds(1), LEASE, 2, &rates).await.unwrap();
    for (job, outcome) in jobs.iter().zip([Outcome::SkippedBudget, Outcome::SampledOut]) {
        let row = Evaluation { outcome, ..evaluation(job.trace_id, "default", None) };
        assert!(record_judgement(&it.store, job, row, &[], seconds(2)).await);
    }
    let backfill = Backfill {
        evaluator: "default".to_owned(),
        revision: "r1".to_owned(),
        lane: "default".to_owned(),
        with_failed: false,
        selection: Selection { service: Some("shop".to_owned()), ..Selection::default() },
        limit: 10,
    };
    let other = Selection { service: Some("other".to_owned()), ..Selection::default() };
    assert_eq!(it.store.backfill(&Backfill { selection: other, ..backfill.clone() }, seconds(3)).await.unwrap(), 0);
    assert_eq!(it.store.backfill(&backfill, seconds(3)).await.unwrap(), 1);
    assert_eq!(it.store.backfill(&backfill, seconds(3)).await.unwrap(), 0, "it is planned already");
    let again = claim_jobs(&it.store, seconds(4), LEASE, 10).await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].trace_id, again[0].probability, again[0].judging_rate), (jobs[0].trace_id, 0.125, 1.0));
}

async fn a_verdict_is_remembered_until_it_is_forgotten(it: TestStore) {
    planned(&it.store, 1, &["default"]).await;
    let job = claim_jobs(&it.store, seconds(1), LEASE, 1).await.remove(0);
    let mut end = finished(&job, evaluation(trace_id(1), "default", Some(1.0)), &[]);
    let JobEnd::Recorded { cached, .. } = &mut end.end else { unreachable!("it is recorded") };
    *cached = Some(([7; 32], "yes".to_owned()));
    it.store.finish_judge_jobs(&[end], seconds(2)).await.unwrap();
    let known = || it.store.cached_verdicts(&[[7; 32], [8; 32]]);
    assert_eq!(known().await.unwrap(), BTreeMap::from([(vec![7; 32], "yes".to_owned())]));
    it.store.purge_verdicts(seconds(2)).await.unwrap();
    assert_eq!(known().await.unwrap().len(), 1);
    it.store.purge_verdicts(seconds(3)).await.unwrap();
    assert!(known().await.unwrap().is_empty());
}

async fn shared_values_are_changed_one_after_the_other(it: TestStore) {
    let change = || {
        it.store.change_shared("count", |count: &mut u64| {
            *count += 1;
            *count
        })
    };
    let answers = futures_util::future::join_all((0..20).map(|_| change())).await;
    let mut answers: Vec<u64> = answers.into_iter().map(Result::unwrap).collect();
    answers.sort_unstable();
    assert_eq!(answers, (1..=20).collect::<Vec<_>>());
    assert_eq!(it.store.shared::<u64>("count").await.unwrap(), 20);
    assert_eq!(it.store.shared::<u64>("nothing").await.unwrap(), 0);
}

async fn an_old_ledger_is_summed_up_by_the_hour_and_costs_stay_the_same(it: TestStore) {
    let mut trace = plain(1);
    trace.trace.attributes.insert("feature".to_owned(), "refunds".to_owned());
    it.store.record_traces(&[trace], seconds(0)).await.unwrap();
    const HOUR: i64 = 3_600;
    let policy = policy(&[]);
    for (number, at) in [(1, 0), (2, 10), (3, 2 * HOUR), (4, 30 * HOUR)] {
        let one = call(number, "shop", 400, seconds(at));
        assert_eq!(reserve(&it.store, std::slice::from_ref(&one), &policy, seconds(at)).await, [Admission::Admit]);
        if number != 2 {
            settle(&it.store, vec![settled(&one, 90, seconds(at))], seconds(at)).await;
        }
    }
    let costs = async || {
        let mut found = Vec::new();
        for (_, by) in CostDimension::ALL {
            found.push(it.store.costs(by, &CostSelection::default()).await.unwrap());
        }
        found
    };
    let (before, later) = (costs().await, seconds(31 * HOUR));
    let of = |dimension: CostDimension| {
        CostDimension::ALL.iter().position(|(_, by)| *by == dimension).map(|at| &before[at]).unwrap()
    };
    let feature = &of(CostDimension::Feature)[0];
    assert_eq!((feature.part.as_deref(), feature.requests, feature.charged.0), (Some("refunds"), 4, 670));
    let days: Vec<&str> = of(CostDimension::Day).iter().map(|row| row.part.as_deref().unwrap()).collect();
    assert!(days.len() == 2 && days[0] < days[1] && days[0].starts_with("20"), "{days:?}");
    assert!(it.store.sum_up_ledger(later).await.unwrap() && it.store.sum_up_ledger(later).await.unwrap());
    assert!(!it.store.sum_up_ledger(later).await.unwrap(), "the day that goes on is left alone");
    assert_eq!(costs().await, before);
    let selection = CostSelection { service: Some("shop".to_owned()), since: Some(seconds(29 * HOUR)), until: None };
    assert_eq!(it.store.costs(CostDimension::Service, &selection).await.unwrap()[0].requests, 1);
}

async fn a_judgement_by_another_model_takes_the_place_of_the_row_that_said_why_there_was_none(it: TestStore) {
    planned(&it.store, 1, &["default"]).await;
    let job = claim_jobs(&it.store, seconds(1), LEASE, 1).await.remove(0);
    let row = |revision: &str, value| Evaluation {
        revision: revision.to_owned(),
        ..evaluation(trace_id(1), "default", value)
    };
    let skipped = Evaluation { outcome: Outcome::SkippedBudget, ..row(&job.revision, None) };
    assert!(record_judgement(&it.store, &job, skipped, &[], seconds(2)).await);
    let backfill = Backfill {
        evaluator: "default".to_owned(),
        revision: job.revision.clone(),
        lane: "default".to_owned(),
        with_failed: false,
        selection: Selection::default(),
        limit: 10,
    };
    assert_eq!(it.store.backfill(&backfill, seconds(3)).await.unwrap(), 1);
    let job = claim_jobs(&it.store, seconds(4), LEASE, 1).await.remove(0);
    let resolved = row("r1-by-m-2", Some(1.0));
    assert!(record_judgement(&it.store, &job, resolved.clone(), &[], seconds(5)).await);
    assert!(!record_judgement(&it.store, &job, resolved, &[], seconds(6)).await, "it is done");
    let rows = it.store.evaluations(trace_id(1)).await.unwrap();
    let revisions: Vec<&str> = rows.iter().map(|row| row.evaluation.revision.as_str()).collect();
    assert_eq!(revisions, ["r1-by-m-2"]);
    assert_eq!(it.store.backfill(&backfill, seconds(7)).await.unwrap(), 0, "and is not planned again");
}

async fn a_model_is_new_once(it: TestStore) {
    let note =
        async |answered: &str, at| it.store.note_judge_model("default", "m", answered, seconds(at)).await.unwrap();
    assert_eq!([note("m-1", 1).await, note("m-2", 2).await, note("m-1", 3).await], [true, true, false]);
    let seen = it.store.judge_models().await.unwrap();
    let seen: Vec<_> = seen.iter().map(|it| (it.answered.as_str(), it.first_seen_at, it.last_seen_at)).collect();
    assert_eq!(seen, [("m-1", seconds(1), seconds(3)), ("m-2", seconds(2), seconds(2))]);
}
