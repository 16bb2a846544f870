//! Has a stream moved away from its baseline, and has it come back? Asked every hour, for ever.
//!
//! **Question.** One stream (a series of one service) delivers one summary an hour. Each direction that the stream can
//! go wrong in is watched by a detector of [`crate::stats::e_process`] of its own.
//!
//! **Statistic.** Every kind is brought to a score in [0, 1] whose mean falls when something is wrong, see
//! `score`; categories and tool sequences to the p-value of this hour against the baseline, as an e-value,
//! which counts as no evidence (at most 1) while the distance is too small to matter.
//!
//! **When it fires.** At the evidence that the alert budget asks of each of its detectors ([`super::watched`]). The bound
//! is not the baseline's mean but a lower confidence bound of it, and at least one point below it: the point is the
//! smallest change worth an alert, and the confidence is set so that wrong bounds use up a third of the budget.
//!
//! **Where it is exact.** For scores of independent traces of equal weight. With sampling weights, conversations of
//! several traces or hours that vary more than chance allows, evidence is tempered by the over-dispersion of the
//! baseline ([`super::dispersion`]) and the guarantee is approximate, as for p-values of categories and sequences. Each
//! finding says which, and why.
//!
//! **Cold start.** A baseline worth fewer than 50 independent traces (20 conversations and 50 traces for categories,
//! 100 for sequences) watches nothing. Hours too thin for a p-value are joined until they suffice. An hour without
//! traces changes nothing.
//!
//! **Releases.** Nothing runs from the time of a release beside the detector. Of a drop of three points that came with
//! one, at 200 scores an hour, such an e-process with a tenth of the budget knew after 21.3 hours where the detector
//! needed 23.2 (60 simulated streams each): too little for what all other detectors would pay for it.
//!
//! **Recovery.** From the alarm on the opposite bets run, and at evidence 20 the detector starts afresh. For
//! categories and sequences the bet is that fewer than half of the tests have p > 0.2 while the change lasts.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::deviation::{DeviationRule, Judgment};
use super::expectation::Mix;
use super::shape;
use super::summary::SeriesSummary;
use super::watched::WatchedStream;
use crate::domain::alert::Severity;
use crate::domain::explanation::{Affects, Explanation};
use crate::domain::ids::TraceId;
use crate::domain::measurement::SeriesKind;
use crate::domain::report::Transition;
use crate::domain::time::Timestamp;
use crate::stats::e_process::{Detector, Recovery};
use crate::stats::onset::{onset_of_p_values, onset_of_share};
use crate::stats::windows::WindowSum;

/// Hours remembered for the estimate since the onset: four weeks.
const REMEMBERED_HOURS: usize = 28 * 24;

/// Which way a stream went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Scores fell; or more runs lie below the baseline's tenth percentile.
    Down,
    /// Scores rose; or more runs lie above the baseline's ninetieth percentile.
    Up,
    /// The shares of categories or transitions changed.
    Shape,
}

impl Direction {
    /// The directions that a stream is watched in: as many detectors share the alert budget.
    #[must_use]
    pub const fn of(kind: SeriesKind) -> &'static [Self] {
        match kind {
            SeriesKind::Boolean | SeriesKind::Ordinal | SeriesKind::Numeric => &[Self::Down, Self::Up],
            SeriesKind::Categorical | SeriesKind::Sequence => &[Self::Shape],
        }
    }

    /// The direction as it is written in alerts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::Shape => "shape",
        }
    }
}

/// Whether the false-alarm rate of a finding is known exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarantee {
    /// Whether all assumptions hold as far as can be seen.
    pub is_exact: bool,
    /// Which do not, or that all do.
    pub reason: String,
}

impl Guarantee {
    /// The guarantee as far as it is known how the summarised traces were sampled.
    pub(crate) fn knowing(self, summaries: [&SeriesSummary; 2]) -> Self {
        if summaries.iter().all(|summary| summary.upstream_unknown == 0) {
            return self;
        }
        let reason = format!("{}; upstream sampling is not known, and taken to have kept everything", self.reason);
        Self { is_exact: false, reason }
    }
}

