//! What a channel is sent of an alert: the alert, why now, and where to look further.

use serde::{Deserialize, Serialize};

use super::plan::Telling;
use crate::domain::alert::{Alert, AlertState, Severity};

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The alert is new to the channel.
    Firing,
    /// Its severity rose.
    Louder,
    /// Someone has it.
    Acknowledged,
    /// Its detector fell silent.
    NoData,
    /// Its detector is heard of again.
    DataBack,
    /// It still goes on.
    Reminder,
    /// A silence has ended, and it still goes on.
    SilenceEnded,
    /// It is over.
    Resolved,
}

impl Reason {
    /// Its word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Louder => "louder",
            Self::Acknowledged => "acknowledged",
            Self::NoData => "no_data",
            Self::DataBack => "data_back",
            Self::Reminder => "reminder",
            Self::SilenceEnded => "silence_ended",
            Self::Resolved => "resolved",
        }
    }
}

/// A message of an alert: the body of a webhook, and what every other format is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The version of this shape.
    pub version: u32,
    /// Why it is sent.
    pub reason: Reason,
    /// The severity that the channel was told before, when it was another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_severity: Option<Severity>,
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// Open alerts of the same cause, of which it tells too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<GroupedAlert>,
    /// Links to the first traces behind the alert, when the settings say where traces are shown.
    pub links: Vec<String>,
    /// The alert's page.
    pub link: String,
    /// The runbook's page.
    pub runbook_url: String,
}

/// An alert that another one's message tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupedAlert {
    /// Its own fingerprint, under which it has a page and can be taken in hand.
    pub fingerprint: String,
    /// How loud.
    pub severity: Severity,
    /// The series.
    pub series: String,
    /// `all` or `dimension=value`.
    pub segment: String,
    /// `up`, `down` or `shape`.
    pub direction: String,
    /// One sentence.
    pub summary: String,
    /// Its page.
    pub link: String,
}

/// Where people look further.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// Where people reach the web listener, without a slash at its end.
    pub web: String,
    /// Where traces are shown, with `{trace_id}`; or empty.
    pub trace: String,
}

impl Links {
    /// The message of an alert and of those that it speaks for.
    pub(super) fn message(&self, alert: &Alert, group: &[&Alert], telling: &Telling) -> Message {
        // An alert that is told is firing.
        let state = if alert.state == AlertState::Pending { AlertState::Firing } else { alert.state };
        let trace = |id| self.trace.replace("{trace_id}", &format!("{id}"));
        Message {
            version: 1,
            reason: telling.reason,
            previous_severity: telling.previous_severity.filter(|severity| *severity != alert.severity),
            links: if self.trace.is_empty() { Vec::new() } else { alert.trace_ids.iter().map(trace).collect() },
            link: alert.link(&self.web),
            runbook_url: alert.runbook_url(&self.web),
            group: group.iter().map(|one| self.grouped(one)).collect(),
            alert: Alert { state, summary: with_group(&alert.summary, group), ..alert.clone() },
        }
    }

    fn grouped(&self, alert: &Alert) -> GroupedAlert {
        let Alert { fingerprint, severity, series, segment, direction, summary, .. } = alert.clone();
        GroupedAlert { fingerprint, severity, series, segment, direction, summary, link: alert.link(&self.web) }
    }
}

/// `…; and 4 more series: cost_usd, latency_seconds, steps (model=b), tools`.
fn with_group(summary: &str, group: &[&Alert]) -> String {
    let place = |alert: &&Alert| {
        let series = alert.series_marked();
        if alert.segment == "all" { series } else { format!("{series} ({})", alert.segment) }
    };
    let names = group.iter().map(place).collect::<Vec<_>>().join(", ");
    match group.len() {
        0 => summary.to_owned(),
        more => format!("{summary}; and {more} more series: {names}"),
    }
}
