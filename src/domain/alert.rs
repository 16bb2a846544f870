//! An alert and its life: pending → firing → acknowledged → resolved, one fingerprint.
//!
//! Three parties change an alert, and none undoes what another did: detectors report what they see
//! ([`Alert::reported`]), people and the notifier amend it ([`Alert::amended`]). Each change that someone may want to
//! hear of is a [`Transition`].

use serde::{Deserialize, Serialize};

use super::explanation::Evidence;
use super::ids::TraceId;
use super::report::calibration_mark;
use super::time::Timestamp;

/// How loud an alert is. `info` stands outside the alert budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; not budgeted.
    Info,
    /// Someone should look today.
    Warn,
    /// Someone should look now.
    Page,
}

impl Severity {
    /// Its word in settings, labels and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Page => "page",
        }
    }
}

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Seen, and not told anyone yet.
    Pending,
    /// Told, or silenced.
    Firing,
    /// Someone has it.
    Acknowledged,
    /// Over.
    Resolved,
}

impl AlertState {
    /// Its word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }

    /// Whether the alert is still about something that goes on.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Resolved)
    }
}

/// One thing that is wrong with one series of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Hash of service, series, segment and direction: the same trouble keeps the same fingerprint.
    pub fingerprint: String,
    /// Where it is in its life.
    pub state: AlertState,
    /// How loud.
    pub severity: Severity,
    /// The service.
    pub service: String,
    /// The series.
    pub series: String,
    /// `all` or `dimension=value`.
    pub segment: String,
    /// `up`, `down` or `shape`.
    pub direction: String,
    /// The detector that raised it.
    pub detector: String,
    /// Whether the false-alarm guarantee holds exactly or approximately for this series.
    pub guarantee: String,
    /// One sentence: what moved, from what to what, since when.
    pub summary: String,
    /// Baseline estimate.
    pub baseline: Option<f64>,
    /// Estimate since the onset; of categories and transitions in the hours that were tested last.
    pub current: Option<f64>,
    /// Start of the first hour that the change is seen in.
    pub onset_at: Timestamp,
    /// End of the hour in which the alert was raised to its severity.
    pub raised_at: Timestamp,
    /// End of the hour in which the alert was last confirmed.
    pub updated_at: Timestamp,
    /// End of the hour in which it was over.
    pub resolved_at: Option<Timestamp>,
    /// Traces behind it, most telling first.
    pub trace_ids: Vec<TraceId>,
    /// Runbook for this kind of trouble, by name.
    pub runbook: String,
    /// Who has it in hand; an acknowledgement holds for the severity that it was given for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledgement: Option<Acknowledgement>,
    /// Whether the judge whose scores it is about was calibrated when it was last confirmed; `None` where it is about no
    /// judge's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<bool>,
    /// No detector has confirmed the alert since: it can neither be said to go on nor to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data_since: Option<Timestamp>,
    /// The alert that this one has one cause with: while that is open and as loud, it alone is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What is behind it.
    #[serde(default, flatten)]
    pub evidence: Evidence,
}

/// Who has an alert in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What people and the notifier do to an open alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amendment {
    /// It has been told.
    Tell,
    /// Someone has it.
    Acknowledge(Acknowledgement),
    /// Its detector has fallen silent.
    NoData,
}

/// A step in an alert's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// Newly seen.
    Pending,
    /// Told, or silenced.
    Firing,
    /// Its severity rose.
    Louder,
    /// Someone took it.
    Acknowledged,
    /// Its detector fell silent.
    NoData,
    /// Its detector is heard of again.
    DataBack,
    /// Over.
    Resolved,
}

/// A step in an alert's life, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// Later ones have larger numbers.
    pub id: i64,
    /// When it was written down.
    pub at: Timestamp,
    /// The step.
    pub transition: Transition,
    /// The alert after it.
    pub alert: Alert,
}

/// Ends the summary of an alert about the scores of a judge that is not calibrated.
const UNCALIBRATED: &str = "; the judge is uncalibrated: how often it errs is not known";

impl Alert {
    /// The alert, marked by whether the judge that scored is calibrated.
    #[must_use]
    pub fn marked(self, calibrated: Option<bool>) -> Self {
        let plain = self.summary.strip_suffix(UNCALIBRATED).unwrap_or(&self.summary);
        let mark = if calibrated == Some(false) { UNCALIBRATED } else { "" };
        Self { summary: format!("{plain}{mark}"), calibrated, ..self }
    }

