//! Alerts that a day's budget is spent: counted, not estimated.

use super::notify::JUDGE_BUDGET as DETECTOR;
use crate::domain::alert::{Alert, AlertState, Severity};
use crate::domain::explanation::Evidence;
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;
use crate::limits::budget::{ALL_SERVICES, alert_fingerprint, day_of};

/// The alert of a scope whose budget has refused a call. One a scope and day.
pub(super) fn budget_alert(scope: &str, limit: NanoUsd, committed: NanoUsd, now: Timestamp) -> Alert {
    let whose = if scope == ALL_SERVICES { "all services".to_owned() } else { format!("service {scope}") };
    spent_alert(
        Spent {
            detector: DETECTOR,
            scope,
            severity: Severity::Warn,
            service: if scope == ALL_SERVICES { "all" } else { scope },
            series: "judge_cost_usd",
            segment: "all",
            summary: format!(
                "The judge budget of {limit} a day for {whose} is spent since {now}: the day's judgements are partial. \
                 Raise [judge.budget], then run `driftline evaluators backfill`."
            ),
            limit,
            spent: committed,
            runbook: "judge-budget",
        },
        now,
    )
}

/// A budget of which so much is spent that someone is told.
pub(super) struct Spent<'a> {
    pub(super) detector: &'static str,
    pub(super) scope: &'a str,
    pub(super) severity: Severity,
    pub(super) service: &'a str,
    pub(super) series: &'static str,
    pub(super) segment: &'a str,
    pub(super) summary: String,
    pub(super) limit: NanoUsd,
    pub(super) spent: NanoUsd,
    pub(super) runbook: &'static str,
}

/// Its alert. One a detector, scope and day.
pub(super) fn spent_alert(of: Spent<'_>, now: Timestamp) -> Alert {
    Alert {
        fingerprint: alert_fingerprint(of.detector, of.scope, day_of(now)),
        state: AlertState::Pending,
        severity: of.severity,
        service: of.service.to_owned(),
        series: of.series.to_owned(),
        segment: of.segment.to_owned(),
        direction: "up".to_owned(),
        detector: of.detector.to_owned(),
        guarantee: "exact: the budget is counted, not estimated".to_owned(),
        summary: of.summary,
        baseline: Some(of.limit.usd()),
        current: Some(of.spent.usd()),
        onset_at: now,
        raised_at: now,
        updated_at: now,
        resolved_at: None,
        trace_ids: Vec::new(),
        runbook: of.runbook.to_owned(),
        acknowledgement: None,
        calibrated: None,
        no_data_since: None,
        parent: None,
        evidence: Evidence::default(),
    }
}

/// The resolved alert, when it is about the budget of a day before this one.
pub(super) fn over(alert: &Alert, day: i64, now: Timestamp) -> Option<Alert> {
    let is_over = alert.detector == DETECTOR && day_of(alert.raised_at) < day;
    is_over.then(|| Alert { state: AlertState::Resolved, updated_at: now, resolved_at: Some(now), ..alert.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * Timestamp::NANOS_PER_HOUR;

    #[test]
    fn a_scope_has_one_alert_a_day_which_the_next_day_resolves() {
        let alert = |scope, now| budget_alert(scope, NanoUsd(5), NanoUsd(5), Timestamp(now));
        assert_eq!(alert("", 1).fingerprint, alert("", 2).fingerprint);
        assert_ne!(alert("", 1).fingerprint, alert("", DAY).fingerprint);
        assert_ne!(alert("", 1).fingerprint, alert("chat", 1).fingerprint);
        assert_eq!(over(&alert("", 1), 0, Timestamp(3)), None);
        let resolved = over(&alert("", 1), 1, Timestamp(DAY)).unwrap();
        assert_eq!((resolved.state, resolved.resolved_at), (AlertState::Resolved, Some(Timestamp(DAY))));
    }
}
