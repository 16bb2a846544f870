//! Alertmanager, `POST /api/v2/alerts` (prometheus/alertmanager, api/v2/openapi.yaml).
//!
//! An alert there is its labels: a severity that changes makes another alert, so the old one is ended in the same
//! request. It takes an alert for over at `endsAt`, which each message moves on.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::message::Message;
use super::{line, place};
use crate::domain::alert::Severity;
use crate::domain::time::Timestamp;

/// Longest label or annotation, in characters.
const LONGEST: usize = 1000;

pub(super) fn body(message: &Message, now: Timestamp, valid_for: Duration) -> Value {
    let alert = &message.alert;
    let over = alert.resolved_at.unwrap_or(now).min(now);
    let ends_at = if alert.state.is_open() { now.plus(valid_for) } else { over };
    let mut alerts = vec![one(message, alert.severity, ends_at)];
    if let Some(previous) = message.previous_severity {
        alerts.insert(0, one(message, previous, now));
    }
    Value::Array(alerts)
}

fn one(message: &Message, severity: Severity, ends_at: Timestamp) -> Value {
    let alert = &message.alert;
    json!({
        "labels": {
            "alertname": "DriftlineAlert",
            "service": line(&alert.service, LONGEST),
            "series": line(&alert.series, LONGEST),
            "segment": line(&alert.segment, LONGEST),
            "direction": alert.direction,
            "severity": severity.as_str(),
            "fingerprint": alert.fingerprint,
        },
        "annotations": annotations(message),
        "startsAt": alert.raised_at.to_string(),
        "endsAt": ends_at.max(alert.raised_at).to_string(),
        "generatorURL": message.link,
    })
}

fn annotations(message: &Message) -> Value {
    let alert = &message.alert;
    let trace_ids: Vec<String> = alert.trace_ids.iter().map(ToString::to_string).collect();
    let mut annotations = json!({
        "summary": line(&format!("{} of {}", alert.series_marked(), place(message)), LONGEST),
        "description": line(&alert.summary, LONGEST),
        "guarantee": line(&alert.guarantee, LONGEST),
        "since": alert.since(),
        "trace_ids": trace_ids.join(" "),
        "runbook_url": message.runbook_url,
    });
    if let Some(change) = &alert.evidence.nearest_change {
        annotations["nearest_change"] = line(&change.to_string(), LONGEST).into();
    }
    if let Some(since) = alert.no_data_since {
        annotations["no_data_since"] = since.to_string().into();
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::super::super::message::Reason;
    use super::super::tests::message;
    use super::*;
    use crate::domain::alert::{Alert, AlertState};

    const HOUR: Timestamp = Timestamp(Timestamp::NANOS_PER_HOUR);

    #[test]
    fn an_open_alert_holds_for_a_while_and_a_resolved_one_ended_when_it_did() {
        let open = body(&message(Reason::Reminder, &Alert::example()), HOUR, Duration::from_mins(4));
        assert_eq!(
            (&open[0]["startsAt"], &open[0]["endsAt"]),
            (&"1970-01-01T00:00:00Z".into(), &"1970-01-01T01:04:00Z".into())
        );
        let ended = Timestamp(60_000_000_000);
        let over = Alert { state: AlertState::Resolved, resolved_at: Some(ended), ..Alert::example() };
        let over = body(&message(Reason::Resolved, &over), HOUR, Duration::from_mins(4));
        assert_eq!(over[0]["endsAt"], "1970-01-01T00:01:00Z");
        assert_eq!(over[0]["labels"], open[0]["labels"], "labels are what it knows an alert by");
    }

    #[test]
    fn a_severity_that_changed_ends_the_alert_that_was() {
        let mut louder = message(Reason::Louder, &Alert { severity: Severity::Page, ..Alert::example() });
        louder.previous_severity = Some(Severity::Warn);
        let body = body(&louder, HOUR, Duration::from_mins(4));
        let severities: Vec<&Value> = [0, 1].map(|at| &body[at]["labels"]["severity"]).into();
        assert_eq!(severities, ["warn", "page"]);
        assert_eq!(body[0]["endsAt"], "1970-01-01T01:00:00Z");
    }
}
