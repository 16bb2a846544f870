//! What a candidate must show: `gate.toml`, as written and as meant.

use serde::Deserialize;

/// A valid policy.
#[derive(Debug, Clone, PartialEq)]
pub struct GatePolicy {
    /// One-sided error rate of each verdict.
    pub alpha: f64,
    /// Power that `needed_n` is stated for.
    pub power: f64,
    /// Column that says which task a trace ran.
    pub pair_by: Option<String>,
    /// Whether the candidate's conversations are compared with the baseline's of the same hour alone.
    pub concurrent: bool,
    /// Dimensions in which concurrent conversations must agree too.
    pub strata: Vec<String>,
    /// Whether chance decided which conversations the candidate got.
    pub is_randomized: bool,
    /// What is asked, series by series.
    pub goals: Vec<Goal>,
}

/// What is asked of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// The series.
    pub series: String,
    /// The bound.
    pub bound: Bound,
    /// Largest difference that counts where the gate may be looked at any time, for series without a bound.
    pub range: Option<f64>,
}

/// A bound on one series, in the units of the series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// The candidate is worse than the baseline by less than a margin.
    Margin {
        /// Which way is better.
        direction: Direction,
        /// The margin, not negative.
        margin: f64,
    },
    /// The candidate's mean lies above a floor.
    Floor(f64),
    /// The candidate's mean lies below a ceiling.
    Ceiling(f64),
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better.
    HigherIsBetter,
    /// Less is better.
    LowerIsBetter,
}

/// Why a text is not a gate policy.
#[derive(Debug, thiserror::Error)]
pub enum InvalidGatePolicy {
    /// Not TOML, an unknown key, or a value of the wrong type; the message names the line.
    #[error("gate policy cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// Readable, but not meaningful; every mistake is listed.
    #[error("gate policy is not valid: {}", .0.join("; "))]
    Mistakes(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "default_alpha")]
    alpha: f64,
    #[serde(default = "default_power")]
    power: f64,
    pair_by: Option<String>,
    #[serde(default)]
    concurrent: bool,
    #[serde(default)]
    strata: Vec<String>,
    #[serde(default)]
    assignment: Assignment,
    #[serde(default)]
    series: Vec<WrittenSeries>,
}

/// How conversations came to one side or the other.
#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Assignment {
    /// By chance.
    Random,
    /// In a way that may have to do with how they went.
    #[default]
    Observational,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSeries {
    series: String,
    direction: Option<Direction>,
    margin: Option<f64>,
    floor: Option<f64>,
    ceiling: Option<f64>,
    range: Option<f64>,
}

const fn default_alpha() -> f64 {
    0.05
}

const fn default_power() -> f64 {
    0.8
}

impl GatePolicy {
    /// Reads `gate.toml`.
    ///
    /// # Errors
    /// Unreadable TOML or an unknown key; or the list of everything that makes no sense.
    pub fn parse(text: &str) -> Result<Self, InvalidGatePolicy> {
        let written: Written = toml::from_str(text)?;
        let mut mistakes = Vec::new();
        if !(written.alpha > 0.0 && written.alpha < 0.5) {
            mistakes.push(format!("alpha is {}, must lie between 0 and 0.5", written.alpha));
        }
        if !(written.power > 0.5 && written.power < 1.0) {
            mistakes.push(format!("power is {}, must lie between 0.5 and 1", written.power));
        }
        if written.series.is_empty() {
            mistakes.push("no [[series]] is asked for".to_owned());
        }
        if written.pair_by.is_some() && written.concurrent {
            mistakes.push("pair_by and concurrent are both given, and traces can be paired in one way only".to_owned());
        }
        if !written.strata.is_empty() && !written.concurrent {
            mistakes.push("strata are given without concurrent = true".to_owned());
        }
        for (place, series) in written.series.iter().enumerate() {
            if written.series[..place].iter().any(|earlier| earlier.series == series.series) {
                mistakes.push(format!("series {:?} is asked for twice", series.series));
            }
        }
        let mut goals = Vec::new();
        for series in written.series {
            match series.bound() {
                Ok(bound) => goals.push(Goal { series: series.series, bound, range: series.range }),
                Err(mistake) => mistakes.push(format!("series {:?}: {mistake}", series.series)),
            }
        }
        if !mistakes.is_empty() {
            return Err(InvalidGatePolicy::Mistakes(mistakes));
        }
        Ok(Self {
            alpha: written.alpha,
            power: written.power,
            pair_by: written.pair_by,
            concurrent: written.concurrent,
            strata: written.strata,
            is_randomized: written.assignment == Assignment::Random,
            goals,
        })
    }
}

