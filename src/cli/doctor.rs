//! `driftline doctor`: whether everything that the settings name is there, and what to do if not.

use serde::Serialize;

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use crate::app::doctor::{Check, Health, examine};
use crate::backends::clock::{Clock as _, SystemClock};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

/// The answer as JSON.
#[derive(Serialize)]
struct Report {
    /// The worst of all.
    health: Health,
    checks: Vec<Check>,
}

pub(super) async fn run(_: Arguments, context: &Context) -> Result<Exit, Failure> {
    let checks = examine(&context.settings()?, SystemClock.now()).await;
    let health = checks.iter().map(|check| check.health).max().unwrap_or(Health::Ok);
    let mut output = Output::new();
    if context.json {
        output.json(&Report { health, checks })?;
    } else {
        checks.iter().flat_map(lines).try_for_each(|line| output.line(&line))?;
    }
    output.finish()?;
    Ok(if health == Health::Fail { Exit::Failed } else { Exit::Done })
}

fn lines(check: &Check) -> Vec<String> {
    let finding = format!("{:<4}  {}: {}", check.health.as_str(), check.name, check.finding);
    let remedy = check.remedy.as_ref().map(|remedy| format!("      -> {remedy}"));
    std::iter::once(finding).chain(remedy).collect()
}
