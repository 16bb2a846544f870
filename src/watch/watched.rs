//! What is watched, and at what evidence it alarms: fixed for as long as a baseline stands.
//!
//! **Question.** How are false alarms shared out, so that all of them together stay within what the user tolerates?
//!
//! **Statistic.** K detectors over T hours with threshold c raise at most K·T/c false alarms (the bound of
//! [`crate::stats::e_process`]). K counts the detectors that can fire, over all services of the baseline, and a quarter
//! more: room for those that join while it stands, so that what joins does not move the thresholds of the rest.
//! Of the budget, a third pays for baselines whose mean was overestimated: the bound of each has confidence
//! 1 - B/(3·K), which grows with K, where a fixed 90 % is wrong for one stream in ten however many there are.
//!
//! **Conversations.** Where several traces share a conversation, the stream is that of the conversations' means: turns of
//! one conversation depend on each other, and conversations do not.
//!
//! **Over-dispersion.** Pooled over the series of a service ([`super::dispersion`]), and carried into the bound and into
//! every hour's evidence.
//!
//! **Cold start.** A baseline worth fewer than 50 independent traces has no detectors, and asks no share of the budget.

use std::collections::BTreeMap;

use super::baseline::Baseline;
use super::detect::{Direction, Guarantee, Hour, Reading};
use super::dispersion::{OverDispersion, pooled};
use super::expectation::{Expectation, Mix, Segments};
use super::key::SeriesKey;
use super::score::{Score, Scored};
use super::segments::{SegmentPattern, is_watched};
use super::shape;
use super::summary::SeriesSummary;
use crate::domain::time::Timestamp;
use crate::stats::e_process::{AlertBudget, Bets};

/// Room for detectors that join while the baseline stands, as a part of those that are there.
const ROOM: f64 = 0.25;

/// Everything that is watched against one baseline.
#[derive(Debug)]
pub struct Epoch<'a> {
    budget: AlertBudget,
    baseline: &'a Baseline,
    streams: BTreeMap<&'a SeriesKey, (&'a SeriesSummary, OverDispersion)>,
}

/// One stream with what its baseline fixes.
#[derive(Debug)]
pub struct WatchedStream<'a> {
    baseline: &'a SeriesSummary,
    /// Whether bets are on the means of conversations.
    is_by_conversation: bool,
    dispersion: OverDispersion,
    threshold: f64,
    watches: Vec<ScoreWatch>,
}

/// One direction of a stream of scores: what its mean is taken to be at least, and the bets against that.
#[derive(Debug)]
struct ScoreWatch {
    direction: Direction,
    score: Score,
    bound: f64,
    expectation: Expectation,
    /// On the mean of any hour, where nothing else is expected of one than of another: to make them is most of a check.
    bets: HourBets,
}

/// Bets on the mean of one hour.
#[derive(Debug)]
struct HourBets {
    against_drop: Bets,
    for_recovery: Bets,
}

impl HourBets {
    /// That the mean is at least `bound`.
    fn on(score: &Score, bound: f64) -> Self {
        let variance = score.variance(bound);
        let for_recovery = Bets::against_drop(1.0 - Score::bound_of_recovery(bound), variance);
        Self { against_drop: Bets::against_drop(bound, variance), for_recovery }
    }
}

impl<'a> Epoch<'a> {
    /// Watches every series over all traces of its service, and over the segments that the patterns name, with so many
    /// false alarms tolerated in so many hours.
    #[must_use]
    pub fn of(baseline: &'a Baseline, segments: &[SegmentPattern], false_alarms: f64, hours: f64) -> Self {
        let mut streams = BTreeMap::new();
        for service in baseline.services() {
            let series = baseline.series.iter().filter(|(key, _)| key.service == service);
            let watched: Vec<(&SeriesKey, &SeriesSummary)> =
                series.filter(|(key, _)| is_watched(&key.segment, segments)).collect();
            let own: Vec<OverDispersion> =
                watched.iter().map(|(_, summary)| summary.bet_on().over_dispersion).collect();
            let together = watched.into_iter().zip(pooled(&own));
            streams.extend(together.map(|((key, summary), dispersion)| (key, (summary, dispersion))));
        }
        let able: usize = streams.values().map(|(summary, dispersion)| detectors(summary, *dispersion)).sum();
        let detectors = ((able as f64 * (1.0 + ROOM)).ceil() as u64).max(1);
        Self { budget: AlertBudget { false_alarms, windows: hours, detectors }, baseline, streams }
    }

    /// The budget, and how many detectors share it.
    #[must_use]
    pub const fn budget(&self) -> &AlertBudget {
        &self.budget
    }

    /// Every stream with its baseline and the over-dispersion that it is taken to have.
    pub fn streams(&self) -> impl Iterator<Item = (&'a SeriesKey, &'a SeriesSummary, OverDispersion)> {
        self.streams.iter().map(|(key, (summary, dispersion))| (*key, *summary, *dispersion))
    }

    /// Says of a series, of which `current` was seen last, why it is not watched; `None` when it is.
    #[must_use]
    pub fn why_unwatched(&self, key: &SeriesKey, current: Option<&SeriesSummary>) -> Option<String> {
        let Some(before) = self.baseline.series.get(key) else {
            return Some("the baseline does not have it; it is watched from the next baseline on".to_owned());
        };
        let Some((_, dispersion)) = self.streams.get(key) else {
            return Some("segments explain; name it in [alerts] segments to watch it for itself".to_owned());
        };
        if detectors(before, *dispersion) == 0 {
            return Some(format!("{} traces of the baseline are too few to compare with", before.traces));
        }
        let current = current?;
        if current.kind() != before.kind() {
            let (now, was) = (current.kind().as_str(), before.kind().as_str());
            return Some(format!("it is {now} and was {was} in the baseline; take a new baseline"));
        }
        let is_of_another = !current.is_of_one_revision(before);
        is_of_another.then(|| "another revision of the evaluator scores it now; take a new baseline".to_owned())
    }

