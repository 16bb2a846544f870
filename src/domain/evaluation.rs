//! The result of running one evaluator revision on one trace.

use serde::{Deserialize, Serialize};

use super::ids::{SpanId, TraceId};

/// Who produced a score (OpenInference `annotator_kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnotatorKind {
    /// A deterministic rule.
    Code,
    /// A language model.
    Llm,
    /// A person.
    Human,
    /// Another tool, which does not say how it scores.
    External,
}

impl AnnotatorKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Code, Self::Llm, Self::Human, Self::External];

    /// The kind as it is written in JSON, columns and attributes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Llm => "llm",
            Self::Human => "human",
            Self::External => "external",
        }
    }

    /// Reads what [`AnnotatorKind::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What became of an evaluation. Only [`Outcome::Scored`] ever enters an average.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is a score.
    Scored,
    /// The evaluator has nothing to say about a run like this one.
    NotApplicable,
    /// A needed input is missing; the explanation names it.
    NotEvaluable,
    /// The judge failed or could not be understood, after retries.
    Failed,
    /// The judge budget was spent.
    SkippedBudget,
    /// Sampling left this trace out of judging.
    SampledOut,
}

impl Outcome {
    /// Every outcome, in the order reports list them.
    pub const ALL: [Self; 6] =
        [Self::Scored, Self::NotApplicable, Self::NotEvaluable, Self::Failed, Self::SkippedBudget, Self::SampledOut];

    /// The outcome as it is written in JSON, columns and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::NotApplicable => "not_applicable",
            Self::NotEvaluable => "not_evaluable",
            Self::Failed => "failed",
            Self::SkippedBudget => "skipped_budget",
            Self::SampledOut => "sampled_out",
        }
    }

    /// Reads what [`Outcome::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// How a flagged run failed (REQUIREMENTS A6); `evaluate::failure_class` says when which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The run or one of its steps says itself that something went wrong.
    Hard,
    /// Everything reports success, and the answer or the conduct is wrong.
    Soft,
    /// The run goes round in circles.
    Looping,
    /// Nothing is wrong with the run by itself: it is evidence of an open alert.
    Drifting,
}

impl FailureClass {
    /// Every class, in the order reports list them.
    pub const ALL: [Self; 4] = [Self::Hard, Self::Soft, Self::Looping, Self::Drifting];

    /// The class as it is written in JSON, columns and selections.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Looping => "looping",
            Self::Drifting => "drifting",
        }
    }

    /// Reads what [`FailureClass::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// One row for every (trace, evaluator): the line `driftline evaluate` prints and the row the store keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The trace that was evaluated.
    pub trace_id: TraceId,
    /// The span that the score is about; the root span when it is about the whole run.
    pub span_id: SpanId,
    /// The evaluator's name.
    pub evaluator: String,
    /// Hash of everything that changes a score.
    pub revision: String,
    /// Who scored.
    pub annotator_kind: AnnotatorKind,
    /// What became of it.
    pub outcome: Outcome,
    /// The score in [0, 1], higher is better; present exactly when `outcome` is `scored`.
    pub value: Option<f64>,
    /// Short verdict, for example `pass` or `fail`.
    pub label: Option<String>,
    /// One sentence for a person.
    pub explanation: Option<String>,
    /// Whether the judge was shown a shortened input; left out where it was not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Whether the judge's own samples gave different verdicts; left out where they did not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub split: bool,
}

impl Evaluation {
    /// Whether a judge has scored.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.annotator_kind == AnnotatorKind::Llm && self.outcome == Outcome::Scored
    }

    /// Whether this evaluation flags its trace for review: scored, and below a half.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.outcome == Outcome::Scored && self.value.is_some_and(|value| value < 0.5)
    }
}
