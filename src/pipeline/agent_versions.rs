//! Keeps the versions of agents few.
//!
//! A version is found from prompt, tools and model, and whatever changes in a prompt from run to run and is not masked
//! (`normalize`'s agent versions) makes every run a version of its own: segments without end, each of one trace. So a
//! service may bring so many new ones a day; beyond that a run falls back to `service.version`, and says so.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::Shared;
use crate::backends::store::{AgentVersion, RecordedTrace, StoreError};
use crate::domain::time::Timestamp;

/// New versions of one service in one day (UTC).
pub const NEW_VERSIONS_A_DAY: usize = 50;
/// Versions that are remembered here; the store knows the others.
const REMEMBERED: usize = 10_000;

const SEGMENT: &str = "agent_version";

/// The versions that one worker knows to be admitted.
#[derive(Debug, Default)]
pub(super) struct AgentVersions {
    admitted: HashSet<AgentVersion>,
}

impl AgentVersions {
    /// Notes new versions, and takes those that are too many from their records.
    ///
    /// # Errors
    /// The store failed; then nothing is changed.
    pub(super) async fn admit(
        &mut self,
        shared: &Shared,
        recorded: &mut [RecordedTrace],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let unknown: BTreeSet<AgentVersion> =
            recorded.iter().filter_map(version).filter(|version| !self.admitted.contains(version)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let known = shared
            .store
            .admit_agent_versions(&unknown, now.floor(Duration::from_hours(24)), NEW_VERSIONS_A_DAY, now)
            .await?;
        let refused: BTreeSet<&AgentVersion> = unknown.difference(&known).collect();
        for trace in recorded {
            if version(trace).is_some_and(|version| refused.contains(&version)) {
                fall_back(trace);
                shared.metrics.agent_versions_refused.inc();
            }
        }
        if self.admitted.len() + known.len() > REMEMBERED {
            self.admitted.clear();
        }
        self.admitted.extend(known);
        Ok(())
    }
}

fn version(trace: &RecordedTrace) -> Option<AgentVersion> {
    let version = trace.trace.record.segments.get(SEGMENT)?;
    Some((trace.trace.service.clone(), version.clone()))
}

fn fall_back(recorded: &mut RecordedTrace) {
    let record = &mut recorded.trace.record;
    let found = record.segments.remove(SEGMENT).unwrap_or_default();
    record.notes.push(format!(
        "agent version {found} is one of more than {NEW_VERSIONS_A_DAY} new ones of this service today, so that \
         service.version stands in for it; does the prompt hold something that changes from run to run?"
    ));
    if let Some(release) = recorded.trace.release.clone() {
        record.segments.insert(SEGMENT.to_owned(), release);
    }
}
