//! Alerts as messages for people and machines.

use serde::Serialize;

use crate::backends::store::NewOutboxItem;
use crate::domain::alert::{Alert, AlertState};
use crate::watch::alerts::AlertChange;

/// Name of the webhook in the outbox.
pub const WEBHOOK: &str = "webhook";

/// What a webhook receives: the alert, and where to look further.
#[derive(Debug, Serialize)]
struct Message<'a> {
    /// The version of this shape.
    version: u32,
    #[serde(flatten)]
    alert: &'a Alert,
    /// Links to the first traces behind the alert, when the settings say where traces are shown.
    links: Vec<String>,
}

/// Alerts whose transition people should hear of, in the state that telling them puts them in.
#[must_use]
pub fn told(changes: &[AlertChange], open: &[Alert]) -> Vec<Alert> {
    let severity_was = |alert: &Alert| open.iter().find(|it| it.fingerprint == alert.fingerprint).map(|it| it.severity);
    let is_news = |change: &&AlertChange| match change {
        AlertChange::Opened(_) | AlertChange::Resolved(_) => true,
        AlertChange::Updated(alert) => severity_was(alert) != Some(alert.severity),
    };
    changes.iter().filter(is_news).map(|change| firing(change.alert())).collect()
}

/// An alert that is told of is firing: the message is in the same transaction.
#[must_use]
pub fn firing(alert: &Alert) -> Alert {
    let state = if alert.state == AlertState::Pending { AlertState::Firing } else { alert.state };
    Alert { state, ..alert.clone() }
}

/// The webhook's message of an alert. `trace_link` holds `{trace_id}`, or is empty.
#[must_use]
pub fn webhook_item(alert: &Alert, trace_link: &str) -> Option<NewOutboxItem> {
    let links = match trace_link {
        "" => Vec::new(),
        link => alert.trace_ids.iter().map(|trace_id| link.replace("{trace_id}", &trace_id.to_string())).collect(),
    };
    let payload = serde_json::to_vec(&Message { version: 1, alert, links }).ok()?;
    let key = format!("{}:{}:{:?}:{:?}", alert.fingerprint, alert.raised_at.0, alert.state, alert.severity);
    Some(NewOutboxItem { destination: WEBHOOK.to_owned(), key, payload })
}
