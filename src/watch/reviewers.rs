//! How far do people agree with each other?
//!
//! **Question.** Two people labelled the same runs, the second without knowing what the first had said. A judge can be
//! held against people no better than people agree.
//!
//! **Statistic.** Cohen's kappa of each pair of people over the runs that both decided, of each judge's question by
//! itself. The last label of each person holds; skipped runs count nowhere.
//!
//! **Where it ends.** As of [`crate::stats::agreement`]: the interval wants some fifty runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::calibration::{Agreement, agreement_of};
use crate::domain::ids::TraceId;
use crate::domain::label::{Answer, Label};
use crate::stats::agreement::Confusion;

/// What people say of the same runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reviewers {
    /// Each pair of people with runs in common, by judge, most runs first.
    pub pairs: Vec<ReviewerPair>,
    /// Runs on which people differ, newest first.
    pub disagreements: Vec<ReviewerDisagreement>,
}

/// Two people and the question of one judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReviewerPair {
    /// The judge whose question both answered.
    pub evaluator: String,
    /// One of them, first in the alphabet.
    pub first: String,
    /// The other.
    pub second: String,
    /// Runs that both decided.
    pub n: u64,
    /// How they decided; `judge` is the first of them.
    pub confusion: Confusion,
    /// Agreement beyond chance; `None` where neither ever varies.
    pub kappa: Option<Agreement>,
}

/// A run on which people differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReviewerDisagreement {
    /// The run.
    pub trace_id: TraceId,
    /// The judge whose question was answered.
    pub evaluator: String,
    /// The last label of each person, earliest first; the last one holds.
    pub labels: Vec<Label>,
}

/// The last decision of each person on one run.
type Decisions<'a> = BTreeMap<&'a str, &'a Label>;

/// Compares people by the label log, which is in the order of its times.
#[must_use]
pub fn reviewers(log: &[Label]) -> Reviewers {
    let mut items: BTreeMap<(&str, TraceId), Decisions<'_>> = BTreeMap::new();
    for label in log {
        items.entry((&label.evaluator, label.trace_id)).or_default().insert(&label.reviewer, label);
    }
    items.values_mut().for_each(|decisions| decisions.retain(|_, label| label.label != Answer::Skip));
    Reviewers { pairs: pairs(&items), disagreements: disagreements(&items) }
}

fn pairs(items: &BTreeMap<(&str, TraceId), Decisions<'_>>) -> Vec<ReviewerPair> {
    let mut confusions: BTreeMap<(&str, &str, &str), Confusion> = BTreeMap::new();
    for ((evaluator, _), decisions) in items {
        let people: Vec<_> = decisions.iter().collect();
        for (place, (first, one)) in people.iter().enumerate() {
            for (second, other) in &people[place + 1..] {
                let confusion = confusions.entry((evaluator, first, second)).or_default();
                confusion.add(one.label == Answer::Pass, other.label == Answer::Pass, 1.0);
            }
        }
    }
    let pair = |((evaluator, first, second), confusion): ((&str, &str, &str), Confusion)| ReviewerPair {
        evaluator: evaluator.to_owned(),
        first: first.to_owned(),
        second: second.to_owned(),
        n: confusion.total() as u64,
        kappa: confusion.kappa().map(agreement_of),
        confusion,
    };
    let mut pairs: Vec<ReviewerPair> = confusions.into_iter().map(pair).collect();
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.n));
    pairs
}

fn disagreements(items: &BTreeMap<(&str, TraceId), Decisions<'_>>) -> Vec<ReviewerDisagreement> {
    let differs = |decisions: &Decisions<'_>| {
        let mut answers = decisions.values().map(|label| label.label);
        let first = answers.next();
        answers.any(|answer| Some(answer) != first)
    };
    let disagreement = |((evaluator, trace_id), decisions): (&(&str, TraceId), &Decisions<'_>)| {
        let mut labels: Vec<Label> = decisions.values().map(|label| (*label).clone()).collect();
        labels.sort_by_key(|label| label.labelled_at);
        ReviewerDisagreement { trace_id: *trace_id, evaluator: (*evaluator).to_owned(), labels }
    };
    let mut found: Vec<_> = items.iter().filter(|(_, decisions)| differs(decisions)).map(disagreement).collect();
    found.sort_by_key(|one| std::cmp::Reverse(one.labels.last().map(|label| label.labelled_at)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::label::Origin;
    use crate::domain::time::Timestamp;

    fn label(number: u128, reviewer: &str, label: Answer, at: i64) -> Label {
        Label {
            trace_id: TraceId::from_bytes(&number.to_be_bytes()).unwrap(),
            evaluator: "grounded".to_owned(),
            revision: None,
            label,
            reviewer: reviewer.to_owned(),
            note: None,
            labelled_at: Timestamp(at),
            origin: Origin::Review,
            probability: None,
        }
    }

    /// Of 50 both agree on 35; by chance they would on half: (0.7 - 0.5) / (1 - 0.5).
    #[test]
    fn two_people_have_the_kappa_of_their_table() {
        let table =
            [(20, Answer::Pass, Answer::Pass), (5, Answer::Pass, Answer::Fail), (10, Answer::Fail, Answer::Pass)];
        let answers = table.into_iter().chain([(15, Answer::Fail, Answer::Fail)]);
        let each = answers.flat_map(|(times, one, other)| std::iter::repeat_n((one, other), times));
        let log: Vec<Label> = (1..)
            .zip(each)
            .flat_map(|(number, (one, other))| [label(number, "anna", one, 1), label(number, "bert", other, 2)])
            .collect();
        let found = reviewers(&log);
        let [pair] = &found.pairs[..] else { panic!("{:?}", found.pairs) };
        assert_eq!((pair.n, pair.first.as_str(), pair.second.as_str()), (50, "anna", "bert"));
        let kappa = pair.kappa.as_ref().unwrap();
        assert!((kappa.value - 0.4).abs() < 1e-12 && kappa.low < 0.4 && kappa.high > 0.4, "{kappa:?}");
        assert_eq!(found.disagreements.len(), 15);
    }

    #[test]
    fn the_last_label_of_each_person_holds_and_skips_count_nowhere() {
        let log = [
            label(1, "anna", Answer::Pass, 1),
            label(1, "bert", Answer::Fail, 2),
            label(2, "anna", Answer::Pass, 3),
            label(2, "bert", Answer::Skip, 4),
            label(1, "anna", Answer::Fail, 5),
        ];
        let found = reviewers(&log);
        assert!(found.disagreements.is_empty(), "{found:?}");
        assert_eq!((found.pairs.len(), found.pairs[0].n), (1, 1));
        assert_eq!(found.pairs[0].kappa, None);
    }
}