    /// The streams of one service.
    pub fn streams_of(&self, service: &str) -> impl Iterator<Item = (&'a SeriesKey, WatchedStream<'a>)> {
        let of_service = self.streams.iter().filter(move |(key, _)| key.service == service);
        of_service.map(|(key, (summary, dispersion))| {
            let segments = Segments::of(self.baseline, key);
            (*key, WatchedStream::standardised(summary, *dispersion, &segments, &self.budget))
        })
    }
}

/// How many detectors a stream has that can fire.
fn detectors(baseline: &SeriesSummary, dispersion: OverDispersion) -> usize {
    let can_fire = |direction: &&Direction| match direction {
        Direction::Shape => shape::suffices(baseline),
        Direction::Down | Direction::Up => Score::of(**direction, baseline.bet_on(), dispersion).is_some(),
    };
    Direction::of(baseline.kind()).iter().filter(can_fire).count()
}

impl<'a> WatchedStream<'a> {
    /// A stream with its baseline, the over-dispersion it is taken to have, and the budget it has a share of.
    #[must_use]
    pub fn new(baseline: &'a SeriesSummary, dispersion: OverDispersion, budget: &AlertBudget) -> Self {
        Self::standardised(baseline, dispersion, &[], budget)
    }

    /// The same, held against what its mix of segments lets expect.
    fn standardised(
        summary: &'a SeriesSummary,
        dispersion: OverDispersion,
        segments: &[Segments<'_>],
        budget: &AlertBudget,
    ) -> Self {
        let baseline = summary.bet_on();
        let watch = |direction: &Direction| {
            let score = Score::of(*direction, baseline, dispersion)?;
            let bound = score.bound(budget.baseline_confidence())?;
            let expectation = Expectation::of(&score, baseline, segments);
            let bets = HourBets::on(&score, bound.clamp(0.0, 1.0));
            Some(ScoreWatch { direction: *direction, score, bound, expectation, bets })
        };
        let watches = Direction::of(baseline.kind()).iter().filter_map(watch).collect();
        let is_by_conversation = summary.conversations.is_some();
        Self { baseline: summary, is_by_conversation, dispersion, threshold: budget.threshold(), watches }
    }

    /// What the stream is compared with.
    #[must_use]
    pub const fn baseline(&self) -> &SeriesSummary {
        self.baseline
    }

    /// The evidence at which a detector of it alarms.
    #[must_use]
    pub const fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The hours from the first to the last given as a detector of categories or sequences reads them.
    pub(super) fn shape(&self, hours: (Timestamp, Timestamp), window: &SeriesSummary) -> Option<Reading> {
        shape::reading(hours, window, self.baseline, self.dispersion)
    }

    /// An hour as a detector of scores reads it; `mix` is the weight of its segments.
    pub(super) fn score(
        &self,
        direction: Direction,
        at: Timestamp,
        window: &SeriesSummary,
        mix: &Mix,
    ) -> Option<Reading> {
        let watch = self.watches.iter().find(|one| one.direction == direction)?;
        if self.is_by_conversation {
            return self.read(watch, at, &window.by_conversation()?, mix);
        }
        self.read(watch, at, window, mix)
    }

    fn read(&self, watch: &ScoreWatch, at: Timestamp, window: &SeriesSummary, mix: &Mix) -> Option<Reading> {
        let ScoreWatch { score, bound, expectation, bets, .. } = watch;
        let of_hour = || HourBets::on(score, (bound + expectation.shift(at, mix)).clamp(0.0, 1.0));
        let anew = (!expectation.is_plain()).then(of_hour);
        let bets = anew.as_ref().unwrap_or(bets);
        let over_dispersion = self.dispersion.of_window(window.traces);
        let Scored { against, for_recovery, estimate, trace_ids } = score.apply(window)?;
        let moments = window.moments()?;
        let hour = Hour {
            at,
            traces: window.traces,
            weight: moments.weight,
            estimate,
            worth: moments.kish_size() / over_dispersion,
            expected: score.shown(expectation.likely_shift(at, mix)) - score.shown(0.0),
            test: None,
        };
        Some(Reading {
            at,
            log_factors: bets.against_drop.log_factors(&against, over_dispersion),
            log_factors_of_recovery: bets.for_recovery.log_factors(&for_recovery, over_dispersion),
            hour,
            over_dispersion,
            measure: score.measure(),
            baseline: score.baseline(),
            transitions: Vec::new(),
            trace_ids,
            guarantee: self.guarantee(window, expectation),
        })
    }

    fn guarantee(&self, window: &SeriesSummary, expectation: &Expectation) -> Guarantee {
        let is_simple = |summary: &SeriesSummary| summary.moments().is_some_and(|moments| moments.is_simple_sample());
        let reason = if !is_simple(window) || !is_simple(self.baseline.bet_on()) {
            "traces are weighted by sampling or share conversations; evidence is tempered"
        } else if !self.dispersion.is_known() {
            "the baseline is too short to see whether its hours vary more than chance allows"
        } else if !self.dispersion.is_within_chance() {
            "hours of the baseline vary more than chance allows; evidence is tempered"
        } else if !expectation.is_plain() {
            "what is expected of an hour follows its hour of the day and its mix of segments, both estimated"
        } else {
            let reason = "independent traces of equal weight".to_owned();
            return Guarantee { is_exact: true, reason }.knowing([window, self.baseline]);
        };
        Guarantee { is_exact: false, reason: reason.to_owned() }.knowing([window, self.baseline])
    }
}
