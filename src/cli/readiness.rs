//! `driftline readiness`: can the telemetry answer what people will ask of it.

use std::collections::BTreeSet;

use super::Context;
use super::failure::{Exit, Failure};
use super::output::{Output, counted};
use super::service::{Asked, Place, answer};
use super::sources::{Source, now};
use super::table::Table;
use super::trace_files::{TraceFiles, expand};
use crate::queries::QueryError;
use crate::queries::readiness::{Ability, FactShare, ServiceReadiness, Survey, TelemetryReadiness, readiness};
use crate::queries::selection::{Condition, selection};
use crate::queries::source::StoredSource;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Traces to look at: file:PATH-OR-GLOB, or where:key=value[,key=value]; left out, the newest of each service.
    source: Option<String>,
    /// Only this service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let found = arguments.ask(context).await?;
    let mut output = Output::new();
    if context.json {
        output.json(&found)?;
    } else {
        print(&found, &mut output)?;
    }
    output.finish()?;
    Ok(match found {
        found if found.services.is_empty() => Exit::NotEnough,
        found if found.is_answered() => Exit::Done,
        _ => Exit::Failed,
    })
}

impl Arguments {
    async fn ask(&self, context: &Context) -> Result<TelemetryReadiness, Failure> {
        match self.source.as_deref().map(Source::parse).transpose()? {
            None => self.of_store(Vec::new(), context).await,
            Some(Source::Stored(StoredSource::Where(conditions))) => self.of_store(conditions, context).await,
            Some(Source::Files { pattern, filters }) if filters.is_empty() => self.of_files(pattern, context),
            Some(_) => Err(Failure::Usage("whole runs are needed; write file:PATH or where:key=value".to_owned())),
        }
    }

    fn of_files(&self, pattern: String, context: &Context) -> Result<TelemetryReadiness, Failure> {
        let settings = context.settings()?;
        let mut files = TraceFiles::new(expand(&[pattern])?, &settings);
        let is_meant = |service: &str| self.service.as_ref().is_none_or(|only| only == service);
        let (mut survey, mut known) = (Survey::default(), BTreeSet::new());
        for trace in files.by_ref() {
            if is_meant(&trace.service) {
                survey.add(&trace);
            }
            known.insert(trace.service);
        }
        files.finish()?.1.report();
        match &self.service {
            Some(name) if !known.contains(name) => {
                answer(Err(QueryError::UnknownService { name: name.clone(), known }))
            }
            _ => Ok(survey.finish(&settings.attributes)),
        }
    }

    async fn of_store(&self, mut conditions: Vec<Condition>, context: &Context) -> Result<TelemetryReadiness, Failure> {
        conditions.extend(self.service.iter().map(|service| ("service".to_owned(), service.clone())));
        match self.place.open(context).await? {
            Asked::Store(store) => {
                let settings = context.settings()?;
                let chosen = selection(&conditions, &settings.attributes, now()).map_err(QueryError::from);
                answer(readiness(&store, &answer(chosen)?, &settings.attributes, &settings.prices).await)
            }
            Asked::Service(service) => service.get(&["api", "v1", "readiness"], &conditions).await,
        }
    }
}

fn print(found: &TelemetryReadiness, output: &mut Output) -> Result<(), Failure> {
    if found.services.is_empty() {
        return output.line("there is no trace whose spans are kept; send some, or name a file: readiness file:PATH");
    }
    found.services.iter().try_for_each(|service| print_service(service, output))
}

fn print_service(service: &ServiceReadiness, output: &mut Output) -> Result<(), Failure> {
    let conventions = service.conventions.iter().map(|(name, traces)| format!("{name} {traces}"));
    let conventions = conventions.collect::<Vec<_>>().join(", ");
    output.line(&format!("{}: {} ({conventions})", service.service, counted(service.traces, "trace")))?;
    if service.damaged > 0 {
        output.line(&format!("the spans of {} more are damaged", counted(service.damaged, "trace")))?;
    }
    let mut table = Table::new(&["question", "answered", "traces", "share", "missing"]);
    service.questions.iter().chain(&service.capabilities).for_each(|ability| table.row(cells(ability)));
    output.line(&table.to_string())?;
    print_broken(service, output)?;
    let lacking: Vec<&FactShare> = service.facts.iter().filter(|fact| fact.add.is_some()).collect();
    if !lacking.is_empty() {
        output.line("to add:")?;
    }
    lacking.into_iter().try_for_each(|fact| {
        let lacks = fact.traces - fact.carried;
        output.line(&format!("  {}: {lacks} of {} lack it", fact.fact, fact.traces))?;
        output.line(&format!("    {}", fact.add.as_deref().unwrap_or_default()))
    })?;
    output.line("")
}

fn cells(ability: &Ability) -> [String; 5] {
    [
        ability.about.clone(),
        ability.answer.as_str().replace('_', " "),
        ability.traces.to_string(),
        ability.share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
        ability.missing.join(", "),
    ]
}

fn print_broken(service: &ServiceReadiness, output: &mut Output) -> Result<(), Failure> {
    let told = service.propagation.told();
    if told.is_empty() {
        return Ok(());
    }
    let examples: Vec<String> = service.propagation.trace_ids.iter().map(ToString::to_string).collect();
    output.line(&format!("broken propagation: {}; for example {}", told.join(", "), examples.join(", ")))
}
