use serde_json::json;

use super::*;
use crate::domain::evaluation::AnnotatorKind;
use crate::domain::judge::JudgeModelIdentity;
use crate::domain::trace::Step;
use crate::evaluate::cases::trace_of;
use crate::evaluate::judge::parse_verdict;
use crate::evaluate::sampling::SamplingReason;

fn models() -> JudgeModels {
    [("default".to_owned(), JudgeModelIdentity { model: "judge-1".to_owned(), parameters: BTreeMap::new() })].into()
}

fn evaluators(models: JudgeModels) -> Evaluators {
    Evaluators::load(None, models).unwrap()
}

fn trace(description: serde_json::Value) -> Trace {
    trace_of(&serde_json::from_value(description).unwrap())
}

/// A run that every rule and every judge can score.
fn healthy() -> Trace {
    trace(json!({
        "input": "What was in A7?", "output": "Two lamps.", "system": "Be brief.",
        "steps": [
            {"model": "m", "finish_reasons": ["tool_call"], "input_tokens": 9, "output_tokens": 3},
            {"tool": "get_order", "arguments": {"id": "A7"}, "result": "two lamps"},
            {"model": "m", "finish_reasons": ["stop"], "input_tokens": 19, "output_tokens": 5}
        ]
    }))
}

fn looping() -> Trace {
    trace(json!({"steps": [{"tool": "refund", "arguments": {"id": 7}, "result": "ok", "times": 4}]}))
}

fn rate(healthy_rate: f64) -> SamplingPolicy {
    SamplingPolicy { healthy_rate, ..SamplingPolicy::default() }
}

fn row<'a>(evaluated: &'a EvaluatedTrace, name: &str) -> &'a Evaluation {
    evaluated.evaluations.iter().find(|row| row.evaluator == name).unwrap()
}

