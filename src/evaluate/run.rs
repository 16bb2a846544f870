//! The one code path of offline and online evaluation.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::definition::{EvaluatorDefinition, EvaluatorFolder, JudgeModels, load_directory};
use super::judge::{Judge, Prepared, Verdict};
use super::kinds::{Behaviour, Finding};
use super::measure::measure;
use super::mistake::InvalidEvaluators;
use super::sampling::{SamplingDecision, SamplingPolicy, decide};
use super::service::{Service, ServiceScore};
use super::shipped::shipped;
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::judge::JudgeModelIdentity;
use crate::domain::measurement::{Measurement, NOT_EVALUABLE, SeriesKind, TraceRecord, Value};
use crate::domain::trace::Trace;

/// Bytes of a service, conversation or segment that are kept, as the store keeps of what it is searched by.
const LONGEST_NAME: usize = 512;
/// Models of one run that name its segment.
const MOST_MODELS: usize = 16;

/// Evaluators that are loaded and checked, sorted by name.
#[derive(Debug)]
pub struct Evaluators {
    definitions: Vec<EvaluatorDefinition>,
    models: JudgeModels,
}

impl Evaluators {
    /// The shipped evaluators and those of a directory, which add to them or replace them by name.
    ///
    /// # Errors
    /// Every mistake in every file, of the shipped ones too.
    pub fn load(directory: Option<&Path>, models: JudgeModels) -> Result<Self, InvalidEvaluators> {
        let own = directory.map(load_directory).transpose()?.unwrap_or_default();
        let folders: BTreeMap<String, EvaluatorFolder> =
            shipped().into_iter().chain(own).map(|folder| (folder.name.clone(), folder)).collect();
        Self::from_folders(folders.into_values(), models)
    }

    /// Evaluators from folders that are read already.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn from_folders(
        folders: impl IntoIterator<Item = EvaluatorFolder>,
        models: JudgeModels,
    ) -> Result<Self, InvalidEvaluators> {
        let (mut definitions, mut mistakes) = (Vec::new(), Vec::new());
        for folder in folders {
            match EvaluatorDefinition::parse(&folder, &models) {
                Ok(definition) => definitions.push(definition),
                Err(wrong) => mistakes.extend(wrong),
            }
        }
        definitions.sort_by(|left, right| left.name.cmp(&right.name));
        if mistakes.is_empty() { Ok(Self { definitions, models }) } else { Err(InvalidEvaluators(mistakes)) }
    }

    /// Keeps only the evaluators of these names.
    ///
    /// # Errors
    /// The names that no evaluator has.
    pub fn only(mut self, names: &[String]) -> Result<Self, Vec<String>> {
        let unknown: Vec<String> = names.iter().filter(|name| self.get(name).is_none()).cloned().collect();
        self.definitions.retain(|definition| names.contains(&definition.name));
        if unknown.is_empty() { Ok(self) } else { Err(unknown) }
    }

    /// Leaves out the evaluators of these names.
    ///
    /// # Errors
    /// The names that no evaluator has.
    pub fn without(mut self, names: &[String]) -> Result<Self, Vec<String>> {
        let unknown: Vec<String> = names.iter().filter(|name| self.get(name).is_none()).cloned().collect();
        self.definitions.retain(|definition| !names.contains(&definition.name));
        if unknown.is_empty() { Ok(self) } else { Err(unknown) }
    }

    /// Every evaluator, sorted by name.
    #[must_use]
    pub fn definitions(&self) -> &[EvaluatorDefinition] {
        &self.definitions
    }

    /// The evaluator of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&EvaluatorDefinition> {
        let index = self.definitions.binary_search_by(|definition| definition.name.as_str().cmp(name)).ok()?;
        self.definitions.get(index)
    }

    /// What of a configured judge model changes its verdicts.
    #[must_use]
    pub fn model(&self, key: &str) -> Option<&JudgeModelIdentity> {
        self.models.get(key)
    }

    /// The judge of a name, unless its revision is another by now.
    #[must_use]
    pub fn judge(&self, evaluator: &str, revision: &str) -> Option<(&EvaluatorDefinition, &Judge)> {
        let definition = self.get(evaluator).filter(|definition| definition.revision == revision)?;
        match &definition.behaviour {
            Behaviour::Judge(judge) => Some((definition, judge)),
            Behaviour::Rule(_) | Behaviour::Service(_) => None,
        }
    }

    /// The service of an evaluator, unless the evaluator has meanwhile changed or gone.
    #[must_use]
    pub fn service(&self, evaluator: &str, revision: &str) -> Option<(&EvaluatorDefinition, &Service)> {
        let definition = self.get(evaluator).filter(|definition| definition.revision == revision)?;
        match &definition.behaviour {
            Behaviour::Service(service) => Some((definition, service)),
            Behaviour::Rule(_) | Behaviour::Judge(_) => None,
        }
    }
}

