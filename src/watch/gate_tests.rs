//! What the gate says of simulated candidates.

use fastrand::Rng;

use super::baseline::Baseline;
use super::gate::{Tasks, gate};
use super::gate_policy::GatePolicy;
use crate::domain::measurement::{SeriesKind, TraceRecord, Value};
use crate::domain::report::GateVerdict;
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
    (0..count)
        .map(|offset| {
            let mut one = record(first + offset, &format!("{first}-{offset}"));
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
    let tasks = Tasks { baseline: &before, candidate: &after, task: &task };
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
    assert!(report.series[0].reason.contains("no values of absent"));
    assert!(report.series[1].reason.contains("not a number"));
}
