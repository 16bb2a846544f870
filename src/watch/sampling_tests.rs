//! Are weighted estimates right when sampling keeps what goes wrong and little else?
//!
//! Simulated traffic of which the truth is known goes the way that real traffic goes: spans are read, checked and
//! sampled, what a judge would be asked is answered, and the records that come of it are summarised. Then the interval
//! is asked whether it holds the truth, over many repetitions.
//!
//! The full measurement, which prints its figures:
//! `cargo test --release --lib watch::sampling_tests -- --ignored --nocapture`

use std::collections::BTreeMap;

use fastrand::Rng;

use super::baseline::Baseline;
use super::estimate;
use super::key::{ALL, SeriesKey};
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::ids::TraceId;
use crate::domain::judge::JudgeModelIdentity;
use crate::domain::measurement::{TraceRecord, Value};
use crate::domain::report::Estimate;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorFolder;
use crate::evaluate::run::{EvaluatedTrace, Evaluators, evaluate, score_measurement, unscored};
use crate::evaluate::sampling::SamplingPolicy;
use crate::normalize::{AttributeMapping, normalize};
use crate::otlp::any_value::Value as Wire;
use crate::otlp::{AnyValue, KeyValue, RawTrace, Resource, ResourceSpans, ScopeSpans, Span, Status, assemble};

/// What the collector keeps of runs that do not fail, and what our judges see of those that pass every rule.
const REST: f64 = 0.05;
/// Share of runs that go wrong: their root fails, or their answer is cut off.
const WRONG: f64 = 0.1;
/// The judge fails a wrong run and a right one so often.
const JUDGED_BAD: (f64, f64) = (0.7, 0.04);
const JUDGE: &str = "judge";

/// How traffic reaches the estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// A collector's tail sampler kept the failures and [`REST`]; the settings say so.
    ConfiguredStrata,
    /// The same, and each trace says so itself (`ot=th`).
    TraceState,
    /// Everything arrives; our judges see what failed a rule and [`REST`].
    OwnJudging,
}

/// One repetition: what was estimated, and what counting without weights would have said.
struct Repetition {
    estimate: Estimate,
    plain: f64,
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Wire::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, key_strindex: 0 }
}

/// An agent's run of one model call: a wrong one fails, or is cut off.
fn run(trace_id: TraceId, way: Way, is_wrong: bool) -> RawTrace {
    let fails = is_wrong && way != Way::OwnJudging;
    let finish = if is_wrong && !fails { "length" } else { "stop" };
    let trace_state = match (way, is_wrong) {
        (Way::TraceState, true) => "ot=rv:ffffffffffffff;th:0",
        // 2^56 · 0.95, so that 0.05 is kept.
        (Way::TraceState, false) => "ot=rv:ffffffffffffff;th:f3333333333333",
        _ => "",
    };
    let span = |id: u8, parent: Vec<u8>, operation| Span {
        trace_id: trace_id.as_bytes().to_vec(),
        span_id: vec![id; 8],
        parent_span_id: parent,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 2_000_000_000,
        trace_state: trace_state.to_owned(),
        attributes: vec![text("gen_ai.operation.name", operation)],
        ..Span::default()
    };
    let status = Status { code: if fails { 2 } else { 0 }, message: String::new() };
    let root = Span { status: Some(status), ..span(1, Vec::new(), "invoke_agent") };
    let mut call = span(2, vec![1; 8], "chat");
    call.attributes.extend([text("gen_ai.response.finish_reasons", &format!("[\"{finish}\"]"))]);
    call.attributes
        .push(text("gen_ai.output.messages", r#"[{"role":"assistant","parts":[{"type":"text","content":"Yes."}]}]"#));
    let resource = Resource { attributes: vec![text("service.name", "agent")], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![root, call], ..ScopeSpans::default() }];
    assemble(trace_id, vec![vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }]])
}

fn evaluators() -> Evaluators {
    let folder = |name: &str, toml: &str, prompt: Option<&str>| EvaluatorFolder {
        name: name.to_owned(),
        place: name.to_owned(),
        files: [("evaluator.toml".to_owned(), toml.to_owned())]
            .into_iter()
            .chain(prompt.map(|prompt| ("prompt.md".to_owned(), prompt.to_owned())))
            .collect(),
    };
    let rule = "kind = \"finish_reason\"\ndescription = \"d\"\nseverity = \"fail\"\nflag = true\n\
                [finish_reason]\nfail_on = [\"length\"]";
    let judge = "kind = \"llm_judge\"\ndescription = \"d\"\n[llm_judge]\ninputs = [\"answer\"]";
    let folders = [folder("cut_off", rule, None), folder(JUDGE, judge, Some("# System\nJudge.\n# User\n{{answer}}\n"))];
    let model = JudgeModelIdentity { model: "m".to_owned(), parameters: BTreeMap::new() };
    Evaluators::from_folders(folders, [("default".to_owned(), model)].into()).unwrap()
}

fn policy(way: Way) -> SamplingPolicy {
    let strata = "[[upstream]]\nwhere = { span_error = true }\nprobability = 1.0\n[[upstream]]\nprobability = 0.05";
    let upstream = match way {
        Way::ConfiguredStrata => strata,
        Way::TraceState => "",
        Way::OwnJudging => "[[upstream]]\nprobability = 1.0",
    };
    toml::from_str(&format!("healthy_rate = {REST}\nslow_threshold = \"1h\"\n{upstream}")).unwrap()
}

