//! Labelled examples: a run described in one line of JSON, and what the evaluator must say about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::EvaluatorDefinition;
use super::kinds::{Behaviour, Finding};
use crate::domain::evaluation::Outcome;
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::trace::{
    ContainedError, DetachedAgent, ModelCall, ModelErrorClass, Propagation, Recursion, Retrieval, Step, Structure,
    ToolCall, ToolStatus, Trace,
};

/// One labelled example of `cases.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A sentence about the behaviour.
    pub name: String,
    /// The run.
    pub trace: TraceDescription,
    /// What the evaluator must say.
    pub expect: Expectation,
    /// Of a judge: whether it is a control question, whose right answer is NO whatever its texts ask for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control: bool,
}

/// What an evaluator must say about a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The outcome.
    #[serde(default = "scored")]
    pub outcome: Outcome,
    /// The label of a score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Words that the explanation must hold.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub explanation: String,
}

fn scored() -> Outcome {
    Outcome::Scored
}

/// A run in short. What is left out was not recorded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceDescription {
    /// What the user asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The final answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The system instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The error the run ended in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Wall time; a second when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// False when the timestamps are invented; true when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_is_real: Option<bool>,
    /// What the agent did.
    pub steps: Vec<StepDescription>,
    /// What the tree of spans tells besides the steps.
    #[serde(skip_serializing_if = "StructureDescription::is_default")]
    pub structure: StructureDescription,
}

/// One step in short: a `tool`, a `model` or a `retrieval`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepDescription {
    /// Name of the tool that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Name of the model that was called; blank when the span does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Query of the retrieval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrieval: Option<String>,
    /// How often the step happened in a row; once when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<usize>,
    /// The tool's arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// The tool's result: a text, or JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Whether the tool's result holds no data; no when left out beside a result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<bool>,
    /// How the tool call ended; success when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ToolStatus>,
    /// The retrieved documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<Vec<String>>,
    /// Why the model stopped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finish_reasons: Vec<String>,
    /// Prompt tokens of the model call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Completion tokens of the model call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Reasoning tokens of the model call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Price of the model call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// New text of the user, read by the model call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_text: Option<String>,
    /// Text that the model wrote to the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// The class of the error that the model call failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_class: Option<ModelErrorClass>,
}

/// What the tree of spans tells besides the steps, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StructureDescription {
    /// Number of agent spans.
    pub agents: usize,
    /// Most agents inside of one another.
    pub nesting: usize,
    /// How often an agent runs inside itself.
    pub self_nesting: usize,
    /// Agent spans that name a parent which never arrived.
    pub lost_parents: usize,
    /// Agent spans that are further roots.
    pub further_roots: usize,
    /// Failed spans whose parent reports no error.
    pub contained_errors: Vec<ContainedErrorDescription>,
}

/// A failed span below a parent that reports no error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainedErrorDescription {
    /// The step that failed, from 1; another span when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// The step below which it failed, from 1; the root when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<usize>,
    /// What failed.
    pub name: String,
    /// The error.
    pub error: String,
    /// Whether the same succeeded afterwards.
    pub is_retried: bool,
}

impl StructureDescription {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn structure(&self) -> Structure {
        let detached =
            |missing_parent| DetachedAgent { agent: "agent".to_owned(), span_id: span_id(0), missing_parent };
        let lost = std::iter::repeat_n(detached(Some(span_id(LAST_SPAN))), self.lost_parents);
        let roots = std::iter::repeat_n(detached(None), self.further_roots);
        let recursion = Recursion { agent: "agent".to_owned(), depth: self.self_nesting, span_id: span_id(LAST_SPAN) };
        Structure {
            agents: self.agents,
            nesting: self.nesting,
            recursion: (self.self_nesting > 1).then_some(recursion),
            detached_agents: lost.chain(roots).collect(),
            contained_errors: self.contained_errors.iter().map(ContainedErrorDescription::contained_error).collect(),
            propagation: Propagation { roots: 1 + self.further_roots, orphans: self.lost_parents, detached_tools: 0 },
        }
    }
}

impl ContainedErrorDescription {
    fn contained_error(&self) -> ContainedError {
        ContainedError {
            span_id: span_id(self.step.unwrap_or(LAST_SPAN)),
            parent_span_id: span_id(self.below.unwrap_or(0)),
            name: self.name.clone(),
            error: self.error.clone(),
            is_retried: self.is_retried,
        }
    }
}

