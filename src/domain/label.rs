//! What people say of traces that a judge has judged, and how they came to be asked.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::TraceId;
use super::time::Timestamp;

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The run is right in what the judge is asked about.
    Pass,
    /// It is wrong in that.
    Fail,
    /// The person was asked and did not decide: no label, and no response.
    Skip,
}

impl Answer {
    /// Whether the run passes; `None` where nothing was decided.
    #[must_use]
    pub const fn passes(self) -> Option<bool> {
        match self {
            Self::Pass => Some(true),
            Self::Fail => Some(false),
            Self::Skip => None,
        }
    }

    /// The answer of a verdict.
    #[must_use]
    pub const fn of(passes: bool) -> Self {
        if passes { Self::Pass } else { Self::Fail }
    }

    /// The answer as it is written in JSON, columns and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Pass, Self::Fail, Self::Skip].into_iter().find(|answer| answer.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is none of pass, fail, skip"))
    }
}

/// How a label came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person reviewed the trace here; whether it was drawn at random is known from the draw.
    Review,
    /// It was read from a file.
    Import,
}

impl Origin {
    /// The origin as it is written in JSON and columns.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Import => "import",
        }
    }
}

/// One line of the label log, to which lines are only ever added: of several for one trace and judge the last holds.
/// `review export` writes this, one line a label, and `review import` reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge whose question was answered.
    pub evaluator: String,
    /// Revision of the judge whose verdict there was at the time.
    pub revision: Option<String>,
    /// The answer.
    pub label: Answer,
    /// Who answered.
    pub reviewer: String,
    /// What they wrote beside it.
    pub note: Option<String>,
    /// When.
    pub labelled_at: Timestamp,
    /// How it came to be.
    pub origin: Origin,
    /// Probability with which the trace was drawn to be labelled; `None` where it is not known, or it was not drawn.
    pub probability: Option<f64>,
}

impl Label {
    /// What calibration asks of it.
    #[must_use]
    pub const fn held(&self) -> HeldLabel {
        HeldLabel { answer: self.label, origin: self.origin, has_probability: self.probability.is_some() }
    }
}

/// Whether a judged trace was drawn for the audit sample, and with what probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Draw {
    /// Above zero where it was drawn.
    pub probability: f64,
    /// Whether it was.
    pub is_drawn: bool,
}

/// Why a run is put before a person, where it was not drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlagReason {
    /// A rule fails it.
    FailedRule,
    /// A judge fails it.
    JudgeNo,
    /// Revisions of one judge give different verdicts: two models, or two prompts.
    JudgesDisagree,
    /// A judge's own samples give different verdicts.
    LowConfidence,
}

impl FlagReason {
    /// The reason in words, after the evaluator's name.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::FailedRule => "the rule fails it",
            Self::JudgeNo => "the judge fails it",
            Self::JudgesDisagree => "revisions of the judge disagree",
            Self::LowConfidence => "the judge was of two minds",
        }
    }
}

/// What a judge said of one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Its verdict.
    pub passed: bool,
    /// Why.
    pub reason: Option<String>,
    /// When it was given.
    pub judged_at: Timestamp,
    /// How many traces it stands for: one over the probability with which it was judged.
    pub weight: f64,
    /// Whether it is known with what probability upstream sampling kept the trace; unknown, it is taken as 1.
    pub is_upstream_known: bool,
    /// Its place in the audit sample; `None` where none was drawn.
    pub draw: Option<Draw>,
}

impl Judgement {
    /// It alone, as a sum.
    #[must_use]
    pub const fn sum(&self) -> JudgedSum {
        JudgedSum {
            passed: self.passed,
            draw: self.draw,
            since: self.judged_at,
            count: 1,
            weight: self.weight,
            weight_squared: self.weight * self.weight,
            upstream_unknown: if self.is_upstream_known { 0 } else { 1 },
        }
    }
}

/// Judgements of one revision that are alike, summed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JudgedSum {
    /// The verdict.
    pub passed: bool,
    /// Their place in the audit sample; `None` where none was drawn.
    pub draw: Option<Draw>,
    /// When they were given: the start of an hour, or the instant of a single one.
    pub since: Timestamp,
    /// How many they are.
    pub count: u64,
    /// How many traces they stand for.
    pub weight: f64,
    /// Sum of the squares of what each stands for.
    pub weight_squared: f64,
    /// Those of them of which upstream sampling is not known, and taken as 1.
    pub upstream_unknown: u64,
}

/// Judgements of a judge's revision.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionSum {
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// They.
    pub judged: JudgedSum,
}

impl From<&Judgement> for RevisionSum {
    fn from(judgement: &Judgement) -> Self {
        let Judgement { evaluator, revision, .. } = judgement;
        Self { evaluator: evaluator.clone(), revision: revision.clone(), judged: judgement.sum() }
    }
}

/// How a trace came to its label, as far as calibration asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLabel {
    /// The answer that holds.
    pub answer: Answer,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it brings the probability with which the trace was drawn to be labelled.
    pub has_probability: bool,
}

/// Judgements that were drawn or labelled, counted by what decides whether their judge is calibrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledCount {
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Its verdict.
    pub passed: bool,
    /// Whether they were drawn for the audit sample.
    pub is_drawn: bool,
    /// The label that holds, if there is one.
    pub label: Option<HeldLabel>,
    /// How many they are.
    pub count: u64,
}

/// A labelled trace that judges are asked about again and again, as one of them answered in one round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorScore {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// When the round began.
    pub round_at: Timestamp,
    /// Its verdict.
    pub passed: bool,
    /// Why.
    pub reason: Option<String>,
    /// What people say.
    pub label: Answer,
}
