//! What is watched, and at what evidence it alarms: fixed for as long as a baseline stands.
//!
//! **Question.** How are false alarms shared out, so that all of them together stay within what the user tolerates?
//!
//! **Statistic.** K detectors over T hours with threshold c raise at most K·T/c false alarms (the bound of
//! [`crate::stats::e_process`]). K counts the detectors that can fire, over all services of the baseline, and a quarter
//! more: room for those that join while it stands, so that what joins does not move the thresholds of the rest.
//! Of the budget, a tenth pays for baselines whose mean was overestimated: the bound of each has confidence
//! 1 - B/(10·K), which grows with K, where a fixed 90 % is wrong for one stream in ten however many there are.
//!
//! **Over-dispersion.** Pooled over the series of a service ([`super::dispersion`]), and carried into the bound and into
//! every hour's evidence.
//!
//! **Cold start.** A baseline worth fewer than 50 independent traces has no detectors, and asks no share of the budget.

use std::collections::{BTreeMap, BTreeSet};

use super::baseline::Baseline;
use super::detect::{Direction, Guarantee, Hour, Reading};
use super::dispersion::{OverDispersion, pooled};
use super::key::{ALL, SeriesKey};
use super::score::{Score, Scored};
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
    streams: BTreeMap<&'a SeriesKey, (&'a SeriesSummary, OverDispersion)>,
}

/// One stream with what its baseline fixes.
#[derive(Debug)]
pub struct WatchedStream<'a> {
    baseline: &'a SeriesSummary,
    dispersion: OverDispersion,
    threshold: f64,
    watches: Vec<ScoreWatch>,
}

/// One direction of a stream of scores: what its mean is taken to be at least, and the bets against that.
#[derive(Debug)]
struct ScoreWatch {
    direction: Direction,
    score: Score,
    bets: Bets,
    recovery: Bets,
}

impl<'a> Epoch<'a> {
    /// Watches every series over all traces of its service, and over the segments named (`dimension=value`), with so
    /// many false alarms tolerated in so many hours.
    #[must_use]
    pub fn of(baseline: &'a Baseline, segments: &BTreeSet<String>, false_alarms: f64, hours: f64) -> Self {
        let mut streams = BTreeMap::new();
        for service in baseline.services() {
            let series = baseline.series.iter().filter(|(key, _)| key.service == service);
            let watched: Vec<(&SeriesKey, &SeriesSummary)> =
                series.filter(|(key, _)| key.segment == ALL || segments.contains(&key.segment)).collect();
            let own: Vec<OverDispersion> = watched.iter().map(|(_, summary)| summary.over_dispersion).collect();
            let together = watched.into_iter().zip(pooled(&own));
            streams.extend(together.map(|((key, summary), dispersion)| (key, (summary, dispersion))));
        }
        let able: usize = streams.values().map(|(summary, dispersion)| detectors(summary, *dispersion)).sum();
        let detectors = ((able as f64 * (1.0 + ROOM)).ceil() as u64).max(1);
        Self { budget: AlertBudget { false_alarms, windows: hours, detectors }, streams }
    }

    /// The budget, and how many detectors share it.
    #[must_use]
    pub const fn budget(&self) -> &AlertBudget {
        &self.budget
    }

    /// The streams of one service.
    pub fn streams_of(&self, service: &str) -> impl Iterator<Item = (&'a SeriesKey, WatchedStream<'a>)> {
        let of_service = self.streams.iter().filter(move |(key, _)| key.service == service);
        of_service.map(|(key, (summary, dispersion))| (*key, WatchedStream::new(summary, *dispersion, &self.budget)))
    }
}

/// How many detectors a stream has that can fire.
fn detectors(baseline: &SeriesSummary, dispersion: OverDispersion) -> usize {
    let can_fire = |direction: &&Direction| match direction {
        Direction::Shape => shape::suffices(baseline),
        Direction::Down | Direction::Up => Score::of(**direction, baseline, dispersion).is_some(),
    };
    Direction::of(baseline.kind()).iter().filter(can_fire).count()
}

impl<'a> WatchedStream<'a> {
    /// A stream with its baseline, the over-dispersion it is taken to have, and the budget it has a share of.
    #[must_use]
    pub fn new(baseline: &'a SeriesSummary, dispersion: OverDispersion, budget: &AlertBudget) -> Self {
        let watch = |direction: &Direction| ScoreWatch::of(*direction, baseline, dispersion, budget);
        let watches = Direction::of(baseline.kind()).iter().filter_map(watch).collect();
        Self { baseline, dispersion, threshold: budget.threshold(), watches }
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

    /// An hour as a detector of categories or sequences reads it.
    pub(super) fn shape(&self, at: Timestamp, window: &SeriesSummary) -> Option<Reading> {
        shape::reading(at, window, self.baseline, self.dispersion)
    }

    /// An hour as a detector of scores reads it.
    pub(super) fn score(&self, direction: Direction, at: Timestamp, window: &SeriesSummary) -> Option<Reading> {
        let ScoreWatch { score, bets, recovery, .. } = self.watches.iter().find(|one| one.direction == direction)?;
        let over_dispersion = self.dispersion.of_window(window.traces);
        let Scored { against, for_recovery, estimate, trace_ids } = score.apply(window)?;
        Some(Reading {
            at,
            log_factors: bets.log_factors(&against, over_dispersion),
            log_factors_of_recovery: recovery.log_factors(&for_recovery, over_dispersion),
            hour: Hour { at, traces: window.traces, weight: window.moments()?.weight, estimate },
            measure: score.measure(),
            baseline: score.baseline(),
            transitions: Vec::new(),
            trace_ids,
            guarantee: self.guarantee(window),
        })
    }

    fn guarantee(&self, window: &SeriesSummary) -> Guarantee {
        let is_simple = |summary: &SeriesSummary| summary.moments().is_some_and(|moments| moments.is_simple_sample());
        let reason = if !is_simple(window) || !is_simple(self.baseline) {
            "traces are weighted by sampling or share conversations; evidence is tempered"
        } else if !self.dispersion.is_known() {
            "the baseline is too short to see whether its hours vary more than chance allows"
        } else if !self.dispersion.is_within_chance() {
            "hours of the baseline vary more than chance allows; evidence is tempered"
        } else {
            let reason = "independent traces of equal weight".to_owned();
            return Guarantee { is_exact: true, reason }.knowing([window, self.baseline]);
        };
        Guarantee { is_exact: false, reason: reason.to_owned() }.knowing([window, self.baseline])
    }
}

impl ScoreWatch {
    fn of(
        direction: Direction,
        baseline: &SeriesSummary,
        dispersion: OverDispersion,
        budget: &AlertBudget,
    ) -> Option<Self> {
        let score = Score::of(direction, baseline, dispersion)?;
        let bound = score.bound(budget.baseline_confidence())?;
        let variance = score.variance(bound);
        let bets = Bets::against_drop(bound, variance);
        let recovery = Bets::against_drop(1.0 - Score::bound_of_recovery(bound), variance);
        Some(Self { direction, score, bets, recovery })
    }
}