/// The number of a span that is no step.
const LAST_SPAN: usize = u32::MAX as usize;

/// A line of `cases.jsonl` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseProblem {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

/// Reads `cases.jsonl`; blank lines are skipped.
///
/// # Errors
/// Every line that is no case.
pub fn parse_cases(text: &str) -> Result<Vec<Case>, Vec<CaseProblem>> {
    let (mut cases, mut problems) = (Vec::new(), Vec::new());
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        match parse_case(text) {
            Ok(case) => cases.push(case),
            Err(problem) => problems.push(CaseProblem { line, problem }),
        }
    }
    if problems.is_empty() { Ok(cases) } else { Err(problems) }
}

fn parse_case(text: &str) -> Result<Case, String> {
    let case: Case = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let is_one_of = |step: &StepDescription| {
        [&step.tool, &step.model, &step.retrieval].into_iter().filter(|name| name.is_some()).count() == 1
    };
    if case.control && case.expect.label.as_deref() != Some("no") {
        return Err("a control case expects the label no".to_owned());
    }
    match case.trace.steps.iter().position(|step| !is_one_of(step)) {
        Some(index) => Err(format!("step {} must be one of tool, model and retrieval", index + 1)),
        None => Ok(case),
    }
}

/// Runs a rule's case. A judge's case is prepared and rendered, as far as it goes without a model.
///
/// # Errors
/// What was expected and what was found.
pub fn check_case(definition: &EvaluatorDefinition, case: &Case) -> Result<(), String> {
    let trace = trace_of(&case.trace);
    let found = match (definition.inapplicable(&trace), &definition.behaviour) {
        (Some(finding), _) => finding,
        (None, Behaviour::Rule(rule)) => rule.check(&trace),
        (None, Behaviour::Judge(judge)) => match judge.prepare(&trace) {
            Ok(_) if case.expect.outcome == Outcome::Scored => return Ok(()),
            Ok(_) => return Err(format!("expected {}, found a case to judge", case.expect.outcome.as_str())),
            Err(finding) => finding,
        },
        // What a service will say is not known here; only whether it would be asked.
        (None, Behaviour::Service(_)) if case.expect.outcome == Outcome::Scored => return Ok(()),
        (None, Behaviour::Service(_)) => {
            return Err(format!("expected {}, found a case to ask about", case.expect.outcome.as_str()));
        }
    };
    let (outcome, label, explanation) = match &found {
        Finding::Scored { label, explanation, .. } => (Outcome::Scored, Some(label), explanation),
        Finding::NotApplicable(reason) => (Outcome::NotApplicable, None, reason),
        Finding::NotEvaluable(missing) => (Outcome::NotEvaluable, None, missing),
    };
    let expect = &case.expect;
    let is_met =
        outcome == expect.outcome && label == expect.label.as_ref() && explanation.contains(&expect.explanation);
    if is_met { Ok(()) } else { Err(format!("expected {expect:?}, found {found:?}")) }
}

/// The trace that a description stands for, with ids and times made up.
#[must_use]
pub fn trace_of(description: &TraceDescription) -> Trace {
    let mut steps = Vec::new();
    for step in &description.steps {
        for _ in 0..step.times.unwrap_or(1) {
            steps.push(step_of(step, &steps));
        }
    }
    let started_at = Timestamp(0);
    Trace {
        trace_id: made_up_trace_id(),
        root_span_id: span_id(0),
        convention: "case",
        service: "case".to_owned(),
        release: None,
        environment: None,
        agent: None,
        agent_version: None,
        conversation_id: None,
        user_id: None,
        attributes: Default::default(),
        started_at,
        ended_at: started_at.plus(Duration::try_from_secs_f64(description.seconds.unwrap_or(1.0)).unwrap_or_default()),
        clock_is_real: description.clock_is_real.unwrap_or(true),
        error: description.error.clone(),
        span_count: steps.len() + 1,
        steps,
        input: description.input.clone(),
        output: description.output.clone(),
        system_instructions: description.system.clone(),
        decision: None,
        failed_spans: 0,
        upstream_probability: None,
        missing: Vec::new(),
        structure: description.structure.structure(),
    }
}

