//! What the gate says of simulated candidates.

use fastrand::Rng;

use super::baseline::Baseline;
use super::gate::{Traces, gate, gate_sequentially};
use super::gate_policy::GatePolicy;
use crate::domain::measurement::{SeriesKind, TraceRecord, Value};
use crate::domain::report::{GateDesign, GateVerdict};
use crate::domain::time::Timestamp;
use crate::watch::samples::{Agent, HEALTHY, measurement, record, traces};

fn policy(lines: &str) -> GatePolicy {
    GatePolicy::parse(lines).unwrap()
}

fn success(margin: f64) -> GatePolicy {
    policy(&format!("[[series]]\nseries = \"success\"\ndirection = \"higher_is_better\"\nmargin = {margin}"))
}

fn summary(records: &[TraceRecord]) -> Baseline {
    Baseline::from_records("sample", Timestamp(0), "", records)
}

/// Booleans of one series, by a share and an agreement with task difficulty.
fn answers(first: usize, count: usize, share: f64, rng: &mut Rng) -> Vec<TraceRecord> {
    // No two sides share a trace.
    let start = if first == 0 { rng.usize(1 << 16..1 << 21) } else { first };
    (0..count)
        .map(|offset| {
            let mut one = record(start + offset, &format!("{first}-{offset}"));
            let value = Value::Boolean(rng.f64() < share);
            one.measurements = vec![measurement("success", SeriesKind::Boolean, value)];
            one
        })
        .collect()
}

#[test]
fn a_candidate_at_the_margin_passes_no_more_often_than_alpha() {
    let mut rng = Rng::with_seed(51);
    let (policy, baseline) = (success(0.1), summary(&answers(0, 20_000, 0.9, &mut rng)));
    let passes = (0..400)
        .filter(|_| {
            let candidate = summary(&answers(0, 300, 0.8, &mut rng));
            gate(&policy, &baseline, &candidate, None).verdict == GateVerdict::Pass
        })
        .count();
    assert!(passes <= 32, "{passes} of 400 at 5 %");
}

#[test]
fn good_bad_and_thin_candidates_get_the_three_verdicts() {
    let mut rng = Rng::with_seed(52);
    let baseline = summary(&answers(0, 1000, 0.9, &mut rng));
    let verdict = |count, share, rng: &mut Rng| {
        let report = gate(&success(0.05), &baseline, &summary(&answers(0, count, share, rng)), None);
        (report.verdict, report.series[0].needed_n)
    };
    assert_eq!(verdict(1500, 0.92, &mut rng), (GateVerdict::Pass, None));
    assert_eq!(verdict(1500, 0.7, &mut rng), (GateVerdict::Fail, None));
    let (thin, needed) = verdict(60, 0.9, &mut rng);
    assert_eq!(thin, GateVerdict::Inconclusive);
    assert!(needed.is_some_and(|needed| needed > 60));
}

#[test]
fn where_all_went_well_as_many_are_needed_as_make_the_interval_narrow_and_then_they_pass() {
    let mut rng = Rng::with_seed(57);
    let mut needed = |before: usize, after: usize| {
        let sides = [answers(0, before, 1.0, &mut rng), answers(before, after, 1.0, &mut rng)];
        let report = gate(&success(0.02), &summary(&sides[0]), &summary(&sides[1]), None);
        (report.verdict, report.series[0].needed_n)
    };
    assert_eq!(needed(114, 114), (GateVerdict::Inconclusive, Some(133)), "z²(1 - margin)/margin, one-sided at 5 %");
    assert_eq!(needed(114, 40), (GateVerdict::Inconclusive, Some(133)));
    assert_eq!(needed(133, 133).0, GateVerdict::Pass);
}

#[test]
fn pairing_certifies_what_independent_traces_cannot() {
    let mut rng = Rng::with_seed(53);
    let side = |first: usize, rng: &mut Rng| -> Vec<TraceRecord> {
        let mut records = answers(first, 300, 0.0, rng);
        for (task, record) in records.iter_mut().enumerate() {
            let solved = (task % 3 != 0) != (rng.f64() < 0.02);
            record.measurements[0].value = Value::Boolean(solved);
        }
        records
    };
    let (before, after) = (side(0, &mut rng), side(1000, &mut rng));
    let task = |record: &TraceRecord| record.conversation.split('-').nth(1).map(str::to_owned);
    let tasks = Traces { baseline: Some(&before), candidate: &after, task: Some(&task), is_production: false };
    let (baseline, candidate) = (summary(&before), summary(&after));
    let unpaired = gate(&success(0.04), &baseline, &candidate, None);
    let paired = gate(&success(0.04), &baseline, &candidate, Some(&tasks));
    assert_eq!(unpaired.verdict, GateVerdict::Inconclusive);
    assert_eq!(paired.verdict, GateVerdict::Pass, "{}", paired.series[0].reason);
    assert_eq!(paired.series[0].n_candidate, 300);
}

