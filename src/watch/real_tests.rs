//! What drift reports say of real agents, from features that another program counted in their traces.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::baseline::Baseline;
use super::drift::{DriftOptions, drift};
use super::paired::paired;
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord, Value};
use crate::domain::report::{DriftReport, DriftVerdict, SeriesReport};
use crate::domain::time::Timestamp;
use crate::watch::samples::measurement;

/// The folder of shared data, if it is here.
#[expect(clippy::print_stderr, reason = "a skipped test must be visible")]
fn shared_data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("DRIFTLINE_SHARED_DATA").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no shared data");
    None
}

fn lines(path: &Path) -> Vec<Json> {
    let file = File::open(path).unwrap();
    let is_packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if is_packed { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    BufReader::new(reader).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// The labels of a set by trace id.
fn labels(folder: &Path, set: &str) -> BTreeMap<String, Json> {
    let by_id = |label: Json| (label["trace_id"].as_str().unwrap().to_owned(), label);
    lines(&folder.join(format!("labels_{set}.jsonl"))).into_iter().map(by_id).collect()
}

/// The records of a set whose label passes, with their tasks as segment `task`.
fn records(folder: &Path, set: &str, wanted: impl Fn(&Json) -> bool) -> Vec<TraceRecord> {
    let labels = labels(folder, set);
    let features = lines(&folder.join("expected_features_dev.jsonl.gz"));
    let of_set = features.into_iter().filter(|features| features["set"] == set);
    of_set
        .filter_map(|features| {
            let id = features["trace_id"].as_str()?.to_owned();
            let label = labels.get(&id).filter(|label| wanted(label))?;
            Some(TraceRecord {
                trace_id: id.parse().unwrap(),
                conversation: id,
                service: "agent".to_owned(),
                segments: BTreeMap::from([("task".to_owned(), label["task_id"].to_string())]),
                ended_at: Timestamp(0),
                upstream_probability: Some(1.0),
                notes: Vec::new(),
                measurements: measurements(&features, label),
            })
        })
        .collect()
}

fn measurements(features: &Json, label: &Json) -> Vec<Measurement> {
    let tools: Vec<String> =
        features["tools"].as_array().unwrap().iter().map(|tool| tool.as_str().unwrap().to_owned()).collect();
    let mut measurements = vec![
        measurement("tool_calls", SeriesKind::Numeric, Value::Number(tools.len() as f64)),
        measurement("tool_transitions", SeriesKind::Sequence, Value::Sequence(tools)),
        measurement("success", SeriesKind::Boolean, Value::Boolean(label["success"].as_bool().unwrap())),
    ];
    for (series, name) in [
        ("input_tokens", "input_tokens"),
        ("output_tokens", "output_tokens"),
        ("model_calls", "chat_calls"),
        ("tool_errors", "tool_errors"),
        ("answer_length", "final_chars"),
    ] {
        let value = features[name].as_f64();
        measurements.extend(value.map(|value| measurement(series, SeriesKind::Numeric, Value::Number(value))));
    }
    let format = if features["final_is_json_object"] == true { "json" } else { "text" };
    let counts = Value::Counts([(format.to_owned(), 1)].into());
    measurements.push(measurement("answer_format", SeriesKind::Categorical, counts));
    measurements
}

fn unpaired(before: &[TraceRecord], after: &[TraceRecord]) -> DriftReport {
    let summary = |records| Baseline::from_records("side", Timestamp(0), "", records);
    drift(&summary(before), &summary(after), &DriftOptions::default())
}

fn by_task(before: &[TraceRecord], after: &[TraceRecord]) -> DriftReport {
    paired(before, after, |record| record.segments.get("task").cloned(), &DriftOptions::default())
}

fn row<'a>(report: &'a DriftReport, series: &str) -> &'a SeriesReport {
    report.series.iter().find(|row| row.series == series).unwrap()
}

fn outline(report: &DriftReport) -> Vec<(&str, DriftVerdict, Option<f64>, Option<f64>)> {
    report.series.iter().map(|row| (row.series.as_str(), row.verdict, row.p_value, row.effect.value)).collect()
}

#[test]
fn trials_of_one_agent_never_drift() {
    let Some(folder) = shared_data() else { return };
    let trial = |wanted: i64| records(&folder, "tau_airline_gpt-4o", |label| label["trial"] == wanted);
    let trials: Vec<Vec<TraceRecord>> = (0..4).map(trial).collect();
    for one in 0..4 {
        for other in one + 1..4 {
            for report in [unpaired(&trials[one], &trials[other]), by_task(&trials[one], &trials[other])] {
                assert_ne!(report.verdict, DriftVerdict::Drift, "trials {one}, {other}: {:?}", outline(&report));
            }
        }
    }
}

#[test]
fn an_agent_believed_unchanged_is_no_alarm_but_its_success_is_notable() {
    let Some(folder) = shared_data() else { return };
    let before = records(&folder, "tau_retail_gpt-4.1-mini_base-r1", |_| true);
    let after = records(&folder, "tau_retail_gpt-4.1-mini_base", |_| true);
    let report = by_task(&before, &after);
    assert_ne!(report.verdict, DriftVerdict::Drift, "{:?}", outline(&report));
    assert!(row(&report, "success").notable && row(&report, "success").test == "mcnemar_exact");
    assert_ne!(unpaired(&before, &after).verdict, DriftVerdict::Drift);
}

#[test]
fn a_model_upgrade_shows_in_tokens_and_by_task_in_tool_transitions_but_not_in_success() {
    let Some(folder) = shared_data() else { return };
    let before = records(&folder, "tau_retail_gpt-4.1-mini_base", |_| true);
    let after = records(&folder, "tau_retail_gpt-5-mini_base", |_| true);
    let (alone, together) = (unpaired(&before, &after), by_task(&before, &after));
    assert_eq!(row(&alone, "output_tokens").verdict, DriftVerdict::Drift, "{:?}", outline(&alone));
    assert_eq!(row(&alone, "answer_format").verdict, DriftVerdict::Drift);
    assert_eq!(row(&alone, "success").verdict, DriftVerdict::NoDrift);
    assert_ne!(row(&alone, "tool_transitions").verdict, DriftVerdict::Drift);
    assert_eq!(row(&together, "tool_transitions").verdict, DriftVerdict::Drift, "{:?}", outline(&together));
    assert!(!row(&together, "tool_transitions").transitions.is_empty());
    assert_eq!(row(&together, "success").verdict, DriftVerdict::NoDrift);
}
