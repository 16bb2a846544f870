//! Wiring: from settings to running parts. Everything is built here, and nothing is decided here.

pub mod settings;

use std::collections::BTreeMap;
use std::path::Path;

use crate::backends::judge::{JudgeClient, JudgeModelSettings, SettingsError};
use crate::evaluate::mistake::InvalidEvaluators;
use crate::evaluate::run::Evaluators;
use settings::Settings;

/// The shipped evaluators and those of a directory, which is the configured one unless another is given.
///
/// # Errors
/// Every mistake in every file.
pub fn evaluators(settings: &Settings, directory: Option<&Path>) -> Result<Evaluators, InvalidEvaluators> {
    let configured = Some(Path::new(&settings.evaluators.directory)).filter(|path| !path.as_os_str().is_empty());
    let identity = |(name, model): (&String, &JudgeModelSettings)| (name.clone(), model.identity());
    Evaluators::load(directory.or(configured), settings.judge.models.iter().map(identity).collect())
}

/// A client for every configured judge model, by its key under `[judge.models]`.
///
/// # Errors
/// What is wrong with the first model that cannot be used, and its key.
pub fn judge_clients(settings: &Settings) -> Result<BTreeMap<String, JudgeClient>, (String, SettingsError)> {
    let client = |(name, model): (&String, &JudgeModelSettings)| match JudgeClient::new(model.clone()) {
        Ok(client) => Ok((name.clone(), client)),
        Err(error) => Err((name.clone(), error)),
    };
    settings.judge.models.iter().map(client).collect()
}
