//! Whole runs of a source, for commands that look at more than records.
//!
//! Of the runs in the store those that were not sampled lose their spans after the late window, and what is left holds
//! every failing run beside a few healthy ones. So once that window has passed only sampled runs are shown, each standing
//! for the inverse of the probability with which it was sampled; before, every run is kept and stands for itself.

use super::failure::Failure;
use super::output::warn;
use super::problems::Problems;
use super::service::answer;
use super::sources::{Source, now, open};
use super::trace_files::{TraceFiles, expand};
use crate::app::settings::Settings;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::queries::QueryError;
use crate::queries::search::{LARGEST_LIMIT, search};
use crate::queries::selection::{Condition, selection};
use crate::queries::source::StoredSource;
use crate::queries::trace::{TraceView, trace_and_run};

/// Shows every run of `file:PATTERN`, or the newest of `where:key=value` whose spans are kept, each with the number of runs
/// that it stands for.
///
/// # Errors
/// The source cannot be read, or keeps no whole runs.
pub(super) async fn each_run(
    text: &str,
    settings: &Settings,
    mut see: impl FnMut(&Trace, f64),
) -> Result<Problems, Failure> {
    match Source::parse(text)? {
        Source::Files { pattern, filters } if filters.is_empty() => {
            let mut files = TraceFiles::new(expand(&[pattern])?, settings);
            files.by_ref().for_each(|trace| see(&trace, 1.0));
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
    mut see: impl FnMut(&Trace, f64),
) -> Result<Problems, Failure> {
    let now = now();
    let selection = answer(selection(conditions, &settings.attributes, now).map_err(QueryError::from))?;
    let store = open(settings, true).await?;
    let found = answer(search(&store, &selection, LARGEST_LIMIT).await)?.traces;
    let (mut read, mut represented, all) = (0, 0.0, found.len());
    for trace in found {
        let stored = trace_and_run(&store, trace.trace_id, &settings.attributes, &settings.prices).await;
        let (view, Some(run)) = answer(stored)? else { continue };
        let Some(weight) = weight(&view, now.minus(settings.complete.late_window)) else { continue };
        see(&run, weight);
        read += 1;
        represented += weight;
    }
    warn(&format!("the spans of {read} of the {all} newest traces were read, which stand for {represented:.0}"));
    if read == 0 {
        return Err(Failure::CouldNot("there is no run to look at; widen the selection".to_owned()));
    }
    Ok(Problems::default())
}

/// How many runs a kept one stands for; `None` where it is kept by chance alone. A run that ended before
/// `all_kept_since` may have lost its spans if it was not sampled.
fn weight(view: &TraceView, all_kept_since: Timestamp) -> Option<f64> {
    if view.summary.ended_at > all_kept_since {
        return Some(1.0);
    }
    view.decision.as_ref().filter(|decision| decision.sampled).map(|decision| 1.0 / decision.probability)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(sampled: bool, probability: f64) -> TraceView {
        serde_json::from_value(json!({
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "service": "s", "attributes": {}, "started_at": 1_000,
            "ended_at": 1_000, "failing": false, "error": false, "sampled": sampled, "version": 1,
            "root_span_id": "b7ad6b7169203331", "body": {"kept": true, "until": 9_000}, "resources": [], "spans": [],
            "scores": [], "decision": {"sampled": sampled, "probability": probability, "reason": "healthy"},
        }))
        .unwrap()
    }

    #[test]
    fn a_sampled_run_stands_for_those_that_lost_their_spans_and_before_that_for_itself() {
        let weights = |since: i64| {
            [view(true, 0.05), view(false, 0.05), view(true, 1.0)].map(|view| weight(&view, Timestamp(since)))
        };
        assert_eq!(weights(1_000), [Some(20.0), None, Some(1.0)]);
        assert_eq!(weights(999), [Some(1.0); 3]);
    }
}
