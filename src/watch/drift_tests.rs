//! What drift reports say of simulated agents.

use fastrand::Rng;

use super::baseline::Baseline;
use super::drift::{DriftOptions, drift};
use super::paired::paired;
use super::samples::{Agent, HEALTHY, measurement, record, traces};
use crate::domain::measurement::{SeriesKind, TraceRecord, Value};
use crate::domain::report::{DriftReport, DriftVerdict, SeriesReport};
use crate::domain::time::Timestamp;

fn baseline(records: &[TraceRecord]) -> Baseline {
    Baseline::from_records("sample", Timestamp(0), "", records)
}

fn unpaired(before: &[TraceRecord], after: &[TraceRecord]) -> DriftReport {
    drift(&baseline(before), &baseline(after), &DriftOptions::default())
}

fn row<'a>(report: &'a DriftReport, series: &str) -> &'a SeriesReport {
    report.series.iter().find(|row| row.series == series).unwrap()
}

fn drifting(report: &DriftReport) -> Vec<&str> {
    let mut names: Vec<&str> =
        report.series.iter().filter(|row| row.verdict == DriftVerdict::Drift).map(|row| row.series.as_str()).collect();
    names.sort_unstable();
    names
}

/// The task of a simulated trace is its position in its sample.
fn task(record: &TraceRecord) -> Option<String> {
    let bytes = record.trace_id.as_bytes();
    Some((u16::from_be_bytes([bytes[14], bytes[15]]) % 1000).to_string())
}

#[test]
fn two_samples_of_one_process_seldom_drift_even_in_conversations() {
    let mut rng = Rng::with_seed(31);
    let reports = 120;
    let false_alarms = (0..reports)
        .filter(|_| {
            let (before, after) = (traces(HEALTHY, 0, 240, 4, &mut rng), traces(HEALTHY, 1000, 160, 4, &mut rng));
            unpaired(&before, &after).verdict == DriftVerdict::Drift
        })
        .count();
    assert!(false_alarms <= 10, "{false_alarms} of {reports} reports at 5 %");
}

/// What is left when failures are kept and successes sampled, each trace saying with what probability.
fn tail_sampled(records: Vec<TraceRecord>, healthy_rate: f64, rng: &mut Rng) -> Vec<TraceRecord> {
    let keep = |mut record: TraceRecord| {
        let is_healthy = record.measurement("success").is_some_and(|one| one.value == Value::Boolean(true));
        let probability = if is_healthy { healthy_rate } else { 1.0 };
        record.upstream_probability = Some(probability);
        (rng.f64() < probability).then_some(record)
    };
    records.into_iter().filter_map(keep).collect()
}

#[test]
fn sampling_successes_less_often_is_no_drift() {
    let mut rng = Rng::with_seed(43);
    let (mut false_alarms, mut naive) = (0, 0);
    for _ in 0..60 {
        let before = tail_sampled(traces(HEALTHY, 0, 500, 1, &mut rng), 0.4, &mut rng);
        let mut after = tail_sampled(traces(HEALTHY, 1000, 500, 1, &mut rng), 0.2, &mut rng);
        let report = unpaired(&before, &after);
        false_alarms += usize::from(report.verdict == DriftVerdict::Drift);
        assert!((row(&report, "success").current.estimate.unwrap() - 0.8).abs() < 0.12);
        after.iter_mut().for_each(|record| record.upstream_probability = None);
        naive += usize::from(unpaired(&before, &after).verdict == DriftVerdict::Drift);
    }
    assert!(false_alarms <= 7, "{false_alarms} of 60 at 5 %");
    assert!(naive > 50, "without the probabilities it is taken for drift, {naive} of 60 times");
}

#[test]
fn pairs_of_one_process_seldom_drift() {
    let mut rng = Rng::with_seed(32);
    let false_alarms = (0..60)
        .filter(|_| {
            let (before, after) = (traces(HEALTHY, 0, 60, 1, &mut rng), traces(HEALTHY, 1000, 60, 1, &mut rng));
            paired(&before, &after, task, &DriftOptions::default()).verdict == DriftVerdict::Drift
        })
        .count();
    assert!(false_alarms <= 7, "{false_alarms} of 60 reports at 5 %");
}