/// The record with what a judge says of the run, where one is asked.
fn judged(trace: &Trace, evaluated: EvaluatedTrace, evaluators: &Evaluators, is_bad: bool) -> TraceRecord {
    let mut record = evaluated.record;
    for task in &evaluated.judge {
        let (definition, _) = evaluators.judge(&task.evaluator, &task.revision).unwrap();
        let row = unscored(trace, definition, Outcome::Scored, String::new());
        let row = Evaluation { value: Some(if is_bad { 0.0 } else { 1.0 }), ..row };
        record.measurements.extend(score_measurement(&row, task.probability));
    }
    record
}

/// One repetition over so many runs, counted before any sampling.
fn repeat(way: Way, runs: usize, evaluators: &Evaluators, rng: &mut Rng) -> Repetition {
    let policy = policy(way);
    let mut records = Vec::new();
    for _ in 0..runs {
        let trace_id = TraceId::from_bytes(&rng.u128(1..).to_be_bytes()).unwrap();
        let is_wrong = rng.f64() < WRONG;
        let is_bad = rng.f64() < if is_wrong { JUDGED_BAD.0 } else { JUDGED_BAD.1 };
        if way != Way::OwnJudging && !is_wrong && rng.f64() >= REST {
            continue;
        }
        let trace = normalize(&run(trace_id, way, is_wrong), &AttributeMapping::default()).unwrap();
        let evaluated = evaluate(&trace, evaluators, &policy);
        records.push(judged(&trace, evaluated, evaluators, is_bad));
    }
    let series = if way == Way::OwnJudging { JUDGE } else { "run_error" };
    let baseline = Baseline::from_records("", Timestamp(0), "", &records);
    let key = SeriesKey { service: "agent".into(), series: series.into(), segment: ALL.into() };
    let values = records.iter().filter_map(|record| record.measurement(series));
    let values: Vec<bool> = values.map(|measurement| measurement.value == Value::Boolean(true)).collect();
    let plain = values.iter().filter(|value| **value).count() as f64 / values.len() as f64;
    Repetition { estimate: estimate(&baseline.series[&key]), plain }
}

fn truth(way: Way) -> f64 {
    let (wrong, right) = JUDGED_BAD;
    if way == Way::OwnJudging { 1.0 - (WRONG * wrong + (1.0 - WRONG) * right) } else { WRONG }
}

/// Over many repetitions: bias, coverage, mean error without weights, standard deviation; shares.
#[derive(Debug)]
struct Figures {
    bias: f64,
    coverage: f64,
    plain_bias: f64,
    deviation: f64,
}

fn measure(way: Way, repetitions: usize, runs: usize, seed: u64) -> Figures {
    let (evaluators, mut rng, truth) = (evaluators(), Rng::with_seed(seed), truth(way));
    let all: Vec<Repetition> = (0..repetitions).map(|_| repeat(way, runs, &evaluators, &mut rng)).collect();
    let mean = |value: &dyn Fn(&Repetition) -> f64| all.iter().map(value).sum::<f64>() / repetitions as f64;
    let error = |one: &Repetition| one.estimate.estimate.unwrap() - truth;
    let holds = |one: &Repetition| one.estimate.low.unwrap() <= truth && truth <= one.estimate.high.unwrap();
    assert!(all.iter().all(|one| one.estimate.upstream_unknown == 0), "{way:?}");
    Figures {
        bias: mean(&error),
        coverage: mean(&|one| f64::from(u8::from(holds(one)))),
        plain_bias: mean(&|one| one.plain - truth),
        deviation: mean(&|one| error(one).powi(2)).sqrt(),
    }
}

const WAYS: [Way; 3] = [Way::ConfiguredStrata, Way::TraceState, Way::OwnJudging];

#[test]
fn weighted_shares_and_their_intervals_are_right_where_plain_ones_are_off_by_tens_of_points() {
    for way in WAYS {
        let repetitions = 40;
        let figures = measure(way, repetitions, 600, 5);
        // Three standard errors of each over the repetitions; the full measurement is tighter.
        let error = figures.deviation / (repetitions as f64).sqrt();
        assert!(figures.bias.abs() <= 3.0 * error, "{way:?}: {figures:?}");
        assert!((0.85..=1.0).contains(&figures.coverage), "{way:?}: {figures:?}");
        assert!(figures.plain_bias.abs() > 0.2, "{way:?}: {figures:?}");
    }
}

/// `cargo test --release --lib watch::sampling_tests -- --ignored --nocapture`
#[test]
#[ignore = "a minute in release: cargo test --release --lib watch::sampling_tests -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "it is run for its figures")]
fn over_many_repetitions_bias_is_below_two_tenths_of_a_point_and_coverage_between_93_and_97() {
    for way in WAYS {
        let figures = measure(way, 1_000, 3_000, 6);
        println!("{way:?}: {figures:?}");
        assert!(figures.bias.abs() <= 0.002, "{way:?}: {figures:?}");
        assert!((0.93..=0.97).contains(&figures.coverage), "{way:?}: {figures:?}");
        assert!(figures.plain_bias.abs() > 0.2, "{way:?}: {figures:?}");
    }
}