fn step_of(step: &StepDescription, earlier: &[Step]) -> Step {
    let span_id = span_id(earlier.len() + 1);
    let at = Timestamp(i64::try_from(earlier.len()).unwrap_or(i64::MAX));
    if let Some(name) = &step.tool {
        return Step::Tool(tool_call(step, name, span_id, at, earlier));
    }
    if let Some(query) = &step.retrieval {
        return Step::Retrieval(Retrieval {
            span_id,
            started_at: at,
            ended_at: at,
            query: Some(query.clone()),
            documents: step.documents.clone().unwrap_or_default(),
            documents_recorded: step.documents.is_some(),
        });
    }
    Step::Model(ModelCall {
        span_id,
        started_at: at,
        ended_at: at,
        model: step.model.clone().filter(|name| !name.is_empty()),
        input_tokens: step.input_tokens,
        output_tokens: step.output_tokens,
        cached_tokens: None,
        reasoning_tokens: step.reasoning_tokens,
        cost_usd: step.cost_usd,
        finish_reasons: step.finish_reasons.clone(),
        error: step.error_class.map(|class| class.as_str().to_owned()),
        error_class: step.error_class,
        output_text: step.says.clone(),
        user_text: step.user_text.clone(),
    })
}

fn tool_call(step: &StepDescription, name: &str, span_id: SpanId, at: Timestamp, earlier: &[Step]) -> ToolCall {
    let arguments = step.arguments.as_ref().map(Value::to_string);
    let earlier_calls = earlier.iter().filter_map(|step| match step {
        Step::Tool(call) => Some(call),
        Step::Model(_) | Step::Retrieval(_) => None,
    });
    let is_same = |call: &ToolCall| arguments.is_some() && call.name == name && call.arguments == arguments;
    ToolCall {
        span_id,
        started_at: at,
        ended_at: at,
        name: name.to_owned(),
        repeat_of: earlier_calls.clone().position(is_same),
        arguments: arguments.clone(),
        result: step.result.as_ref().map(as_text),
        status: step.status.unwrap_or(ToolStatus::Success),
        error: None,
        result_empty: step.result.as_ref().map(|_| step.empty.unwrap_or(false)),
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[expect(clippy::expect_used, reason = "the ids below are constants or counted from one, and never zero")]
fn made_up_trace_id() -> TraceId {
    TraceId::from_bytes(&[1; 16]).expect("sixteen ones are a trace id")
}

#[expect(clippy::expect_used, reason = "the leading one makes every id valid")]
fn span_id(number: usize) -> SpanId {
    let number = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    SpanId::from_bytes(&[[1; 4], number].concat()).expect("eight bytes that begin with a one are a span id")
}

#[cfg(test)]
mod tests {
    use super::super::definition::JudgeModels;
    use super::super::shipped::shipped;
    use super::*;

    #[test]
    fn every_shipped_evaluator_meets_its_cases() {
        for folder in shipped() {
            let definition = EvaluatorDefinition::parse(&folder, &JudgeModels::new()).unwrap();
            assert!(definition.cases.len() >= 6, "{} has {} cases", definition.name, definition.cases.len());
            for case in &definition.cases {
                let checked = check_case(&definition, case);
                assert!(checked.is_ok(), "{}: {}: {}", definition.name, case.name, checked.unwrap_err());
            }
        }
    }

    #[test]
    fn an_unmet_expectation_says_what_was_expected_and_found() {
        let folder = shipped().into_iter().find(|folder| folder.name == "loop").unwrap();
        let definition = EvaluatorDefinition::parse(&folder, &JudgeModels::new()).unwrap();
        let case = parse_case(r#"{"name": "n", "trace": {}, "expect": {"label": "fail"}}"#).unwrap();
        let problem = check_case(&definition, &case).unwrap_err();
        assert!(
            problem.contains("expected Expectation { outcome: Scored") && problem.contains("NotApplicable"),
            "{problem}"
        );
    }

    #[test]
    fn every_wrong_line_is_named_with_its_number() {
        let text = "{\"name\": \"a\"}\n\n{\"name\": \"b\", \"trace\": {\"steps\": [{}]}, \"expect\": {}}\n{";
        let problems = parse_cases(text).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(problems[1].problem, "step 1 must be one of tool, model and retrieval");
    }
}