#[test]
fn each_planted_change_is_found_in_its_own_series() {
    let planted = [
        (Agent { success: 0.6, ..HEALTHY }, "success"),
        (Agent { token_factor: 1.6, ..HEALTHY }, "output_tokens"),
        (Agent { search_again: 0.5, ..HEALTHY }, "tool_transitions"),
        (Agent { cut_off: 0.15, ..HEALTHY }, "finish_reason"),
    ];
    let mut rng = Rng::with_seed(33);
    let before = traces(HEALTHY, 0, 400, 2, &mut rng);
    let mut others = 0;
    for (agent, series) in planted {
        let report = unpaired(&before, &traces(agent, 1000, 300, 2, &mut rng));
        assert_eq!(row(&report, series).verdict, DriftVerdict::Drift, "{series}: {:?}", drifting(&report));
        assert!(!row(&report, series).evidence.is_empty(), "{series} has no evidence");
        others += drifting(&report).iter().filter(|name| ![series, "tool_calls"].contains(name)).count();
    }
    assert!(others <= 1, "{others} of 18 unchanged series drift at a false-discovery rate of 5 %");
}

#[test]
fn a_loop_is_named_by_its_transition_unpaired_and_paired() {
    let mut rng = Rng::with_seed(34);
    let (before, after) =
        (traces(HEALTHY, 0, 200, 1, &mut rng), traces(Agent { search_again: 0.55, ..HEALTHY }, 1000, 200, 1, &mut rng));
    for report in [unpaired(&before, &after), paired(&before, &after, task, &DriftOptions::default())] {
        let row = row(&report, "tool_transitions");
        assert_eq!(row.verdict, DriftVerdict::Drift);
        let loops = row.transitions.iter().find(|moved| moved.from == "search" && moved.to == "search").unwrap();
        assert!(loops.z > 3.0 && loops.current > loops.baseline);
        assert!(after.iter().any(|record| row.evidence.contains(&record.trace_id)));
    }
}

#[test]
fn pairing_sees_what_the_spread_between_tasks_hides() {
    let mut rng = Rng::with_seed(35);
    let one_series = |first: usize, factor: f64, rng: &mut Rng| -> Vec<TraceRecord> {
        (0..60)
            .map(|offset| {
                let mut one = record(first + offset, &format!("{first}-{offset}"));
                let tokens = (f64::from(offset as u32 % 30) / 4.0).exp() * factor * (1.0 + 0.1 * rng.f64());
                one.measurements = vec![measurement("output_tokens", SeriesKind::Numeric, Value::Number(tokens))];
                one
            })
            .collect()
    };
    let (before, after) = (one_series(0, 1.0, &mut rng), one_series(1000, 1.2, &mut rng));
    assert!(drifting(&unpaired(&before, &after)).is_empty());
    let report = paired(&before, &after, task, &DriftOptions::default());
    assert_eq!(drifting(&report), ["output_tokens"]);
    assert_eq!(row(&report, "output_tokens").pairs, Some(60));
}

#[test]
fn several_traces_of_a_task_are_averaged_and_unpairable_series_say_so() {
    let mut rng = Rng::with_seed(36);
    let (before, after) = (traces(HEALTHY, 0, 120, 1, &mut rng), traces(HEALTHY, 1000, 120, 1, &mut rng));
    let by_forty = |record: &TraceRecord| task(record).map(|task| (task.parse::<u32>().unwrap() % 40).to_string());
    let report = paired(&before, &after, by_forty, &DriftOptions::default());
    assert!(report.series.iter().all(|row| row.pairs == Some(40)));
    assert_eq!(row(&report, "success").baseline.n, 120);
    let report = paired(&before, &after, |_| None, &DriftOptions::default());
    assert!(report.series.iter().all(|row| row.pairs.is_none() && row.note.as_ref().unwrap().contains("unpaired")));
}

#[test]
fn a_handful_of_traces_is_insufficient_and_never_no_drift() {
    let mut rng = Rng::with_seed(37);
    let (before, after) = (traces(HEALTHY, 0, 9, 1, &mut rng), traces(HEALTHY, 1000, 300, 1, &mut rng));
    let report = unpaired(&before, &after);
    assert_eq!(report.verdict, DriftVerdict::InsufficientEvidence);
    assert!(report.series.iter().all(|row| row.verdict == DriftVerdict::InsufficientEvidence && row.note.is_some()));
    assert_eq!(unpaired(&[], &[]).verdict, DriftVerdict::InsufficientEvidence);
    assert_eq!(unpaired(&before, &[]).verdict, DriftVerdict::InsufficientEvidence);
}

