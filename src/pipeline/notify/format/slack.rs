//! Incoming webhooks of Slack (api.slack.com/messaging/webhooks, reference/messaging/attachments), in the older shape
//! that Mattermost and Rocket.Chat take too.
//!
//! `&`, `<` and `>` are escaped, which leaves no way to mention anyone or to dress up a link; text of traces stands where
//! formatting is off.

use serde_json::{Value, json};

use super::super::message::{Message, Reason};
use super::{line, place};
use crate::domain::alert::{Alert, Severity};

const LONGEST: usize = 1500;

pub(super) fn body(message: &Message) -> Value {
    let alert = &message.alert;
    let severity = if alert.state.is_open() { alert.severity.as_str() } else { "resolved" };
    let title = format!("{} [{severity}] {} of {}", what(message.reason), alert.series_marked(), place(message));
    let title = escaped(&title, 200);
    json!({
        // What phones show; formatting is on here, and cannot be turned off, so it says nothing of traces.
        "text": format!("driftline: {} ({severity}) <{}|{}>", what(message.reason), message.link, alert.fingerprint),
        "unfurl_links": false,
        "unfurl_media": false,
        "attachments": [{
            "fallback": title,
            "color": color(alert),
            "title": title,
            "title_link": message.link,
            "text": escaped(&alert.summary, LONGEST),
            "fields": fields(message),
            "mrkdwn_in": [],
        }],
    })
}

fn fields(message: &Message) -> Vec<Value> {
    let alert = &message.alert;
    let mut fields = vec![
        field("Since", &alert.since()),
        field("Guarantee", &alert.guarantee),
        field("Runbook", &message.runbook_url),
    ];
    fields.extend(alert.evidence.nearest_change.as_ref().map(|change| field("Nearest change", &change.to_string())));
    if let Some(taken) = &alert.acknowledgement {
        let note = taken.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        fields.push(field("Acknowledged", &format!("{}{note}", taken.by)));
    }
    fields.extend(alert.no_data_since.map(|since| field("No data since", &since.to_string())));
    fields.extend(message.links.first().map(|link| field("First trace", link)));
    fields
}

fn field(title: &str, value: &str) -> Value {
    json!({"title": title, "value": escaped(value, 500), "short": false})
}

const fn what(reason: Reason) -> &'static str {
    match reason {
        Reason::Firing => "Alert",
        Reason::Louder => "Alert is louder",
        Reason::Acknowledged => "Acknowledged",
        Reason::NoData => "No data",
        Reason::DataBack => "Data is back",
        Reason::Reminder => "Still open",
        Reason::SilenceEnded => "Silence ended, still open",
        Reason::Resolved => "Resolved",
    }
}

const fn color(alert: &Alert) -> &'static str {
    match alert.severity {
        _ if !alert.state.is_open() => "good",
        Severity::Info => "#439fe0",
        Severity::Warn => "warning",
        Severity::Page => "danger",
    }
}

/// Text without power in Slack (reference/surfaces/formatting, escaping text).
fn escaped(text: &str, most: usize) -> String {
    line(text, most).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::message;
    use super::*;

    #[test]
    fn text_of_traces_can_mention_no_one_and_forge_no_link() {
        let hostile = "<!channel> <http://evil|ok> & \u{202e}\n";
        let alert = Alert { service: hostile.to_owned(), summary: hostile.to_owned(), ..Alert::example() };
        let body = body(&message(Reason::Firing, &alert));
        assert_eq!(body["attachments"][0]["text"], "&lt;!channel&gt; &lt;http://evil|ok&gt; &amp; \u{fffd} ");
        let all = body.to_string();
        assert!(!all.contains("<!") && !all.contains("<http://evil"), "{all}");
        assert_eq!(body["attachments"][0]["mrkdwn_in"], json!([]));
    }
}
