//! Notices versions by themselves: counts, hour by hour, which versions the traces carry, says which are new, and notes
//! when judges, rules or settings are not what they were when the service last started.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Shared;
use super::crash_point::crash_point;
use super::leadership::Leadership;
use crate::backends::store::StoreError;
use crate::domain::release::{ChangeEvent, ChangeKind, Release, ReleaseStatus, VersionHour};
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::run::Evaluators;
use crate::telemetry::logs::causes;
use crate::watch::releases::notice;

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
    let mut known = None;
    while !shared.is_stopping() {
        let step = leadership.lead(&shared, step(&shared, &mut known)).await;
        shared.rest("notice releases", INTERVAL, step).await;
    }
}

/// Counts once; the hours of this minute are counted again in the next. Says which releases are new.
async fn step(shared: &Shared, known: &mut Option<Versions>) -> Result<bool, StoreError> {
    if known.is_none() {
        *known = Some(settled(&releases(shared, None).await?));
    }
    let settled = known.get_or_insert_default();
    let counted = count_versions(shared).await?;
    let is_new = |hour: &&VersionHour| !hour.value.is_empty() && !settled.contains(&version_of(hour));
    let services: BTreeSet<String> = counted.iter().filter(is_new).map(|hour| hour.service.clone()).collect();
    for service in services {
        for release in releases(shared, Some(&service)).await? {
            if settled.insert(version(&release)) {
                let Release { service, dimension, value, previous, share, .. } = release;
                tracing::info!(service, dimension, value, previous, share, "a release is noticed");
            }
        }
    }
    Ok(false)
}

/// Counts the versions of every hour that was recorded into since the last pass that came to its end, and gives the
/// counts. Hours that were counted before it failed stay so, and are counted again.
///
/// # Errors
/// The store failed.
pub async fn count_versions(shared: &Shared) -> Result<Vec<VersionHour>, StoreError> {
    let started = shared.now();
    let mut counted = Vec::new();
    crash_point("releases.count");
    for (service, hour) in shared.store.uncounted_hours().await? {
        counted.extend(shared.store.count_versions(&service, hour, started).await?);
    }
    shared.store.note_counted(started).await?;
    Ok(counted)
}

/// Everything that changed around a service: its versions, as far as they are counted, and what traces are judged and
/// watched by.
///
/// # Errors
/// The store failed.
pub(super) async fn changes_around(shared: &Shared, service: &str) -> Result<Vec<ChangeEvent>, StoreError> {
    let mut changes = notice(&shared.store.version_hours(Some(service)).await?).changes;
    changes.extend(shared.store.changes().await?);
    Ok(changes)
}

/// Service, dimension and value.
type Version = (String, String, String);
type Versions = BTreeSet<Version>;

fn version(release: &Release) -> Version {
    (release.service.clone(), release.dimension.clone(), release.value.clone())
}

fn version_of(hour: &VersionHour) -> Version {
    (hour.service.clone(), hour.dimension.clone(), hour.value.clone())
}

fn settled(releases: &[Release]) -> Versions {
    releases.iter().map(version).collect()
}

/// The settled releases of a service, or of all.
async fn releases(shared: &Shared, service: Option<&str>) -> Result<Vec<Release>, StoreError> {
    let mut releases = notice(&shared.store.version_hours(service).await?).releases;
    releases.retain(|release| release.status != ReleaseStatus::Unsettled);
    Ok(releases)
}