#[test]
fn an_exact_test_may_show_drift_below_fifty_traces() {
    let sample = |first: usize, success: bool| -> Vec<TraceRecord> {
        (0..20)
            .map(|offset| {
                let mut one = record(first + offset, &format!("{first}-{offset}"));
                one.measurements = vec![measurement("success", SeriesKind::Boolean, Value::Boolean(success))];
                one
            })
            .collect()
    };
    assert_eq!(unpaired(&sample(0, true), &sample(1000, false)).verdict, DriftVerdict::Drift);
    assert_eq!(unpaired(&sample(0, true), &sample(1000, true)).verdict, DriftVerdict::InsufficientEvidence);
}

#[test]
fn services_are_compared_by_name_unless_each_side_has_one() {
    let mut rng = Rng::with_seed(38);
    let of = |service: &str, first: usize, rng: &mut Rng| {
        let mut records = traces(HEALTHY, first, 60, 1, rng);
        records.iter_mut().for_each(|record| record.service = service.to_owned());
        records
    };
    let (a, b) = (of("a", 0, &mut rng), of("b", 1000, &mut rng));
    assert!(unpaired(&a, &b).series.iter().all(|row| row.segment == "all"));
    let both = [a, b].concat();
    let current = [of("b", 2000, &mut rng), of("c", 3000, &mut rng)].concat();
    let report = unpaired(&both, &current);
    assert!(report.series.iter().all(|row| row.segment == "service=b"));
    assert!(report.notes.iter().any(|note| note.contains("a, c")), "{:?}", report.notes);
}

#[test]
fn splitting_by_a_dimension_adds_segments_and_corrects_over_all_of_them() {
    let mut rng = Rng::with_seed(39);
    let split = |mut records: Vec<TraceRecord>| {
        for (index, record) in records.iter_mut().enumerate() {
            record.segments.insert("model".to_owned(), ["x", "y"][index % 2].to_owned());
        }
        records
    };
    let before = split(traces(HEALTHY, 0, 300, 1, &mut rng));
    let mut after = split(traces(HEALTHY, 1000, 300, 1, &mut rng));
    let worse = traces(Agent { token_factor: 3.0, ..HEALTHY }, 1000, 300, 1, &mut rng);
    for (record, worse) in after.iter_mut().zip(worse).filter(|(record, _)| record.segments["model"] == "y") {
        record.measurements = worse.measurements;
    }
    let options = DriftOptions { by: Some("model".to_owned()), ..DriftOptions::default() };
    let report = drift(&baseline(&before), &baseline(&after), &options);
    let tokens: Vec<(&str, DriftVerdict)> = report
        .series
        .iter()
        .filter(|row| row.series == "output_tokens")
        .map(|row| (row.segment.as_str(), row.verdict))
        .collect();
    assert!(tokens.contains(&("model=y", DriftVerdict::Drift)) && tokens.contains(&("model=x", DriftVerdict::NoDrift)));
    assert_eq!(report.mix["model"]["x"], (0.5, 0.5));
    assert_eq!(report.series.len(), 18);
    let largest = report.series.iter().filter_map(|row| row.adjusted_p_value).fold(0.0, f64::max);
    assert!(report.series.iter().all(|row| row.adjusted_p_value >= row.p_value) && largest <= 1.0);
}

#[test]
fn the_same_traces_on_both_sides_are_noticed() {
    let mut rng = Rng::with_seed(40);
    let records = traces(HEALTHY, 0, 100, 1, &mut rng);
    let report = unpaired(&records, &records);
    assert!(report.notes.iter().any(|note| note.contains("the same traces")));
    assert_eq!(report.verdict, DriftVerdict::NoDrift);
    let overlap = unpaired(&records, &[records[..30].to_vec(), traces(HEALTHY, 2000, 50, 1, &mut rng)].concat());
    assert!(overlap.notes.iter().any(|note| note.contains("share traces")));
}

#[test]
fn a_series_on_one_side_or_of_two_kinds_is_insufficient_with_a_note() {
    let mut rng = Rng::with_seed(41);
    let before = traces(HEALTHY, 0, 80, 1, &mut rng);
    let mut after = traces(HEALTHY, 1000, 80, 1, &mut rng);
    for record in &mut after {
        record.measurements.retain(|measurement| measurement.series != "output_tokens");
        record.measurements[0] = measurement("success", SeriesKind::Numeric, Value::Number(1.0));
        record.measurements.push(measurement("new", SeriesKind::Numeric, Value::Number(1.0)));
    }
    for report in [unpaired(&before, &after), paired(&before, &after, task, &DriftOptions::default())] {
        for series in ["output_tokens", "success", "new"] {
            let row = row(&report, series);
            assert_eq!(row.verdict, DriftVerdict::InsufficientEvidence);
            assert!(row.note.is_some());
        }
    }
}

