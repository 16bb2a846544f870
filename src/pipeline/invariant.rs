//! What always holds, by name: looked at where it could break, and counted when it does.
//!
//! A violation is a mistake in driftline, or in what it builds on, and not in what it is sent. It stops nothing: `driftline_invariant_violations`
//! says that it happened, the log says when, and the rule in `deploy/prometheus-rules.yml` tells someone.

use std::collections::BTreeMap;

use super::judge_spans::CallSpan;
use super::write_back::WriteBack;
use crate::backends::store::{AppendReport, Flag, JudgeCall, NewJudgeJob, Reservations, StoredEvaluation, Undrawn};
use crate::domain::alert::{AlertEvent, Transition};
use crate::domain::label::Draw;
use crate::domain::money::NanoUsd;
use crate::limits::budget::{ALL_SERVICES, Admission};
use crate::telemetry::metrics::{InvariantLabels, Metrics};

/// What the log says of one that did not hold.
pub const VIOLATED: &str = "an invariant does not hold; this is a mistake in driftline";

/// Something that always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// Of every piece that was handed to the store it is known what became of it.
    EveryPieceIsAccountedFor,
    /// A version of a trace has one answer of each evaluator.
    OneAnswerOfEachEvaluator,
    /// Scores lie in [0, 1], and the probability with which each was made in (0, 1].
    ScoresAreInBounds,
    /// What is charged and reserved never exceeds a day's budget.
    BudgetIsKept,
    /// A request costs no more than was reserved for it.
    ReservedCoversCharged,
    /// A detector observes each hour of its series once, in their order.
    HoursAreObservedOnce,
    /// An alert begins when it is over or new, and ends when it is open.
    AlertStepsAreLegal,
    /// Whoever looks for what people are to be asked about finds each judgement once, and draws none that had no chance.
    ReviewsAreOfferedOnce,
    /// Of what is sent together, no two scores and no two requests to judges have one identity.
    WriteBacksAreToldApart,
}

impl Invariant {
    const ALL: [Self; 9] = [
        Self::EveryPieceIsAccountedFor,
        Self::OneAnswerOfEachEvaluator,
        Self::ScoresAreInBounds,
        Self::BudgetIsKept,
        Self::ReservedCoversCharged,
        Self::HoursAreObservedOnce,
        Self::AlertStepsAreLegal,
        Self::ReviewsAreOfferedOnce,
        Self::WriteBacksAreToldApart,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::EveryPieceIsAccountedFor => "every_piece_is_accounted_for",
            Self::OneAnswerOfEachEvaluator => "one_answer_of_each_evaluator",
            Self::ScoresAreInBounds => "scores_are_in_bounds",
            Self::BudgetIsKept => "budget_is_kept",
            Self::ReservedCoversCharged => "reserved_covers_charged",
            Self::HoursAreObservedOnce => "hours_are_observed_once",
            Self::AlertStepsAreLegal => "alert_steps_are_legal",
            Self::ReviewsAreOfferedOnce => "reviews_are_offered_once",
            Self::WriteBacksAreToldApart => "write_backs_are_told_apart",
        }
    }

    /// Counts a violation unless it holds.
    pub(super) fn check(self, metrics: &Metrics, holds: bool) {
        if !holds {
            tracing::error!(invariant = self.name(), "{VIOLATED}");
            metrics.invariant_violations.get_or_create(&self.labels()).inc();
        }
    }

    fn labels(self) -> InvariantLabels {
        InvariantLabels { invariant: self.name().to_owned() }
    }
}

/// Lets the metrics say of each invariant that it has not been violated yet.
pub fn expose(metrics: &Metrics) {
    for invariant in Invariant::ALL {
        drop(metrics.invariant_violations.get_or_create(&invariant.labels()));
    }
}

/// Whether a report tells of so many pieces.
pub(super) const fn adds_up(report: AppendReport, pieces: usize) -> bool {
    report.inserted + report.duplicates + report.too_late + report.left_out == pieces
}

