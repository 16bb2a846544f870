//! `driftline evaluators`: what is loaded, whether the files are right, whether the cases hold, what they would do and
//! how well they do it.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Context;
use super::failure::{Exit, Failure, chain};
use super::output::Output;
use super::service::answer;
use super::table::Table;
use super::{evaluators_bridge, evaluators_learn, evaluators_preview, evaluators_report};
use crate::app;
use crate::backends::store::Store;
use crate::domain::evaluation::Outcome;
use crate::evaluate::cases::check_case;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::run::Evaluators;
use crate::queries::calibration::standings;
use crate::queries::judge_revisions::{JudgeRevision, judge_revisions};
use crate::watch::standings::Standings;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the evaluators that are loaded.
    List(Folder),
    /// Check the files of evaluators.
    Check {
        /// Folder of evaluators, beside the shipped ones.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Run the cases of evaluators. Judges and services are not asked: of their cases the input is checked.
    Test(Folder),
    /// Show what share of its control questions each judge catches, whose text asks for the wrong answer.
    Judges(super::judges::Arguments),
    /// Plan judgements again that the budget left out.
    Backfill(super::backfill::Arguments),
    /// Score the same traces with two revisions of an evaluator, and see how far their series compare.
    Bridge(evaluators_bridge::Arguments),
    /// See what evaluators would do to traces, and what judges would cost. Nothing is stored, no model is asked.
    Preview(evaluators_preview::Arguments),
    /// Print precision and recall of every rule on its own cases and on simulated agents with known faults.
    Report(evaluators_report::Arguments),
    /// Learn what is usual: numbers that tools get (argument_outlier), what runs cost, take and use up (usage_outlier).
    Learn(evaluators_learn::Arguments),
}

impl Command {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::List(folder) | Self::Test(folder) => folder.evaluators.as_deref(),
            Self::Check { directory } => directory.as_deref(),
            Self::Preview(arguments) => arguments.evaluators.as_deref(),
            Self::Report(arguments) => arguments.evaluators.as_deref(),
            Self::Backfill(_) | Self::Bridge(_) | Self::Judges(_) => None,
            // It may be about to be made.
            Self::Learn(arguments) => arguments.evaluators.as_deref().filter(|directory| directory.exists()),
        }
    }
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// Folder of evaluators that adds to the shipped ones or overrides them by name.
    #[arg(long, value_name = "DIR")]
    evaluators: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let loaded = app::every_evaluator(&context.settings()?, arguments.command.directory());
    let evaluators = loaded.map_err(|error| Failure::Usage(error.to_string()))?;
    let mut output = Output::new();
    let exit = match &arguments.command {
        Command::List(_) => list(&evaluators, &known(&evaluators, context).await?, context, &mut output)?,
        Command::Check { .. } => check(&evaluators, context, &mut output)?,
        Command::Test(_) => test(&evaluators, context, &mut output)?,
        Command::Judges(arguments) => return super::judges::run(arguments, &evaluators, context).await,
        Command::Backfill(arguments) => return super::backfill::run(arguments, context).await,
        Command::Bridge(arguments) => evaluators_bridge::run(arguments, &evaluators, context, &mut output).await?,
        Command::Preview(arguments) => evaluators_preview::run(arguments, &evaluators, context, &mut output).await?,
        Command::Report(arguments) => evaluators_report::run(arguments, &evaluators, context, &mut output)?,
        Command::Learn(arguments) => evaluators_learn::run(arguments, &evaluators, context).await?,
    };
    output.finish()?;
    Ok(exit)
}

/// What the configured store knows of judges; nothing, where there is no store to be read.
#[derive(Default)]
struct Known {
    /// Which judges labels calibrate.
    standings: Standings,
    /// The revisions that have scored.
    scored: Vec<JudgeRevision>,
}

/// How an evaluator is shown that the settings switch off.
const OFF: &str = " (off)";

async fn known(evaluators: &Evaluators, context: &Context) -> Result<Known, Failure> {
    let Ok(store) = Store::open(&context.settings()?.store.url, true).await else { return Ok(Known::default()) };
    let scored = judge_revisions(&store, evaluators).await.map_err(|error| Failure::CouldNot(chain(&error)))?;
    Ok(Known { standings: answer(standings(&store).await.map_err(Into::into))?, scored })
}