#[test]
fn reports_repeat_exactly_with_the_same_seed() {
    let mut rng = Rng::with_seed(42);
    let (before, after) = (traces(HEALTHY, 0, 100, 1, &mut rng), traces(HEALTHY, 1000, 100, 1, &mut rng));
    assert_eq!(unpaired(&before, &after), unpaired(&before, &after));
}

#[test]
fn a_pure_shift_of_the_mix_is_told_apart_from_a_change_within() {
    let sample = |first: usize, free: usize| -> Vec<TraceRecord> {
        (0..1000)
            .map(|offset| {
                let mut one = record(first + offset, &format!("{first}-{offset}"));
                let (tier, solved) = if offset < free { ("free", offset % 2 == 0) } else { ("paid", offset % 10 != 0) };
                one.segments.insert("tier".to_owned(), tier.to_owned());
                one.measurements = vec![measurement("success", SeriesKind::Boolean, Value::Boolean(solved))];
                one
            })
            .collect()
    };
    let options = DriftOptions { by: Some("tier".to_owned()), ..DriftOptions::default() };
    let report = drift(&baseline(&sample(0, 200)), &baseline(&sample(5000, 500)), &options);
    let whole = report.series.iter().find(|row| row.segment == "all").unwrap();
    assert_eq!(whole.verdict, DriftVerdict::Drift);
    let note = whole.note.as_deref().unwrap();
    assert!(note.contains("-0.1200 comes from another mix of tier") && note.contains("0.0000 from within"), "{note}");
    assert!(report.series.iter().filter(|row| row.segment != "all").all(|row| row.verdict == DriftVerdict::NoDrift));
}

#[test]
fn every_estimate_and_the_report_say_how_much_of_the_sampling_is_not_known() {
    let mut rng = Rng::with_seed(12);
    let before = traces(HEALTHY, 0, 60, 1, &mut rng);
    let mut after = traces(HEALTHY, 1000, 60, 1, &mut rng);
    after.iter_mut().take(7).for_each(|record| record.upstream_probability = None);
    let report = unpaired(&before, &after);
    for row in &report.series {
        assert_eq!((row.baseline.upstream_unknown, row.current.upstream_unknown), (0, 7), "{}", row.series);
    }
    assert!(report.notes.iter().any(|note| note.starts_with("7 of 120 traces do not say")), "{:?}", report.notes);
    let known = unpaired(&before, &before);
    assert!(
        !known.notes.iter().any(|note| note.contains("do not say")) && known.series[0].current.upstream_unknown == 0
    );
}

/// Records of which the first so many were scored by one revision, and the rest by another.
fn scored_by(first: &str, many: usize, rest: &str, values: std::ops::Range<usize>, is_good: bool) -> Vec<TraceRecord> {
    let scored = |index: usize| {
        let mut one = record(index, &index.to_string());
        let revision = if index - values.start < many { first } else { rest };
        let verdict = measurement("grounded", SeriesKind::Boolean, Value::Boolean(is_good || revision == rest));
        one.measurements = vec![crate::domain::measurement::Measurement { revision: Some(revision.into()), ..verdict }];
        one
    };
    values.clone().map(scored).collect()
}

#[test]
fn scores_of_another_revision_are_neither_mixed_in_nor_compared() {
    let before = scored_by("r1", 200, "", 0..200, true);
    let mixed = baseline(&scored_by("r1", 100, "r2", 200..400, false));
    let summary = mixed.overall("grounded").unwrap();
    assert_eq!((summary.traces, summary.rejected, summary.revision.as_deref()), (100, 100, Some("r2")));
    assert_eq!(summary.moments().unwrap().mean, 1.0, "what r1 failed is not in it");
    let worse = scored_by("r2", 200, "", 400..600, false);
    for report in [
        drift(&baseline(&before), &baseline(&worse), &DriftOptions::default()),
        paired(&before, &worse, task, &DriftOptions::default()),
    ] {
        assert_eq!(report.verdict, DriftVerdict::InsufficientEvidence);
        assert!(row(&report, "grounded").note.as_ref().unwrap().contains("bridge"));
    }
    let same = scored_by("r1", 200, "", 400..600, false);
    assert_eq!(unpaired(&before, &same).verdict, DriftVerdict::Drift);
}
