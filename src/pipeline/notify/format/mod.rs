//! Messages of alerts as each kind of channel takes them. Names of services, series and segments come from traces: each
//! format takes away what would act in it.

mod alertmanager;
mod pagerduty;
mod slack;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::message::Message;
use crate::domain::text::printable;
use crate::domain::time::Timestamp;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// How a channel takes messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// The message itself.
    Webhook,
    /// The API of Alertmanager, version 2, which takes an alert for over when it does not hear of it for so long.
    Alertmanager {
        /// How long a message holds.
        valid_for: Duration,
    },
    /// An incoming webhook of Slack, or of what speaks like it.
    Slack,
    /// The Events API of PagerDuty, version 2.
    PagerDuty {
        /// The key of the integration.
        routing_key: Secret,
    },
}

impl Format {
    /// Path below the channel's address; empty for the address itself.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        match self {
            Self::Alertmanager { .. } => "api/v2/alerts",
            Self::Webhook | Self::Slack | Self::PagerDuty { .. } => "",
        }
    }

    /// The body of a message that is sent now; `None` where the channel has no use for it.
    #[must_use]
    pub fn body(&self, message: &Message, now: Timestamp) -> Option<Value> {
        match self {
            Self::Webhook => serde_json::to_value(message).ok(),
            Self::Alertmanager { valid_for } => Some(alertmanager::body(message, now, *valid_for)),
            Self::Slack => Some(slack::body(message)),
            Self::PagerDuty { routing_key } => pagerduty::body(message, routing_key),
        }
    }

    /// A text without the channel's secret.
    #[must_use]
    pub fn without_secret(&self, text: &str) -> String {
        match self {
            Self::PagerDuty { routing_key: Secret(key) } if !key.is_empty() => text.replace(key.as_str(), "…"),
            _ => text.to_owned(),
        }
    }
}

/// Untrusted text on one line, of at most so many characters.
fn line(text: &str, most: usize) -> String {
    let text = printable(&text.replace(['\n', '\r'], " "));
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text,
    }
}

/// `shop`, or `shop (model=x)`.
fn place(message: &Message) -> String {
    let alert = &message.alert;
    let segment = if alert.segment == "all" { String::new() } else { format!(" ({})", alert.segment) };
    line(&format!("{}{segment}", alert.service), 200)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::message::{Links, Reason};
    use super::super::plan::Telling;
    use super::*;
    use crate::domain::alert::Alert;

    /// A message about an alert.
    pub(in crate::pipeline::notify) fn message(reason: Reason, alert: &Alert) -> Message {
        let links = Links { web: "http://w".to_owned(), trace: "http://t/{trace_id}".to_owned() };
        links.message(alert, &[], &Telling { reason, previous_severity: None, event: None })
    }

    #[test]
    fn a_message_survives_the_outbox_and_the_webhook_takes_it_as_it_is() {
        let alert = Alert { trace_ids: vec!["1".repeat(32).parse().unwrap()], ..Alert::example() };
        let message = message(Reason::Firing, &alert);
        let stored = serde_json::to_vec(&message).unwrap();
        let read: Message = serde_json::from_slice(&stored).unwrap();
        assert_eq!(read, message);
        let body = Format::Webhook.body(&read, Timestamp(0)).unwrap();
        assert_eq!(body["links"][0], format!("http://t/{}", "1".repeat(32)));
        assert_eq!(body["link"], "http://w/alerts/00000000000000f1");
        assert_eq!((&body["state"], &body["reason"]), (&"firing".into(), &"firing".into()));
    }

    #[test]
    fn every_channel_is_told_of_an_uncalibrated_judge_and_only_of_that() {
        let formats = [
            Format::Webhook,
            Format::Alertmanager { valid_for: Duration::from_secs(1) },
            Format::Slack,
            Format::PagerDuty { routing_key: Secret("key".to_owned()) },
        ];
        for calibrated in [None, Some(true), Some(false)] {
            let message = message(Reason::Firing, &Alert::example().marked(calibrated));
            for format in &formats {
                let body = format.body(&message, Timestamp(0)).unwrap().to_string();
                assert_eq!(body.contains("uncalibrated"), calibrated == Some(false), "{format:?}: {body}");
            }
        }
    }

    #[test]
    fn series_of_an_uncalibrated_judge_are_marked_among_those_that_an_alert_speaks_for() {
        let links = Links { web: "http://w".to_owned(), trace: String::new() };
        let (alert, other) = (Alert::example(), Alert::example().marked(Some(false)));
        let telling = Telling { reason: Reason::Firing, previous_severity: None, event: None };
        let summary = links.message(&alert, &[&other], &telling).alert.summary;
        assert!(summary.contains(&format!("{} (uncalibrated)", other.series)), "{summary}");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let format = Format::PagerDuty { routing_key: Secret("s3cret".to_owned()) };
        assert!(!format!("{format:?}").contains("s3cret"));
        assert_eq!(format.without_secret("bad key s3cret"), "bad key …");
    }

    #[test]
    fn text_of_traces_is_one_line_of_bounded_length() {
        assert_eq!(line("a\nb\u{1b}[2J\u{202e}", 9), "a b\u{fffd}[2J\u{fffd}");
        assert_eq!(line("größe", 3), "grö…");
    }
}
