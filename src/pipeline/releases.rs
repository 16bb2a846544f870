//! Notices versions by themselves: counts, hour by hour, which versions the traces carry, and notes when judges, rules or
//! settings are not what they were when the service last started.

use std::time::Duration;

use super::Shared;
use super::crash_point::crash_point;
use super::leadership::Leadership;
use crate::backends::store::StoreError;
use crate::domain::release::ChangeKind;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::run::Evaluators;
use crate::telemetry::logs::causes;

/// How often new traces are counted.
const INTERVAL: Duration = Duration::from_mins(1);

/// What traces are judged and watched by: kind, name and value.
pub type Definition = (ChangeKind, String, String);

/// The revisions of the loaded evaluators.
#[must_use]
pub fn definitions(evaluators: &Evaluators) -> Vec<Definition> {
    let kind = |behaviour: &Behaviour| match behaviour {
        Behaviour::Judge(_) => ChangeKind::Judge,
        Behaviour::Rule(_) | Behaviour::Service(_) => ChangeKind::Evaluator,
    };
    let all = evaluators.definitions().iter();
    all.map(|definition| (kind(&definition.behaviour), definition.name.clone(), definition.revision.clone())).collect()
}

/// Notes the definitions, then counts versions until the process is to end.
pub async fn notice_releases(shared: Shared, definitions: Vec<Definition>) {
    match shared.store.note_definitions(&definitions, shared.now()).await {
        Ok(changes) => {
            for change in changes {
                tracing::info!(
                    subject = change.subject,
                    from = change.from,
                    to = change.to,
                    "a definition has changed"
                );
            }
        }
        Err(error) => tracing::warn!(error = causes(&error), "changes of definitions could not be noted"),
    }
    let mut leadership = Leadership::of("notice releases");
    while !shared.is_stopping() {
        let step = leadership.lead(&shared, step(&shared)).await;
        shared.rest("notice releases", INTERVAL, step).await;
    }
}

/// Counts once; the hours of this minute are counted again in the next.
async fn step(shared: &Shared) -> Result<bool, StoreError> {
    crash_point("releases.count");
    shared.store.count_versions(shared.now()).await?;
    crash_point("releases.counted");
    Ok(false)
}
