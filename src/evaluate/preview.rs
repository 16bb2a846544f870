//! What an evaluator would do to some traces, before it does: how many it can score, why not the others, and for a
//! judge what it would ask for. Nothing is stored and no model is asked. Where the traces are a sample, every count is an
//! estimate of what it is over all.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use serde::Serialize;

use super::definition::EvaluatorDefinition;
use super::judge::{Judge, Prepared};
use super::kinds::{Behaviour, Finding};
use crate::domain::evaluation::Outcome;
use crate::domain::ids::TraceId;
use crate::domain::trace::Trace;

/// Verdicts that are shown of each evaluator.
const MOST_SAMPLES: usize = 3;
/// Different reasons that are counted apart; a hostile trace may make up new ones.
const MOST_REASONS: usize = 20;
/// Bytes of a prompt that are a token, roughly, in English.
const BYTES_PER_TOKEN: f64 = 4.0;
/// Tokens of an answer of one sentence and a verdict, roughly.
const ANSWER_TOKENS: f64 = 80.0;

/// A number of traces; a trace of a sample counts for as many as it stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize)]
#[serde(into = "u64")]
pub struct Count(pub f64);

/// To the nearest whole number.
impl From<Count> for u64 {
    fn from(count: Count) -> Self {
        count.0.round() as Self
    }
}

impl AddAssign<f64> for Count {
    fn add_assign(&mut self, weight: f64) {
        self.0 += weight;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        u64::from(*self).fmt(formatter)
    }
}

/// What one evaluator would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The evaluator.
    pub evaluator: String,
    /// Its kind.
    pub kind: &'static str,
    /// Traces that were looked at.
    pub traces: Count,
    /// Traces that it scores; of a judge, those that it could be asked about, as of a service.
    pub scored: Count,
    /// Those of them that fail; absent for a judge or service, which is not asked.
    pub failing: Option<Count>,
    /// Why the others have no score: outcome, then reason, then traces.
    pub unscored: BTreeMap<&'static str, BTreeMap<String, Count>>,
    /// Some verdicts, failing ones first.
    pub samples: Vec<Sample>,
    /// What a judge would ask for.
    pub questions: Option<Questions>,
}

/// One verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// The trace.
    pub trace_id: TraceId,
    /// The label.
    pub label: String,
    /// Why.
    pub explanation: String,
    /// The score.
    pub value: f64,
}

/// Questions to a judge model, as many as sampling would let through.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Questions {
    /// Key of the judge model under `[judge.models]`.
    pub model: String,
    /// Calls expected for these traces: the sum of the probabilities with which each is judged.
    pub calls: f64,
    /// Prompt tokens expected in all, estimated from bytes.
    pub input_tokens: f64,
    /// Answer tokens expected in all, estimated at one sentence a verdict.
    pub output_tokens: f64,
}

impl Preview {
    /// Before any trace.
    #[must_use]
    pub fn new(definition: &EvaluatorDefinition) -> Self {
        let questions = match &definition.behaviour {
            Behaviour::Judge(judge) => Some(Questions { model: judge.model.clone(), ..Questions::default() }),
            Behaviour::Rule(_) | Behaviour::Service(_) => None,
        };
        Self {
            evaluator: definition.name.clone(),
            kind: definition.kind.name,
            traces: Count::default(),
            scored: Count::default(),
            failing: matches!(definition.behaviour, Behaviour::Rule(_)).then(Count::default),
            unscored: BTreeMap::new(),
            samples: Vec::new(),
            questions,
        }
    }

    /// Looks at one trace, which stands for `weight` traces and would be judged with this probability.
    pub fn add(&mut self, definition: &EvaluatorDefinition, trace: &Trace, probability: f64, weight: f64) {
        self.traces += weight;
        match (definition.inapplicable(trace), &definition.behaviour) {
            (Some(finding), _) => self.found(trace, finding, weight),
            (None, Behaviour::Rule(rule)) => self.found(trace, rule.check(trace), weight),
            (None, Behaviour::Judge(judge)) => self.asked(trace, judge, probability, weight),
            (None, Behaviour::Service(_)) => self.scored += weight,
        }
    }

    fn found(&mut self, trace: &Trace, finding: Finding, weight: f64) {
        match finding {
            Finding::Scored { value, label, explanation, .. } => {
                self.scored += weight;
                if let Some(failing) = self.failing.as_mut().filter(|_| value < 0.5) {
                    *failing += weight;
                }
                self.keep(Sample { trace_id: trace.trace_id, label, explanation, value });
            }
            Finding::NotApplicable(reason) => self.unscored(Outcome::NotApplicable, reason, weight),
            Finding::NotEvaluable(missing) => self.unscored(Outcome::NotEvaluable, missing, weight),
        }
    }

