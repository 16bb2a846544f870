//! From signals to alerts: one open alert for one trouble, kept up to date, resolved when it is over.
//!
//! A deviation beyond two standard deviations opens an alert for information, outside the alert budget, and says so,
//! however many hours it holds: two hours running happen to an unchanged stream too often for a warning. The detector's
//! confirmation makes the same alert a warning. What the detector confirmed only the detector resolves.
//!
//! Pure: the open alerts and the hour's signals go in, the changed alerts come out. Repeating a call with its own
//! result as the open alerts changes nothing but the times, so a reconciler may be killed and run again.

use std::collections::BTreeMap;

use super::baseline::Baseline;
use super::detect::{Direction, Finding, Signal};
use super::key::SeriesKey;
use super::rules;
use crate::domain::alert::{Alert, AlertState, Severity};
use crate::domain::explanation::Evidence;
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;

/// Trace ids kept with an alert.
const TRACES: usize = 20;
/// Detector of an alert within the alert budget.
pub(super) const BUDGETED: &str = "shiryaev_roberts";
/// Detector of an alert by the rule of two standard deviations.
const DEVIATION: &str = "two_standard_deviations";

/// A signal with where and when it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSignal {
    /// The stream.
    pub key: SeriesKey,
    /// End of the hour that the signal came from.
    pub at: Timestamp,
    /// The signal.
    pub signal: Signal,
}

/// A changed alert.
#[derive(Debug, Clone, PartialEq)]
pub enum AlertChange {
    /// Newly opened, in state pending.
    Opened(Alert),
    /// Still open, with newer estimates; its state is as before.
    Updated(Alert),
    /// Over.
    Resolved(Alert),
}

impl AlertChange {
    /// The alert as it is now.
    #[must_use]
    pub const fn alert(&self) -> &Alert {
        match self {
            Self::Opened(alert) | Self::Updated(alert) | Self::Resolved(alert) => alert,
        }
    }
}

/// Identity of a trouble: hash of service, series, segment and direction.
#[must_use]
pub fn fingerprint(key: &SeriesKey, direction: Direction) -> String {
    let text = format!("{key}:{}", direction.as_str());
    hex::encode(&ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref()[..8])
}

/// The stream that an alert is about; `None` of what is no stream, such as a budget.
#[must_use]
pub fn stream_of(alert: &Alert) -> Option<SeriesKey> {
    let (service, series, segment) = (alert.service.clone(), alert.series.clone(), alert.segment.clone());
    let key = SeriesKey { service, series, segment };
    let directions = [Direction::Down, Direction::Up, Direction::Shape];
    directions.iter().any(|one| fingerprint(&key, *one) == alert.fingerprint).then_some(key)
}

/// Those of the open alerts that are about streams, ended: what they were compared with is no longer the baseline, so no
/// detector remembers them.
#[must_use]
pub fn ended_with_their_baseline(open: &[Alert], at: Timestamp) -> Vec<Alert> {
    let is_compared = |alert: &&Alert| alert.state.is_open() && !rules::needs_no_baseline(&alert.detector);
    let of_streams = open.iter().filter(is_compared).filter(|alert| stream_of(alert).is_some());
    of_streams.map(|alert| ended(alert, "another baseline is watched now", at)).collect()
}

/// Those of the open alerts whose evaluator has another revision in the window than in the baseline, ended: revisions are
/// never compared, so no detector hears of them again.
#[must_use]
pub fn ended_with_their_revision(open: &[Alert], window: &Baseline, baseline: &Baseline, at: Timestamp) -> Vec<Alert> {
    let superseded = |alert: &Alert| {
        let is_compared = alert.state.is_open() && !rules::needs_no_baseline(&alert.detector);
        let key = stream_of(alert).filter(|_| is_compared)?;
        let (now, before) = (window.series.get(&key)?, baseline.series.get(&key)?);
        let revision = now.revision.as_ref().filter(|_| !now.is_of_one_revision(before))?;
        let reason = format!(
            "its evaluator was superseded by revision {revision}, which is a series of its own until a baseline has it"
        );
        Some(ended(alert, &reason, at))
    };
    open.iter().filter_map(superseded).collect()
}

