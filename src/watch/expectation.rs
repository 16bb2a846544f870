//! What would the hour's mean be, if nothing had changed but who asks, and when?
//!
//! **Question.** A mean moves when the traffic does: more of the hard questions, or night. That is worth knowing and no
//! loss of quality, and a detector that compares with one mean calls it one (a mix shift of 3.5 points alarms in 86 of
//! 100 plain comparisons, and in 5 of standardised ones).
//!
//! **Statistic.** Direct standardisation: the baseline's mean, moved by what the hour's own shares of segments and its
//! hour of the day differ from the mean in the baseline. Given the mix, the hour's scores have this mean while
//! nothing has changed within segments, so bets against it stay valid. The deviation of each segment and hour is drawn
//! to zero by 200 traces' worth, so that what is hardly known moves nothing.
//!
//! **Hours and segments.** A day cycle may be nothing but the day's mix, so the two are never simply added: of hour, mix
//! and both together the lowest mean is expected, which can cost power and never raises a false alarm.
//!
//! **Which segments.** Those of one dimension, the one that explains most, if its segments differ in the baseline by more
//! than chance (χ², p < 0.01). Never the model or a version: what comes with those is a change of the agent.
//!
//! **Cold start.** A segment that the baseline has not seen counts as the mean.

use std::collections::BTreeMap;

use super::baseline::Baseline;
use super::day::hour_of_day;
use super::key::{ALL, SeriesKey};
use super::score::Score;
use super::summary::{Distribution, SeriesSummary};
use crate::domain::time::Timestamp;
use crate::stats::distribution::chi_squared_upper_tail;

/// Traces that a deviation must be worth to count half.
const DRAWN: f64 = 200.0;
/// Level at which segments are taken to differ.
const LEVEL: f64 = 0.01;
/// Dimensions that say what the agent is, and not what it is asked.
pub(super) const VERSIONS: [&str; 6] = ["model", "release", "agent", "agent_version", "prompt_version", "environment"];

/// Weight of the traces of each segment, `dimension=value`, in one window.
pub type Mix = BTreeMap<String, f64>;

/// What the mean score is expected to be, beside the baseline's mean.
#[derive(Debug, Default)]
pub(crate) struct Expectation {
    /// Deviation of each hour of the day.
    hours: BTreeMap<u8, f64>,
    /// Share and deviation of each segment of one dimension.
    segments: BTreeMap<String, (f64, f64)>,
}

impl Expectation {
    /// What the baseline says of a stream's hours and segments.
    pub(crate) fn of(score: &Score, summary: &SeriesSummary, segments: &[Segments<'_>]) -> Self {
        let Some(mean) = score.mean_of(&summary.distribution) else { return Self::default() };
        let deviation = |distribution: &Distribution| {
            let traces = distribution.traces();
            let own = score.mean_of(distribution)?;
            Some((own - mean) * traces / (traces + DRAWN))
        };
        let hours = summary.by_hour_of_day.iter();
        let hours = hours.filter_map(|hour| Some((hour.hour, deviation(&hour.distribution)?))).collect();
        let explained = |one: &&Segments<'_>| explained(one, score, mean).unwrap_or(0.0);
        let best = segments.iter().max_by(|a, b| explained(a).total_cmp(&explained(b)));
        let best = best.filter(|best| explained(best) > 0.0);
        let segments = best.map(|best| {
            // Shares among the traces that have the dimension, as an hour's are.
            let weight = |part: &&SeriesSummary| part.moments().map(|moments| moments.weight);
            let total: f64 = best.parts.values().filter_map(weight).sum();
            let of_segment = |(segment, part): (&String, &&SeriesSummary)| {
                Some((segment.clone(), (weight(part)? / total, deviation(&part.bet_on().distribution)?)))
            };
            best.parts.iter().filter_map(of_segment).collect()
        });
        let segments = segments.unwrap_or_default();
        Self { hours, segments }
    }

    /// Whether anything but the mean is expected.
    pub(crate) fn is_plain(&self) -> bool {
        self.hours.is_empty() && self.segments.is_empty()
    }

    /// By how much the mean score of the hour that starts at `at` is expected to differ from the baseline's, at least.
    pub(crate) fn shift(&self, at: Timestamp, mix: &Mix) -> f64 {
        let (of_hour, of_mix) = self.shifts(at, mix);
        match (of_hour, of_mix) {
            (Some(of_hour), Some(of_mix)) => of_hour.min(of_mix).min(of_hour + of_mix),
            (of_hour, of_mix) => of_hour.or(of_mix).unwrap_or(0.0),
        }
    }

    /// The same without caution: both, if both are known.
    pub(crate) fn likely_shift(&self, at: Timestamp, mix: &Mix) -> f64 {
        let (of_hour, of_mix) = self.shifts(at, mix);
        of_hour.unwrap_or(0.0) + of_mix.unwrap_or(0.0)
    }

    /// What the hour of the day lets expect, and the mix; `None` where it lets expect nothing.
    fn shifts(&self, at: Timestamp, mix: &Mix) -> (Option<f64>, Option<f64>) {
        let of_hour = || self.hours.get(&hour_of_day(at)).copied().unwrap_or(0.0);
        let weight: f64 = self.segments.keys().filter_map(|segment| mix.get(segment)).sum();
        let moved = |(segment, (share, deviation)): (&String, &(f64, f64))| {
            (mix.get(segment).copied().unwrap_or(0.0) / weight - share) * deviation
        };
        let of_mix = || self.segments.iter().map(moved).sum();
        ((!self.hours.is_empty()).then(of_hour), (weight > 0.0).then(of_mix))
    }
}

/// A series by the segments of one dimension.
pub(crate) struct Segments<'a> {
    parts: BTreeMap<String, &'a SeriesSummary>,
}