#[test]
fn floors_and_ceilings_and_directions_count_better_as_positive() {
    let mut rng = Rng::with_seed(54);
    let baseline = summary(&traces(HEALTHY, 0, 300, 1, &mut rng));
    let slower = summary(&traces(Agent { token_factor: 2.0, ..HEALTHY }, 1000, 300, 1, &mut rng));
    let lines = "[[series]]\nseries = \"output_tokens\"\ndirection = \"lower_is_better\"\nmargin = 20\n\
                 [[series]]\nseries = \"success\"\nfloor = 0.5\n\
                 [[series]]\nseries = \"tool_calls\"\nceiling = 100";
    let report = gate(&policy(lines), &baseline, &slower, None);
    let verdicts: Vec<GateVerdict> = report.series.iter().map(|row| row.verdict).collect();
    assert_eq!(verdicts, [GateVerdict::Fail, GateVerdict::Pass, GateVerdict::Pass]);
    assert_eq!(report.verdict, GateVerdict::Fail);
    assert!(report.series[0].difference.unwrap() < 0.0 && report.series[2].difference.unwrap() > 90.0);
    assert!(report.series.iter().all(|row| row.low <= row.difference && row.difference <= row.high));
}

#[test]
fn one_of_many_series_that_fails_by_chance_does_not_fail_the_gate() {
    let mut rng = Rng::with_seed(55);
    let series: Vec<String> = (0..10).map(|index| format!("s{index}")).collect();
    let lines: String = series
        .iter()
        .map(|name| format!("[[series]]\nseries = \"{name}\"\ndirection = \"higher_is_better\"\nmargin = 0.0\n"))
        .collect();
    let side = |rng: &mut Rng| {
        let mut records = answers(0, 200, 0.5, rng);
        for record in &mut records {
            let value = |name: &String| measurement(name, SeriesKind::Boolean, Value::Boolean(rng.bool()));
            record.measurements = series.iter().map(value).collect();
        }
        summary(&records)
    };
    let policy = policy(&lines);
    let fails =
        (0..60).filter(|_| gate(&policy, &side(&mut rng), &side(&mut rng), None).verdict == GateVerdict::Fail).count();
    assert!(fails <= 7, "{fails} of 60 at 5 %");
}

#[test]
fn a_series_that_is_missing_or_has_no_order_is_inconclusive_with_the_reason() {
    let mut rng = Rng::with_seed(56);
    let baseline = summary(&traces(HEALTHY, 0, 100, 1, &mut rng));
    let lines = "[[series]]\nseries = \"absent\"\nfloor = 1\n[[series]]\nseries = \"finish_reason\"\nfloor = 1";
    let report = gate(&policy(lines), &baseline, &baseline, None);
    assert_eq!(report.verdict, GateVerdict::Inconclusive);
    assert!(report.series[0].reason.contains("no values of absent; it has finish_reason, grade"));
    assert!(report.series[1].reason.contains("not a number"));
}

/// Booleans of a side that runs beside another: its own ids, the same hours.
fn beside(side: usize, count: usize, share: f64, rng: &mut Rng) -> Vec<TraceRecord> {
    let mut records = answers(side * 100_000 + 1, count, share, rng);
    for (place, record) in records.iter_mut().enumerate() {
        record.ended_at = Timestamp(place as i64 * Timestamp::NANOS_PER_HOUR / 10 + side as i64);
    }
    records
}

fn concurrent(margin: f64, more: &str) -> GatePolicy {
    policy(&format!(
        "concurrent = true\n{more}\n[[series]]\nseries = \"success\"\ndirection = \"higher_is_better\"\nmargin = {margin}"
    ))
}

