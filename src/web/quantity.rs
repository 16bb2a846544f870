//! What the number of a series is: a number that does not say so is read as another one.

use crate::domain::measurement::SeriesKind;
use crate::domain::text::number;
use crate::evaluate::measure::SERIES;

/// What the estimate of a series is a mean or share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantity {
    kind: SeriesKind,
    /// Unit of a measured number, or what is counted; none of scores.
    unit: Option<&'static str>,
}

impl Quantity {
    pub(crate) fn of(series: &str, kind: SeriesKind) -> Self {
        Self { kind, unit: SERIES.iter().find(|measured| measured.name == series).map(|measured| measured.unit) }
    }

    /// Scores of an evaluator: a mean of passes is the share that passes.
    pub(crate) const fn score() -> Self {
        Self { kind: SeriesKind::Ordinal, unit: None }
    }

    /// The estimate by its name, with its unit.
    pub(crate) fn name(self) -> String {
        match (self.kind, self.unit) {
            (SeriesKind::Boolean, None) => "share of runs that pass".to_owned(),
            (SeriesKind::Boolean, Some(unit)) => format!("share of {unit}"),
            (SeriesKind::Ordinal, None) => "mean score".to_owned(),
            (SeriesKind::Numeric, None) => "mean".to_owned(),
            (SeriesKind::Ordinal | SeriesKind::Numeric, Some(unit)) => format!("mean, {unit}"),
            (SeriesKind::Categorical, None) => "largest share".to_owned(),
            (SeriesKind::Categorical, Some(unit)) => format!("largest share of {unit}"),
            (SeriesKind::Sequence, _) => "largest share of steps from tool to tool".to_owned(),
        }
    }

    /// What stands at an axis of it.
    pub(crate) fn axis(self) -> &'static str {
        match self.kind {
            _ if self.is_share() => "share",
            SeriesKind::Ordinal => self.unit.unwrap_or("score"),
            _ => self.unit.unwrap_or_default(),
        }
    }

    pub(crate) const fn is_share(self) -> bool {
        matches!(self.kind, SeriesKind::Boolean | SeriesKind::Categorical | SeriesKind::Sequence)
    }

    /// An amount of it: shares in per cent, all else as a number.
    pub(crate) fn shown(self, amount: f64) -> String {
        if self.is_share() { format!("{:.1} %", amount * 100.0) } else { number(amount) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_what_it_is_of_and_a_share_is_in_per_cent() {
        let latency = Quantity::of("latency_seconds", SeriesKind::Numeric);
        assert_eq!(
            (latency.name().as_str(), latency.axis(), latency.shown(12.34).as_str()),
            ("mean, seconds", "seconds", "12.3")
        );
        let reasons = Quantity::of("finish_reasons", SeriesKind::Categorical);
        assert_eq!((reasons.name().as_str(), reasons.axis()), ("largest share of model calls", "share"));
        assert_eq!(reasons.shown(0.81), "81.0 %");
        assert_eq!(Quantity::of("groundedness", SeriesKind::Boolean).name(), "share of runs that pass");
        assert_eq!(Quantity::score().axis(), "score");
    }
}
