//! `driftline evaluators learn`: writes what is usual into the folder of an evaluator that learns.

use std::fs;
use std::path::{Path, PathBuf};

use super::Context;
use super::failure::{Exit, Failure};
use super::output::{counted, warn};
use super::output_file::OutputFile;
use super::runs::each_run;
use crate::evaluate::definition::EvaluatorFolder;
use crate::evaluate::kinds::learned::LEARNED;
use crate::evaluate::learning::Learner;
use crate::evaluate::run::Evaluators;
use crate::evaluate::shipped::shipped;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The evaluator, of kind argument_outlier or usage_outlier.
    name: String,
    /// Good traffic of your own: file:PATH-OR-GLOB or where:key=value[,...].
    #[arg(long, value_name = "SOURCE")]
    from: String,
    /// Folder of evaluators in which learned.json is written; without it the configured one.
    #[arg(long, value_name = "DIR")]
    pub(super) evaluators: Option<PathBuf>,
}

pub(super) async fn run(arguments: &Arguments, evaluators: &Evaluators, context: &Context) -> Result<Exit, Failure> {
    let name = &arguments.name;
    let definition = evaluators.get(name).ok_or_else(|| Failure::Usage(format!("there is no evaluator {name}")))?;
    let kind = definition.kind.name;
    let mut learner = Learner::of(kind).ok_or_else(|| {
        Failure::Usage(format!("{name} is of kind {kind}, and only {} learn", Learner::KINDS.join(" and ")))
    })?;
    let settings = context.settings()?;
    let configured = (!settings.evaluators.directory.is_empty()).then(|| PathBuf::from(&settings.evaluators.directory));
    let directory = arguments.evaluators.clone().or(configured).ok_or_else(|| {
        Failure::Usage(
            "there is no folder to write to; name one: --evaluators DIR, or [evaluators] directory".to_owned(),
        )
    })?;
    let mut runs = 0;
    let problems = each_run(&arguments.from, &settings, |trace, weight| {
        runs += 1;
        learner.add(trace, weight);
    });
    problems.await?.report();
    let (count, learned) = learner.learned();
    if count == 0 {
        return Err(Failure::CouldNot(format!("{} hold nothing that {kind} learns from", counted(runs, "run"))));
    }
    let folder = prepared_folder(&directory, name)?;
    let text = serde_json::to_string_pretty(&learned).map_err(|error| Failure::could_not("write JSON", &error))?;
    write(&folder.join(LEARNED), &text)?;
    let values = counted(count as u64, "usual value");
    warn(&format!("{values} learned from {} into {}", counted(runs, "run"), folder.join(LEARNED).display()));
    Ok(Exit::Done)
}

/// The evaluator's folder; a shipped evaluator's definition is copied there first. Its cases are not: they are about
/// the time before anything was learned.
fn prepared_folder(directory: &Path, name: &str) -> Result<PathBuf, Failure> {
    let folder = directory.join(name);
    if folder.join("evaluator.toml").exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).map_err(|error| Failure::write(folder.display(), &error))?;
    let is_it = |shipped: &EvaluatorFolder| shipped.name == name;
    if let Some(definition) = shipped().iter().find(|shipped| is_it(shipped)).and_then(|it| it.file("evaluator.toml")) {
        write(&folder.join("evaluator.toml"), definition.trim_end())?;
    }
    Ok(folder)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = OutputFile::create(path)?;
    file.line(text.as_bytes())?;
    file.finish()
}