/// A change that the budget lets us claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which way.
    pub direction: Direction,
    /// What `baseline` and `current` are, for example `mean` or `share above 812`.
    pub measure: String,
    /// The evidence M when it was found.
    pub evidence: f64,
    /// The evidence that was needed.
    pub threshold: f64,
    /// The first hour that the change is seen in: the last reset of the winning bet.
    pub onset: Timestamp,
    /// The first and last hour that the change may have begun in.
    #[serde(default)]
    pub onset_between: Option<(Timestamp, Timestamp)>,
    /// Where the change comes from.
    #[serde(default)]
    pub explanation: Option<Explanation>,
    /// Baseline estimate of `measure`.
    pub baseline: Option<f64>,
    /// Estimate of `measure` since the onset; of categories and transitions in the last test.
    pub current: Option<f64>,
    /// Traces that `current` is of.
    pub traces: u64,
    /// Categories or transitions that moved in the last test.
    pub transitions: Vec<Transition>,
    /// Traces of the last hour that show it.
    pub trace_ids: Vec<TraceId>,
    /// Which traces it is about, where that does not follow from the series.
    #[serde(default)]
    pub affects: Option<Affects>,
    /// What the false-alarm rate is worth.
    pub guarantee: Guarantee,
}

/// What an hour brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A change was found.
    Found(Finding),
    /// A change found earlier goes on; estimates are up to date.
    Continues(Finding),
    /// A change found earlier is over.
    Recovered(Direction),
    /// The hour's mean lies beyond two standard deviations, outside the alert budget.
    Deviates {
        /// The deviation: its evidence is the number of standard deviations.
        finding: Finding,
        /// Hours running on this side.
        hours: u32,
    },
    /// The hour's mean is back within two standard deviations.
    Returned(Direction),
    /// A rule with a limit of its own fires ([`super::rules`]).
    Ruled {
        /// Which.
        rule: String,
        /// How loud.
        severity: Severity,
        /// What it counted.
        finding: Box<Finding>,
    },
    /// A rule that fired does so no more.
    RuleOver {
        /// Which.
        rule: String,
        /// In which direction it fired.
        direction: Direction,
    },
}

/// The state of one stream between hours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    watches: Vec<Watch>,
    /// Hours too thin to test, joined, and the first of them.
    pending: Option<(Timestamp, SeriesSummary)>,
    deviation: DeviationRule,
}

/// One direction's detector, its memory, and its alarm while there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Watch {
    direction: Direction,
    detector: Detector,
    hours: VecDeque<Hour>,
    alarm: Option<Alarm>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Alarm {
    finding: Finding,
    recovery: Recovery,
}

/// What is remembered of one hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Hour {
    pub(super) at: Timestamp,
    pub(super) traces: u64,
    pub(super) weight: f64,
    pub(super) estimate: f64,
    /// Independent traces of equal weight that the hour is worth; 0 for categories and sequences.
    #[serde(default)]
    pub(super) worth: f64,
    /// By how much the estimate is expected to differ from the baseline's, by the hour of the day and the mix.
    #[serde(default)]
    pub(super) expected: f64,
    /// What the test of categories or sequences said; `None` for scores.
    #[serde(default)]
    pub(super) test: Option<Test>,
}

impl Hour {
    /// How much the hour counts: what it is worth, or its traces where it was remembered before hours had a worth.
    pub(super) const fn size(&self) -> f64 {
        if self.worth > 0.0 { self.worth } else { self.traces as f64 }
    }
}

/// A test of one hour, or of several that were too thin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Test {
    pub(super) p_value: f64,
    /// The last of its hours.
    pub(super) until: Timestamp,
}