    /// The series, with the mark of a judge that is not calibrated.
    #[must_use]
    pub fn series_marked(&self) -> String {
        format!("{}{}", self.series, calibration_mark(self.calibrated))
    }

    /// Its page; `web` is where people reach the web listener.
    #[must_use]
    pub fn link(&self, web: &str) -> String {
        format!("{web}/alerts/{}", self.fingerprint)
    }

    /// The page of its runbook, likewise.
    #[must_use]
    pub fn runbook_url(&self, web: &str) -> String {
        format!("{web}/runbooks/{}", self.runbook)
    }

    /// Whether another alert speaks for this one: it has one cause with it, is open, and as loud. What is over stands with
    /// its group whatever became of that.
    #[must_use]
    pub fn is_told_by(&self, other: &Self) -> bool {
        let is_heard = other.state.is_open() && other.severity >= self.severity;
        self.parent.as_ref() == Some(&other.fingerprint) && (is_heard || !self.state.is_open())
    }

    /// `2026-01-05T10:00:00Z, between 2026-01-05T09:00:00Z and 2026-01-05T11:00:00Z`: the onset, and how sure that is.
    #[must_use]
    pub fn since(&self) -> String {
        match self.evidence.onset_between {
            Some((first, last)) if first < last => format!("{}, between {first} and {last}", self.onset_at),
            _ => self.onset_at.to_string(),
        }
    }

    /// What is kept of a detector's report: what people did with the alert that is open stands, until it gets louder.
    #[must_use]
    pub fn reported(&self, stored: Option<&Self>) -> Self {
        let Some(stored) = stored.filter(|stored| stored.state.is_open()) else { return self.clone() };
        let is_louder = self.severity > stored.severity;
        let was_acknowledged = stored.state == AlertState::Acknowledged;
        let state = match self.state {
            AlertState::Resolved => AlertState::Resolved,
            _ if is_louder && was_acknowledged => AlertState::Firing,
            _ => stored.state,
        };
        Self {
            state,
            raised_at: if is_louder { self.raised_at } else { stored.raised_at },
            acknowledgement: stored.acknowledgement.clone().filter(|_| !is_louder),
            no_data_since: None,
            ..self.clone()
        }
    }

    /// The alert after an amendment; `None` where it changes nothing, or the alert is over.
    #[must_use]
    pub fn amended(&self, amendment: &Amendment) -> Option<Self> {
        let alert = self.clone();
        match amendment {
            _ if !self.state.is_open() => None,
            Amendment::Tell if self.state == AlertState::Pending => Some(Self { state: AlertState::Firing, ..alert }),
            Amendment::Acknowledge(by) if self.acknowledgement.as_ref() != Some(by) => {
                Some(Self { state: AlertState::Acknowledged, acknowledgement: Some(by.clone()), ..alert })
            }
            Amendment::NoData if self.no_data_since.is_none() => {
                Some(Self { no_data_since: Some(self.updated_at), ..alert })
            }
            _ => None,
        }
    }
}

impl Transition {
    /// Its word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Louder => "louder",
            Self::Acknowledged => "acknowledged",
            Self::NoData => "no_data",
            Self::DataBack => "data_back",
            Self::Resolved => "resolved",
        }
    }

    /// The step from one version of an alert to the next, if it is one.
    #[must_use]
    pub fn between(before: Option<&Alert>, after: &Alert) -> Option<Self> {
        let before = before.filter(|before| before.state.is_open());
        let Some(before) = before else { return after.state.is_open().then_some(Self::Pending) };
        let is = |state| after.state == state;
        if is(AlertState::Resolved) {
            Some(Self::Resolved)
        } else if after.severity > before.severity {
            Some(Self::Louder)
        } else if is(AlertState::Acknowledged) && after.acknowledgement != before.acknowledgement {
            Some(Self::Acknowledged)
        } else if after.no_data_since.is_some() != before.no_data_since.is_some() {
            Some(if after.no_data_since.is_some() { Self::NoData } else { Self::DataBack })
        } else if is(AlertState::Firing) && before.state == AlertState::Pending {
            Some(Self::Firing)
        } else {
            None
        }
    }
}

