//! Erasure of what a user, a conversation or a business id left behind.

use serde::{Deserialize, Serialize};

use super::QueryError;
use super::selection::{conditions, selection};
use crate::backends::store::{Erased, Store};
use crate::domain::time::Timestamp;
use crate::normalize::AttributeMapping;

/// What is to be erased; at least one of the three, and all that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureRequest {
    /// Of this user.
    #[serde(default)]
    pub user: Option<String>,
    /// Of this conversation.
    #[serde(default)]
    pub conversation: Option<String>,
    /// `key=value[,key=value]`.
    #[serde(default, rename = "where")]
    pub conditions: Option<String>,
}

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// What was removed.
    pub removed: Erased,
    /// Traces that wait for their evaluation, of which it is not known yet whose they are. Erase again when they are
    /// evaluated.
    pub not_looked_at: u64,
}

/// Erases it. Asked again, it finds what came since.
///
/// # Errors
/// Nothing says what is meant, or the store or the archive failed.
pub async fn erase(
    store: &Store,
    asked: &ErasureRequest,
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<Erasure, QueryError> {
    let mut meant = asked.conditions.as_deref().map(conditions).transpose()?.unwrap_or_default();
    let given = [("user", &asked.user), ("conversation", &asked.conversation)];
    meant.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))));
    // A time or a service alone would be everyone's.
    let is_someone = |key: &str| matches!(key, "user" | "conversation") || names.iter().any(|(name, _)| name == key);
    if !meant.iter().any(|(key, value)| is_someone(key) && !value.is_empty()) {
        return Err(QueryError::ErasesAll);
    }
    meant.sort();
    let whose: Vec<String> = meant.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let removed = store.erase(&selection(&meant, names, now)?, &whose.join(","), now).await?;
    Ok(Erasure { removed, not_looked_at: store.unevaluated().await? })
}