impl WrittenSeries {
    fn bound(&self) -> Result<Bound, String> {
        let bound = match (self.margin, self.floor, self.ceiling, self.direction) {
            (Some(margin), None, None, Some(direction)) => Bound::Margin { direction, margin },
            (Some(_), None, None, None) => return Err("a margin needs a direction".to_owned()),
            (None, Some(_), None, Some(Direction::LowerIsBetter)) => {
                return Err("a floor contradicts lower_is_better".to_owned());
            }
            (None, None, Some(_), Some(Direction::HigherIsBetter)) => {
                return Err("a ceiling contradicts higher_is_better".to_owned());
            }
            (None, Some(floor), None, _) => Bound::Floor(floor),
            (None, None, Some(ceiling), _) => Bound::Ceiling(ceiling),
            _ => return Err("exactly one of margin, floor and ceiling is needed".to_owned()),
        };
        if let Some(range) = self.range.filter(|range| !(range.is_finite() && *range > 0.0)) {
            return Err(format!("range is {range}, must be above zero"));
        }
        let value = bound.value();
        if !value.is_finite() || matches!(bound, Bound::Margin { .. }) && value < 0.0 {
            return Err(format!("{value} is not a bound"));
        }
        Ok(bound)
    }
}

impl Bound {
    /// The margin, floor or ceiling.
    #[must_use]
    pub const fn value(self) -> f64 {
        match self {
            Self::Margin { margin: value, .. } | Self::Floor(value) | Self::Ceiling(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_with_its_defaults() {
        let text = r#"
            pair_by = "task_id"
            [[series]]
            series = "groundedness"
            direction = "higher_is_better"
            margin = 0.02
            [[series]]
            series = "latency_seconds"
            ceiling = 30
        "#;
        let policy = GatePolicy::parse(text).unwrap();
        assert_eq!((policy.alpha, policy.power, policy.pair_by.as_deref()), (0.05, 0.8, Some("task_id")));
        assert_eq!(policy.goals[0].bound, Bound::Margin { direction: Direction::HigherIsBetter, margin: 0.02 });
        assert_eq!(policy.goals[1].bound, Bound::Ceiling(30.0));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let text = r#"
            alpha = 0.7
            power = nan
            pair_by = "task"
            concurrent = true
            [[series]]
            series = "a"
            margin = 0.1
            [[series]]
            series = "b"
            floor = 0.5
            ceiling = 0.9
            [[series]]
            series = "c"
            direction = "lower_is_better"
            floor = 1
            [[series]]
            series = "d"
            direction = "lower_is_better"
            margin = -1
            [[series]]
            series = "e"
            floor = 1
            range = 0
            [[series]]
            series = "e"
            floor = nan
        "#;
        let message = GatePolicy::parse(text).unwrap_err().to_string();
        for part in [
            "alpha is 0.7",
            "power is NaN",
            "paired in one way only",
            "\"a\"",
            "\"b\"",
            "\"c\"",
            "\"d\"",
            "range is 0",
            "\"e\" is asked for twice",
            "NaN is not a bound",
        ] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let message = GatePolicy::parse("alhpa = 0.1").unwrap_err().to_string();
        assert!(message.contains("alhpa"), "{message}");
        assert!(GatePolicy::parse("").unwrap_err().to_string().contains("no [[series]]"));
    }
}
