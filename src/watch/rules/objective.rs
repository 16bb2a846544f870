//! What share of a service's runs must be good, and which of an hour's runs were.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::super::detect::Direction;
use super::super::score::furthest;
use super::super::summary::{Distribution, SeriesSummary};
use crate::domain::explanation::Affects;
use crate::domain::ids::TraceId;
use crate::stats::histogram::{Histogram, Scale};
use crate::stats::service_level::Outcomes;

/// Series in which true is bad, where in all others it is good.
const ERRORS: &str = "run_error";
const LATENCY: &str = "latency_seconds";

/// An objective of a service's runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Objective {
    service: Option<String>,
    series: String,
    /// Largest good value of a series of numbers.
    pub(super) at_most: Option<f64>,
    objective: f64,
}

/// An objective as it stands in the settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    service: Option<String>,
    series: Option<String>,
    latency: Option<String>,
    objective: f64,
}

/// Why an objective cannot be meant.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidObjective {
    /// Not a share.
    #[error("objective = {0} is no share of runs; write more than 0 and less than 1, such as 0.99")]
    Share(f64),
    /// Not a duration.
    #[error("latency = {0:?} is not a duration such as \"30s\"")]
    Latency(String),
    /// Both a series and a latency.
    #[error("series and latency are two objectives; write two tables")]
    Both,
}

impl TryFrom<Written> for Objective {
    type Error = InvalidObjective;

    fn try_from(written: Written) -> Result<Self, InvalidObjective> {
        let Written { service, series, latency, objective } = written;
        if !(objective > 0.0 && objective < 1.0) {
            return Err(InvalidObjective::Share(objective));
        }
        if series.is_some() && latency.is_some() {
            return Err(InvalidObjective::Both);
        }
        let seconds = |text: &String| humantime::parse_duration(text).map(|limit: Duration| limit.as_secs_f64());
        let at_most = latency.as_ref().map(seconds).transpose();
        let at_most = at_most.map_err(|_| InvalidObjective::Latency(latency.clone().unwrap_or_default()))?;
        let default = if at_most.is_some() { LATENCY } else { ERRORS };
        Ok(Self { service, series: series.unwrap_or_else(|| default.to_owned()), at_most, objective })
    }
}

impl Objective {
    /// What holds where the settings name no objective: 99 of 100 runs end without an error.
    #[must_use]
    pub fn of_errors() -> Self {
        Self { service: None, series: ERRORS.to_owned(), at_most: None, objective: 0.99 }
    }

    /// Name of the series whose runs are good or bad.
    #[must_use]
    pub fn series(&self) -> &str {
        &self.series
    }

    /// Whether it can be asked of a series of numbers.
    #[must_use]
    pub const fn has_limit(&self) -> bool {
        self.at_most.is_some()
    }

    fn is_of(&self, service: &str) -> bool {
        self.service.as_ref().is_none_or(|own| own == service)
    }

    /// Those of some objectives that hold for a service. Of those that differ in nothing but the service that they name the
    /// first counts, as what is remembered of them is one.
    pub(super) fn of_service<'a>(objectives: &'a [Self], service: &'a str) -> impl Iterator<Item = &'a Self> {
        let mut known = BTreeSet::new();
        objectives.iter().filter(move |one| one.is_of(service) && known.insert(one.identity()))
    }

    pub(super) const fn share(&self) -> f64 {
        self.objective
    }

    /// What is remembered of it is remembered under this.
    pub(super) fn identity(&self) -> String {
        format!("{}:{:?}:{}", self.series, self.at_most, self.objective)
    }

    /// The objective in words.
    pub(super) fn measure(&self) -> String {
        let share = self.objective;
        match self.at_most {
            Some(limit) => format!("burn rate of an objective of {share} within {limit} s"),
            None => format!("burn rate of an objective of {share}"),
        }
    }

    /// The good and the bad runs of an hour; `None` when the series has neither.
    pub(super) fn outcomes(&self, summary: &SeriesSummary) -> Option<Outcomes> {
        let bad = match (&summary.distribution, self.at_most) {
            (Distribution::Boolean { moments, .. }, None) if self.series == ERRORS => moments.mean,
            (Distribution::Boolean { moments, .. }, None) => 1.0 - moments.mean,
            (Distribution::Number { histogram, .. }, None) if histogram.scale() == Scale::Unit => {
                histogram.share_below(Scale::Unit.bin(0.5))
            }
            // The bin of the limit itself counts as good.
            (Distribution::Number { histogram, .. }, Some(limit)) => above(histogram, limit),
            _ => return None,
        };
        Some(Outcomes { bad: (bad * summary.traces as f64).round() as u64, total: summary.traces })
    }

    /// Which runs are bad.
    pub(super) fn affects(&self) -> Affects {
        match self.at_most {
            Some(limit) => Affects::Above(limit),
            None if self.series == ERRORS => Affects::True,
            None => Affects::False,
        }
    }

    /// Some of the bad runs.
    pub(super) fn bad_runs(&self, summary: &SeriesSummary) -> Vec<TraceId> {
        match &summary.distribution {
            Distribution::Boolean { extremes, .. } if self.series == ERRORS => {
                extremes.high.iter().filter(|it| it.0 > 0.5).map(|it| it.1).collect()
            }
            Distribution::Boolean { extremes, .. } => {
                extremes.low.iter().filter(|it| it.0 < 0.5).map(|it| it.1).collect()
            }
            Distribution::Number { extremes, .. } if self.has_limit() => furthest(extremes, Direction::Up),
            Distribution::Number { extremes, .. } => furthest(extremes, Direction::Down),
            Distribution::Categorical { .. } | Distribution::Sequence { .. } => Vec::new(),
        }
    }
}

/// Share of the runs above a limit.
pub(super) fn above(histogram: &Histogram, limit: f64) -> f64 {
    histogram.share_above(histogram.scale().bin(limit))
}
