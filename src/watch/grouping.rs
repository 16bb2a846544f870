//! Which alerts have one cause, so that people are told once?
//!
//! **Question.** One bad release moves ten series of a service, and each raises an alert of its own, rightly. Who is on call
//! wants to hear of it once, with all ten named.
//!
//! **Rule.** Alerts of one service have one cause when the ranges of their onsets touch, give or take an hour, unless they
//! hardly affect the same runs ([`super::overlap`]) and no release or other change known of lies in both ranges; and an
//! alert of a segment has one cause with that of the whole service when the segment explains four fifths of its change
//! ([`Explanation::cause`](crate::domain::explanation::Explanation::cause)). An alert that is raised joins the group of
//! the oldest open alert that it has one cause with and that is as loud; of those raised in one hour the loudest comes
//! first, then what the alert budget stands behind, then the whole service before segments.
//!
//! **Where it ends.** Two faults that begin in the same hours become one group where they spoil the same runs, too few to
//! tell, or came with one release. Every alert keeps its fingerprint, its life and its page; one that gets louder than its
//! parent, or outlives it, is told by itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use super::alerts::{BUDGETED, stream_of};
use super::key::ALL;
use super::overlap::Overlap;
use crate::domain::alert::Alert;
use crate::domain::time::Timestamp;

/// How far apart the ranges of two onsets may lie: an hour's traces say which hour, and not when in it.
const SLACK: Duration = Duration::from_hours(1);

/// The alerts whose runs decide whether those newly raised have one cause with others, and when two of them have both
/// begun, for each two, earliest first; `None` where onsets, or a change that came with them, decide.
#[must_use]
pub fn undecided(open: &[Alert], changed: &[Alert]) -> Option<(Vec<Alert>, Vec<Timestamp>)> {
    let is_among = |alerts: &[Alert], alert: &Alert| alerts.iter().any(|one| one.fingerprint == alert.fingerprint);
    let raised = changed.iter().filter(|alert| alert.state.is_open() && !is_among(open, alert));
    let raised: Vec<Alert> = raised.cloned().collect();
    let is_undecided = |one: &Alert, other: &Alert| {
        let is_pair = one.fingerprint != other.fingerprint && (is_among(&raised, one) || is_among(&raised, other));
        is_pair && onsets_touch(one, other) && !share_a_change(one, other)
    };
    let all = || open.iter().chain(&raised);
    let (mut alerts, mut begun) = (Vec::new(), BTreeSet::new());
    for one in all() {
        let others: Vec<&Alert> = all().filter(|other| is_undecided(one, other)).collect();
        if !others.is_empty() {
            alerts.push(one.clone());
            begun.extend(others.into_iter().map(|other| one.onset_at.max(other.onset_at)));
        }
    }
    (!alerts.is_empty()).then(|| (alerts, begun.into_iter().collect()))
}

/// Gives alerts that are newly raised the parent that they have one cause with; `open` are those that were open before,
/// `overlap` says which runs the [`undecided`] affect.
pub fn group(open: &[Alert], changed: &mut [Alert], overlap: &Overlap) {
    let is_known = |alert: &Alert| open.iter().any(|one| one.fingerprint == alert.fingerprint);
    let is_over =
        |alert: &Alert| changed.iter().any(|one| one.fingerprint == alert.fingerprint && !one.state.is_open());
    let mut parents: Vec<Alert> =
        open.iter().filter(|alert| !is_over(alert) && !has_parent(alert, open)).cloned().collect();
    parents.retain(|alert| stream_of(alert).is_some());
    parents.sort_by_key(|alert| alert.raised_at);
    let mut raised: Vec<&mut Alert> =
        changed.iter_mut().filter(|alert| alert.state.is_open() && !is_known(alert)).collect();
    raised.sort_by_key(|alert| rank(alert));
    for alert in raised {
        let parent =
            parents.iter().find(|parent| parent.severity >= alert.severity && is_one_cause(parent, alert, overlap));
        alert.parent = parent.map(|parent| parent.fingerprint.clone());
        if alert.parent.is_none() {
            parents.push(alert.clone());
        }
    }
}

fn has_parent(alert: &Alert, open: &[Alert]) -> bool {
    open.iter().any(|other| alert.is_told_by(other))
}

/// Which of those raised together speaks for the others.
fn rank(alert: &Alert) -> impl Ord + use<> {
    let is_budgeted = alert.detector == BUDGETED;
    (Reverse(alert.severity), Reverse(is_budgeted), alert.segment != ALL, alert.fingerprint.clone())
}

