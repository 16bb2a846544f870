//! Rules with a limit of their own: what is bad however it was before, and what counting decides.
//!
//! | rule | question | fires |
//! | --- | --- | --- |
//! | `error_rate` | do 5 % of runs end in an error? | the share, and an exact binomial at 1 % |
//! | `burn_rate` | how fast is what an objective allows used up? | over 2 warns, over 10 pages: in the last hour for a page, over six hours and the last of them for either; a warning needs p < 0.01, a page five bad runs or p < 0.001 |
//! | `daily_cost` | what will the day have cost at its end? | 80 % of the budget more likely than not warns, all of it at 90 % pages |
//! | `tokens_per_second` | do the runs of a tier use up tokens faster than they may? | the fastest five minutes of the hour, of five runs or more |
//! | `service_quiet` | did a service that always has traffic at this time have none? | each such hour of the last week, on the day before at least, had twenty traces |
//! | `p99_exceedance` | is the p99 of latency or cost three times the baseline's? | runs above that limit: exact binomial against 1 %, p < 0.001, five or more |
//! | `empty_results` | does a tool that says it succeeded return nothing more often? | two points above twice the baseline's share of that tool, exact binomial p < 0.001 |
//! | `invalid_args`, `length_cut` | has the share of such tool calls or answers doubled? | likewise |
//! | `not_evaluable` | does an evaluator lack what it needs in more runs? | likewise, of each evaluator |
//! | `evaluator_silent` | did what used to give a value give none? | chance of no value at the baseline's rate below 0.001 |
//!
//! **Statistic.** Every rule reads one hour's summary; the burn rates remember six hours, money and silence eight days.
//! Counts are of traces as they were kept, events of one trace counting apart, so where traces are sampled or events of
//! one trace depend on each other, the level is approximate. All of them stand outside the alert budget, and say `rule`
//! where others say `exact` or `approximate`.
//!
//! **Cold start.** None of its own for the first four: small counts do not reach the levels, and they need no baseline.
//! Silence needs a day of traffic; a service that rests at weekends is called quiet on the first of them. The rest need
//! the baseline's series.
//!
//! **Recovery.** The first hour in which the rule has something to count and does not fire.
//!
//! **Delay.** Hours are read when they are over, and money and tokens with them.
//!
//! Sources: the binomial tests of [`crate::stats::exceedance`] and [`crate::stats::service_level`]; Google SRE workbook,
//! chapter 5, for burn rates.

mod compared;
mod error_budget;
mod objective;
mod pace;
mod standing;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::detect::{Direction, Finding, Guarantee, Signal};
use super::key::{ALL, SeriesKey};
use super::summary::SeriesSummary;
use crate::domain::alert::Severity;
use crate::domain::explanation::Affects;
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;

pub use error_budget::ErrorBudget;
pub use objective::{InvalidObjective, Objective};
pub use pace::Pace;

/// Level of the tests of shares and of silence.
const LEVEL: f64 = 1e-3;

/// A shipped rule.
struct Rule {
    /// Its name, which its alerts carry as their detector.
    name: &'static str,
    direction: Direction,
    /// Its runbook, where it is not that of the series.
    runbook: Option<&'static str>,
    question: Question,
}

/// What a rule asks of an hour.
enum Question {
    /// With and without a baseline.
    Standing(fn(&mut Memory, &Hour<'_>) -> Vec<Count>),
    /// Against a baseline.
    Compared(fn(&Hour<'_>, &Baseline) -> Vec<Count>),
}

/// Every rule. The order is that in which they raise one and the same alert: the last names it.
const RULES: &[Rule] = &[
    Rule {
        name: "error_rate",
        direction: Direction::Up,
        runbook: Some("error-spike"),
        question: Question::Standing(standing::error_rate),
    },
    Rule {
        name: "burn_rate",
        direction: Direction::Up,
        runbook: None,
        question: Question::Standing(standing::burn_rates),
    },
    Rule {
        name: "daily_cost",
        direction: Direction::Up,
        runbook: Some("cost-runaway"),
        question: Question::Standing(standing::daily_cost),
    },
    Rule {
        name: "tokens_per_second",
        direction: Direction::Up,
        runbook: Some("cost-runaway"),
        question: Question::Standing(standing::tokens_per_second),
    },
    Rule {
        name: "service_quiet",
        direction: Direction::Down,
        runbook: Some("no-data"),
        question: Question::Standing(standing::quiet),
    },
    Rule {
        name: "p99_exceedance",
        direction: Direction::Up,
        runbook: None,
        question: Question::Compared(compared::tails),
    },
    Rule {
        name: "empty_results",
        direction: Direction::Up,
        runbook: Some("error-spike"),
        question: Question::Compared(compared::empty_results),
    },
    Rule {
        name: "invalid_args",
        direction: Direction::Up,
        runbook: Some("error-spike"),
        question: Question::Compared(compared::invalid_arguments),
    },
    Rule {
        name: "length_cut",
        direction: Direction::Up,
        runbook: None,
        question: Question::Compared(compared::cut_answers),
    },
    Rule {
        name: "not_evaluable",
        direction: Direction::Up,
        runbook: Some("no-data"),
        question: Question::Compared(compared::not_evaluable),
    },
    Rule {
        name: "evaluator_silent",
        direction: Direction::Down,
        runbook: Some("no-data"),
        question: Question::Compared(compared::silent),
    },
];

/// What the settings say of the rules.
#[derive(Debug, Clone, PartialEq)]
pub struct RulePolicy {
    /// Which share of runs must be good.
    pub objectives: Vec<Objective>,
    /// US dollars that the agents of a service may cost a day (UTC); `*` for those that are not named.
    pub daily_cost_usd: BTreeMap<String, f64>,
    /// Tokens a second that the runs of one tier of a service may use up.
    pub tokens_per_second: f64,
}

/// An hour of a service, as rules read it.
#[derive(Debug)]
pub struct Hour<'a> {
    /// Its start.
    pub at: Timestamp,
    /// The service.
    pub service: &'a str,
    /// Its traces; none in an hour of silence.
    pub window: &'a Baseline,
    /// Their tokens.
    pub pace: &'a Pace,
    /// What the settings say.
    pub policy: &'a RulePolicy,
}

/// What the rules of one service remember between hours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    #[serde(default)]
    memory: Memory,
    /// Rules that fire, by name and series, with the hour since which they do.
    firing: Vec<(String, SeriesKey, Timestamp)>,
}

/// What rules that need no baseline remember.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    /// The last hour that was read.
    observed: Option<Timestamp>,
    /// Bad runs and all runs of the last hours with traffic, by objective.
    burns: BTreeMap<String, VecDeque<(u64, u64)>>,
    /// The same by day, for as long as an objective holds.
    #[serde(default)]
    days: BTreeMap<String, error_budget::Days>,
    /// Start, traces and cost of the last hours.
    hours: VecDeque<(Timestamp, u64, f64)>,
}

/// One rule's count of an hour.
struct Count {
    key: SeriesKey,
    /// How loud; `None` when the rule does not fire.
    severity: Option<Severity>,
    measure: String,
    baseline: Option<f64>,
    current: f64,
    traces: u64,
    /// Chance of as much at the limit itself; `None` of what is counted and not tested.
    p_value: Option<f64>,
    trace_ids: Vec<TraceId>,
    /// Which runs it is about.
    affects: Affects,
}

impl Hour<'_> {
    fn key(&self, series: &str) -> SeriesKey {
        SeriesKey { service: self.service.to_owned(), series: series.to_owned(), segment: ALL.to_owned() }
    }