#[test]
fn a_canary_is_compared_with_the_traffic_of_its_own_hours_and_called_observational() {
    let mut rng = Rng::with_seed(57);
    // The baseline was far better before the canary began, for reasons that are over.
    let early = beside(1, 1000, 1.0, &mut rng);
    let mut before = beside(2, 1000, 0.7, &mut rng);
    let mut after = beside(3, 600, 0.7, &mut rng);
    for record in before.iter_mut().chain(&mut after) {
        record.ended_at = Timestamp(record.ended_at.0 + 200 * Timestamp::NANOS_PER_HOUR);
    }
    before.extend(early);
    let traces = Traces { baseline: Some(&before), candidate: &after, task: None, is_production: true };
    let (baseline, candidate) = (summary(&before), summary(&after));
    let report = gate(&concurrent(0.08, ""), &baseline, &candidate, Some(&traces));
    assert_eq!(report.verdict, GateVerdict::Pass, "{}", report.series[0].reason);
    assert_eq!((report.design, report.is_observational), (GateDesign::Concurrent, true));
    assert_eq!(report.series[0].n_candidate, 600);
    assert_eq!(gate(&success(0.08), &baseline, &candidate, None).verdict, GateVerdict::Fail, "all traffic misleads");
    let random = concurrent(0.08, "assignment = \"random\"");
    assert!(!gate(&random, &baseline, &candidate, Some(&traces)).is_observational);
}

#[test]
fn a_stratum_that_only_one_side_has_is_left_out_of_a_concurrent_gate() {
    let mut rng = Rng::with_seed(58);
    let (before, mut after) = (beside(1, 300, 0.9, &mut rng), beside(2, 300, 0.9, &mut rng));
    after[..290].iter_mut().for_each(|one| drop(one.segments.insert("tier".into(), "new".into())));
    let traces = Traces { baseline: Some(&before), candidate: &after, task: None, is_production: true };
    let report = gate(&concurrent(0.1, "strata = [\"tier\"]"), &summary(&before), &summary(&after), Some(&traces));
    assert_eq!(report.verdict, GateVerdict::Inconclusive);
    assert!(report.series[0].reason.contains("same hour and stratum"), "{}", report.series[0].reason);
}

/// The verdict of looking after every 50 conversations of both sides.
fn peeked(share: f64, margin: f64, rng: &mut Rng) -> (GateVerdict, u64) {
    let (before, after) = (beside(1, 1500, 0.9, rng), beside(2, 1500, share, rng));
    let policy = concurrent(margin, "");
    let mut last = (GateVerdict::Inconclusive, 0);
    for seen in (50..=1500).step_by(50) {
        let (before, after) = (&before[..seen], &after[..seen]);
        let traces = Traces { baseline: Some(before), candidate: after, task: None, is_production: true };
        let report = gate_sequentially(&policy, &summary(before), &summary(after), &traces);
        last = (report.verdict, report.series[0].n_candidate);
        if last.0 != GateVerdict::Inconclusive {
            break;
        }
    }
    last
}

#[test]
fn looking_after_every_fifty_conversations_passes_few_candidates_at_the_margin() {
    let mut rng = Rng::with_seed(59);
    let wrong = (0..60).filter(|_| peeked(0.82, 0.08, &mut rng).0 == GateVerdict::Pass).count();
    assert!(wrong <= 6, "{wrong} of 60 pass wrongly at 5 %");
}

#[test]
fn a_gate_that_waits_stops_early_on_a_bad_candidate_and_passes_an_equal_one() {
    let mut rng = Rng::with_seed(60);
    let (verdict, seen) = peeked(0.5, 0.08, &mut rng);
    assert_eq!(verdict, GateVerdict::Fail);
    assert!(seen <= 200, "{seen}");
    let passed = (0..10).filter(|_| peeked(0.9, 0.12, &mut rng).0 == GateVerdict::Pass).count();
    assert!(passed >= 8, "{passed} of 10");
}

#[test]
fn the_first_answer_stands_whatever_comes_after_it() {
    let mut rng = Rng::with_seed(61);
    let (mut before, mut after) = (beside(1, 400, 0.9, &mut rng), beside(2, 400, 0.3, &mut rng));
    let later = |record: &mut TraceRecord| {
        record.ended_at = Timestamp(record.ended_at.0 + 100 * Timestamp::NANOS_PER_HOUR);
    };
    let (mut good, mut fine) = (beside(3, 1500, 0.9, &mut rng), beside(4, 1500, 1.0, &mut rng));
    good.iter_mut().chain(&mut fine).for_each(later);
    before.extend(good);
    after.extend(fine);
    let traces = Traces { baseline: Some(&before), candidate: &after, task: None, is_production: true };
    let report = gate_sequentially(&concurrent(0.05, ""), &summary(&before), &summary(&after), &traces);
    assert_eq!(report.verdict, GateVerdict::Fail, "{}", report.series[0].reason);
    assert!(report.series[0].n_candidate < 400);
    assert_eq!(report.series[0].n_baseline, report.series[0].n_candidate, "pairs that decided");
}

