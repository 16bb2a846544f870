//! `driftline evaluators judges`: what share of its control questions each judge catches.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::service::{Asked, Place, answer};
use super::table::Table;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::evaluate::accuracy::Share;
use crate::evaluate::run::Evaluators;
use crate::queries::judges::{JudgeState, Judges, judges};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: &Arguments, evaluators: &Evaluators, context: &Context) -> Result<Exit, Failure> {
    let found: Judges = match arguments.place.open(context).await? {
        Asked::Store(store) => answer(judges(&store, evaluators, SystemClock.now()).await)?,
        Asked::Service(service) => service.get(&["api", "v1", "judges"], &[]).await?,
    };
    let mut output = Output::new();
    if context.json {
        output.json(&found)?;
    } else {
        print(&found, &mut output)?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

fn print(found: &Judges, output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&["judge", "revision", "caught", "missed", "catch rate (95 %)", ""]);
    found.judges.iter().for_each(|judge| table.row(cells(judge)));
    output.line(&table.to_string())?;
    let least = found.least_catch_rate * 100.0;
    output.line(&format!("control questions of {} days; below {least:.0} % a judge is in doubt", found.days))
}

fn cells(judge: &JudgeState) -> Vec<String> {
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    let rate = |Share { value, low, high }: Share| format!("{} [{}, {}]", percent(value), percent(low), percent(high));
    let remark = match (judge.in_doubt, judge.current) {
        (true, _) => "in doubt: it can be talked round",
        (false, false) => "no longer judges",
        (false, true) => "",
    };
    vec![
        judge.evaluator.clone(),
        judge.revision.clone(),
        judge.catches.caught.to_string(),
        judge.catches.missed.to_string(),
        judge.catch_rate.map_or_else(|| "not asked".to_owned(), rate),
        remark.to_owned(),
    ]
}