impl Known {
    /// Whether a judge is calibrated; `None` for what is no judge.
    fn calibrated(&self, definition: &EvaluatorDefinition) -> Option<bool> {
        match definition.behaviour {
            Behaviour::Judge(_) => {
                // What the provider's model makes of the definition's revision, once it has scored.
                let scored = self.scored.iter().filter(|it| it.evaluator == definition.name);
                let newest = scored.max_by_key(|it| it.last_seen_at).map(|it| it.revision.as_str());
                Some(self.standings.is_calibrated(&definition.name, newest.unwrap_or(&definition.revision)))
            }
            Behaviour::Rule(_) | Behaviour::Service(_) => None,
        }
    }
}

fn list(evaluators: &Evaluators, known: &Known, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (definitions, disabled) = (evaluators.definitions(), &context.settings()?.evaluators.disabled);
    if context.json {
        output
            .json(&definitions.iter().map(|definition| described(definition, known, disabled)).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["name", "kind", "revision", "judge", "cases", "a pass means"]);
    for definition in definitions {
        table.row(vec![
            format!("{}{}", definition.name, if disabled.contains(&definition.name) { OFF } else { "" }),
            definition.kind.name.to_owned(),
            definition.revision.clone(),
            known.calibrated(definition).map_or("", standing_word).to_owned(),
            definition.cases.len().to_string(),
            definition.description.clone(),
        ]);
    }
    output.line(&table.to_string())?;
    for JudgeRevision { evaluator, revision, model, first_seen_at, .. } in &known.scored {
        output.line(&format!("{evaluator}: scores by {model} since {first_seen_at} are revision {revision}"))?;
    }
    Ok(Exit::Done)
}

const fn standing_word(calibrated: bool) -> &'static str {
    if calibrated { "calibrated" } else { "uncalibrated" }
}

fn described(definition: &EvaluatorDefinition, known: &Known, disabled: &[String]) -> serde_json::Value {
    json!({
        "name": definition.name,
        "kind": definition.kind.name,
        "revision": definition.revision,
        "enabled": !disabled.contains(&definition.name),
        "scored": known.scored.iter().filter(|it| it.evaluator == definition.name).collect::<Vec<_>>(),
        "annotator_kind": definition.annotator_kind(),
        "target": definition.target,
        "severity": definition.severity,
        "flag": definition.flag,
        "cases": definition.cases.len(),
        "calibrated": known.calibrated(definition),
        "description": definition.description,
    })
}

fn check(evaluators: &Evaluators, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let count = evaluators.definitions().len();
    if context.json {
        output.json(&json!({ "evaluators": count, "mistakes": [] }))?;
    } else {
        output.line(&format!("{count} evaluators, no mistakes"))?;
    }
    Ok(Exit::Done)
}

/// What the cases of one evaluator came to.
struct Tested<'a> {
    definition: &'a EvaluatorDefinition,
    /// Cases of a judge or service that are only known to have what it needs.
    unasked: usize,
    /// Name and problem.
    unmet: Vec<(&'a str, String)>,
}

impl<'a> Tested<'a> {
    fn new(definition: &'a EvaluatorDefinition) -> Self {
        let is_asked = !matches!(definition.behaviour, Behaviour::Rule(_));
        let cases = || definition.cases.iter();
        Self {
            definition,
            unasked: cases().filter(|case| is_asked && case.expect.outcome == Outcome::Scored).count(),
            unmet: cases().filter_map(|case| Some((case.name.as_str(), check_case(definition, case).err()?))).collect(),
        }
    }
}

fn test(evaluators: &Evaluators, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let tested: Vec<Tested<'_>> = evaluators.definitions().iter().map(Tested::new).collect();
    if context.json {
        output.json(&tested.iter().map(tested_json).collect::<Vec<_>>())?;
    } else {
        show_tested(&tested, output)?;
    }
    let is_met = tested.iter().all(|tested| tested.unmet.is_empty());
    Ok(if is_met { Exit::Done } else { Exit::Failed })
}

fn tested_json(tested: &Tested<'_>) -> serde_json::Value {
    let unmet = tested.unmet.iter().map(|(case, problem)| json!({ "case": case, "problem": problem }));
    json!({
        "evaluator": tested.definition.name,
        "cases": tested.definition.cases.len(),
        "not_asked": tested.unasked,
        "unmet": unmet.collect::<Vec<_>>(),
    })
}

fn show_tested(tested: &[Tested<'_>], output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&["evaluator", "cases", "unmet", "not asked"]);
    for tested in tested {
        let counts = [tested.definition.cases.len(), tested.unmet.len(), tested.unasked];
        let name = std::iter::once(tested.definition.name.clone());
        table.row(name.chain(counts.iter().map(usize::to_string)));
    }
    output.line(&table.to_string())?;
    for tested in tested {
        for (case, problem) in &tested.unmet {
            output.line(&format!("{}: {case}: {problem}", tested.definition.name))?;
        }
    }
    Ok(())
}
