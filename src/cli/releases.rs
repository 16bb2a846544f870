//! `driftline releases`: versions that were noticed by themselves, and what each changed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::Context;
use super::drift_html;
use super::duration;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::output_file::write_text;
use super::releases_text;
use super::service::{Asked, Place, answer};
use crate::queries::releases::{
    ReleaseComparison, ReleaseComparisonRequest, ReleaseDetail, ReleaseFilter, ReleaseName, Releases, compare, release,
    releases,
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List versions, last come first, and what else changed.
    List(List),
    /// Show one version hour by hour.
    Show(Show),
    /// Compare every series before and after a version came: quality beside cost.
    Compare(Compare),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only this service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Versions too that few traces carry.
    #[arg(long)]
    unsettled: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The service.
    service: String,
    /// The version.
    version: String,
    /// release, model, prompt_version or agent_version; without it the first of them that has the version.
    #[arg(long, value_name = "DIMENSION")]
    dimension: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// The service.
    service: String,
    /// The version that came.
    to: String,
    /// What to compare it with; without it what most traces carried before.
    #[arg(long, value_name = "VERSION")]
    from: Option<String>,
    /// release, model, prompt_version or agent_version; without it the first of them that has the version.
    #[arg(long, value_name = "DIMENSION")]
    dimension: Option<String>,
    /// How long before and after its first trace.
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = duration)]
    window: Duration,
    /// Write the comparison as one HTML file too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let mut output = Output::new();
    match arguments.command {
        Command::List(list) => {
            let found = list.ask(context).await?;
            if context.json { output.json(&found)? } else { output.line(&releases_text::list(&found))? }
        }
        Command::Show(show) => {
            let found = show.ask(context).await?;
            if context.json { output.json(&found)? } else { output.line(&releases_text::detail(&found))? }
        }
        Command::Compare(compare) => {
            let found = compare.ask(context).await?;
            if let Some(path) = &compare.html {
                write_text(path, &drift_html::release_page(&found))?;
            }
            if context.json { output.json(&found)? } else { output.line(&releases_text::comparison(&found))? }
        }
    }
    output.finish()?;
    Ok(Exit::Done)
}

impl List {
    async fn ask(&self, context: &Context) -> Result<Releases, Failure> {
        match self.place.open(context).await? {
            Asked::Store(store) => {
                let filter = ReleaseFilter { service: self.service.clone(), unsettled: self.unsettled };
                answer(releases(&store, &filter).await)
            }
            Asked::Service(service) => {
                let mut parameters = vec![("unsettled".to_owned(), self.unsettled.to_string())];
                parameters.extend(parameter("service", self.service.as_ref()));
                service.get(&["api", "v1", "releases"], &parameters).await
            }
        }
    }
}

impl Show {
    async fn ask(&self, context: &Context) -> Result<ReleaseDetail, Failure> {
        let Self { service: name, version, dimension, place } = self;
        match place.open(context).await? {
            Asked::Store(store) => {
                let name = release_name(name, dimension.as_ref(), version);
                answer(release(&store, &name).await)
            }
            Asked::Service(service) => {
                let given = [("service", Some(name)), ("version", Some(version)), ("dimension", dimension.as_ref())];
                let parameters: Vec<_> = given.into_iter().filter_map(|(key, value)| parameter(key, value)).collect();
                service.get(&["api", "v1", "releases", "show"], &parameters).await
            }
        }
    }
}

impl Compare {
    async fn ask(&self, context: &Context) -> Result<ReleaseComparison, Failure> {
        let Self { service: name, to, from, dimension, window, html: _, place } = self;
        match place.open(context).await? {
            Asked::Store(store) => {
                let after = release_name(name, dimension.as_ref(), to);
                let request = ReleaseComparisonRequest { after, before: from.clone(), window: *window };
                answer(compare(&store, &request).await)
            }
            Asked::Service(service) => {
                let window = humantime::format_duration(*window).to_string();
                let given = [
                    ("service", Some(name)),
                    ("to", Some(to)),
                    ("from", from.as_ref()),
                    ("dimension", dimension.as_ref()),
                    ("window", Some(&window)),
                ];
                let parameters: Vec<_> = given.into_iter().filter_map(|(key, value)| parameter(key, value)).collect();
                service.get(&["api", "v1", "releases", "compare"], &parameters).await
            }
        }
    }
}

fn release_name(service: &str, dimension: Option<&String>, value: &str) -> ReleaseName {
    ReleaseName { service: service.to_owned(), dimension: dimension.cloned(), value: value.to_owned() }
}

fn parameter(key: &str, value: Option<&String>) -> Option<(String, String)> {
    value.map(|value| (key.to_owned(), value.clone()))
}
