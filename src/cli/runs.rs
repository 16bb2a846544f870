//! Whole runs of a source, for commands that look at more than records.

use super::failure::Failure;
use super::output::warn;
use super::problems::Problems;
use super::service::answer;
use super::sources::{Source, now, open};
use super::trace_files::{TraceFiles, expand};
use crate::app::settings::Settings;
use crate::domain::trace::Trace;
use crate::queries::QueryError;
use crate::queries::search::{LARGEST_LIMIT, search};
use crate::queries::selection::{Condition, selection};
use crate::queries::source::StoredSource;
use crate::queries::trace::trace_and_run;

/// Shows every run of `file:PATTERN`, or the newest of `where:key=value` whose spans are kept.
///
/// # Errors
/// The source cannot be read, or keeps no whole runs.
pub(super) async fn each_run(
    text: &str,
    settings: &Settings,
    mut see: impl FnMut(&Trace),
) -> Result<Problems, Failure> {
    match Source::parse(text)? {
        Source::Files { pattern, filters } if filters.is_empty() => {
            let mut files = TraceFiles::new(expand(&[pattern])?, settings);
            files.by_ref().for_each(|trace| see(&trace));
            Ok(files.finish()?.1)
        }
        Source::Files { .. } => Err(Failure::Usage(format!("{text:?}: whole runs cannot be chosen by a column here"))),
        Source::Stored(StoredSource::Where(conditions)) => each_stored(&conditions, settings, see).await,
        Source::Stored(StoredSource::Name(name)) => {
            Err(Failure::Usage(format!("the baseline {name:?} keeps no runs; write file:PATTERN or where:key=value")))
        }
    }
}

async fn each_stored(
    conditions: &[Condition],
    settings: &Settings,
    mut see: impl FnMut(&Trace),
) -> Result<Problems, Failure> {
    let selection = answer(selection(conditions, &settings.attributes, now()).map_err(QueryError::from))?;
    let store = open(settings, true).await?;
    let found = answer(search(&store, &selection, LARGEST_LIMIT).await)?.traces;
    let (mut kept, all) = (0, found.len());
    for trace in found {
        if let Some(run) =
            answer(trace_and_run(&store, trace.trace_id, &settings.attributes, &settings.prices).await)?.1
        {
            see(&run);
            kept += 1;
        }
    }
    warn(&format!("the spans of {kept} of the {all} newest traces are kept and were read"));
    if kept == 0 {
        return Err(Failure::CouldNot("there is no run to look at; widen the selection".to_owned()));
    }
    Ok(Problems::default())
}