/// One hour, brought to what a detector reads.
pub(super) struct Reading {
    pub(super) at: Timestamp,
    pub(super) log_factors: Vec<f64>,
    pub(super) log_factors_of_recovery: Vec<f64>,
    pub(super) hour: Hour,
    /// Over-dispersion of the hours.
    pub(super) over_dispersion: f64,
    pub(super) measure: String,
    pub(super) baseline: f64,
    pub(super) transitions: Vec<Transition>,
    pub(super) trace_ids: Vec<TraceId>,
    pub(super) guarantee: Guarantee,
}

impl StreamState {
    /// Takes in the hour that starts at `at`; hours must come in order, each once. An hour of another kind than the
    /// baseline's changes nothing.
    /// `mix` is the weight of the hour's segments.
    pub fn observe(
        &mut self,
        at: Timestamp,
        window: &SeriesSummary,
        mix: &Mix,
        stream: &WatchedStream<'_>,
    ) -> Vec<Signal> {
        let baseline = stream.baseline();
        if window.kind() != baseline.kind() || window.traces == 0 {
            return Vec::new();
        }
        let mut signals = Vec::new();
        for direction in Direction::of(baseline.kind()) {
            let reading = match direction {
                Direction::Shape => {
                    self.joined(at, window, stream).and_then(|(since, joined)| stream.shape((since, at), &joined))
                }
                Direction::Down | Direction::Up => stream.score(*direction, at, window, mix),
            };
            let watch = self.watch(*direction);
            signals.extend(reading.and_then(|reading| watch.take_in(reading, stream.threshold())));
        }
        let judgments = self.deviation.observe(at, window, baseline);
        signals.extend(judgments.into_iter().map(|judgment| match judgment {
            Judgment::Beyond { finding, hours } => Signal::Deviates { finding: *finding, hours },
            Judgment::Returned(direction) => Signal::Returned(direction),
        }));
        signals
    }

    /// The hour joined to those still pending, and the first of them, once they suffice for a test.
    fn joined(
        &mut self,
        at: Timestamp,
        window: &SeriesSummary,
        stream: &WatchedStream<'_>,
    ) -> Option<(Timestamp, SeriesSummary)> {
        let (since, joined) = match self.pending.take() {
            Some((since, pending)) => (since, pending.merge(window)?),
            None => (at, window.clone()),
        };
        let baseline_suffices = shape::suffices(stream.baseline());
        let spans_enough = shape::spans_enough(stream.baseline(), since, at);
        if baseline_suffices && spans_enough && shape::suffices(&joined) {
            return Some((since, joined));
        }
        self.pending = Some((since, joined)).filter(|_| baseline_suffices);
        None
    }

    /// Keeps with the alarm where its change comes from, for as long as it lasts.
    pub fn explain(&mut self, direction: Direction, explanation: &Explanation) {
        let alarms = self.watches.iter_mut().filter(|watch| watch.direction == direction);
        for alarm in alarms.filter_map(|watch| watch.alarm.as_mut()) {
            alarm.finding.explanation = Some(explanation.clone());
        }
    }

    /// Whether any direction is in alarm.
    #[must_use]
    pub fn is_alarmed(&self) -> bool {
        self.watches.iter().any(|watch| watch.alarm.is_some())
    }

    /// Whether all that was observed before the hour `at` had ended by then; also of a stream that has not observed it.
    #[must_use]
    pub fn is_in_order(&self, at: Timestamp) -> bool {
        let last_of = |hour: &Hour| hour.test.map_or(hour.at, |test| test.until);
        self.watches.iter().all(|watch| {
            let mut latest = watch.hours.iter().rev();
            let observed = latest.next().filter(|hour| last_of(hour) == at);
            observed.zip(latest.next()).is_none_or(|(hour, before)| last_of(before) < hour.at)
        })
    }

    fn watch(&mut self, direction: Direction) -> &mut Watch {
        let index = self.watches.iter().position(|watch| watch.direction == direction).unwrap_or_else(|| {
            let (detector, hours) = (Detector::default(), VecDeque::new());
            self.watches.push(Watch { direction, detector, hours, alarm: None });
            self.watches.len() - 1
        });
        &mut self.watches[index]
    }
}