fn is_one_cause(one: &Alert, other: &Alert, overlap: &Overlap) -> bool {
    let began_together = || onsets_touch(one, other) && (share_a_change(one, other) || !overlap.are_apart(one, other));
    one.service == other.service && (explains(one, other) || explains(other, one) || began_together())
}

/// Whether what changed nearest to both onsets lies in both of their ranges, and is one release for all its names.
fn share_a_change(one: &Alert, other: &Alert) -> bool {
    let changed = |alert: &Alert| {
        let (first, last) = onset(alert);
        let at = alert.evidence.nearest_change.as_ref()?.at;
        (first.minus(SLACK)..=last.plus(SLACK)).contains(&at).then_some(at)
    };
    let together = |one: Timestamp, other: Timestamp| one.minus(SLACK) <= other && other.minus(SLACK) <= one;
    changed(one).zip(changed(other)).is_some_and(|(one, other)| together(one, other))
}

fn onsets_touch(one: &Alert, other: &Alert) -> bool {
    let ((first, last), (since, until)) = (onset(one), onset(other));
    first.minus(SLACK) <= until && since.minus(SLACK) <= last
}

/// The range of an alert's onset; the hour itself where no range is known.
#[must_use]
pub fn onset(alert: &Alert) -> (Timestamp, Timestamp) {
    alert.evidence.onset_between.unwrap_or((alert.onset_at, alert.onset_at))
}