#[cfg(test)]
impl Alert {
    /// An alert for tests.
    pub(crate) fn example() -> Self {
        Self {
            fingerprint: "00000000000000f1".to_owned(),
            state: AlertState::Firing,
            severity: Severity::Warn,
            service: "shop".to_owned(),
            series: "loop".to_owned(),
            segment: "all".to_owned(),
            direction: "down".to_owned(),
            detector: "shiryaev_roberts".to_owned(),
            guarantee: "exact: independent traces of equal weight".to_owned(),
            summary: "loop of shop fell: share true was 0.980 in the baseline and is 0.710".to_owned(),
            baseline: Some(0.98),
            current: Some(0.71),
            onset_at: Timestamp(1),
            raised_at: Timestamp(2),
            updated_at: Timestamp(3),
            resolved_at: None,
            trace_ids: Vec::new(),
            runbook: "quality-drift".to_owned(),
            acknowledgement: None,
            calibrated: None,
            no_data_since: None,
            parent: None,
            evidence: Evidence::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(state: AlertState, severity: Severity) -> Alert {
        Alert { state, severity, ..Alert::example() }
    }

    fn taken() -> Amendment {
        Amendment::Acknowledge(Acknowledgement { by: "kim".to_owned(), at: Timestamp(5), note: None })
    }

    #[test]
    fn what_people_did_stands_when_the_detector_reports_again_and_ends_when_the_alert_gets_louder() {
        let acknowledged = alert(AlertState::Firing, Severity::Info).amended(&taken()).unwrap();
        let again = Alert { raised_at: Timestamp(9), ..alert(AlertState::Pending, Severity::Info) };
        let kept = again.reported(Some(&acknowledged));
        assert_eq!((kept.state, kept.raised_at), (AlertState::Acknowledged, Timestamp(2)));
        assert_eq!(kept.acknowledgement.as_ref().unwrap().by, "kim");
        assert_eq!(Transition::between(Some(&acknowledged), &kept), None);

        let louder = Alert { raised_at: Timestamp(9), ..alert(AlertState::Pending, Severity::Page) };
        let kept = louder.reported(Some(&acknowledged));
        assert_eq!((kept.state, kept.raised_at), (AlertState::Firing, Timestamp(9)));
        assert_eq!(kept.acknowledgement, None);
        assert_eq!(Transition::between(Some(&acknowledged), &kept), Some(Transition::Louder));
    }

    #[test]
    fn an_alert_that_is_over_keeps_who_had_it_and_begins_anew() {
        let acknowledged = alert(AlertState::Firing, Severity::Warn).amended(&taken()).unwrap();
        let over = alert(AlertState::Resolved, Severity::Warn).reported(Some(&acknowledged));
        assert!(over.acknowledgement.is_some());
        assert_eq!(Transition::between(Some(&acknowledged), &over), Some(Transition::Resolved));
        assert_eq!(over.amended(&taken()), None);
        let back = alert(AlertState::Pending, Severity::Warn).reported(Some(&over));
        assert_eq!((back.state, &back.acknowledgement), (AlertState::Pending, &None));
        assert_eq!(Transition::between(Some(&over), &back), Some(Transition::Pending));
        assert_eq!(Transition::between(Some(&over), &over), None, "what is over ends once");
    }

    #[test]
    fn an_uncalibrated_judge_is_named_once_and_no_longer_once_it_is_calibrated() {
        let plain = alert(AlertState::Firing, Severity::Warn);
        let marked = plain.clone().marked(Some(false)).marked(Some(false));
        assert_eq!(marked.summary.matches("uncalibrated").count(), 1);
        assert_eq!(marked.marked(Some(true)).summary, plain.summary);
        assert_eq!(plain.clone().marked(None), plain);
    }

    #[test]
    fn silence_of_the_detector_is_noted_once_and_forgotten_when_it_reports() {
        let open = alert(AlertState::Firing, Severity::Warn);
        let silent = open.amended(&Amendment::NoData).unwrap();
        assert_eq!(silent.no_data_since, Some(Timestamp(3)));
        assert_eq!(silent.amended(&Amendment::NoData), None);
        assert_eq!(Transition::between(Some(&open), &silent), Some(Transition::NoData));
        let back = open.reported(Some(&silent));
        assert_eq!(Transition::between(Some(&silent), &back), Some(Transition::DataBack));
    }
}