    fn asked(&mut self, trace: &Trace, judge: &Judge, probability: f64, weight: f64) {
        match judge.prepare(trace) {
            Ok(prepared) => {
                self.scored += weight;
                if let Some(questions) = &mut self.questions {
                    questions.add(&prepared, probability * weight);
                }
            }
            Err(finding) => self.found(trace, finding, weight),
        }
    }

    fn unscored(&mut self, outcome: Outcome, reason: String, weight: f64) {
        let reasons = self.unscored.entry(outcome.as_str()).or_default();
        let is_known = reasons.len() < MOST_REASONS || reasons.contains_key(&reason);
        *reasons.entry(if is_known { reason } else { "other reasons".to_owned() }).or_default() += weight;
    }

    fn keep(&mut self, sample: Sample) {
        let place = self.samples.partition_point(|kept| kept.value <= sample.value);
        self.samples.insert(place, sample);
        self.samples.truncate(MOST_SAMPLES);
    }
}

impl Questions {
    fn add(&mut self, prepared: &Prepared<'_>, calls: f64) {
        let request = prepared.render("0000000000000000");
        self.calls += calls;
        self.input_tokens += calls * (request.system.len() + request.user.len()) as f64 / BYTES_PER_TOKEN;
        self.output_tokens += calls * ANSWER_TOKENS;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cases::trace_of;
    use super::super::definition::JudgeModels;
    use super::super::run::Evaluators;
    use super::*;

    fn preview(evaluator: &str, runs: &[serde_json::Value]) -> Preview {
        let evaluators = Evaluators::load(None, JudgeModels::new()).unwrap();
        let definition = evaluators.get(evaluator).unwrap();
        let mut preview = Preview::new(definition);
        for run in runs {
            preview.add(definition, &trace_of(&serde_json::from_value(run.clone()).unwrap()), 0.25, 1.0);
        }
        preview
    }

    #[test]
    fn a_rule_says_what_it_scores_and_why_it_does_not_score_the_rest() {
        let call = |times: usize| json!({"steps": [{"tool": "a", "arguments": {}, "result": "x", "times": times}]});
        let found = preview("loop", &[call(1), call(5), json!({}), json!({})]);
        assert_eq!((found.traces, found.scored, found.failing), (Count(4.0), Count(2.0), Some(Count(1.0))));
        assert_eq!(found.unscored["not_applicable"], [("no tool calls".to_owned(), Count(2.0))].into());
        assert_eq!(found.samples.iter().map(|sample| &*sample.label).collect::<Vec<_>>(), ["fail", "pass"]);
        assert_eq!(found.questions, None);
    }

    #[test]
    fn a_judge_says_how_many_calls_sampling_lets_through_and_how_long_they_are() {
        let whole = json!({"input": "q", "output": "a", "steps": [{"tool": "t", "result": "data"}]});
        let found = preview("groundedness", &[whole.clone(), whole, json!({"input": "q"})]);
        let questions = found.questions.unwrap();
        assert_eq!((found.scored, found.failing, questions.calls), (Count(2.0), None, 0.5));
        assert!(questions.input_tokens > 100.0 && questions.output_tokens == 40.0, "{questions:?}");
        assert_eq!(found.unscored["not_evaluable"].values().collect::<Vec<_>>(), [&Count(1.0)]);
    }

    #[test]
    fn a_trace_of_a_sample_counts_for_as_many_as_it_stands_for() {
        let evaluators = Evaluators::load(None, JudgeModels::new()).unwrap();
        let run = |times: usize| json!({"input": "q", "output": "a", "steps": [{"tool": "a", "arguments": {}, "result": "x", "times": times}]});
        let preview = |evaluator: &str| {
            let definition = evaluators.get(evaluator).unwrap();
            let mut preview = Preview::new(definition);
            for (times, weight) in [(5, 1.0), (1, 20.4), (1, 20.4)] {
                preview.add(definition, &trace_of(&serde_json::from_value(run(times)).unwrap()), 0.5, weight);
            }
            preview
        };
        let json = serde_json::to_value(preview("loop")).unwrap();
        assert_eq!([&json["traces"], &json["scored"], &json["failing"]], [42, 42, 1]);
        assert_eq!(preview("groundedness").questions.unwrap().calls, 20.9);
    }

    #[test]
    fn made_up_reasons_do_not_pile_up() {
        let mut preview = preview("loop", &[]);
        (0..100).for_each(|number| preview.unscored(Outcome::NotEvaluable, number.to_string(), 1.0));
        assert!(preview.unscored["not_evaluable"].len() <= MOST_REASONS + 1);
    }
}
