//! What the agents of one user, feature or service may cost a day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::segments::SegmentPattern;
use crate::domain::measurement::TraceRecord;
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;

/// Part of a day's money that is told when it is spent.
pub const WARNING_PART: f64 = 0.8;

const DAY: Duration = Duration::from_hours(24);
/// The shortest time that a day's pace is read from.
const LEAST_HOURS: f64 = 1.0;

/// A limit of the settings' `[[budget]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentBudget {
    /// `dimension=value`, or `dimension=*` for each value by itself.
    pub scope: SegmentPattern,
    /// US dollars a day (UTC).
    pub daily_usd: f64,
}

/// All limits.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct AgentBudgets(pub Vec<AgentBudget>);

/// Dimensions of every run that are no segments.
pub const OWN_DIMENSIONS: [&str; 7] = ["service", "user", "conversation", "model", "release", "environment", "agent"];

impl AgentBudget {
    /// The limit.
    #[must_use]
    pub fn limit(&self) -> NanoUsd {
        NanoUsd::from_usd(self.daily_usd)
    }
}

impl AgentBudgets {
    /// The limit of a scope, `dimension=value`; what is named wins over a star. A star is no scope itself.
    #[must_use]
    pub fn of(&self, scope: &str) -> Option<&AgentBudget> {
        let fitting = || self.0.iter().filter(|budget| budget.scope.matches(scope));
        let named = fitting().find(|budget| budget.scope.value().is_some());
        named.or_else(|| fitting().next()).filter(|_| !scope.ends_with("=*"))
    }

    /// The scopes with a limit that a run counts for, each once.
    #[must_use]
    pub fn scopes(&self, record: &TraceRecord, user: Option<&str>, conversation: Option<&str>) -> BTreeSet<String> {
        let own: BTreeMap<&str, Option<&str>> =
            [("service", Some(record.service.as_str())), ("user", user), ("conversation", conversation)].into();
        let value = |dimension: &str| {
            let segment = || record.segments.get(dimension).map(String::as_str);
            own.get(dimension).copied().flatten().or_else(segment)
        };
        let scope = |budget: &AgentBudget| {
            let dimension = budget.scope.dimension();
            let scope = format!("{dimension}={}", value(dimension)?);
            budget.scope.matches(&scope).then_some(scope)
        };
        self.0.iter().filter_map(scope).collect()
    }
}

/// When the day that an instant lies in is over.
#[must_use]
pub fn resets_at(now: Timestamp) -> Timestamp {
    now.floor(DAY).plus(DAY)
}

/// What the day will have cost at the pace since it began; of its first hour no more than of a whole one.
#[must_use]
pub fn projected_usd(spent_usd: f64, now: Timestamp) -> f64 {
    let hours = now.seconds_since(now.floor(DAY)) / 3_600.0;
    spent_usd / hours.max(LEAST_HOURS) * 24.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(scopes: &[(&str, f64)]) -> AgentBudgets {
        let budget = |(scope, daily_usd): &(&str, f64)| AgentBudget {
            scope: SegmentPattern::try_from((*scope).to_owned()).unwrap(),
            daily_usd: *daily_usd,
        };
        AgentBudgets(scopes.iter().map(budget).collect())
    }

    fn record() -> TraceRecord {
        TraceRecord {
            trace_id: "0af7651916cd43dd8448eb211c80319c".parse().unwrap(),
            conversation: "c".to_owned(),
            service: "shop".to_owned(),
            segments: [("feature".to_owned(), "refunds".to_owned())].into(),
            ended_at: Timestamp(0),
            upstream_probability: None,
            measurements: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_run_counts_once_for_each_scope_and_only_for_its_own() {
        let budgets = budgets(&[
            ("feature=*", 1.0),
            ("feature=refunds", 2.0),
            ("service=mail", 1.0),
            ("user=*", 1.0),
            ("tier=*", 1.0),
        ]);
        let scopes = |user| budgets.scopes(&record(), user, None).into_iter().collect::<Vec<_>>();
        assert_eq!(scopes(Some("u=1")), ["feature=refunds", "user=u=1"]);
        assert_eq!(scopes(None), ["feature=refunds"]);
    }

    #[test]
    fn what_is_named_wins_over_a_star_and_a_star_is_no_scope() {
        let budgets = budgets(&[("user=*", 1.0), ("user=root", 9.0)]);
        let limit = |scope| budgets.of(scope).map(|budget| budget.daily_usd);
        assert_eq!(limit("user=root"), Some(9.0));
        assert_eq!(limit("user=kim"), Some(1.0));
        assert_eq!((limit("user=*"), limit("users=kim"), limit("kim")), (None, None, None));
    }

    #[test]
    fn a_day_is_projected_at_its_pace_and_its_first_minutes_do_not_multiply() {
        let at = |hours: f64| Timestamp((hours * 3.6e12) as i64);
        assert!((projected_usd(6.0, at(12.0)) - 12.0).abs() < 1e-9);
        assert!((projected_usd(1.0, at(0.01)) - 24.0).abs() < 1e-9);
        assert_eq!(resets_at(at(25.0)), at(48.0));
    }
}
