//! Which judges are calibrated, by what the store holds.

use crate::backends::store::{Store, StoreError};
use crate::watch::standings::Standings;

/// The standings by all labels.
///
/// # Errors
/// The store failed.
pub(super) async fn standings(store: &Store) -> Result<Standings, StoreError> {
    Ok(Standings::new(store.judges().await?, &store.labelled_counts().await?))
}
