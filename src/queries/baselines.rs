//! Baselines: what there is, what one holds, and taking a new one.

use serde::{Deserialize, Serialize};

use super::source::summary;
use super::{QueryError, compute};
use crate::backends::store::{Store, StoredBaseline};
use crate::domain::time::Timestamp;
use crate::normalize::AttributeMapping;
use crate::watch::baseline::Baseline;

/// Every baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baselines {
    /// Newest first.
    pub baselines: Vec<BaselineRow>,
}

/// A baseline without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineRow {
    /// Its name.
    pub name: String,
    /// When it was taken, in nanoseconds since the Unix epoch.
    pub created_at: Timestamp,
    /// What it was taken from, as it was asked for.
    pub selection: String,
}

/// What became of a new baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedBaseline {
    /// The baseline.
    #[serde(flatten)]
    pub baseline: BaselineRow,
    /// Traces in it.
    pub traces: u64,
    /// Series in it, over all traces and over segments.
    pub series: usize,
}

impl From<StoredBaseline> for BaselineRow {
    fn from(stored: StoredBaseline) -> Self {
        Self { name: stored.name, created_at: stored.created_at, selection: stored.selection }
    }
}

/// Lists the baselines.
///
/// # Errors
/// The store failed.
pub async fn baselines(store: &Store) -> Result<Baselines, QueryError> {
    Ok(Baselines { baselines: store.baselines().await?.into_iter().map(BaselineRow::from).collect() })
}

/// A baseline with its content.
///
/// # Errors
/// There is none of this name, it cannot be read, or the store failed.
pub async fn baseline(store: &Store, name: &str) -> Result<Baseline, QueryError> {
    let unknown = || QueryError::UnknownBaseline { name: name.to_owned() };
    let json = store.baseline(name).await?.ok_or_else(unknown)?;
    let read = compute(move || serde_json::from_str(&json)).await?;
    read.map_err(|source| QueryError::DamagedBaseline { name: name.to_owned(), source })
}

/// Longest name of a baseline, in characters.
const LONGEST_NAME: usize = 100;

/// Refuses what cannot name a baseline.
///
/// # Errors
/// The name is empty, too long, or has characters other than `A-Z a-z 0-9 . _ -`.
pub fn check_name(name: &str) -> Result<(), QueryError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(QueryError::BaselineName { name: name.to_owned() })
}

/// Takes a baseline of a source of stored traces.
///
/// # Errors
/// The source means nothing or holds no trace, the name is taken or none, or the store failed.
pub async fn create_baseline(
    store: &Store,
    name: &str,
    from: &str,
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<CreatedBaseline, QueryError> {
    check_name(name)?;
    let summary = summary(store, from, names, now).await?;
    keep_baseline(store, Baseline { name: name.to_owned(), created_at: now, selection: from.to_owned(), ..summary })
        .await
}

/// Keeps a summary as the baseline that it names.
///
/// # Errors
/// It holds no trace, its name is taken or none, or the store failed.
pub async fn keep_baseline(store: &Store, baseline: Baseline) -> Result<CreatedBaseline, QueryError> {
    check_name(&baseline.name)?;
    if baseline.traces == 0 {
        return Err(QueryError::EmptySource { text: baseline.selection });
    }
    let json = serde_json::to_string(&baseline).map_err(QueryError::Unwritable)?;
    store.insert_baseline(&baseline.name, baseline.created_at, &baseline.selection, &json).await?;
    Ok(CreatedBaseline {
        traces: baseline.traces,
        series: baseline.series.len(),
        baseline: BaselineRow { name: baseline.name, created_at: baseline.created_at, selection: baseline.selection },
    })
}
