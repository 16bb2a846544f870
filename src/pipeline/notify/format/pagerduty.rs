//! PagerDuty Events API v2 (developer.pagerduty.com, send an event): one incident for one fingerprint.

use serde_json::{Value, json};

use super::super::message::{Message, Reason};
use super::{Secret, line, place};
use crate::domain::alert::Severity;

/// Longest summary that the API takes, less what marks a cut.
const LONGEST: usize = 1000;

/// That data are missing or back changes nothing for who is on call.
pub(super) fn body(message: &Message, routing_key: &Secret) -> Option<Value> {
    let alert = &message.alert;
    let action = match message.reason {
        Reason::Firing | Reason::Louder | Reason::Reminder | Reason::SilenceEnded => "trigger",
        Reason::Acknowledged => "acknowledge",
        Reason::Resolved => "resolve",
        Reason::NoData | Reason::DataBack => return None,
    };
    let mut body = json!({
        "routing_key": routing_key.0,
        "event_action": action,
        "dedup_key": format!("driftline-{}", alert.fingerprint),
    });
    if action == "trigger" {
        body["client"] = "driftline".into();
        body["client_url"] = message.link.as_str().into();
        body["links"] = links(message);
        body["payload"] = payload(message);
    }
    Some(body)
}

fn links(message: &Message) -> Value {
    let traces = message.links.iter().take(5).map(|link| json!({"href": link, "text": "trace"}));
    let runbook = json!({"href": message.runbook_url, "text": "runbook"});
    Value::Array([runbook].into_iter().chain(traces).collect())
}

fn payload(message: &Message) -> Value {
    let alert = &message.alert;
    let severity = match alert.severity {
        Severity::Info => "info",
        Severity::Warn => "warning",
        Severity::Page => "critical",
    };
    let trace_ids: Vec<String> = alert.trace_ids.iter().map(ToString::to_string).collect();
    json!({
        "summary": line(&alert.summary, LONGEST),
        "source": place(message),
        "severity": severity,
        "timestamp": alert.raised_at.to_string(),
        "component": line(&alert.series, 200),
        "group": line(&alert.service, 200),
        "class": alert.detector,
        "custom_details": {
            "since": alert.since(),
            "nearest_change": alert.evidence.nearest_change.as_ref().map(|change| line(&change.to_string(), LONGEST)),
            "group": message.group.iter().take(20).map(|one| line(&one.summary, 200)).collect::<Vec<_>>(),
            "baseline": alert.baseline,
            "current": alert.current,
            "guarantee": line(&alert.guarantee, LONGEST),
            "trace_ids": trace_ids,
        },
    })
}
