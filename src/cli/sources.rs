//! Sources of traces: `file:PATH-OR-GLOB[?column=value]`, `where:key=value,…` and `name:BASELINE`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::failure::{Failure, chain};
use super::labels::Labels;
use super::problems::Problems;
use super::service::answer;
use super::trace_files::{TraceFiles, expand};
use crate::app;
use crate::app::settings::Settings;
use crate::backends::clock::{Clock, SystemClock};
use crate::backends::store::{Store, StoreError};
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::run::{Evaluators, evaluate};
use crate::queries::QueryError;
use crate::queries::baselines::baseline;
use crate::queries::calibration::standings;
use crate::queries::selection::{Condition, instant, selection};
use crate::queries::source::StoredSource;
use crate::watch::baseline::{Baseline, Revisions};
use crate::watch::standings::Standings;

/// Where a side of a comparison comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Files of traces, narrowed by label columns or segments.
    Files { pattern: String, filters: Vec<Condition> },
    /// What the configured store holds.
    Stored(StoredSource),
}

impl Source {
    /// Reads a source. Without a prefix an existing file is one, then anything with `=` is a selection, else a name.
    ///
    /// # Errors
    /// A condition that is none.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(pattern) = text.strip_prefix("file:") {
            return files(pattern);
        }
        let (pattern, _) = split_filters(text);
        let has_prefix = text.starts_with("where:") || text.starts_with("name:");
        if !has_prefix && (expand(&[pattern.to_owned()]).is_ok() || looks_like_file(pattern)) {
            return files(text);
        }
        Ok(Self::Stored(answer(StoredSource::parse(text))?))
    }

    /// The same with ages such as `since=1h` counted back from `now` once and for all, so that it stays one selection.
    ///
    /// # Errors
    /// A time that is none.
    pub(super) fn fixed(self, now: Timestamp) -> Result<Self, Failure> {
        let Self::Stored(StoredSource::Where(mut conditions)) = self else { return Ok(self) };
        for (key, value) in conditions.iter_mut().filter(|(key, _)| key == "since" || key == "until") {
            *value = answer(instant(key, value, now).map_err(QueryError::from))?.to_string();
        }
        Ok(Self::Stored(StoredSource::Where(conditions)))
    }

    /// How it is written for a service, which knows no files of this machine.
    ///
    /// # Errors
    /// It is files.
    pub(super) fn for_service(&self) -> Result<String, Failure> {
        match self {
            Self::Files { pattern, .. } => {
                Err(Failure::Usage(format!("--url: a service cannot read the file {pattern}; leave out --url")))
            }
            Self::Stored(StoredSource::Name(name)) => Ok(format!("name:{name}")),
            Self::Stored(StoredSource::Where(conditions)) => {
                let written = conditions.iter().map(|(key, value)| format!("{key}={}", value.replace(',', "\\,")));
                Ok(format!("where:{}", written.collect::<Vec<_>>().join(",")))
            }
        }
    }

    /// The files that are read.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        match self {
            Self::Files { pattern, .. } => expand(std::slice::from_ref(pattern)),
            Self::Stored(_) => Ok(Vec::new()),
        }
    }
}

fn files(text: &str) -> Result<Source, Failure> {
    let (pattern, filters) = split_filters(text);
    let filters = filters.split('&').filter(|filter| !filter.is_empty()).map(filter).collect::<Result<_, _>>()?;
    Ok(Source::Files { pattern: pattern.to_owned(), filters })
}

/// Splits off `?column=value&…`; a `?` that no `=` follows belongs to the pattern.
fn split_filters(text: &str) -> (&str, &str) {
    match text.rsplit_once('?') {
        Some((pattern, filters)) if filters.contains('=') && !Path::new(text).exists() => (pattern, filters),
        _ => (text, ""),
    }
}

/// Whether a name can only be meant as a file, so that a missing one is told as such.
fn looks_like_file(text: &str) -> bool {
    let endings = [".jsonl", ".json", ".pb", ".gz", ".zst"];
    !text.contains('=') && (text.contains('/') || endings.iter().any(|ending| text.ends_with(ending)))
}

fn filter(text: &str) -> Result<Condition, Failure> {
    let (column, value) = text
        .split_once('=')
        .filter(|(column, _)| !column.is_empty())
        .ok_or_else(|| Failure::Usage(format!("{text:?} is no filter; write column=value")))?;
    Ok((column.to_owned(), value.to_owned()))
}

/// One side of a comparison.
pub(super) enum Side {
    /// Traces one by one.
    Traces(SideTraces),
    /// Their summary alone.
    Baseline(Box<Baseline>),
}