    fn summary(&self, series: &str) -> Option<&SeriesSummary> {
        self.window.series.get(&self.key(series))
    }
}

impl RuleState {
    /// Takes in an hour; hours must come in order. Of an hour that was read before, only what is compared is read again,
    /// so that a baseline may come later than the hours.
    pub fn observe(&mut self, hour: &Hour<'_>, baseline: Option<&Baseline>) -> Vec<(SeriesKey, Signal)> {
        let is_news = self.is_news(hour.at);
        if is_news {
            self.memory.remember(hour);
        }
        let mut signals = Vec::new();
        for rule in RULES {
            let counts = match (&rule.question, baseline) {
                (Question::Standing(ask), _) if is_news => ask(&mut self.memory, hour),
                (Question::Compared(ask), Some(baseline)) => ask(hour, baseline),
                _ => continue,
            };
            signals.extend(counts.into_iter().filter_map(|count| self.judge(hour.at, rule, count)));
        }
        signals
    }

    /// Whether the hour has not been read yet.
    #[must_use]
    pub fn is_news(&self, at: Timestamp) -> bool {
        self.memory.observed.is_none_or(|observed| at > observed)
    }

    /// The last hour that was read.
    #[must_use]
    pub const fn observed(&self) -> Option<Timestamp> {
        self.memory.observed
    }

    /// The state of rules whose baseline is another from now on.
    #[must_use]
    pub fn without_baseline(mut self) -> Self {
        self.firing.retain(|(rule, ..)| needs_no_baseline(rule));
        self
    }

    fn judge(&mut self, at: Timestamp, rule: &Rule, count: Count) -> Option<(SeriesKey, Signal)> {
        let is_same = |(name, key, _): &(String, SeriesKey, Timestamp)| *name == rule.name && *key == count.key;
        let known = self.firing.iter().position(is_same);
        let Some(severity) = count.severity else {
            self.firing.remove(known?);
            return Some((count.key, Signal::RuleOver { rule: rule.name.to_owned(), direction: rule.direction }));
        };
        let onset = known.map_or(at, |index| self.firing[index].2);
        if known.is_none() {
            self.firing.push((rule.name.to_owned(), count.key.clone(), at));
        }
        let key = count.key.clone();
        let finding = Box::new(finding(rule.direction, count, onset));
        Some((key, Signal::Ruled { rule: rule.name.to_owned(), severity, finding }))
    }
}

fn named(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// Whether a detector is a rule.
#[must_use]
pub fn is_rule(detector: &str) -> bool {
    named(detector).is_some()
}

/// Whether a detector is a rule that needs no baseline, so that its alerts outlive one.
pub(super) fn needs_no_baseline(detector: &str) -> bool {
    named(detector).is_some_and(|rule| matches!(rule.question, Question::Standing(_)))
}

/// The runbook of a rule's alerts, where it has one of its own.
pub(super) fn runbook(detector: &str) -> Option<&'static str> {
    named(detector)?.runbook
}

fn finding(direction: Direction, count: Count, onset: Timestamp) -> Finding {
    let worth = match count.p_value {
        Some(chance) => format!("at the limit itself as much has a chance of {chance:.1e}"),
        None => "counted against a limit of the settings, not tested".to_owned(),
    };
    Finding {
        direction,
        measure: count.measure,
        // JSON has no infinity.
        evidence: count.p_value.map_or(1.0 / LEVEL, |chance| (1.0 / chance).min(1e12)),
        threshold: 1.0 / LEVEL,
        onset,
        onset_between: None,
        explanation: None,
        baseline: count.baseline,
        current: Some(count.current),
        traces: count.traces,
        transitions: Vec::new(),
        trace_ids: count.trace_ids,
        affects: Some(count.affects),
        guarantee: Guarantee {
            is_exact: false,
            reason: format!("outside the alert budget, one hour at a time; {worth}"),
        },
    }
}

#[cfg(test)]
mod tests;