/// A question to a user's own service that is still to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceTask {
    /// The evaluator's name.
    pub evaluator: String,
    /// Its revision when the trace was evaluated.
    pub revision: String,
    /// Probability with which it is asked about this trace.
    pub probability: f64,
}

/// A judgment that is still to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeTask {
    /// The evaluator's name.
    pub evaluator: String,
    /// Its revision when the trace was evaluated.
    pub revision: String,
    /// Who makes it: a judge model's name in the settings.
    pub lane: String,
    /// Probability with which this trace is judged.
    pub probability: f64,
}

/// What is known of a trace once every rule has run.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluatedTrace {
    /// A row for every evaluator but those in `judge` and `services`, sorted by name.
    pub evaluations: Vec<Evaluation>,
    /// Judgments still to be made, sorted by name.
    pub judge: Vec<JudgeTask>,
    /// Services still to be asked, sorted by name.
    pub services: Vec<ServiceTask>,
    /// What statistics read.
    pub record: TraceRecord,
    /// Whether the trace is judged and its body kept.
    pub decision: SamplingDecision,
}

/// Measures a trace, checks it by every rule, and decides which judges see it.
#[must_use]
pub fn evaluate(trace: &Trace, evaluators: &Evaluators, policy: &SamplingPolicy) -> EvaluatedTrace {
    let mut evaluations = rule_evaluations(trace, evaluators);
    let failed_rule = evaluations.iter().any(|(definition, row)| definition.flag && row.is_failing());
    let decision = decide(trace, failed_rule, policy);
    let mut measurements = measure(trace);
    measurements.extend(evaluations.iter().filter_map(|(_, row)| score_measurement(row, 1.0)));

    let mut tasks = Vec::new();
    for (definition, judge) in judges(evaluators) {
        match judge_plan(trace, definition, judge, evaluators, &decision) {
            Plan::Row(row) => evaluations.push((definition, row)),
            Plan::Task(task) => tasks.push(task),
        }
    }
    let mut services = Vec::new();
    for definition in evaluators.definitions.iter().filter(|it| matches!(it.behaviour, Behaviour::Service(_))) {
        match service_plan(trace, definition, &decision) {
            Plan::Task(task) => services.push(task),
            Plan::Row(row) => evaluations.push((definition, row)),
        }
    }
    measurements.extend(not_evaluable(&evaluations, evaluators));
    evaluations.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
    EvaluatedTrace {
        evaluations: evaluations.into_iter().map(|(_, row)| row).collect(),
        judge: tasks,
        services,
        record: record(trace, measurements, &decision),
        decision,
    }
}

fn rule_evaluations<'a>(trace: &Trace, evaluators: &'a Evaluators) -> Vec<(&'a EvaluatorDefinition, Evaluation)> {
    let evaluation = |definition: &'a EvaluatorDefinition| match &definition.behaviour {
        Behaviour::Rule(rule) => {
            let finding = definition.inapplicable(trace).unwrap_or_else(|| rule.check(trace));
            Some((definition, from_finding(trace, definition, finding)))
        }
        Behaviour::Judge(_) | Behaviour::Service(_) => None,
    };
    evaluators.definitions.iter().filter_map(evaluation).collect()
}