#[test]
fn a_gate_waits_against_a_stored_baseline_and_against_a_floor_and_a_ceiling() {
    let mut rng = Rng::with_seed(62);
    let before = summary(&traces(HEALTHY, 0, 3000, 1, &mut rng));
    let after = traces(Agent { success: 0.5, ..HEALTHY }, 10_000, 800, 1, &mut rng);
    let lines = "[[series]]\nseries = \"success\"\ndirection = \"higher_is_better\"\nmargin = 0.05\n\
                 [[series]]\nseries = \"grade\"\nfloor = 0.5\n[[series]]\nseries = \"tool_calls\"\nceiling = 10";
    let candidate = Traces { baseline: None, candidate: &after, task: None, is_production: true };
    let report = gate_sequentially(&policy(lines), &before, &summary(&after), &candidate);
    let verdicts: Vec<GateVerdict> = report.series.iter().map(|row| row.verdict).collect();
    assert_eq!(verdicts, [GateVerdict::Fail, GateVerdict::Pass, GateVerdict::Pass], "{report:?}");
    assert!(report.is_sequential && report.series.iter().all(|row| row.low <= row.high));
}

/// Conversations of one turn that cost 1, and of nine turns that cost 2 each.
fn uneven(first: usize, conversations: usize) -> Vec<TraceRecord> {
    let turns = (0..conversations).flat_map(|number| {
        let turns = if number % 2 == 0 { 1 } else { 9 };
        (0..turns).map(move |turn| (number, turn, turns))
    });
    turns
        .map(|(number, turn, turns)| {
            let mut one = record(first + number * 10 + turn, &format!("{first}-{number}"));
            let cost = if turns == 1 { 1.0 } else { 2.0 } + (number % 7) as f64 / 10.0;
            one.measurements = vec![measurement("cost_usd", SeriesKind::Numeric, Value::Number(cost))];
            one
        })
        .collect()
}

#[test]
fn a_waiting_gate_on_numbers_holds_conversations_against_conversations_or_says_that_it_cannot() {
    let (before, after) = (uneven(1, 600), uneven(1_000_000, 600));
    let policy = policy("[[series]]\nseries = \"cost_usd\"\ndirection = \"higher_is_better\"\nmargin = 0.2");
    let asked = |baseline: Option<&[TraceRecord]>| {
        let traces = Traces { baseline, candidate: &after, task: None, is_production: true };
        gate_sequentially(&policy, &summary(&before), &summary(&after), &traces).series.remove(0)
    };
    let stored = asked(None);
    assert_eq!(stored.verdict, GateVerdict::Inconclusive, "{stored:?}");
    assert!(stored.reason.contains("name the baseline's traces instead"), "{}", stored.reason);
    let of_traces = asked(Some(&before));
    assert!(of_traces.difference.unwrap().abs() < 0.05, "the sides are alike: {of_traces:?}");
    assert_ne!(of_traces.verdict, GateVerdict::Fail);
}

#[test]
fn the_same_traces_or_another_revision_on_both_sides_are_no_comparison() {
    let mut rng = Rng::with_seed(63);
    let records = answers(1, 400, 0.9, &mut rng);
    let reason =
        |before: &Baseline, after: &Baseline| gate(&success(0.05), before, after, None).series[0].reason.clone();
    let one = summary(&records);
    assert!(reason(&one, &one).contains("both sides hold the same traces"));
    assert!(reason(&summary(&records[..300]), &one).contains("both sides share traces"));
    let of = |revision: &str| [("success".to_owned(), [revision.to_owned()].into())].into();
    let (before, after) = (one.with_revisions(of("aaa")), summary(&answers(9000, 400, 0.9, &mut rng)));
    let after = after.with_revisions(of("bbb"));
    assert!(reason(&before, &after).contains("revision aaa before and by bbb now"));
}
