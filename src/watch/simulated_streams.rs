//! Hours of yes and no for simulations: made from counts, as a summary of so many traces would be.

use fastrand::Rng;

use super::accumulate::Accumulator;
use super::accumulate_cells::CellNumbers;
use super::dispersion::OverDispersion;
use super::summary::{Distribution, Extremes, Observation, SeriesSummary};
use crate::domain::ids::TraceId;
use crate::domain::measurement::{SeriesKind, Value};
use crate::domain::time::Timestamp;
use crate::stats::distribution::normal_quantile;
use crate::stats::moments::Moments;

/// Traces of one hour: true and false, with their weight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) right: usize,
    pub(crate) wrong: usize,
    pub(crate) weight: f64,
}

impl Tally {
    pub(crate) fn traces(self) -> usize {
        self.right + self.wrong
    }
}

/// So many traces, right with a share that the hour moves: `factor` is the over-dispersion of hours of this size.
pub(crate) fn draw(share: f64, traces: usize, factor: f64, rng: &mut Rng) -> Tally {
    let correlation = (factor - 1.0) / (traces as f64 - 1.0).max(1.0);
    let normal = normal_quantile(rng.f64().clamp(1e-12, 1.0 - 1e-12));
    let of_hour = (share + (correlation * share * (1.0 - share)).sqrt() * normal).clamp(0.0, 1.0);
    let right = (0..traces).filter(|_| rng.f64() < of_hour).count();
    Tally { right, wrong: traces - right, weight: 1.0 }
}

/// Adds an hour's traces, each a conversation of its own, to a series.
pub(crate) fn push(accumulator: &mut Accumulator, tallies: &[Tally], ended_at: Timestamp) {
    let trace_id = TraceId::from_bytes(&[1; 16]).unwrap();
    for tally in tallies {
        for index in 0..tally.traces() {
            let value = Value::Boolean(index < tally.right);
            let (kind, weight) = (SeriesKind::Boolean, tally.weight);
            let (conversation, upstream_unknown, value) = ("", false, &value);
            let one =
                Observation { trace_id, conversation, ended_at, weight, upstream_unknown, kind, value, revision: None };
            accumulator.push(&one, &[]);
            accumulator.close(&CellNumbers::default());
        }
    }
}

/// The summary of one hour.
pub(crate) fn window(tallies: &[Tally]) -> SeriesSummary {
    summary(moments(tallies), OverDispersion::UNKNOWN)
}

/// The summary of many hours, with what their over-dispersion is measured to be.
pub(crate) fn baseline(hours: &[Vec<Tally>]) -> SeriesSummary {
    let by_hour = hours.iter().map(|tallies| Moments::of_cluster(&values(tallies)));
    let by_hour = by_hour.fold(Moments::default(), |all, hour| all.merge(&hour));
    let moments = moments(&hours.concat());
    summary(moments, OverDispersion::measured(&moments, &by_hour))
}

fn summary(moments: Moments, over_dispersion: OverDispersion) -> SeriesSummary {
    let distribution = Distribution::Boolean { moments, extremes: Extremes::default() };
    SeriesSummary::new(moments.count, over_dispersion, distribution)
}

fn moments(tallies: &[Tally]) -> Moments {
    tallies.iter().fold(Moments::default(), |all, tally| {
        let same = |value: f64, traces: usize| {
            let (count, weight) = (traces as f64, tally.weight);
            Moments::of_same(value, traces as u64, count * weight, count * weight * weight)
        };
        all.merge(&same(1.0, tally.right)).merge(&same(0.0, tally.wrong))
    })
}

fn values(tallies: &[Tally]) -> Vec<(f64, f64)> {
    let each = |tally: &Tally| {
        (0..tally.traces()).map(|index| (f64::from(u8::from(index < tally.right)), tally.weight)).collect::<Vec<_>>()
    };
    tallies.iter().flat_map(each).collect()
}
