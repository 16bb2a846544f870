//! `driftline baseline`: take, list and show immutable snapshots of every series.

use std::path::PathBuf;

use serde_json::json;

use super::Context;
use super::drift_text;
use super::failure::{Exit, Failure, chain};
use super::output::{Output, counted, warn};
use super::service::{Place, Service, answer};
use super::sources::{Source, Sources, now, open};
use super::table::Table;
use crate::app::settings::Settings;
use crate::backends::store::{Store, StoreError};
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;
use crate::queries::QueryError;
use crate::queries::baselines::{BaselineRow, Baselines, CreatedBaseline, baseline, baselines, check_name};
use crate::queries::selection::{check_window, instant};
use crate::queries::source::StoredSource;
use crate::watch::baseline::Baseline;
use crate::watch::estimate;
use crate::watch::key::ALL;
use crate::watch::summarize::Summarizer;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Take a baseline from files or from the store.
    Create(Create),
    /// List the baselines of the store.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show what a baseline holds.
    Show {
        /// The baseline's name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The baseline's name; it can be given once.
    name: String,
    /// Traces to take it from: file:PATH-OR-GLOB[?column=value] or where:key=value[,...].
    #[arg(long, value_name = "SOURCE")]
    from: String,
    /// Only runs that ended at or after this: 2026-03-01T12:00:00Z, 2026-03-01, or 7d ago.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only runs that ended before this.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Labels to join, JSON lines keyed by trace_id; repeat it for more.
    #[arg(long, value_name = "FILE")]
    labels_file: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    match arguments.command {
        Command::Create(create) => run_create(create, context).await,
        Command::List { place } => list(&place, context).await,
        Command::Show { name, place } => show(&asked_baseline(&name, &place, context).await?, context),
    }
}

async fn asked_baseline(name: &str, place: &Place, context: &Context) -> Result<Baseline, Failure> {
    match place.service()? {
        Some(service) => service.get(&["api", "v1", "baselines", name], &[]).await,
        None => answer(baseline(&open(&context.settings()?, true).await?, name).await),
    }
}

