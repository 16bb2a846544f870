//! Alerts, last raised first.

use serde::{Deserialize, Serialize};

use super::QueryError;
use crate::backends::store::{AlertFilter, Store};
use crate::domain::alert::Alert;

/// The alerts that were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    /// Last raised first.
    pub alerts: Vec<Alert>,
}

/// Lists alerts.
///
/// # Errors
/// The store failed.
pub async fn alerts(store: &Store, filter: &AlertFilter) -> Result<Alerts, QueryError> {
    Ok(Alerts { alerts: store.alerts(filter).await? })
}
