//! What always holds, by name: looked at where it could break, and counted when it does.
//!
//! A violation is a mistake in driftline, or in what it builds on, and not in what it is sent. It stops nothing: `driftline_invariant_violations`
//! says that it happened, the log says when, and the rule in `deploy/prometheus-rules.yml` tells someone.

use std::collections::BTreeMap;

use crate::backends::store::{AppendReport, JudgeCall, NewJudgeJob, Reservations, StoredEvaluation};
use crate::domain::money::NanoUsd;
use crate::limits::budget::{ALL_SERVICES, Admission};
use crate::telemetry::metrics::{InvariantLabels, Metrics};

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
}

impl Invariant {
    const ALL: [Self; 5] = [
        Self::EveryPieceIsAccountedFor,
        Self::OneAnswerOfEachEvaluator,
        Self::ScoresAreInBounds,
        Self::BudgetIsKept,
        Self::ReservedCoversCharged,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::EveryPieceIsAccountedFor => "every_piece_is_accounted_for",
            Self::OneAnswerOfEachEvaluator => "one_answer_of_each_evaluator",
            Self::ScoresAreInBounds => "scores_are_in_bounds",
            Self::BudgetIsKept => "budget_is_kept",
            Self::ReservedCoversCharged => "reserved_covers_charged",
        }
    }

    /// Counts a violation unless it holds.
    pub(super) fn check(self, metrics: &Metrics, holds: bool) {
        if !holds {
            tracing::error!(invariant = self.name(), "an invariant does not hold; this is a mistake in driftline");
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
    let mut evaluators: Vec<&str> = answered.chain(asked).collect();
    evaluators.sort_unstable();
    evaluators.array_windows().all(|[left, right]| left != right)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::store::Settled;
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
}
