//! Where alerts are told, and which.

use std::time::Duration;

use crate::domain::alert::{Alert, Severity};

/// A place that hears of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name, in the outbox too.
    pub name: String,
    /// The least severity that it hears of.
    pub severity: Severity,
    /// The services that it hears of; all when empty.
    pub services: Vec<String>,
    /// After how long it is told again of what is open.
    pub remind_after: Duration,
    /// Whether it takes an alert for over when it is not told again: then neither a silence nor an acknowledgement keeps
    /// it from being told again of what it knows.
    pub forgets: bool,
}

impl Channel {
    /// A channel that hears of every alert.
    #[must_use]
    pub fn of_everything(name: &str, remind_after: Duration) -> Self {
        let services = Vec::new();
        Self { name: name.to_owned(), severity: Severity::Info, services, remind_after, forgets: false }
    }

    /// Whether it is to hear of an alert.
    #[must_use]
    pub fn wants(&self, alert: &Alert) -> bool {
        alert.severity >= self.severity && (self.services.is_empty() || self.services.contains(&alert.service))
    }
}
