//! A side of a comparison that a store can give: a selection of its traces, or a baseline by name.

use super::baselines::baseline;
use super::selection::{Condition, conditions, selection};
use super::{QueryError, Store, compute};
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;
use crate::normalize::AttributeMapping;
use crate::watch::baseline::Baseline;
use crate::watch::summarize::Summarizer;

/// `where:key=value[,…]` or `name:BASELINE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredSource {
    /// The traces for which all conditions hold.
    Where(Vec<Condition>),
    /// The baseline of a name.
    Name(String),
}

/// What a source holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// Its series.
    pub summary: Baseline,
    /// Its traces, of which a baseline keeps none.
    pub records: Option<Vec<TraceRecord>>,
}

impl StoredSource {
    /// Reads a source. The prefix may be left out: what has an `=` is a selection, anything else a name.
    ///
    /// # Errors
    /// The text is empty, names a file, or is no selection.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let invalid = || QueryError::Source { text: text.to_owned() };
        if let Some(name) = text.strip_prefix("name:") {
            return Some(name)
                .filter(|name| !name.is_empty())
                .map(|name| Self::Name(name.to_owned()))
                .ok_or_else(invalid);
        }
        match text.strip_prefix("where:") {
            Some(written) => Ok(Self::Where(conditions(written)?)),
            None if text.is_empty() || text.starts_with("file:") => Err(invalid()),
            None if text.contains('=') => Ok(Self::Where(conditions(text)?)),
            None => Ok(Self::Name(text.to_owned())),
        }
    }
}

/// Reads and summarises a source; `text` is how the user wrote it.
///
/// # Errors
/// There is no such baseline, a condition means nothing, or the store failed.
pub async fn side(store: &Store, text: &str, names: &AttributeMapping, now: Timestamp) -> Result<Side, QueryError> {
    match StoredSource::parse(text)? {
        StoredSource::Name(name) => Ok(Side { summary: baseline(store, &name).await?, records: None }),
        StoredSource::Where(conditions) => {
            let selection = selection(&conditions, names, now)?;
            let (records, revisions) = (store.records(&selection).await?, store.revisions(&selection).await?);
            let text = text.to_owned();
            compute(move || Side {
                summary: Baseline::from_records(&text, now, &text, &records).with_revisions(revisions),
                records: Some(records),
            })
            .await
        }
    }
}

/// Summarises a source trace by trace, in memory that does not grow with them.
///
/// # Errors
/// As of [`side`].
pub(super) async fn summary(
    store: &Store,
    text: &str,
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<Baseline, QueryError> {
    let conditions = match StoredSource::parse(text)? {
        StoredSource::Name(name) => return baseline(store, &name).await,
        StoredSource::Where(conditions) => conditions,
    };
    let selection = selection(&conditions, names, now)?;
    let mut summarizer = Summarizer::default();
    store.visit_records(&selection, |record| summarizer.add(record)).await?;
    Ok(summarizer.finish(text, now, text).with_revisions(store.revisions(&selection).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_may_be_left_out_where_only_one_can_be_meant() {
        let conditions = vec![("service".to_owned(), "shop".to_owned())];
        for text in ["where:service=shop", "service=shop"] {
            assert_eq!(StoredSource::parse(text).unwrap(), StoredSource::Where(conditions.clone()));
        }
        for text in ["name:may", "may"] {
            assert_eq!(StoredSource::parse(text).unwrap(), StoredSource::Name("may".to_owned()));
        }
        assert_eq!(StoredSource::parse("name:a=b").unwrap(), StoredSource::Name("a=b".to_owned()));
    }

    #[test]
    fn files_and_nothing_are_no_stored_sources() {
        for text in ["", "name:", "file:x.jsonl", "where:shop"] {
            assert!(StoredSource::parse(text).is_err(), "{text}");
        }
    }
}