async fn run_create(create: Create, context: &Context) -> Result<Exit, Failure> {
    answer(check_name(&create.name))?;
    let (traces, series) = match create.place.service()? {
        Some(service) => ask_for(&create, &service).await?,
        None => take_and_keep(&create, context).await?,
    };
    let mut output = Output::new();
    if context.json {
        output.json(&json!({ "name": create.name, "traces": traces, "series": series }))?;
    } else {
        let traces = counted(traces, "trace");
        output.line(&format!("baseline {}: {traces}, {series} series over all segments", create.name))?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

/// Has a running service take it, which knows neither this machine's files nor its labels.
async fn ask_for(create: &Create, service: &Service) -> Result<(u64, usize), Failure> {
    if !create.labels_file.is_empty() {
        return Err(Failure::Usage("--url: a service joins no labels; leave out --url".to_owned()));
    }
    let from = bounded(create, now())?.for_service()?;
    let body = json!({ "name": create.name, "from": from });
    let created: CreatedBaseline = service.post(&["api", "v1", "baselines"], &body).await?;
    Ok((created.traces, created.series))
}

async fn take_and_keep(create: &Create, context: &Context) -> Result<(u64, usize), Failure> {
    let settings = context.settings()?;
    // First of all, so that a store that cannot be written is told before anything long is read.
    let store = open(&settings, false).await?;
    let baseline = take(create, settings).await?;
    insert(&store, &baseline).await?;
    store.close().await;
    Ok((baseline.traces, baseline.series.len()))
}

/// The source with the bounds that were given apart.
fn bounded(create: &Create, now: Timestamp) -> Result<Source, Failure> {
    let mut source = Source::parse(&create.from)?;
    if let Source::Stored(StoredSource::Where(conditions)) = &mut source {
        for (key, text) in [("since", &create.since), ("until", &create.until)] {
            let Some(text) = text else { continue };
            conditions.push((key.to_owned(), time(&format!("--{key}"), text, now)?.to_string()));
        }
    }
    source.fixed(now)
}

async fn take(create: &Create, settings: Settings) -> Result<Baseline, Failure> {
    let now = now();
    let bound = |what, text: &Option<String>| text.as_deref().map(|text| time(what, text, now)).transpose();
    let (since, until) = (bound("--since", &create.since)?, bound("--until", &create.until)?);
    answer(check_window(since, until).map_err(QueryError::from))?;
    let source = bounded(create, now)?;
    let mut sources = Sources::new(settings, &create.labels_file, None, &[&source])?;
    if matches!(source, Source::Stored(StoredSource::Name(_))) {
        return Err(Failure::Usage(
            "--from: a baseline never changes, so a copy would be the same; name traces".to_owned(),
        ));
    }
    let is_in = |ended_at| since.is_none_or(|since| ended_at >= since) && until.is_none_or(|until| ended_at < until);
    let mut summarizer = Summarizer::default();
    let take = |record: TraceRecord| {
        if is_in(record.ended_at) {
            summarizer.add(record);
        }
    };
    let revisions = sources.visit(&source, take).await?;
    let baseline = summarizer.finish(&create.name, now, &selection(create, since, until)).with_revisions(revisions);
    sources.problems.report();
    if !sources.problems.is_empty() {
        let message =
            format!("{} with the input; a baseline never changes, so it is not taken", sources.problems.counted());
        return Err(Failure::CouldNot(message));
    }
    if baseline.traces == 0 {
        return Err(Failure::CouldNot(format!("no trace is selected by {}; no baseline is taken", create.from)));
    }
    Ok(baseline)
}

fn time(what: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    answer(instant(what, text, now).map_err(QueryError::from))
}

/// The selection as it was written, with relative times made absolute.
fn selection(create: &Create, since: Option<Timestamp>, until: Option<Timestamp>) -> String {
    let bound = |what: &str, time: Option<Timestamp>| time.map(|time| format!(", {what} {time}")).unwrap_or_default();
    format!("{}{}{}", create.from, bound("since", since), bound("until", until))
}

async fn insert(store: &Store, baseline: &Baseline) -> Result<(), Failure> {
    let json = serde_json::to_string(baseline).map_err(|error| Failure::could_not("write the baseline", &error))?;
    let inserted = store.insert_baseline(&baseline.name, baseline.created_at, &baseline.selection, &json).await;
    inserted.map_err(|error| match error {
        StoreError::BaselineExists { .. } => {
            Failure::Usage(format!("{error}, and set `[watch] baseline = \"…\"` to watch against it"))
        }
        error => Failure::CouldNot(chain(&error)),
    })
}

async fn list(place: &Place, context: &Context) -> Result<Exit, Failure> {
    let baselines = match place.service()? {
        Some(service) => service.get::<Baselines>(&["api", "v1", "baselines"], &[]).await?,
        None => answer(baselines(&open(&context.settings()?, true).await?).await)?,
    }
    .baselines;
    let mut output = Output::new();
    if context.json {
        let row = |it: &BaselineRow| json!({ "name": it.name, "created_at": it.created_at.to_string(), "selection": it.selection });
        output.json(&baselines.iter().map(row).collect::<Vec<_>>())?;
    } else if baselines.is_empty() {
        warn("there is no baseline; driftline baseline create NAME --from SOURCE takes one");
    } else {
        let mut table = Table::new(&["name", "taken", "from"]);
        for stored in baselines {
            table.row(vec![stored.name, stored.created_at.to_string(), stored.selection]);
        }
        output.line(&table.to_string())?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

fn show(baseline: &Baseline, context: &Context) -> Result<Exit, Failure> {
    let mut output = Output::new();
    if context.json {
        output.json(baseline)?;
        output.finish()?;
        return Ok(Exit::Done);
    }
    let (earliest, latest) = baseline.ended_between;
    output.line(&format!("baseline {}, taken {} from {}", baseline.name, baseline.created_at, baseline.selection))?;
    output.line(&format!("{} that ended between {earliest} and {latest}\n", counted(baseline.traces, "trace")))?;
    let mut table = Table::new(&["service", "series", "traces", "estimate"]);
    for (key, summary) in baseline.series.iter().filter(|(key, _)| key.segment == ALL) {
        let estimated = drift_text::estimate(&estimate(summary));
        table.row(vec![key.service.clone(), key.series.clone(), summary.traces.to_string(), estimated]);
    }
    output.line(&table.to_string())?;
    output.finish()?;
    Ok(Exit::Done)
}