/// Whether no evaluator answers twice, or answers and is asked as well.
pub(super) fn is_answered_once(rows: &[StoredEvaluation], asked: &[NewJudgeJob]) -> bool {
    let answered = rows.iter().map(|row| row.evaluation.evaluator.as_str());
    let asked = asked.iter().map(|job| job.evaluator.as_str());
    are_distinct(answered.chain(asked))
}

/// Whether a row's score and probability are possible.
pub(super) fn is_in_bounds(row: &StoredEvaluation) -> bool {
    let is_score = row.evaluation.value.is_none_or(|value| (0.0..=1.0).contains(&value));
    is_score && row.probability > 0.0 && row.probability <= 1.0
}

/// Whether the budgets of every call that was admitted hold what is committed of them. One that refuses its calls may be
/// over its limit: someone has lowered it.
pub(super) fn is_within(calls: &[JudgeCall], reservations: &Reservations, limits: &BTreeMap<String, NanoUsd>) -> bool {
    let admitted = calls.iter().zip(&reservations.admissions).filter(|(_, admission)| **admission == Admission::Admit);
    let mut scopes = admitted.flat_map(|(call, _)| [call.service.as_str(), ALL_SERVICES]);
    scopes.all(|scope| match (reservations.committed.get(scope), limits.get(scope)) {
        (Some(committed), Some(limit)) => committed <= limit,
        _ => true,
    })
}

/// Whether a request cost no more than was reserved for it.
pub(super) fn is_covered(call: &JudgeCall) -> bool {
    call.settled.as_ref().is_none_or(|settled| settled.charged <= call.reserved)
}

/// Whether the steps of one alert can follow one another, and the step `before` them, where that is still known.
pub(super) fn are_legal(before: Option<&AlertEvent>, steps: &[AlertEvent]) -> bool {
    let is_open = |step: &AlertEvent| step.alert.state.is_open();
    let follows =
        |(before, after): (&AlertEvent, &AlertEvent)| is_open(before) != (after.transition == Transition::Pending);
    let earlier = before.into_iter().chain(steps);
    steps.iter().all(|step| is_open(step) != (step.transition == Transition::Resolved))
        && earlier.zip(steps.iter().skip(usize::from(before.is_none()))).all(follows)
}

/// Whether no judgement is drawn or flagged twice, and each draw is possible.
pub(super) fn is_offered_once(draws: &[(Undrawn, Draw)], flags: &[Flag]) -> bool {
    let is_possible =
        |draw: &Draw| (0.0..=1.0).contains(&draw.probability) && (!draw.is_drawn || draw.probability > 0.0);
    draws.iter().all(|(_, draw)| is_possible(draw))
        && are_distinct(draws.iter().map(|(of, _)| (of.trace_id, &of.evaluator, &of.revision)))
        && are_distinct(flags.iter().map(|Flag { of, .. }| (of.trace_id, &of.evaluator, &of.revision)))
}

/// Whether no score and no request to a judge is in them twice.
pub(super) fn are_told_apart(write_backs: &[WriteBack]) -> bool {
    let scores = write_backs.iter().flat_map(|of| {
        let rows = of.evaluations.iter();
        rows.map(|row| (row.trace_id, of.trace_version, &row.evaluator, &row.revision, row.outcome))
    });
    are_distinct(scores) && are_distinct(write_backs.iter().flat_map(|of| &of.calls).map(CallSpan::id))
}