impl Watch {
    fn take_in(&mut self, reading: Reading, threshold: f64) -> Option<Signal> {
        self.hours.push_back(reading.hour);
        if self.hours.len() > REMEMBERED_HOURS {
            self.hours.pop_front();
        }
        if let Some(mut alarm) = self.alarm.take() {
            alarm.recovery.step(&reading.log_factors_of_recovery);
            if alarm.recovery.is_complete() {
                self.detector = Detector::default();
                return Some(Signal::Recovered(self.direction));
            }
            let Finding { onset, evidence, explanation, .. } = alarm.finding;
            alarm.finding = Finding { explanation, ..self.finding(reading, onset, evidence, threshold) };
            let signal = Signal::Continues(alarm.finding.clone());
            self.alarm = Some(alarm);
            return Some(signal);
        }
        self.detector.step(&reading.log_factors, reading.at.0);
        let log_evidence = self.detector.log_evidence();
        if log_evidence < threshold.ln() {
            return None;
        }
        let onset = Timestamp(self.detector.onset().unwrap_or(reading.at.0));
        let finding = self.finding(reading, onset, log_evidence.min(700.0).exp(), threshold);
        self.alarm = Some(Alarm { finding: finding.clone(), recovery: Recovery::default() });
        Some(Signal::Found(finding))
    }

    fn finding(&self, reading: Reading, onset: Timestamp, evidence: f64, threshold: f64) -> Finding {
        // Another cell may lead in each test of categories: their shares have no mean.
        let since = || {
            self.hours.iter().filter(|hour| match self.direction {
                Direction::Shape => hour.at == reading.at,
                Direction::Down | Direction::Up => hour.at >= onset,
            })
        };
        let weight: f64 = since().map(|hour| hour.weight).sum();
        let current = since().map(|hour| hour.weight * hour.estimate).sum::<f64>() / weight;
        Finding {
            direction: self.direction,
            measure: reading.measure,
            evidence,
            threshold,
            onset,
            onset_between: self.onset_between(onset, reading.over_dispersion),
            explanation: None,
            baseline: Some(reading.baseline),
            current: Some(current).filter(|current| current.is_finite()),
            traces: since().map(|hour| hour.traces).sum(),
            transitions: reading.transitions,
            trace_ids: reading.trace_ids,
            affects: None,
            guarantee: reading.guarantee,
        }
    }

    /// The hours that the profile likelihood of one change allows for its beginning, with the detector's own.
    fn onset_between(&self, onset: Timestamp, over_dispersion: f64) -> Option<(Timestamp, Timestamp)> {
        let (first, last) = match self.direction {
            Direction::Shape => self.onset_by_tests(over_dispersion),
            Direction::Down | Direction::Up => self.onset_by_shares(),
        }?;
        Some((first.min(onset), last.max(onset)))
    }

    /// Of each hour only what its mix and its hour of the day do not let expect: neither is a change.
    fn onset_by_shares(&self) -> Option<(Timestamp, Timestamp)> {
        let sum = |hour: &Hour| {
            let size = hour.size();
            WindowSum { sum: size * (hour.estimate - hour.expected).clamp(0.0, 1.0), size }
        };
        let windows: Vec<WindowSum> = self.hours.iter().map(sum).collect();
        let (first, last) = onset_of_share(&windows, 1.0)?.range();
        Some((self.hours.get(first)?.at, self.hours.get(last)?.at))
    }

    fn onset_by_tests(&self, over_dispersion: f64) -> Option<(Timestamp, Timestamp)> {
        let tested: Vec<(Timestamp, Test)> = self.hours.iter().filter_map(|hour| Some((hour.at, hour.test?))).collect();
        let p_values: Vec<f64> = tested.iter().map(|(_, test)| test.p_value).collect();
        let (first, last) = onset_of_p_values(&p_values, over_dispersion)?.range();
        Some((tested.get(first)?.0, tested.get(last)?.1.until))
    }
}
