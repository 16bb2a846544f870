//! Wiring: from settings to running parts. Everything is built here, and nothing is decided here.

pub mod channels;
pub mod demo;
pub mod doctor;
mod doctor_disk;
mod listening;
mod role;
mod security;
pub mod service;
pub mod settings;
pub mod write_back;

use std::path::Path;

use crate::backends::judge::JudgeModelSettings;
use crate::evaluate::mistake::{InvalidEvaluators, Mistake};
use crate::evaluate::run::Evaluators;
use settings::Settings;

/// The shipped evaluators and those of a directory, which is the configured one unless another is given, without those
/// that are switched off.
///
/// # Errors
/// Every mistake in every file, and names among those switched off that no evaluator has.
pub fn evaluators(settings: &Settings, directory: Option<&Path>) -> Result<Evaluators, InvalidEvaluators> {
    let unknown = |name: String| Mistake {
        file: "settings".to_owned(),
        line: None,
        problem: format!("evaluators.disabled names {name:?}, which there is not"),
        remedy: "take a name from driftline evaluators list".to_owned(),
    };
    let on = every_evaluator(settings, directory)?.without(&settings.evaluators.disabled);
    on.map_err(|names| InvalidEvaluators(names.into_iter().map(unknown).collect()))
}

/// The same, with those that are switched off.
///
/// # Errors
/// Every mistake in every file.
pub fn every_evaluator(settings: &Settings, directory: Option<&Path>) -> Result<Evaluators, InvalidEvaluators> {
    let configured = Some(Path::new(&settings.evaluators.directory)).filter(|path| !path.as_os_str().is_empty());
    let identity = |(name, model): (&String, &JudgeModelSettings)| (name.clone(), model.identity());
    Evaluators::load(directory.or(configured), settings.judge.models.iter().map(identity).collect())
}