/// Names with a row and names with a task, together.
fn covered(evaluated: &EvaluatedTrace) -> Vec<&str> {
    let rows = evaluated.evaluations.iter().map(|row| row.evaluator.as_str());
    let mut names: Vec<&str> = rows.chain(evaluated.judge.iter().map(|task| task.evaluator.as_str())).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_evaluator_has_a_row_or_a_task_whatever_the_trace() {
    let nothing = trace(json!({}));
    for evaluators in [evaluators(models()), evaluators(JudgeModels::new())] {
        let names: Vec<&str> = evaluators.definitions().iter().map(|definition| definition.name.as_str()).collect();
        for trace in [healthy(), looping(), nothing.clone()] {
            for policy in [rate(0.0), rate(1.0)] {
                let evaluated = evaluate(&trace, &evaluators, &policy);
                assert_eq!(covered(&evaluated), names);
                assert!(evaluated.evaluations.is_sorted_by_key(|row| row.evaluator.clone()));
                for row in &evaluated.evaluations {
                    assert_eq!(row.outcome == Outcome::Scored, row.value.is_some(), "{row:?}");
                    assert!(row.explanation.as_ref().is_some_and(|text| !text.is_empty()), "{row:?}");
                }
            }
        }
    }
}

#[test]
fn a_judge_without_its_inputs_names_the_first_missing_one_before_anything_else() {
    let evaluated = evaluate(&looping(), &evaluators(JudgeModels::new()), &rate(0.0));
    let row = row(&evaluated, "groundedness");
    assert_eq!(row.outcome, Outcome::NotEvaluable);
    assert_eq!(row.explanation.as_deref(), Some("missing: answer (gen_ai.output.messages)"));
    assert_eq!(row.annotator_kind, AnnotatorKind::Llm);
}

#[test]
fn a_judge_without_a_model_says_where_to_configure_one() {
    let evaluated = evaluate(&healthy(), &evaluators(JudgeModels::new()), &rate(1.0));
    let row = row(&evaluated, "groundedness");
    assert_eq!(row.outcome, Outcome::NotEvaluable);
    assert_eq!(row.explanation.as_deref(), Some("no judge model is configured ([judge.models.default])"));
    assert!(evaluated.judge.is_empty());
}

#[test]
fn sampling_decides_between_a_task_and_a_sampled_out_row() {
    let evaluators = evaluators(models());
    let out = evaluate(&healthy(), &evaluators, &rate(0.0));
    assert_eq!(row(&out, "policy_compliance").outcome, Outcome::SampledOut);
    assert!(out.judge.is_empty() && !out.decision.sampled);

    let planned = evaluate(&healthy(), &evaluators, &rate(1.0));
    let names: Vec<&str> = planned.judge.iter().map(|task| task.evaluator.as_str()).collect();
    let expected = ["groundedness", "instruction_following", "policy_compliance", "safety", "task_completion"];
    assert_eq!(names, expected, "nothing has failed, so unsupported_after_failure does not apply");
    assert_eq!(planned.judge[0].probability, 1.0);
    assert!(evaluators.judge(&planned.judge[0].evaluator, &planned.judge[0].revision).is_some());
}

#[test]
fn a_task_of_a_changed_evaluator_finds_no_judge() {
    let evaluators = evaluators(models());
    assert!(evaluators.judge("groundedness", "000000000000").is_none());
    assert!(evaluators.judge("loop", &evaluators.get("loop").unwrap().revision).is_none());
    assert!(evaluators.judge("gone", "000000000000").is_none());
}

#[test]
fn a_failed_rule_an_error_and_a_slow_run_are_always_sampled() {
    let evaluators = evaluators(JudgeModels::new());
    let reason = |trace: &Trace| evaluate(trace, &evaluators, &rate(0.0)).decision.reason;
    assert_eq!(reason(&looping()), SamplingReason::FailedRule);
    assert_eq!(reason(&Trace { error: Some("boom".to_owned()), ..healthy() }), SamplingReason::Error);
    assert_eq!(reason(&trace(json!({"seconds": 30}))), SamplingReason::Slow);
    assert_eq!(reason(&trace(json!({"seconds": 30, "clock_is_real": false}))), SamplingReason::Healthy);
    assert_eq!(reason(&healthy()), SamplingReason::Healthy);
}

#[test]
fn applies_when_keeps_rules_and_judges_from_other_traces_and_says_so() {
    let restricted = ["loop", "groundedness"].map(|name| {
        let mut folder = shipped().into_iter().find(|folder| folder.name == name).unwrap();
        let toml =
            folder.files["evaluator.toml"].replacen('[', "applies_when = 'trace.output.contains(\"lamps\")'\n\n[", 1);
        folder.files.insert("evaluator.toml".to_owned(), toml);
        folder
    });
    let evaluators = Evaluators::from_folders(restricted, models()).unwrap();
    let applicable = evaluate(&healthy(), &evaluators, &rate(1.0));
    assert_eq!(row(&applicable, "loop").outcome, Outcome::Scored);
    assert_eq!(applicable.judge.len(), 1);
    let other = evaluate(&Trace { output: Some("No.".to_owned()), ..healthy() }, &evaluators, &rate(1.0));
    for name in ["loop", "groundedness"] {
        assert_eq!(row(&other, name).outcome, Outcome::NotApplicable);
        assert_eq!(row(&other, name).explanation.as_deref(), Some("applies_when does not hold"));
    }
    let unanswered = evaluate(&Trace { output: None, ..healthy() }, &evaluators, &rate(1.0));
    assert_eq!(row(&unanswered, "loop").outcome, Outcome::NotEvaluable);
    assert_eq!(row(&unanswered, "loop").explanation.as_deref(), Some("missing: an answer to applies_when (output)"));
}

#[test]
fn a_failing_rule_that_does_not_flag_does_not_change_sampling() {
    let mut folder = shipped().into_iter().find(|folder| folder.name == "loop").unwrap();
    folder.files.insert("evaluator.toml".to_owned(), "kind = \"loop\"\ndescription = \"d\"\nflag = false".to_owned());
    let evaluators = Evaluators::from_folders([folder], JudgeModels::new()).unwrap();
    let evaluated = evaluate(&looping(), &evaluators, &rate(0.0));
    assert!(row(&evaluated, "loop").is_failing());
    assert_eq!(evaluated.decision.reason, SamplingReason::Healthy);
}

#[test]
fn the_record_holds_measurements_and_one_boolean_a_scored_rule() {
    let evaluated = evaluate(&looping(), &evaluators(models()), &rate(1.0));
    let value = |series: &str| evaluated.record.measurement(series).map(|measurement| measurement.value.clone());
    assert_eq!(value("loop"), Some(Value::Boolean(false)));
    assert_eq!(value("tool_outcome"), Some(Value::Boolean(true)));
    assert_eq!(value("tool_calls"), Some(Value::Number(4.0)));
    assert_eq!(value("finish_reason"), None, "a rule that is not applicable enters no average");
    assert!(evaluated.record.measurements.iter().all(|measurement| measurement.probability == 1.0));
    assert_eq!(evaluated.record.conversation, evaluated.record.trace_id.to_string());
}

#[test]
fn segments_are_the_run_s_own_dimensions_over_its_attributes() {
    let mut trace = healthy();
    trace.release = Some("1.2".to_owned());
    trace.attributes = [("tier".to_owned(), "gold".to_owned()), ("release".to_owned(), "spoofed".to_owned())].into();
    let evaluated = evaluate(&trace, &evaluators(JudgeModels::new()), &rate(0.0));
    let segments: Vec<(&str, &str)> =
        evaluated.record.segments.iter().map(|(dimension, value)| (dimension.as_str(), value.as_str())).collect();
    assert_eq!(segments, [("model", "m"), ("release", "1.2"), ("tier", "gold")]);
}

#[test]
fn the_score_points_to_the_span_that_decided_it() {
    let trace = looping();
    let evaluated = evaluate(&trace, &evaluators(JudgeModels::new()), &rate(0.0));
    assert_eq!(row(&evaluated, "loop").span_id, trace.tool_calls().nth(1).unwrap().span_id);
    assert_eq!(row(&evaluated, "tool_outcome").span_id, trace.root_span_id);
}

#[test]
fn a_verdict_becomes_a_row_and_a_measurement() {
    let evaluators = evaluators(models());
    let trace = healthy();
    let task = &evaluate(&trace, &evaluators, &rate(1.0)).judge[0];
    let (definition, judge) = evaluators.judge(&task.evaluator, &task.revision).unwrap();
    let prepared = judge.prepare(&trace).unwrap();
    let verdict = parse_verdict(r#"{"reason": "the data says two", "verdict": "NO"}"#, "").unwrap();
    let row = judged(&trace, definition, &prepared, verdict);
    assert_eq!((row.value, row.label.as_deref()), (Some(0.0), Some("no")));
    assert_eq!(row.explanation.as_deref(), Some("the data says two"));
    assert!(row.is_failing());
    let measurement = score_measurement(&row, 0.25).unwrap();
    assert_eq!((measurement.value, measurement.probability), (Value::Boolean(false), 0.25));
}

#[test]
fn a_verdict_on_a_cut_input_says_so() {
    let evaluators = evaluators(models());
    let trace = trace(json!({"output": "x", "steps": [{"tool": "t", "arguments": {}, "result": "y".repeat(99_000)}]}));
    let definition = evaluators.get("groundedness").unwrap();
    let Behaviour::Judge(judge) = &definition.behaviour else { panic!("it is a judge") };
    let verdict = Verdict { is_yes: true, reason: "fine".to_owned() };
    let row = judged(&trace, definition, &judge.prepare(&trace).unwrap(), verdict.clone());
    assert_eq!(row.explanation.as_deref(), Some("fine (truncated: the judge saw a shortened input)"));
    assert!(row.truncated);
    let row = judged(&healthy(), definition, &judge.prepare(&healthy()).unwrap(), verdict);
    assert!(!row.truncated);
}

#[test]
fn a_directory_adds_and_overrides_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for (name, least) in [("loop", 9), ("my_loop", 2)] {
        std::fs::create_dir(directory.path().join(name)).unwrap();
        let toml = format!("kind = \"loop\"\ndescription = \"d\"\n[loop]\nsame_arguments = {least}");
        std::fs::write(directory.path().join(name).join("evaluator.toml"), toml).unwrap();
    }
    let evaluators = Evaluators::load(Some(directory.path()), JudgeModels::new()).unwrap();
    assert_eq!(evaluators.definitions().len(), shipped().len() + 1);
    let evaluated = evaluate(&looping(), &evaluators, &rate(0.0));
    assert!(!row(&evaluated, "loop").is_failing());
    assert!(row(&evaluated, "my_loop").is_failing());
}

#[test]
fn mistakes_of_all_folders_come_together() {
    let broken = |name: &str| EvaluatorFolder {
        name: name.to_owned(),
        place: name.to_owned(),
        files: [("evaluator.toml".to_owned(), "kind = 1".to_owned())].into(),
    };
    let error = Evaluators::from_folders([broken("a"), broken("b")], JudgeModels::new()).unwrap_err();
    assert_eq!(error.0.len(), 2, "{error}");
}

#[test]
fn only_keeps_what_is_named_and_names_what_is_unknown() {
    let names = ["loop".to_owned(), "limits".to_owned()];
    let kept = evaluators(JudgeModels::new()).only(&names).unwrap();
    assert_eq!(kept.definitions().iter().map(|definition| &definition.name).collect::<Vec<_>>(), ["limits", "loop"]);
    let unknown = evaluators(JudgeModels::new()).only(&["lop".to_owned()]).unwrap_err();
    assert_eq!(unknown, ["lop"]);
}

#[test]
fn names_of_any_length_make_a_record_of_bounded_size() {
    let mut trace = healthy();
    let long = "é".repeat(1_000_000);
    trace.service.clone_from(&long);
    trace.conversation_id = Some(long.clone());
    trace.release = Some(long.clone());
    trace.attributes.insert("tier".to_owned(), long);
    let record = evaluate(&trace, &evaluators(models()), &rate(1.0)).record;
    let names = [&record.service, &record.conversation, &record.segments["release"], &record.segments["tier"]];
    assert!(names.iter().all(|name| name.len() == LONGEST_NAME), "cut where a letter ends");
    let mut calls = trace.steps.clone();
    for (number, step) in calls.iter_mut().enumerate() {
        if let Step::Model(call) = step {
            call.model = Some(format!("model-{number}"));
        }
    }
    trace.steps = std::iter::repeat_n(calls, 50).flatten().collect();
    assert_eq!(segments(&trace)["model"], "model-0+model-2");
}
