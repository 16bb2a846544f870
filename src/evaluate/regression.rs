//! A run that people have judged, as a case of its judge: what went wrong once is tried from then on.

use super::cases::{
    Case, ContainedErrorDescription, Expectation, StepDescription, StructureDescription, TraceDescription,
};
use crate::domain::evaluation::Outcome;
use crate::domain::trace::{ContainedError, ModelCall, Retrieval, Step, Structure, ToolCall, Trace};

/// The run as a case whose right answer is the person's.
#[must_use]
pub fn regression_case(trace: &Trace, passes: bool) -> Case {
    let id = trace.trace_id.to_string();
    let word = if passes { "passes" } else { "fails" };
    Case {
        name: format!("reviewed run {} {word}", &id[..8]),
        trace: describe(trace),
        expect: Expectation {
            outcome: Outcome::Scored,
            label: Some(if passes { "yes" } else { "no" }.to_owned()),
            explanation: String::new(),
        },
        control: false,
    }
}

/// What evaluators see of a run, in short; [`super::cases::trace_of`] is the way back.
fn describe(trace: &Trace) -> TraceDescription {
    TraceDescription {
        input: trace.input.clone(),
        output: trace.output.clone(),
        system: trace.system_instructions.clone(),
        error: trace.error.clone(),
        seconds: trace.latency_seconds(),
        clock_is_real: (!trace.clock_is_real).then_some(false),
        steps: trace.steps.iter().map(step).collect(),
        structure: structure(&trace.structure, &trace.steps),
    }
}

fn step(step: &Step) -> StepDescription {
    match step {
        Step::Model(call) => model_call(call),
        Step::Tool(call) => tool_call(call),
        Step::Retrieval(retrieval) => documents(retrieval),
    }
}

fn model_call(call: &ModelCall) -> StepDescription {
    StepDescription {
        model: Some(call.model.clone().unwrap_or_default()),
        finish_reasons: call.finish_reasons.clone(),
        input_tokens: call.input_tokens,
        output_tokens: call.output_tokens,
        reasoning_tokens: call.reasoning_tokens,
        cost_usd: call.cost_usd,
        user_text: call.user_text.clone(),
        says: call.output_text.clone(),
        error_class: call.error_class,
        ..StepDescription::default()
    }
}

fn tool_call(call: &ToolCall) -> StepDescription {
    let arguments = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| text.clone().into());
    StepDescription {
        tool: Some(call.name.clone()),
        arguments: call.arguments.as_ref().map(arguments),
        result: call.result.clone().map(Into::into),
        empty: call.result_empty,
        status: Some(call.status),
        ..StepDescription::default()
    }
}

fn documents(retrieval: &Retrieval) -> StepDescription {
    StepDescription {
        retrieval: Some(retrieval.query.clone().unwrap_or_default()),
        documents: retrieval.documents_recorded.then(|| retrieval.documents.clone()),
        ..StepDescription::default()
    }
}

fn structure(of: &Structure, steps: &[Step]) -> StructureDescription {
    let (lost, roots): (Vec<_>, Vec<_>) = of.detached_agents.iter().partition(|it| it.missing_parent.is_some());
    let place = |span_id| steps.iter().position(|step| step.span_id() == span_id).map(|index| index + 1);
    let contained = |error: &ContainedError| ContainedErrorDescription {
        step: place(error.span_id),
        below: place(error.parent_span_id),
        name: error.name.clone(),
        error: error.error.clone(),
        is_retried: error.is_retried,
    };
    StructureDescription {
        agents: of.agents,
        nesting: of.nesting,
        self_nesting: of.recursion.as_ref().map_or(0, |recursion| recursion.depth),
        lost_parents: lost.len(),
        further_roots: roots.len(),
        contained_errors: of.contained_errors.iter().map(contained).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{check_case, parse_cases, trace_of};
    use super::super::definition::{EvaluatorDefinition, JudgeModels};
    use super::super::kinds::{Behaviour, Finding};
    use super::super::shipped::shipped;
    use super::super::simulated::runs;
    use super::*;

    fn definitions() -> Vec<EvaluatorDefinition> {
        shipped().iter().map(|folder| EvaluatorDefinition::parse(folder, &JudgeModels::new()).unwrap()).collect()
    }

    fn outcome(finding: &Finding) -> (&'static str, Option<String>) {
        match finding {
            Finding::Scored { label, .. } => ("scored", Some(label.clone())),
            Finding::NotApplicable(_) => ("not_applicable", None),
            Finding::NotEvaluable(_) => ("not_evaluable", None),
        }
    }

    #[test]
    fn rules_say_of_a_case_what_they_say_of_the_run_that_it_was_made_of() {
        let definitions = definitions();
        for (trace, _) in runs("model_upgrade", 11).into_iter().take(150) {
            let line = serde_json::to_string(&regression_case(&trace, false)).unwrap();
            let case = parse_cases(&line).unwrap().remove(0);
            let again = trace_of(&case.trace);
            assert_eq!(trace.retrieved_data(), again.retrieved_data());
            for definition in &definitions {
                if let Behaviour::Rule(rule) = &definition.behaviour {
                    let (before, after) = (rule.check(&trace), rule.check(&again));
                    assert_eq!(outcome(&before), outcome(&after), "{}: {before:?} {after:?} {line}", definition.name);
                }
            }
        }
    }

    #[test]
    fn a_judge_can_be_asked_about_the_case_and_its_answer_is_the_persons() {
        let (trace, _) = runs("model_upgrade", 11).into_iter().find(|(trace, _)| trace.output.is_some()).unwrap();
        let case = regression_case(&trace, true);
        assert_eq!(case.expect.label.as_deref(), Some("yes"));
        let judge = definitions().into_iter().find(|it| it.name == "task_completion").unwrap();
        check_case(&judge, &case).unwrap();
    }
}
