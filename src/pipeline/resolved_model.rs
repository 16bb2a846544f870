//! Which model a judge model's provider answers with, as it names it: part of every judgement's revision.

use std::sync::{Mutex, PoisonError};

use super::Shared;
use crate::telemetry::logs::causes;

/// What is known of one judge model.
pub(super) struct ResolvedModel {
    /// The judge model, by its name in the settings.
    lane: String,
    /// The model that is asked for.
    asked: String,
    /// The model that has last answered, as far as any did.
    last: Mutex<Option<String>>,
}

impl ResolvedModel {
    /// What the store knows; nothing when it cannot be read, so that the next answer is noted.
    pub(super) async fn load(shared: &Shared, lane: &str, asked: &str) -> Self {
        let seen = shared.store.judge_models().await.unwrap_or_else(|error| {
            tracing::warn!(lane, error = causes(&error), "which models have judged before cannot be read");
            Vec::new()
        });
        let of_lane = seen.into_iter().filter(|seen| seen.lane == lane && seen.asked == asked);
        let last = of_lane.max_by_key(|seen| seen.last_seen_at).map(|seen| seen.answered);
        Self { lane: lane.to_owned(), asked: asked.to_owned(), last: Mutex::new(last) }
    }

    /// Whether this model, `None` being the one that is asked for, is the one that answers at present.
    pub(super) fn is_current(&self, model: Option<&str>) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_none_or(|last| last == model.unwrap_or(&self.asked))
    }

    /// Notes which model has answered. One that was never seen before, where another was, is told of.
    pub(super) async fn note(&self, shared: &Shared, model: Option<&str>) {
        if self.last.lock().unwrap_or_else(PoisonError::into_inner).is_some() && self.is_current(model) {
            return;
        }
        let (lane, answered) = (&self.lane, model.unwrap_or(&self.asked));
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(answered.to_owned());
        match (shared.store.note_judge_model(lane, &self.asked, answered, shared.now()).await, before) {
            (Ok(true), Some(before)) => {
                tracing::warn!(lane, before, answered, "the judge's model has changed: its scores start a new series");
            }
            (Ok(_), _) => {}
            (Err(error), _) => tracing::warn!(lane, answered, error = causes(&error), "a judge's model is not noted"),
        }
    }
}
