//! How much of what an objective lets fail is left.
//!
//! **Question.** Over the last thirty days, what share of the runs that may be bad were not?
//!
//! **Statistic.** One less the bad runs over the bad runs that the objective allows of all runs so far: 1 is an untouched
//! budget, 0 a spent one, and less than 0 an objective that is missed. Runs are counted as they were watched, hour by hour.
//!
//! Source: Google SRE workbook, chapter 5.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Memory, Objective, RuleState};
use crate::domain::time::Timestamp;
use crate::stats::service_level::{Outcomes, burn_rate};

const DAY: Duration = Duration::from_hours(24);
/// Time before the last day over which an objective holds.
const BEFORE: Duration = Duration::from_hours(29 * 24);

/// Bad runs and all runs of each day (UTC), by its start.
pub(super) type Days = BTreeMap<Timestamp, (u64, u64)>;

/// What is left of the error budget of one objective of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBudget {
    /// `service.name`.
    pub service: String,
    /// The series whose runs are good or bad.
    pub series: String,
    /// Largest good value, of a series of numbers.
    pub at_most: Option<f64>,
    /// Share of runs that must be good.
    pub objective: f64,
    /// Start of the first day that counts, at most thirty days ago.
    pub since: Timestamp,
    /// Runs that were watched since then.
    pub traces: u64,
    /// Those of them that were bad.
    pub bad: u64,
    /// Those of them that the objective allows to be bad.
    pub allowed: f64,
    /// Share of the budget that is left; negative when the objective is missed.
    pub remaining: f64,
}

impl Memory {
    /// Counts an hour's runs towards an objective.
    pub(super) fn count(&mut self, objective: &Objective, hour: Timestamp, outcomes: Outcomes) {
        let days = self.days.entry(objective.identity()).or_default();
        let (bad, total) = days.entry(hour.floor(DAY)).or_default();
        (*bad, *total) = (bad.saturating_add(outcomes.bad), total.saturating_add(outcomes.total));
        days.retain(|day, _| *day >= hour.floor(DAY).minus(BEFORE));
    }

    /// Forgets what was counted towards objectives that are no more.
    pub(super) fn keep_counts_of(&mut self, objectives: &[Objective]) {
        self.days.retain(|identity, _| objectives.iter().any(|objective| objective.identity() == *identity));
    }
}

impl RuleState {
    /// What is left of the error budgets of a service, for each objective towards which runs were counted.
    #[must_use]
    pub fn error_budgets(&self, service: &str, objectives: &[Objective], now: Timestamp) -> Vec<ErrorBudget> {
        let own = Objective::of_service(objectives, service);
        own.filter_map(|objective| self.error_budget(service, objective, now)).collect()
    }

    fn error_budget(&self, service: &str, objective: &Objective, now: Timestamp) -> Option<ErrorBudget> {
        let days = self.memory.days.get(&objective.identity())?.range(now.floor(DAY).minus(BEFORE)..);
        let since = *days.clone().next()?.0;
        let (bad, total) = days.fold((0_u64, 0_u64), |sum, (_, (bad, total))| (sum.0 + bad, sum.1 + total));
        Some(ErrorBudget {
            service: service.to_owned(),
            series: objective.series().to_owned(),
            at_most: objective.at_most,
            objective: objective.share(),
            since,
            traces: total,
            bad,
            allowed: (1.0 - objective.share()) * total as f64,
            remaining: 1.0 - burn_rate(Outcomes { bad, total }, objective.share()),
        })
    }
}