impl<'a> Segments<'a> {
    /// A series of the baseline by each dimension that says what is asked.
    pub(crate) fn of(baseline: &'a Baseline, key: &SeriesKey) -> Vec<Self> {
        if key.segment != ALL {
            return Vec::new();
        }
        let dimensions = baseline.mix.iter().filter(|(dimension, _)| !VERSIONS.contains(&dimension.as_str()));
        let by = |(dimension, values): (&String, &BTreeMap<String, f64>)| {
            let part = |value: &String| {
                let segment = format!("{dimension}={value}");
                let key = SeriesKey { segment: segment.clone(), ..key.clone() };
                Some((segment, baseline.series.get(&key)?))
            };
            Self { parts: values.keys().filter_map(part).collect() }
        };
        dimensions.map(by).filter(|one| one.parts.len() > 1).collect()
    }
}

/// χ² of the segments' means, if it is significant.
fn explained(segments: &Segments<'_>, score: &Score, mean: f64) -> Option<f64> {
    let variance = score.variance(mean).max(1e-9);
    let of = |part: &&SeriesSummary| {
        let deviation = score.mean_of(&part.distribution)? - mean;
        Some(deviation.powi(2) * part.moments()?.kish_size() / part.over_dispersion.at_least_one())
    };
    let statistic = segments.parts.values().filter_map(of).sum::<f64>() / variance;
    let degrees = segments.parts.len() as f64 - 1.0;
    Some(statistic).filter(|statistic| chi_squared_upper_tail(*statistic, degrees) < LEVEL)
}

#[cfg(test)]
mod tests {
    use super::super::detect::Direction;
    use super::super::dispersion::OverDispersion;
    use super::*;
    use crate::domain::measurement::{SeriesKind, Value};
    use crate::watch::samples::{measurement, record};

    /// Conversations of four turns, each later turn worse; three in ten carry a tier, and those that do are better.
    fn traffic() -> Baseline {
        let one = |index: usize| {
            let (conversation, turn) = (index / 4, index % 4);
            let mut one = record(index, &format!("c{conversation}"));
            let tier = match conversation % 10 {
                0 => Some("gold"),
                1 | 2 => Some("free"),
                _ => None,
            };
            one.segments.extend(tier.map(|tier| ("tier".to_owned(), tier.to_owned())));
            let is_right = if tier == Some("gold") { true } else { (index * 7) % 10 > turn };
            one.measurements = vec![measurement("right", SeriesKind::Boolean, Value::Boolean(is_right))];
            one
        };
        Baseline::from_records("b", Timestamp(0), "", &(0..8_000).map(one).collect::<Vec<_>>())
    }

    #[test]
    fn the_baselines_own_traffic_is_expected_to_have_the_baselines_mean() {
        let baseline = traffic();
        let key = SeriesKey { service: "agent".to_owned(), series: "right".to_owned(), segment: ALL.to_owned() };
        let summary = baseline.series[&key].bet_on();
        for direction in [Direction::Down, Direction::Up] {
            let score = Score::of(direction, summary, OverDispersion::UNKNOWN).unwrap();
            let expectation = Expectation::of(&score, summary, &Segments::of(&baseline, &key));
            assert!(!expectation.segments.is_empty(), "tiers differ");
            let expectation = Expectation { hours: BTreeMap::new(), ..expectation };
            let shift = expectation.shift(Timestamp(0), &baseline.mix_of(&key));
            assert!(shift.abs() < 1e-9, "{direction:?}: {shift}");
        }
    }

    #[test]
    fn a_day_cycle_and_a_mix_that_may_be_the_same_thing_are_not_added_up() {
        let segments = BTreeMap::from([("tier=a".to_owned(), (0.5, -0.1)), ("tier=b".to_owned(), (0.5, 0.1))]);
        let expectation = Expectation { hours: BTreeMap::from([(0, 0.05)]), segments };
        let mix = |a: f64| Mix::from([("tier=a".to_owned(), a), ("tier=b".to_owned(), 1.0 - a)]);
        assert!((expectation.shift(Timestamp(0), &mix(0.25)) - 0.05).abs() < 1e-9, "both say it is better");
        assert!((expectation.shift(Timestamp(0), &mix(1.0)) - -0.1).abs() < 1e-9, "the mix says it is worse");
        assert!((expectation.likely_shift(Timestamp(0), &mix(1.0)) - -0.05).abs() < 1e-9, "an onset takes both");
    }
}