/// Which evaluators lack what they need in this run; a judge without a model says nothing of the run.
fn not_evaluable(evaluations: &[(&EvaluatorDefinition, Evaluation)], evaluators: &Evaluators) -> Option<Measurement> {
    let has_model = |definition: &EvaluatorDefinition| match &definition.behaviour {
        Behaviour::Judge(judge) => evaluators.models.contains_key(&judge.model),
        Behaviour::Rule(_) | Behaviour::Service(_) => true,
    };
    let lacking = evaluations.iter().filter(|(of, row)| row.outcome == Outcome::NotEvaluable && has_model(of));
    let counts: BTreeMap<String, u32> = lacking.map(|(_, row)| (row.evaluator.clone(), 1)).collect();
    (!counts.is_empty()).then(|| Measurement {
        series: NOT_EVALUABLE.to_owned(),
        kind: SeriesKind::Categorical,
        value: Value::Counts(counts),
        probability: 1.0,
        revision: None,
    })
}

fn judges(evaluators: &Evaluators) -> impl Iterator<Item = (&EvaluatorDefinition, &Judge)> {
    evaluators.definitions.iter().filter_map(|definition| match &definition.behaviour {
        Behaviour::Judge(judge) => Some((definition, judge.as_ref())),
        Behaviour::Rule(_) | Behaviour::Service(_) => None,
    })
}

enum Plan<T> {
    Row(Evaluation),
    Task(T),
}

fn judge_plan(
    trace: &Trace,
    definition: &EvaluatorDefinition,
    judge: &Judge,
    evaluators: &Evaluators,
    decision: &SamplingDecision,
) -> Plan<JudgeTask> {
    let row = |outcome, explanation| Plan::Row(unscored(trace, definition, outcome, explanation));
    if let Some(finding) = definition.inapplicable(trace).or_else(|| judge.prepare(trace).err()) {
        return Plan::Row(from_finding(trace, definition, finding));
    }
    if !evaluators.models.contains_key(&judge.model) {
        let explanation = format!("no judge model is configured ([judge.models.{}])", judge.model);
        return row(Outcome::NotEvaluable, explanation);
    }
    if !decision.sampled {
        let explanation = format!("not sampled for judging (probability {})", decision.probability);
        return row(Outcome::SampledOut, explanation);
    }
    Plan::Task(JudgeTask {
        evaluator: definition.name.clone(),
        revision: definition.revision.clone(),
        lane: judge.model.clone(),
        probability: decision.probability,
    })
}

/// Asks a service about a trace that sampling chose, else says in a row why not.
fn service_plan(
    trace: &Trace,
    definition: &EvaluatorDefinition,
    &SamplingDecision { sampled, probability, .. }: &SamplingDecision,
) -> Plan<ServiceTask> {
    match definition.inapplicable(trace) {
        Some(finding) => Plan::Row(from_finding(trace, definition, finding)),
        None if !sampled => {
            let explanation = format!("not sampled (probability {probability})");
            Plan::Row(unscored(trace, definition, Outcome::SampledOut, explanation))
        }
        None => Plan::Task(ServiceTask {
            evaluator: definition.name.clone(),
            revision: definition.revision.clone(),
            probability,
        }),
    }
}

/// The row of what a service said.
#[must_use]
pub fn answered(trace: &Trace, definition: &EvaluatorDefinition, score: ServiceScore) -> Evaluation {
    Evaluation {
        value: Some(score.value),
        label: Some(score.label),
        ..unscored(trace, definition, Outcome::Scored, score.explanation)
    }
}

