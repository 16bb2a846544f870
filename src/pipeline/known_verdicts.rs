//! Verdicts that were given before on the same questions: a redelivered trace, or a late span, seldom pays again.

use super::Shared;
use super::grouped::{Entries, Grouped, grouped};
use super::judgment::Decided;

/// What identifies a question.
type Key = [u8; 32];

/// Asks for known verdicts.
#[derive(Debug)]
pub(super) struct KnownVerdicts {
    lookups: Grouped<Key, Option<String>>,
}

/// The other end of [`KnownVerdicts`].
pub(super) struct Lookups {
    lookups: Entries<Key, Option<String>>,
}

impl KnownVerdicts {
    /// A way to ask, and what answers.
    pub(super) fn new() -> (Self, Lookups) {
        let (asking, answering) = grouped();
        (Self { lookups: asking }, Lookups { lookups: answering })
    }

    /// The verdict on a question, where it is known.
    pub(super) async fn get(&self, key: Key) -> Option<Decided> {
        let cached = self.lookups.submit(key).await.flatten()?;
        serde_json::from_str(&cached).ok()
    }
}

impl Lookups {
    /// Answers until nobody can ask any more. What cannot be looked up is not known.
    pub(super) async fn answer(mut self, shared: &Shared) {
        while let Some((keys, waiting)) = self.lookups.next().await {
            let known = shared.store.cached_verdicts(&keys).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "known verdicts cannot be looked up; the judge is asked");
                Default::default()
            });
            waiting.answer(keys.iter().map(|key| known.get(key.as_slice()).cloned()).collect());
        }
    }
}
