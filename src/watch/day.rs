//! Does a series have a day, and what is it like at this hour of it?
//!
//! **Question.** Answers at night are not those of noon: other people ask other things. A detector that compares every
//! hour with one mean alarms every night, or has to be made so dull that it sees nothing at noon.
//!
//! **Statistic.** A day cycle is visible when the means of the 24 hours of the day differ more than hours do by themselves:
//! one-way analysis of variance over the hourly means (F, p < 0.01), from three days on. Only then is the profile kept.
//! The mean expected at an hour of the day is drawn to the mean of all hours by 200 traces' worth, because a day has
//! only so many of them.
//!
//! **Categories and tool sequences.** Their mix has a day when one of the shares has one, the level divided by the number of
//! shares. The counts of each hour of the day are kept as they are: the test of an hour's mix pays for their being fewer.
//! Those of more than 32 categories or transitions are too large to keep so often, and are compared by whole days.
//!
//! **What it changes.** An hour is held against what its hour of the day was in the baseline, and over-dispersion is what
//! hours vary around that. A finding then says that its guarantee is approximate.
//!
//! **Cold start.** Below three days, or where no cycle is visible, every hour is compared with the mean of all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::summary::{Distribution, Extremes};
use crate::domain::time::Timestamp;
use crate::stats::distribution::beta_lower_tail;
use crate::stats::histogram::{Histogram, Scale};
use crate::stats::moments::Moments;

/// Hours of the day.
const HOURS: i64 = 24;
/// Fewest watched hours of a baseline in which a day cycle can be seen.
const LEAST_HOURS: usize = 3 * 24;
/// Level of the test for a cycle.
pub(super) const LEVEL: f64 = 0.01;

/// A series at one hour of the day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HourOfDay {
    /// 0 to 23, in UTC.
    pub hour: u8,
    /// Its values at that hour, over all days.
    pub distribution: Distribution,
}

/// A series by hour of the day, while its traces are read.
#[derive(Debug, Clone, Default)]
pub(super) struct DayProfile {
    hours: BTreeMap<u8, (Moments, Option<Histogram>)>,
}

/// The hour of the day that an instant lies in, in UTC.
pub(super) fn hour_of_day(at: Timestamp) -> u8 {
    at.0.div_euclid(Timestamp::NANOS_PER_HOUR).rem_euclid(HOURS) as u8
}

impl DayProfile {
    pub(super) fn add(&mut self, at: Timestamp, value: f64, weight: f64, scale: Scale) {
        let (moments, histogram) = self.hours.entry(hour_of_day(at)).or_default();
        *moments = moments.merge(&Moments::of_cluster(&[(value, weight)]));
        // Of scores the mean says everything that is asked of an hour of the day; of magnitudes it is the tail.
        if scale == Scale::Magnitude {
            histogram.get_or_insert_with(|| Histogram::new(scale)).add(value, weight);
        }
    }

    /// The profile if a day cycle is visible in the hours, else an empty one.
    pub(super) fn visible(self, hours: &BTreeMap<Timestamp, Moments>) -> Self {
        let means = hours.iter().map(|(at, hour)| (*at, hour.mean));
        if is_cyclic(means, LEVEL) { self } else { Self::default() }
    }

    /// The hours as clusters, each shifted by what its hour of the day differs from the mean.
    pub(super) fn residual(&self, hours: &BTreeMap<Timestamp, Moments>) -> Moments {
        let all = self.hours.values().fold(Moments::default(), |all, (moments, _)| all.merge(moments));
        let shift = |at: &Timestamp| self.hours.get(&hour_of_day(*at)).map_or(0.0, |(own, _)| all.mean - own.mean);
        hours.iter().fold(Moments::default(), |sum, (at, hour)| sum.merge(&hour.moved_by(shift(at)).as_one_cluster()))
    }

    pub(super) fn distributions(self) -> Vec<HourOfDay> {
        let distribution = |(moments, histogram): (Moments, Option<Histogram>)| match histogram {
            Some(histogram) => Distribution::Number { moments, histogram, extremes: Extremes::default() },
            None => Distribution::Boolean { moments, extremes: Extremes::default() },
        };
        self.hours.into_iter().map(|(hour, sums)| HourOfDay { hour, distribution: distribution(sums) }).collect()
    }
}

/// Whether the means of hours differ between the hours of the day more than within them, at this level.
pub(super) fn is_cyclic(hours: impl Iterator<Item = (Timestamp, f64)>, level: f64) -> bool {
    let mut groups: BTreeMap<u8, Vec<f64>> = BTreeMap::new();
    hours.for_each(|(at, mean)| groups.entry(hour_of_day(at)).or_default().push(mean));
    let (number, count) = (groups.len(), groups.values().map(Vec::len).sum::<usize>());
    if count < LEAST_HOURS || number < 12 {
        return false;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let squares = |values: &[f64], around: f64| values.iter().map(|value| (value - around).powi(2)).sum::<f64>();
    let overall = groups.values().flatten().sum::<f64>() / count as f64;
    let within: f64 = groups.values().map(|group| squares(group, mean(group))).sum();
    let between: f64 = groups.values().map(|group| group.len() as f64 * (mean(group) - overall).powi(2)).sum();
    let (above, below) = ((number - 1) as f64, (count - number) as f64);
    // P(F > f) by the beta distribution; all hours alike are no cycle.
    within + between > 0.0 && beta_lower_tail(within / (within + between), below / 2.0, above / 2.0) < level
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    fn hours(days: i64, amplitude: f64, rng: &mut Rng) -> BTreeMap<Timestamp, Moments> {
        let hour = |index: i64| {
            let phase = index as f64 / 24.0 * std::f64::consts::TAU;
            let share = 0.9 + amplitude * phase.sin();
            let values: Vec<(f64, f64)> = (0..60).map(|_| (f64::from(u8::from(rng.f64() < share)), 1.0)).collect();
            (Timestamp(index * Timestamp::NANOS_PER_HOUR), Moments::of_cluster(&values))
        };
        (0..days * 24).map(hour).collect()
    }

    #[test]
    fn a_cycle_is_seen_where_there_is_one_and_seldom_where_there_is_none() {
        let mut rng = Rng::with_seed(5);
        let is_seen =
            |hours: &BTreeMap<Timestamp, Moments>| is_cyclic(hours.iter().map(|(at, hour)| (*at, hour.mean)), LEVEL);
        let seen = |amplitude: f64, rng: &mut Rng| (0..100).filter(|_| is_seen(&hours(7, amplitude, rng))).count();
        assert!(seen(0.05, &mut rng) >= 90);
        assert!(seen(0.0, &mut rng) <= 5);
        assert!(!is_seen(&hours(2, 0.08, &mut rng)), "two days are too short to tell");
        assert!(!is_seen(&hours(0, 0.0, &mut rng)));
    }

    #[test]
    fn hours_vary_around_their_hour_of_the_day_and_not_around_the_mean() {
        let mut rng = Rng::with_seed(6);
        let hours = hours(14, 0.08, &mut rng);
        let mut profile = DayProfile::default();
        for (at, hour) in &hours {
            let right = (hour.mean * hour.count as f64).round() as usize;
            let values = (0..hour.count as usize).map(|index| f64::from(u8::from(index < right)));
            values.for_each(|value| profile.add(*at, value, 1.0, Scale::Unit));
        }
        let plain = DayProfile::default().residual(&hours).design_effect();
        let matched = profile.residual(&hours).design_effect();
        assert!(plain > 2.0 && (0.7..1.3).contains(&matched), "{plain} {matched}");
    }
}
