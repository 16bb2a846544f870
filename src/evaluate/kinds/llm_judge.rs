//! A language model as judge: YES or NO and one sentence, on inputs the definition declares.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Behaviour, Built, Source, changed_from_default};
use crate::evaluate::judge::{Input, Judge, RULES, Template, TemplateProblem, estimated_tokens};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "a language model answers YES or NO with one sentence, on the inputs it declares";

/// The prompt's file in the evaluator's folder.
const PROMPT: &str = "prompt.md";
const WRITE_ONE: &str = "write a `# System` and a `# User` part (evaluators/README.md)";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    inputs: Vec<Input>,
    optional_inputs: Vec<Input>,
    policy_file: Option<String>,
    model: String,
    max_prompt_tokens: usize,
    max_tokens: u32,
    samples: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            optional_inputs: Vec::new(),
            policy_file: None,
            model: "default".to_owned(),
            max_prompt_tokens: 20_000,
            max_tokens: 1_024,
            samples: 1,
        }
    }
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let mut mistakes = limits_of(source, &settings);
    mistakes.extend(inputs_of(source, &settings));
    let policy = policy_of(source, &settings).unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    });
    match template_of(source, &settings) {
        Ok(template) if mistakes.is_empty() => Ok(built(source, settings, policy, template)),
        Ok(_) => Err(mistakes),
        Err(problems) => {
            mistakes.extend(problems);
            Err(mistakes)
        }
    }
}

fn built(source: &Source<'_>, settings: Settings, policy: Option<String>, template: Template) -> Built {
    let canonical = json!({
        "settings": changed_from_default(&settings),
        "prompt": source.folder.file(PROMPT),
        "rules": RULES,
        "policy": policy,
    });
    let judge = Judge {
        inputs: settings.inputs,
        optional_inputs: settings.optional_inputs,
        policy,
        model: settings.model,
        max_prompt_tokens: settings.max_prompt_tokens,
        max_tokens: settings.max_tokens,
        samples: settings.samples,
        template,
    };
    Built { behaviour: Behaviour::Judge(Box::new(judge)), canonical }
}

fn limits_of(source: &Source<'_>, settings: &Settings) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if !(1_000..=10_000_000).contains(&settings.max_prompt_tokens) {
        let problem = format!("max_prompt_tokens is {}", settings.max_prompt_tokens);
        mistakes.push(source.mistake("max_prompt_tokens", &problem, "set it to 1000 or more, at most 10000000"));
    }
    if settings.max_tokens < 16 {
        let problem = format!("max_tokens is {}, too few for an answer", settings.max_tokens);
        mistakes.push(source.mistake("max_tokens", &problem, "set it to 16 or more"));
    }
    if settings.samples.is_multiple_of(2) || settings.samples > 9 {
        let problem = format!("samples is {}, of which there may be no majority", settings.samples);
        mistakes.push(source.mistake("samples", &problem, "set it to 1, 3, 5, 7 or 9"));
    }
    mistakes
}

fn inputs_of(source: &Source<'_>, settings: &Settings) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if settings.inputs.is_empty() {
        let remedy = "declare what the judge needs, for example inputs = [\"question\", \"answer\"]";
        mistakes.push(source.mistake("inputs", "no inputs are declared", remedy));
    }
    let declared: Vec<Input> = settings.inputs.iter().chain(&settings.optional_inputs).copied().collect();
    for (index, input) in declared.iter().enumerate() {
        if declared[..index].contains(input) {
            let problem = format!("the input {} is declared twice", input.name());
            mistakes.push(source.mistake("inputs", &problem, "remove one of the two"));
        }
    }
    mistakes
}

/// The policy stands in the evaluator's own folder, so that the folder is all there is to review and to hash.
fn policy_of(source: &Source<'_>, settings: &Settings) -> Result<Option<String>, Mistake> {
    let Some(file) = &settings.policy_file else { return Ok(None) };
    match source.folder.file(file) {
        Some(text) if text.trim().is_empty() => {
            Err(source.folder.mistake_at(file, 1, "the policy is empty", "write the policy into it"))
        }
        // It would be cut for every trace, and then a rule that was broken may not be shown.
        Some(text) if estimated_tokens(text) > settings.max_prompt_tokens => {
            let (tokens, most) = (estimated_tokens(text), settings.max_prompt_tokens);
            let problem = format!("the policy takes about {tokens} tokens, and max_prompt_tokens is {most}");
            let remedy =
                "shorten it, divide it among several judges, or raise max_prompt_tokens if the model takes more";
            Err(source.folder.mistake_at(file, 1, &problem, remedy))
        }
        Some(text) => Ok(Some(text.to_owned())),
        None => {
            let problem = format!("policy_file {file:?} is not a file of this folder");
            Err(source.mistake("policy_file", &problem, "put the policy beside evaluator.toml and name it here"))
        }
    }
}

fn template_of(source: &Source<'_>, settings: &Settings) -> Result<Template, Vec<Mistake>> {
    let Some(prompt) = source.folder.file(PROMPT) else {
        return Err(vec![source.folder.mistake(PROMPT, "a judge needs a prompt", WRITE_ONE)]);
    };
    let declared: Vec<Input> = settings.inputs.iter().chain(&settings.optional_inputs).copied().collect();
    let names: Vec<&str> = Input::ALL.iter().map(|input| input.name()).collect();
    let remedy = format!("correct the prompt or the declared inputs; placeholders are {}", names.join(", "));
    let mistake = |problem: &TemplateProblem| {
        let remedy = if *problem == TemplateProblem::Empty { WRITE_ONE } else { &remedy };
        Mistake { line: problem.line(), ..source.folder.mistake(PROMPT, &problem.to_string(), remedy) }
    };
    Template::parse(prompt, &declared).map_err(|problems| problems.iter().map(mistake).collect())
}