fn ended(alert: &Alert, reason: &str, at: Timestamp) -> Alert {
    let summary = format!("{}; ended because {reason}", alert.summary);
    Alert { state: AlertState::Resolved, summary, updated_at: at, resolved_at: Some(at), ..alert.clone() }
}

/// Applies signals, in order, to the open alerts. A trouble that goes on without an open alert opens one, so that a
/// lost alert comes back.
#[must_use]
pub fn advance(open: &[Alert], signals: &[StreamSignal]) -> Vec<AlertChange> {
    let is_open = |alert: &&Alert| alert.state.is_open();
    let alerts = open.iter().filter(is_open).map(|alert| (alert.fingerprint.clone(), alert.clone())).collect();
    let mut ledger = Ledger { alerts, changes: BTreeMap::new(), closed: Vec::new() };
    for StreamSignal { key, at, signal } in signals {
        match signal {
            Signal::Found(finding) | Signal::Continues(finding) => {
                let exactness = if finding.guarantee.is_exact { "exact" } else { "approximate" };
                let guarantee = format!("{exactness}: {}", finding.guarantee.reason);
                ledger.raise(key, finding, *at, Rule { detector: BUDGETED, severity: Severity::Warn, guarantee });
            }
            Signal::Deviates { finding, hours } => {
                let guarantee = format!("outside the alert budget, {hours} h running: {}", finding.guarantee.reason);
                ledger.raise(key, finding, *at, Rule { detector: DEVIATION, severity: Severity::Info, guarantee });
            }
            Signal::Ruled { rule, severity, finding } => {
                let guarantee = format!("rule: {}", finding.guarantee.reason);
                ledger.raise(key, finding, *at, Rule { detector: rule, severity: *severity, guarantee });
            }
            Signal::RuleOver { rule, direction } => ledger.resolve(key, *direction, *at, rule),
            Signal::Recovered(direction) => ledger.resolve(key, *direction, *at, BUDGETED),
            Signal::Returned(direction) => ledger.resolve(key, *direction, *at, DEVIATION),
        }
    }
    ledger.closed.into_iter().chain(ledger.changes.into_values()).collect()
}

/// What raises an alert, how loud, and what that is worth.
struct Rule<'a> {
    detector: &'a str,
    severity: Severity,
    guarantee: String,
}

/// Alerts while signals are applied.
struct Ledger {
    alerts: BTreeMap<String, Alert>,
    changes: BTreeMap<String, AlertChange>,
    closed: Vec<AlertChange>,
}

impl Ledger {
    /// Opens or updates the alert; to what the detector has confirmed another rule adds nothing but that it is louder.
    fn raise(&mut self, key: &SeriesKey, finding: &Finding, at: Timestamp, rule: Rule<'_>) {
        let fingerprint = fingerprint(key, finding.direction);
        let known = self.alerts.get(&fingerprint);
        if let Some(alert) = known.filter(|alert| alert.detector == BUDGETED && rule.detector != BUDGETED) {
            if rule.severity > alert.severity {
                let louder = Alert { severity: rule.severity, raised_at: at, updated_at: at, ..alert.clone() };
                self.note(louder);
            }
            return;
        }
        let base = known.cloned().unwrap_or_else(|| opened(fingerprint.clone(), key, finding, at, &rule));
        let severity = rule.severity.max(base.severity);
        let alert = Alert {
            severity,
            raised_at: if severity > base.severity { at } else { base.raised_at },
            detector: rule.detector.to_owned(),
            guarantee: rule.guarantee,
            ..updated(&base, key, finding, at)
        };
        self.note(alert);
    }

    fn note(&mut self, alert: Alert) {
        let fingerprint = alert.fingerprint.clone();
        let known = self.alerts.insert(fingerprint.clone(), alert.clone());
        let is_new = known.is_none() || matches!(self.changes.get(&fingerprint), Some(AlertChange::Opened(_)));
        let change = if is_new { AlertChange::Opened(alert) } else { AlertChange::Updated(alert) };
        self.changes.insert(fingerprint, change);
    }