fn are_distinct<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.array_windows().all(|[one, next]| one != next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::store::{Settled, Unflagged};
    use crate::domain::alert::{Alert, AlertState};
    use crate::domain::evaluation::{AnnotatorKind, Evaluation, Outcome};
    use crate::domain::ids::{SpanId, TraceId};
    use crate::domain::judge::TokenUsage;
    use crate::domain::time::Timestamp;

    #[test]
    fn each_invariant_is_shown_from_the_start_and_counted_when_it_is_violated() {
        let metrics = Metrics::default();
        expose(&metrics);
        for invariant in Invariant::ALL {
            let line = |count: u8| {
                format!("driftline_invariant_violations_total{{invariant=\"{}\"}} {count}\n", invariant.name())
            };
            assert!(metrics.encode().contains(&line(0)), "{}", metrics.encode());
            invariant.check(&metrics, true);
            assert!(metrics.encode().contains(&line(0)));
            invariant.check(&metrics, false);
            assert!(metrics.encode().contains(&line(1)));
        }
    }

    #[test]
    fn a_piece_that_is_in_no_count_is_missed() {
        let report = AppendReport { inserted: 3, duplicates: 1, too_late: 1, left_out: 1 };
        assert!(adds_up(report, 6) && !adds_up(report, 7) && !adds_up(report, 5));
    }

    fn call(charged: i64) -> JudgeCall {
        let at = Timestamp(0);
        let settled = Settled {
            charged: NanoUsd(charged),
            outcome: "answered".to_owned(),
            response_model: None,
            usage: TokenUsage::default(),
            sent_at: at,
            at,
        };
        JudgeCall {
            id: [0; 16],
            reserved_at: at,
            lane: "default".to_owned(),
            evaluator: "groundedness".to_owned(),
            revision: "r".to_owned(),
            service: "a".to_owned(),
            trace_id: TraceId::from_bytes(&[1; 16]).unwrap(),
            reserved: NanoUsd(10),
            settled: Some(settled),
        }
    }

    #[test]
    fn a_budget_is_exceeded_by_the_smallest_amount_unless_it_refuses() {
        let limits = BTreeMap::from([("a".to_owned(), NanoUsd(10))]);
        let is_kept = |committed: i64, admission| {
            let committed = [("a".to_owned(), NanoUsd(committed)), (ALL_SERVICES.to_owned(), NanoUsd(99))].into();
            let reservations = Reservations { admissions: vec![admission], committed, refused: Vec::new() };
            is_within(&[call(1)], &reservations, &limits)
        };
        assert!(is_kept(10, Admission::Admit) && !is_kept(11, Admission::Admit) && is_kept(11, Admission::Refuse));
    }

    #[test]
    fn a_request_may_cost_what_was_reserved_and_no_more() {
        assert!(is_covered(&call(10)) && !is_covered(&call(11)));
    }

    fn row(evaluator: &str, value: Option<f64>, probability: f64) -> StoredEvaluation {
        let evaluation = Evaluation {
            trace_id: TraceId::from_bytes(&[1; 16]).unwrap(),
            span_id: SpanId::from_bytes(&[1; 8]).unwrap(),
            evaluator: evaluator.to_owned(),
            revision: "r".to_owned(),
            annotator_kind: AnnotatorKind::Code,
            outcome: Outcome::Scored,
            value,
            label: None,
            explanation: None,
            truncated: false,
            split: false,
        };
        StoredEvaluation { evaluation, trace_version: 1, probability }
    }

    #[test]
    fn a_score_or_probability_out_of_bounds_is_seen() {
        assert!(is_in_bounds(&row("a", Some(1.0), 1.0)) && is_in_bounds(&row("a", None, 0.01)));
        for (value, probability) in [(Some(1.1), 1.0), (Some(f64::NAN), 1.0), (None, 0.0), (None, 1.5)] {
            assert!(!is_in_bounds(&row("a", value, probability)), "{value:?} {probability}");
        }
    }

    #[test]
    fn an_evaluator_that_answers_and_is_asked_as_well_is_seen() {
        let job = |evaluator: &str| NewJudgeJob {
            evaluator: evaluator.to_owned(),
            revision: "r".to_owned(),
            lane: "default".to_owned(),
            probability: 1.0,
        };
        assert!(is_answered_once(&[row("a", None, 1.0), row("b", None, 1.0)], &[job("c")]));
        assert!(!is_answered_once(&[row("a", None, 1.0), row("a", None, 1.0)], &[]));
        assert!(!is_answered_once(&[row("a", None, 1.0)], &[job("a")]));
    }

    fn step(transition: Transition) -> AlertEvent {
        let state = if transition == Transition::Resolved { AlertState::Resolved } else { AlertState::Firing };
        AlertEvent { id: 1, at: Timestamp(0), transition, alert: Alert { state, ..Alert::example() } }
    }

    #[test]
    fn an_alert_that_begins_or_ends_twice_is_seen() {
        use Transition::{Firing, Louder, Pending, Resolved};
        let all = [Pending, Firing, Louder, Resolved, Pending, Resolved].map(step);
        assert!(are_legal(None, &[]) && are_legal(None, &all) && are_legal(Some(&step(Resolved)), &all));
        assert!(are_legal(None, &[step(Louder)]), "what came before is known no longer");
        for [before, after] in [[Pending, Pending], [Resolved, Resolved], [Firing, Pending], [Resolved, Firing]] {
            assert!(!are_legal(None, &[step(before), step(after)]), "{before:?} {after:?}");
            assert!(!are_legal(Some(&step(before)), &[step(after)]), "{before:?} {after:?}");
        }
        let beside = AlertEvent { transition: Resolved, ..step(Firing) };
        assert!(!are_legal(None, &[beside]), "an alert that is open has not ended");
    }

    #[test]
    fn a_judgement_that_is_offered_twice_or_had_no_chance_is_seen() {
        let trace_id = TraceId::from_bytes(&[1; 16]).unwrap();
        let draw = |revision: &str, probability, is_drawn| {
            let (evaluator, revision) = ("groundedness".to_owned(), revision.to_owned());
            (Undrawn { trace_id, evaluator, revision, passed: true }, Draw { probability, is_drawn })
        };
        assert!(is_offered_once(&[draw("a", 0.5, true), draw("b", 0.0, false)], &[]));
        assert!(!is_offered_once(&[draw("a", 0.5, true), draw("a", 0.5, false)], &[]));
        assert!(!is_offered_once(&[draw("a", 0.0, true)], &[]) && !is_offered_once(&[draw("a", 1.5, true)], &[]));
        let flag = |revision: &str| Flag {
            of: Unflagged {
                trace_id,
                evaluator: "loop".to_owned(),
                revision: revision.to_owned(),
                service: "a".to_owned(),
                evaluated_at: Timestamp(0),
                fails: true,
                failures: 1,
            },
            day: Timestamp(0),
            severity: 1,
        };
        assert!(is_offered_once(&[], &[flag("a"), flag("b")]) && !is_offered_once(&[], &[flag("a"), flag("a")]));
    }

    #[test]
    fn a_score_or_request_that_is_written_back_twice_is_seen() {
        let request = |id| {
            let call = JudgeCall { id: [id; 16], ..call(1) };
            CallSpan::new(&call, "m", SpanId::from_bytes(&[1; 8]).unwrap())
        };
        let write_back = |evaluator: &str, trace_version, calls: &[u8]| WriteBack {
            service: "a".to_owned(),
            trace_version,
            evaluated_at: Timestamp(0),
            conversation_id: None,
            evaluations: vec![row(evaluator, Some(1.0), 1.0).evaluation],
            calls: calls.iter().filter_map(|id| request(*id)).collect(),
        };
        let first = write_back("a", 1, &[1]);
        assert!(are_told_apart(&[first.clone(), write_back("b", 1, &[2]), write_back("a", 2, &[])]));
        assert!(!are_told_apart(&[first.clone(), write_back("a", 1, &[])]));
        assert!(!are_told_apart(&[first, write_back("b", 1, &[1])]));
    }

    #[test]
    fn the_architecture_names_each() {
        let architecture = include_str!("../../ARCHITECTURE.md");
        for invariant in Invariant::ALL {
            assert!(architecture.contains(&format!("`{}`", invariant.name())), "{}", invariant.name());
        }
    }
}