/// Traces with what is known of them together.
pub(super) struct SideTraces {
    /// The traces.
    pub(super) records: Vec<TraceRecord>,
    /// By which revisions they were scored.
    pub(super) revisions: Revisions,
    /// Whether they were received from running agents, and not read from a file.
    pub(super) is_production: bool,
}

impl Side {
    /// The side's summary; `name` and `text` say where records came from.
    pub(super) fn summary(&self, name: &str, text: &str, now: Timestamp) -> Cow<'_, Baseline> {
        match self {
            Self::Traces(traces) => Cow::Owned(traces.summary(name, text, now)),
            Self::Baseline(baseline) => Cow::Borrowed(baseline),
        }
    }

    /// The side's traces, of which a baseline keeps none.
    pub(super) fn records(&self) -> Option<&[TraceRecord]> {
        match self {
            Self::Traces(traces) => Some(&traces.records),
            Self::Baseline(_) => None,
        }
    }
}

impl SideTraces {
    /// The traces' summary.
    pub(super) fn summary(&self, name: &str, text: &str, now: Timestamp) -> Baseline {
        Baseline::from_records(name, now, text, &self.records).with_revisions(self.revisions.clone())
    }
}

/// Reads sources: files through the same evaluation as the service, the rest from the configured store.
pub(super) struct Sources {
    settings: Settings,
    evaluators: Evaluators,
    labels: Labels,
    /// Columns that select or pair, and therefore are no series.
    apart: BTreeSet<String>,
    /// What could not be read so far.
    pub(super) problems: Problems,
}

impl Sources {
    /// # Errors
    /// Evaluators or label files cannot be read.
    pub(super) fn new(
        settings: Settings,
        label_files: &[PathBuf],
        pair_by: Option<&str>,
        sources: &[&Source],
    ) -> Result<Self, Failure> {
        let evaluators = app::evaluators(&settings, None).map_err(|error| Failure::Usage(error.to_string()))?;
        let mut apart: BTreeSet<String> = pair_by.map(str::to_owned).into_iter().collect();
        for source in sources {
            if let Source::Files { filters, .. } = source {
                apart.extend(filters.iter().map(|(column, _)| column.clone()));
            }
        }
        let labels = Labels::read(label_files)?;
        Ok(Self { settings, evaluators, labels, apart, problems: Problems::default() })
    }

    /// Reads one side.
    ///
    /// # Errors
    /// The files, the store or the baseline are not there, or a filter names an unknown column.
    pub(super) async fn load(&mut self, source: &Source) -> Result<Side, Failure> {
        if let Source::Stored(StoredSource::Name(name)) = source {
            let store = open(&self.settings, true).await?;
            return Ok(Side::Baseline(Box::new(answer(baseline(&store, name).await)?)));
        }
        let mut records = Vec::new();
        let revisions = self.visit(source, |record| records.push(record)).await?;
        let is_production = matches!(source, Source::Stored(_));
        Ok(Side::Traces(SideTraces { records, revisions, is_production }))
    }

    /// Gives the traces of a source to `take`, one after the other, and says by which revisions they were scored. A
    /// baseline by name has none.
    ///
    /// # Errors
    /// As of [`Sources::load`].
    pub(super) async fn visit(&mut self, source: &Source, take: impl FnMut(TraceRecord)) -> Result<Revisions, Failure> {
        match source {
            Source::Files { pattern, filters } => self.visit_files(pattern, filters, take),
            Source::Stored(StoredSource::Where(conditions)) => self.visit_store(conditions, take).await,
            Source::Stored(StoredSource::Name(_)) => Ok(Revisions::new()),
        }
    }