    /// Resolves the alert, if this detector is the one that holds it open.
    fn resolve(&mut self, key: &SeriesKey, direction: Direction, at: Timestamp, detector: &str) {
        let fingerprint = fingerprint(key, direction);
        if self.alerts.get(&fingerprint).is_none_or(|alert| alert.detector != detector) {
            return;
        }
        self.changes.remove(&fingerprint);
        self.closed.extend(self.alerts.remove(&fingerprint).map(|alert| {
            AlertChange::Resolved(Alert { state: AlertState::Resolved, updated_at: at, resolved_at: Some(at), ..alert })
        }));
    }
}

/// A new alert, still without estimates.
fn opened(fingerprint: String, key: &SeriesKey, finding: &Finding, at: Timestamp, rule: &Rule<'_>) -> Alert {
    Alert {
        fingerprint,
        state: AlertState::Pending,
        severity: Severity::Info,
        service: key.service.clone(),
        series: key.series.clone(),
        segment: key.segment.clone(),
        direction: finding.direction.as_str().to_owned(),
        detector: String::new(),
        guarantee: String::new(),
        summary: String::new(),
        baseline: None,
        current: None,
        onset_at: finding.onset,
        raised_at: at,
        updated_at: at,
        resolved_at: None,
        trace_ids: Vec::new(),
        runbook: rules::runbook(rule.detector).unwrap_or_else(|| runbook(&key.series)).to_owned(),
        acknowledgement: None,
        calibrated: None,
        no_data_since: None,
        parent: None,
        evidence: Evidence::default(),
    }
}

/// The alert with the finding's estimates; the newest traces come first.
fn updated(alert: &Alert, key: &SeriesKey, finding: &Finding, at: Timestamp) -> Alert {
    let mut trace_ids: Vec<TraceId> = finding.trace_ids.clone();
    trace_ids.extend(alert.trace_ids.iter().filter(|trace| !finding.trace_ids.contains(trace)));
    trace_ids.truncate(TRACES);
    Alert {
        summary: summary(key, finding),
        baseline: finding.baseline,
        current: finding.current,
        onset_at: finding.onset,
        updated_at: at,
        trace_ids,
        evidence: evidence(&alert.evidence, finding),
        ..alert.clone()
    }
}

/// What the finding tells, beside what was known of the alert and findings do not tell.
fn evidence(known: &Evidence, finding: &Finding) -> Evidence {
    Evidence {
        measure: finding.measure.clone(),
        onset_between: finding.onset_between,
        explanation: finding.explanation.clone(),
        transitions: finding.transitions.clone(),
        affects: finding.affects.clone().unwrap_or_else(|| known.affects.clone()),
        ..known.clone()
    }
}

fn summary(key: &SeriesKey, finding: &Finding) -> String {
    let SeriesKey { service, series, segment } = key;
    let place = if segment == super::key::ALL { service.clone() } else { format!("{service} ({segment})") };
    let verb = match finding.direction {
        Direction::Down => "fell",
        Direction::Up => "rose",
        Direction::Shape => "changed shape",
    };
    let before = finding.baseline.map(|value| format!("was {value:.3} in the baseline and ")).unwrap_or_default();
    let current = finding.current.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.3}"));
    let over = match finding.direction {
        Direction::Shape => format!("the last {} traces, and changed at", finding.traces),
        Direction::Down | Direction::Up => format!("{} traces since", finding.traces),
    };
    let explanation = finding.explanation.as_ref().map(|it| format!("; {}", it.sentence())).unwrap_or_default();
    format!(
        "{series} of {place} {verb}: {} {before}is {current} over {over} {}{explanation}",
        finding.measure, finding.onset
    )
}

