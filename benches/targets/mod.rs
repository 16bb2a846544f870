//! The targets, one row each: what is promised, and how it is measured.

mod gates;
mod judges;
mod onsets;
mod peers;
mod population;
mod sequences;
mod streams;
mod surveys;
mod watched;

use std::fmt;

/// How much work to put into a measurement; the test makes the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Seconds without optimisation.
    Quick,
    /// Seconds with optimisation, all rows half a minute.
    Usual,
    /// Minutes.
    Long,
}

impl Effort {
    /// That many repetitions when quick, more otherwise.
    fn times(self, quick: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Usual => quick * 8,
            Self::Long => quick * 40,
        }
    }
}

/// What a number should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    Between(f64, f64),
    /// Someone else's rule, for comparison.
    Peer,
    /// Ours, for information.
    Told,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(formatter, "at most {most}"),
            Self::AtLeast(least) => write!(formatter, "at least {least}"),
            Self::Between(least, most) => write!(formatter, "{least} to {most}"),
            Self::Peer => write!(formatter, "(others)"),
            Self::Told => Ok(()),
        }
    }
}

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    pub(crate) what: String,
    pub(crate) value: f64,
    /// Standard error of the value as an estimate, by the number of simulated runs.
    error: Option<f64>,
    pub(crate) target: Target,
}

impl Measured {
    fn new(what: impl Into<String>, value: f64, target: Target) -> Self {
        Self { what: what.into(), value, error: None, target }
    }

    /// A share, from 0 to 1, of so many runs.
    fn share(what: impl Into<String>, share: f64, runs: usize, target: Target) -> Self {
        let error = Some((share * (1.0 - share) / runs as f64).sqrt());
        Self { error, ..Self::new(what, share, target) }
    }

    /// The mean of what runs took.
    fn mean(what: impl Into<String>, values: &[f64], target: Target) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
        Self { error: Some((variance / count).sqrt()), ..Self::new(what, mean, target) }
    }

    /// How many of so many runs, in per cent.
    fn percent(what: impl Into<String>, count: usize, runs: usize, target: Target) -> Self {
        let Self { what, value, error, target } = Self::share(what, count as f64 / runs as f64, runs, target);
        Self { what, value: value * 100.0, error: error.map(|error| error * 100.0), target }
    }

    pub(crate) fn is_met(&self) -> bool {
        match self.target {
            Target::AtMost(most) => self.value <= most,
            Target::AtLeast(least) => self.value >= least,
            Target::Between(least, most) => (least..=most).contains(&self.value),
            Target::Peer | Target::Told => true,
        }
    }

    /// The number as a person reads it.
    pub(crate) fn shown(&self) -> String {
        let digits = if self.value.abs() > 100.0 { 0 } else { 3 };
        match self.error {
            Some(error) => format!("{:.digits$} ± {error:.digits$}", self.value),
            None => format!("{:.digits$}", self.value),
        }
    }
}

/// One row of the table of targets.
pub(crate) struct Row {
    pub(crate) number: u8,
    pub(crate) promise: &'static str,
    pub(crate) measure: fn(Effort) -> Vec<Measured>,
}

/// The rows that are simulated.
pub(crate) const ROWS: &[Row] = &[
    Row {
        number: 1,
        promise: "false alerts in 200 streams over 200 ticks, of 200 scores each, at a budget of one",
        measure: streams::many_streams,
    },
    Row {
        number: 2,
        promise: "streams with any false alarm in 100 windows of 200, baseline of 5,000 scores",
        measure: streams::false_alarms,
    },
    Row {
        number: 3,
        promise: "scores until a drop from 0.9 is found, score by score",
        measure: streams::score_by_score,
    },
    Row {
        number: 4,
        promise: "windows of 200 until a drop of five points is found",
        measure: streams::windows_to_find,
    },
    Row {
        number: 5,
        promise: "windows to a false alarm, 1,000 asked, in hours four times as variable as chance",
        measure: streams::over_dispersed,
    },
    Row {
        number: 6,
        promise: "share passed, when errors are all kept and the rest one in twenty",
        measure: surveys::tail_sampling,
    },
    Row { number: 7, promise: "coverage of 95 % intervals, users with several traces each", measure: surveys::users },
    Row {
        number: 8,
        promise: "traffic moving to harder segments, and a segment getting worse",
        measure: surveys::mix_shift,
    },
    Row { number: 9, promise: "tool sequences of 120 sessions against 240", measure: sequences::tool_drift },
    Row { number: 10, promise: "a gate looked at after every 50 pairs", measure: gates::peeking },
    Row {
        number: 11,
        promise: "95 % intervals that hold the true share, of a judge that is wrong",
        measure: judges::correction,
    },
    Row { number: 12, promise: "onset sets that hold the onset, 60 windows of 200", measure: onsets::coverage },
];