    /// Which judges are calibrated, as the configured store knows it; nothing, where the sides are files alone, in which
    /// no judge has scored.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn standings(&self, sources: [&Source; 2]) -> Result<Standings, Failure> {
        if !sources.iter().any(|source| matches!(source, Source::Stored(_))) {
            return Ok(Standings::default());
        }
        let store = open(&self.settings, true).await?;
        answer(standings(&store).await.map_err(QueryError::from))
    }

    fn visit_files(
        &mut self,
        pattern: &str,
        filters: &[Condition],
        mut take: impl FnMut(TraceRecord),
    ) -> Result<Revisions, Failure> {
        let mut files = TraceFiles::new(expand(&[pattern.to_owned()])?, &self.settings);
        let mut segments = BTreeSet::new();
        for trace in files.by_ref() {
            let mut record = evaluate(&trace, &self.evaluators, &self.settings.sampling).record;
            segments.extend(record.segments.keys().cloned());
            if filters.iter().all(|(column, value)| self.value(&record, column).as_ref() == Some(value)) {
                self.labels.join(std::slice::from_mut(&mut record), &self.apart);
                take(record);
            }
        }
        let (_, problems) = files.finish()?;
        self.problems.append(problems);
        filters.iter().try_for_each(|(column, _)| self.refuse_unknown(column, segments.iter().map(String::as_str)))?;
        let revision =
            |definition: &EvaluatorDefinition| (definition.name.clone(), [definition.revision.clone()].into());
        Ok(self.evaluators.definitions().iter().map(revision).collect())
    }

    async fn visit_store(
        &self,
        conditions: &[Condition],
        mut take: impl FnMut(TraceRecord),
    ) -> Result<Revisions, Failure> {
        let selection = selection(conditions, &self.settings.attributes, now()).map_err(QueryError::from);
        let selection = answer(selection)?;
        let store = open(&self.settings, true).await?;
        let join_and_take = |mut record: TraceRecord| {
            self.labels.join(std::slice::from_mut(&mut record), &self.apart);
            take(record);
        };
        answer(store.visit_records(&selection, join_and_take).await.map_err(QueryError::from))?;
        answer(store.revisions(&selection).await.map_err(QueryError::from))
    }

    /// A trace's value in a label column, else in a segment.
    pub(super) fn value(&self, record: &TraceRecord, column: &str) -> Option<String> {
        let segment = || match column {
            "service" => Some(record.service.clone()),
            _ => record.segments.get(column).cloned(),
        };
        self.labels.text(record.trace_id, column).or_else(segment)
    }

    /// Refuses a column that no label and no segment of the records has.
    ///
    /// # Errors
    /// Names the columns that there are.
    pub(super) fn check_column(&self, column: &str, records: &[TraceRecord]) -> Result<(), Failure> {
        self.refuse_unknown(column, records.iter().flat_map(|record| record.segments.keys().map(String::as_str)))
    }

    fn refuse_unknown<'a>(&'a self, column: &str, segments: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
        let known: BTreeSet<&str> = self.labels.columns().chain(segments).chain(["service"]).collect();
        if known.contains(column) {
            return Ok(());
        }
        let hint = if self.labels.is_empty() { "; no labels were given (--labels-file)" } else { "" };
        let known: Vec<&str> = known.into_iter().collect();
        Err(Failure::Usage(format!("there is no column {column:?}; known: {}{hint}", known.join(", "))))
    }
}

/// Opens the configured store.
///
/// # Errors
/// It is not there, or not usable; says what to do.
pub(super) async fn open(settings: &Settings, read_only: bool) -> Result<Store, Failure> {
    Store::open(&settings.store.url, read_only).await.map_err(|error| match error {
        StoreError::Missing { .. } => {
            Failure::CouldNot(format!("{error}; start driftline serve first, or correct store.url in the settings"))
        }
        StoreError::InUse { path } => Failure::CouldNot(format!(
            "the store at {} is in use by a running driftline, and SQLite has one writer; stop it first, or ask it with \
             --url, such as --url http://127.0.0.1:8080",
            path.display()
        )),
        error => Failure::CouldNot(chain(&error)),
    })
}

/// The present instant, which relative times count from.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        Source::parse(text).ok().unwrap()
    }

    fn file(pattern: &str, filters: &[(&str, &str)]) -> Source {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Source::Files { pattern: pattern.to_owned(), filters: filters.iter().map(owned).collect() }
    }

    fn name(name: &str) -> Source {
        Source::Stored(StoredSource::Name(name.to_owned()))
    }

    #[test]
    fn prefixes_say_what_is_meant() {
        assert_eq!(parse("file:a-?.jsonl"), file("a-?.jsonl", &[]));
        assert_eq!(parse("file:a.jsonl?trial=0&kind=x=y"), file("a.jsonl", &[("trial", "0"), ("kind", "x=y")]));
        assert_eq!(parse("name:a=b"), name("a=b"));
        let conditions = vec![("service".to_owned(), "a/b".to_owned())];
        assert_eq!(parse("where:service=a/b"), Source::Stored(StoredSource::Where(conditions)));
    }

    #[test]
    fn without_a_prefix_an_existing_file_comes_first_then_a_condition_then_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces");
        std::fs::write(&path, "").unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(parse(path), file(path, &[]));
        assert_eq!(parse(&format!("{path}?trial=1")), file(path, &[("trial", "1")]));
        assert!(matches!(parse("service=a"), Source::Stored(StoredSource::Where(_))));
        assert_eq!(parse("release-7"), name("release-7"));
        assert_eq!(parse("missing.jsonl"), file("missing.jsonl", &[]));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["where:service", "where:=x", "name:", "file:a?=1"] {
            assert!(matches!(Source::parse(text), Err(Failure::Usage(_))), "{text}");
        }
    }
}