/// The runbook for trouble with a series, by the series' name: a file of `deploy/runbooks`.
#[must_use]
pub fn runbook(series: &str) -> &'static str {
    match series {
        "latency_seconds" => "latency-spike",
        "cost_usd" | "input_tokens" | "output_tokens" | "reasoning_tokens" | "output_tokens_per_call" => "cost-runaway",
        "run_error" | "tool_errors" | "tool_outcomes" | "tool_results" | "model_outcomes" => "error-spike",
        _ => "quality-drift",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::measurement::{Measurement, SeriesKind, Value};
    use crate::watch::detect::Guarantee;
    use crate::watch::samples::{measurement, record};

    fn key() -> SeriesKey {
        SeriesKey { service: "agent".into(), series: "success".into(), segment: "all".into() }
    }

    fn finding(direction: Direction, current: f64, trace: u8) -> Finding {
        Finding {
            direction,
            measure: "share true".to_owned(),
            evidence: 2e5,
            threshold: 1e5,
            onset: Timestamp(0),
            onset_between: None,
            explanation: None,
            baseline: Some(0.9),
            current: Some(current),
            traces: 300,
            transitions: Vec::new(),
            trace_ids: vec![TraceId::from_bytes(&[trace; 16]).unwrap()],
            affects: None,
            guarantee: Guarantee { is_exact: true, reason: "independent traces of equal weight".to_owned() },
        }
    }

    fn signal(hour: i64, signal: Signal) -> StreamSignal {
        StreamSignal { key: key(), at: Timestamp(hour * Timestamp::NANOS_PER_HOUR), signal }
    }

    #[test]
    fn a_page_is_not_held_back_by_a_warning_about_the_same() {
        let finding = finding(Direction::Up, 0.99, 1);
        let ruled = Signal::Ruled {
            rule: "burn_rate".to_owned(),
            severity: Severity::Page,
            finding: Box::new(finding.clone()),
        };
        let opened = advance(&[], &[signal(1, Signal::Found(finding)), signal(1, ruled)]);
        let [AlertChange::Opened(alert)] = &opened[..] else { panic!("{opened:?}") };
        assert_eq!((alert.severity, alert.detector.as_str()), (Severity::Page, BUDGETED));
    }

    #[test]
    fn alerts_of_streams_end_with_the_baseline_they_were_about_and_others_stay() {
        let opened = advance(&[], &[signal(1, Signal::Found(finding(Direction::Down, 0.8, 1)))]);
        let of_stream = opened[0].alert().clone();
        let other = Alert { fingerprint: "budget".to_owned(), ..of_stream.clone() };
        let ended = ended_with_their_baseline(&[of_stream.clone(), other], Timestamp(7));
        let [alert] = &ended[..] else { panic!("{ended:?}") };
        assert_eq!((&alert.fingerprint, alert.state), (&of_stream.fingerprint, AlertState::Resolved));
        assert_eq!(alert.resolved_at, Some(Timestamp(7)));
    }

    #[test]
    fn alerts_end_when_another_revision_of_their_evaluator_scores_and_say_so() {
        let of_revision = |revision: &str| {
            let records: Vec<_> = (0..5)
                .map(|index| {
                    let mut one = record(index, &index.to_string());
                    one.measurements = vec![Measurement {
                        revision: Some(revision.to_owned()),
                        ..measurement("success", SeriesKind::Boolean, Value::Boolean(true))
                    }];
                    one
                })
                .collect();
            Baseline::from_records("", Timestamp(0), "", &records)
        };
        let opened = advance(&[], &[signal(1, Signal::Found(finding(Direction::Down, 0.8, 1)))]);
        let open = [opened[0].alert().clone()];
        let ended = |window: &Baseline| ended_with_their_revision(&open, window, &of_revision("r1"), Timestamp(7));
        let [alert] = &ended(&of_revision("r2"))[..] else { panic!("it does not end") };
        assert_eq!((alert.state, alert.resolved_at), (AlertState::Resolved, Some(Timestamp(7))));
        assert!(alert.summary.contains("superseded by revision r2"), "{}", alert.summary);
        assert_eq!(ended(&of_revision("r1")), []);
        assert_eq!(
            ended(&Baseline::from_records("", Timestamp(0), "", &[])),
            [],
            "an hour without scores ends nothing"
        );
    }

    #[test]
    fn a_trouble_opens_once_is_updated_and_resolves() {
        let opened = advance(&[], &[signal(1, Signal::Found(finding(Direction::Down, 0.8, 1)))]);
        let [AlertChange::Opened(alert)] = &opened[..] else { panic!("{opened:?}") };
        assert_eq!(
            (alert.state, alert.guarantee.as_str()),
            (AlertState::Pending, "exact: independent traces of equal weight")
        );
        assert!(alert.summary.contains("success of agent fell: share true was 0.900 in the baseline and is 0.800"));

        let acknowledged = Alert { state: AlertState::Acknowledged, ..alert.clone() };
        let updated = advance(&[acknowledged], &[signal(2, Signal::Continues(finding(Direction::Down, 0.7, 2)))]);
        let [AlertChange::Updated(alert)] = &updated[..] else { panic!("{updated:?}") };
        assert_eq!((alert.state, alert.current, alert.trace_ids.len()), (AlertState::Acknowledged, Some(0.7), 2));
        assert_eq!(alert.raised_at, Timestamp(Timestamp::NANOS_PER_HOUR));

        let resolved = advance(std::slice::from_ref(alert), &[signal(3, Signal::Recovered(Direction::Down))]);
        let [AlertChange::Resolved(alert)] = &resolved[..] else { panic!("{resolved:?}") };
        assert_eq!((alert.state, alert.resolved_at), (AlertState::Resolved, Some(alert.updated_at)));
        assert!(advance(std::slice::from_ref(alert), &[signal(4, Signal::Recovered(Direction::Down))]).is_empty());
    }

    #[test]
    fn directions_and_segments_are_different_troubles_and_repeats_are_not() {
        let other = SeriesKey { segment: "model=x".into(), ..key() };
        let prints = [
            fingerprint(&key(), Direction::Down),
            fingerprint(&key(), Direction::Up),
            fingerprint(&other, Direction::Down),
        ];
        assert!(prints[0] != prints[1] && prints[0] != prints[2] && prints[0].len() == 16);
        let twice = [1, 2].map(|hour| signal(hour, Signal::Found(finding(Direction::Down, 0.8, hour as u8))));
        assert!(matches!(&advance(&[], &twice)[..], [AlertChange::Opened(alert)] if alert.trace_ids.len() == 2));
    }

    #[test]
    fn a_lost_alert_comes_back_and_one_that_ends_and_returns_is_both_resolved_and_opened() {
        let going_on = signal(5, Signal::Continues(finding(Direction::Up, 0.8, 1)));
        let opened = advance(&[], std::slice::from_ref(&going_on));
        assert!(matches!(&opened[..], [AlertChange::Opened(_)]));
        let over = signal(6, Signal::Recovered(Direction::Up));
        let again = signal(7, Signal::Found(finding(Direction::Up, 0.8, 2)));
        let changes = advance(&[opened[0].alert().clone()], &[over, again]);
        assert!(matches!(&changes[..], [AlertChange::Resolved(_), AlertChange::Opened(_)]), "{changes:?}");
    }

    #[test]
    fn a_deviation_informs_and_says_so_and_belongs_to_the_detector_once_confirmed() {
        let deviates =
            |hour, hours| signal(hour, Signal::Deviates { finding: finding(Direction::Down, 0.7, hour as u8), hours });
        let alert =
            |open: &[Alert], signal: StreamSignal| advance(open, &[signal]).first().map(|one| one.alert().clone());
        let first = alert(&[], deviates(1, 1)).unwrap();
        assert_eq!((first.severity, first.detector.as_str()), (Severity::Info, DEVIATION));
        assert!(first.guarantee.starts_with("outside the alert budget"), "{}", first.guarantee);
        let second = alert(std::slice::from_ref(&first), deviates(2, 2)).unwrap();
        assert_eq!((second.severity, &second.fingerprint), (Severity::Info, &first.fingerprint));
        let returned = signal(3, Signal::Returned(Direction::Down));
        assert_eq!(alert(std::slice::from_ref(&second), returned.clone()).unwrap().state, AlertState::Resolved);

        let confirmed = alert(&[first], signal(2, Signal::Found(finding(Direction::Down, 0.7, 9)))).unwrap();
        assert_eq!((confirmed.severity, confirmed.detector.as_str()), (Severity::Warn, BUDGETED));
        assert_eq!(
            confirmed.raised_at,
            Timestamp(2 * Timestamp::NANOS_PER_HOUR),
            "a warning is as old as its severity"
        );
        let open = std::slice::from_ref(&confirmed);
        assert!(advance(open, &[returned, deviates(4, 1)]).is_empty());
        let recovered = signal(5, Signal::Recovered(Direction::Down));
        assert_eq!(alert(open, recovered).unwrap().state, AlertState::Resolved);
    }
}