fn from_finding(trace: &Trace, definition: &EvaluatorDefinition, finding: Finding) -> Evaluation {
    match finding {
        Finding::Scored { value, label, explanation, span } => Evaluation {
            span_id: span.unwrap_or(trace.root_span_id),
            value: Some(value),
            label: Some(label),
            ..unscored(trace, definition, Outcome::Scored, explanation)
        },
        Finding::NotApplicable(reason) => unscored(trace, definition, Outcome::NotApplicable, reason),
        Finding::NotEvaluable(missing) => {
            unscored(trace, definition, Outcome::NotEvaluable, format!("missing: {missing}"))
        }
    }
}

/// A row without a score, for example of a judge that failed or whose budget was spent.
#[must_use]
pub fn unscored(trace: &Trace, definition: &EvaluatorDefinition, outcome: Outcome, explanation: String) -> Evaluation {
    Evaluation {
        trace_id: trace.trace_id,
        span_id: trace.root_span_id,
        evaluator: definition.name.clone(),
        revision: definition.revision.clone(),
        annotator_kind: definition.annotator_kind(),
        outcome,
        value: None,
        label: None,
        explanation: Some(explanation),
        truncated: false,
        split: false,
    }
}

/// The row of a verdict; a cut input is marked, and said in the explanation.
#[must_use]
pub fn judged(
    trace: &Trace,
    definition: &EvaluatorDefinition,
    prepared: &Prepared<'_>,
    verdict: Verdict,
) -> Evaluation {
    let mark = if prepared.is_truncated() { " (truncated: the judge saw a shortened input)" } else { "" };
    Evaluation {
        value: Some(if verdict.is_yes { 1.0 } else { 0.0 }),
        label: Some(if verdict.is_yes { "yes" } else { "no" }.to_owned()),
        truncated: prepared.is_truncated(),
        ..unscored(trace, definition, Outcome::Scored, format!("{}{mark}", verdict.reason))
    }
}

/// The measurement of a score in the evaluator's series; `None` when there is no score.
#[must_use]
pub fn score_measurement(evaluation: &Evaluation, probability: f64) -> Option<Measurement> {
    let value = evaluation.value.filter(|_| evaluation.outcome == Outcome::Scored)?;
    Some(Measurement {
        series: evaluation.evaluator.clone(),
        kind: SeriesKind::Boolean,
        value: Value::Boolean(value >= 0.5),
        probability,
        revision: Some(evaluation.revision.clone()),
    })
}

fn record(trace: &Trace, measurements: Vec<Measurement>, decision: &SamplingDecision) -> TraceRecord {
    TraceRecord {
        trace_id: trace.trace_id,
        conversation: trace.conversation_id.as_deref().map_or_else(|| trace.trace_id.to_string(), name),
        service: name(&trace.service),
        segments: segments(trace),
        ended_at: trace.ended_at,
        upstream_probability: decision.upstream.as_ref().map(|upstream| upstream.probability),
        measurements,
        notes: Vec::new(),
    }
}

/// A name as statistics and the store keep it: nothing that is longer than [`LONGEST_NAME`] names anything.
fn name(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_NAME)].to_owned()
}

/// The configured attributes, and the run's own dimensions, which win where names meet.
fn segments(trace: &Trace) -> BTreeMap<String, String> {
    let models = trace.models().into_iter().take(MOST_MODELS).collect::<Vec<_>>().join("+");
    let own = [
        ("model", (!models.is_empty()).then_some(models)),
        ("release", trace.release.clone()),
        ("environment", trace.environment.clone()),
        ("agent", trace.agent.clone()),
        ("agent_version", trace.agent_version.clone()),
    ];
    let mut segments = trace.attributes.clone();
    segments.extend(own.into_iter().filter_map(|(dimension, value)| Some((dimension.to_owned(), value?))));
    segments.into_iter().map(|(dimension, value)| (dimension, name(&value))).collect()
}

#[cfg(test)]
mod tests;