/// Whether the change of the whole is that of the segment which the other alert is about.
fn explains(whole: &Alert, part: &Alert) -> bool {
    let cause = whole.evidence.explanation.as_ref().and_then(|explanation| explanation.cause());
    whole.segment == ALL
        && whole.series == part.series
        && whole.direction == part.direction
        && cause.is_some_and(|cause| cause.segment == part.segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{AlertState, Severity};
    use crate::domain::explanation::{Affects, Contribution, Evidence, Explanation};
    use crate::domain::measurement::{SeriesKind, TraceRecord, Value};
    use crate::domain::release::{ChangeEvent, ChangeKind};
    use crate::watch::alerts::fingerprint;
    use crate::watch::detect::Direction;
    use crate::watch::key::SeriesKey;
    use crate::watch::samples::{measurement, record};

    fn hour(hour: i64) -> Timestamp {
        Timestamp(hour * Timestamp::NANOS_PER_HOUR)
    }

    fn alert(series: &str, segment: &str, onset: i64) -> Alert {
        let key = SeriesKey { service: "shop".into(), series: series.into(), segment: segment.into() };
        Alert {
            fingerprint: fingerprint(&key, Direction::Down),
            state: AlertState::Pending,
            series: series.to_owned(),
            segment: segment.to_owned(),
            onset_at: hour(onset),
            raised_at: hour(onset + 5),
            ..Alert::example()
        }
    }

    fn with_cause(alert: Alert, segment: &str) -> Alert {
        let whole = Contribution {
            segment: segment.to_owned(),
            traces: 10,
            baseline: 0.9,
            current: 0.5,
            contribution: -0.4,
            low: -0.5,
            high: -0.3,
        };
        let explanation = Explanation {
            dimension: "model".to_owned(),
            mix: 0.0,
            within: -0.4,
            segments: vec![whole],
            new_versions: Vec::new(),
            trace_ids: Vec::new(),
        };
        Alert { evidence: Evidence { explanation: Some(explanation), ..alert.evidence }, ..alert }
    }

    fn parents(open: &[Alert], raised: &[Alert]) -> Vec<Option<String>> {
        let mut changed = raised.to_vec();
        group(open, &mut changed, &Overlap::default());
        changed.into_iter().map(|alert| alert.parent).collect()
    }

    #[test]
    fn series_that_move_in_the_same_hours_become_one_group_under_the_loudest() {
        let page = Alert { severity: Severity::Page, ..alert("run_error", ALL, 10) };
        let raised = [alert("loop", ALL, 10), page.clone(), alert("grounded", ALL, 11), alert("cost_usd", ALL, 20)];
        let parent = Some(page.fingerprint);
        assert_eq!(parents(&[], &raised), [parent.clone(), None, parent, None]);
    }

    /// Two alerts of which one affects the first half of the runs that fail, and the other the second.
    fn of_different_runs() -> ([Alert; 2], Overlap) {
        let evidence = Evidence { affects: Affects::False, ..Evidence::default() };
        let alerts = ["loop", "grounded"].map(|series| Alert { evidence: evidence.clone(), ..alert(series, ALL, 10) });
        let mut overlap = Overlap::of(undecided(&[], &alerts).unwrap().0);
        for index in 0..400 {
            let mut run = TraceRecord { ended_at: hour(10), ..record(index, "c") };
            run.measurements = [("loop", 0), ("grounded", 1)]
                .map(|(series, of)| measurement(series, SeriesKind::Boolean, Value::Boolean(index % 8 != of)))
                .to_vec();
            overlap.add(&run);
        }
        (alerts, overlap)
    }

    #[test]
    fn two_faults_of_different_runs_are_told_each_unless_one_release_brought_both() {
        let (mut alerts, overlap) = of_different_runs();
        group(&[], &mut alerts, &overlap);
        assert_eq!(alerts.each_ref().map(|alert| &alert.parent), [&None, &None]);
        let change = |hours| {
            let at = hour(hours);
            let (kind, subject, to) = (ChangeKind::Release, "release".to_owned(), "2".to_owned());
            Some(ChangeEvent { at, kind, service: None, subject, from: None, to })
        };
        for (hours, has_parent) in [(10, true), (1, false)] {
            alerts.iter_mut().for_each(|alert| alert.evidence.nearest_change = change(hours));
            group(&[], &mut alerts, &overlap);
            assert_eq!(alerts.iter().any(|alert| alert.parent.is_some()), has_parent, "a release in hour {hours}");
            assert_eq!(undecided(&[], &alerts).is_some(), !has_parent);
        }
    }

    #[test]
    fn runs_are_asked_only_about_alerts_that_began_together_one_of_them_new() {
        let [first, second, later] = [alert("a", ALL, 10), alert("b", ALL, 11), alert("c", ALL, 40)];
        let asked = |open: &[Alert], changed: &[Alert]| {
            let (alerts, begun) = undecided(open, changed)?;
            Some((alerts.into_iter().map(|alert| alert.series).collect::<Vec<_>>(), begun))
        };
        let both = Some((vec!["a".to_owned(), "b".to_owned()], vec![hour(11)]));
        let known = std::slice::from_ref(&first);
        assert_eq!(asked(known, &[first.clone(), second.clone(), later.clone()]), both);
        assert_eq!(asked(known, std::slice::from_ref(&later)), None);
        let older = alert("d", ALL, 2);
        assert_eq!(asked(known, &[older, second.clone()]), both, "one that began long before asks about no runs");
        let next = alert("e", ALL, 12);
        let begun = asked(known, &[second.clone(), next]).unwrap().1;
        assert_eq!(begun, [hour(11), hour(12)], "each two have begun at a time of their own");
        assert_eq!(asked(&[first.clone(), second.clone()], &[first, second]), None, "both were known");
    }

    #[test]
    fn a_range_of_onsets_is_one_cause_with_whatever_began_within_it() {
        let mut wide = alert("loop", ALL, 10);
        wide.evidence.onset_between = Some((hour(4), hour(14)));
        let raised = [alert("grounded", ALL, 5), alert("cost_usd", ALL, 2)];
        assert_eq!(parents(std::slice::from_ref(&wide), &raised), [Some(wide.fingerprint), None]);
    }

    #[test]
    fn a_segment_belongs_to_the_service_whose_change_it_explains_whenever_it_is_found() {
        let service = with_cause(alert("grounded", ALL, 10), "model=b");
        let raised = [alert("grounded", "model=b", 90), alert("grounded", "model=c", 90)];
        assert_eq!(parents(std::slice::from_ref(&service), &raised[..1]), [Some(service.fingerprint.clone())]);
        assert_eq!(parents(std::slice::from_ref(&service), &raised[1..]), [None]);
    }

    #[test]
    fn who_is_louder_or_of_another_service_or_known_before_is_no_child() {
        let open = alert("loop", ALL, 10);
        let louder = Alert { severity: Severity::Page, ..alert("run_error", ALL, 10) };
        let other = Alert { service: "bank".to_owned(), ..alert("grounded", ALL, 10) };
        assert_eq!(parents(std::slice::from_ref(&open), &[louder, other, open.clone()]), [None, None, None]);
    }

    #[test]
    fn a_child_of_a_child_belongs_to_the_eldest_and_nobody_to_one_that_is_over() {
        let (first, second) = (alert("a", ALL, 10), alert("b", ALL, 10));
        let child = Alert { parent: Some(first.fingerprint.clone()), ..second };
        let open = [first.clone(), child];
        assert_eq!(parents(&open, &[alert("c", ALL, 10)]), [Some(first.fingerprint.clone())]);
        let over = Alert { state: AlertState::Resolved, ..first.clone() };
        assert_eq!(parents(&[first], &[over, alert("c", ALL, 10)])[1], None);
    }
}
