//! Which traces are meant.

use std::collections::BTreeMap;
use std::time::Duration;

use super::columns::{key, text};
use super::evaluations::line;
use super::statement::Statement;
use super::traces::FAILURE_CLASS;
use crate::domain::evaluation::FailureClass;
use crate::domain::time::Timestamp;

/// Longest label that lists are passed over for, in bytes; SQLite takes patterns up to some length.
const LONGEST_PATTERN: usize = 1_000;

/// Traces for which everything given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The service.
    pub service: Option<String>,
    /// The release.
    pub release: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The deployment environment.
    pub environment: Option<String>,
    /// The conversation.
    pub conversation: Option<String>,
    /// The end user.
    pub user: Option<String>,
    /// Further names and the values they have.
    pub attributes: BTreeMap<String, String>,
    /// Ended at or after this instant.
    pub since: Option<Timestamp>,
    /// Ended before this instant.
    pub until: Option<Timestamp>,
    /// Failed in this way.
    pub failure_class: Option<FailureClass>,
    /// Scored so by an evaluator.
    pub verdict: Option<Verdict>,
    /// Flagged by a rule or a judge, or not.
    pub failing: Option<bool>,
}

/// What an evaluator, or any, has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The evaluator; `None` for any.
    pub evaluator: Option<String>,
    /// Its label, such as `yes`, `no`, `pass` or `fail`.
    pub label: String,
}

impl Selection {
    /// The traces of a service that ended in the hour that starts at `hour`.
    #[must_use]
    pub fn of_hour(service: &str, hour: Timestamp) -> Self {
        let until = hour.plus(Duration::from_hours(1));
        Self { service: Some(service.to_owned()), since: Some(hour), until: Some(until), ..Self::default() }
    }

    /// Adds the conditions on `trace` to a statement that ends in a condition.
    pub(super) fn narrow(&self, statement: &mut Statement) {
        let names = [
            (" AND service = ", &self.service),
            (" AND release = ", &self.release),
            (" AND model = ", &self.model),
            (" AND environment = ", &self.environment),
            (" AND conversation_id = ", &self.conversation),
            (" AND user_id = ", &self.user),
        ];
        for (column, name) in names {
            if let Some(name) = name {
                statement.sql(column).bind(key(name));
            }
        }
        let class = self.failure_class.map(|class| (FAILURE_CLASS, class.as_str()));
        let names = self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in names.chain(class) {
            statement.sql(" AND trace_id IN (SELECT trace_id FROM trace_attribute WHERE name = ").bind(key(name));
            statement.sql(" AND value = ").bind(key(value)).sql(")");
        }
        for (bound, instant) in [(" AND ended_at >= ", self.since), (" AND ended_at < ", self.until)] {
            if let Some(instant) = instant {
                statement.sql(bound).bind(instant);
            }
        }
        if let Some(verdict) = &self.verdict {
            verdict.narrow(statement);
        }
        if let Some(failing) = self.failing {
            // Part of the text, so that the index of failing traces is found.
            statement.sql(if failing { " AND failing = 1" } else { " AND failing = 0" });
        }
    }
}

impl Verdict {
    fn narrow(&self, statement: &mut Statement) {
        let label = text(&self.label);
        // Both in one, of each trace by itself: of an alternative PostgreSQL would read all that was ever said.
        for (start, table) in [(" AND EXISTS (SELECT 1 FROM (", "evaluation"), (" UNION ALL ", "listed_evaluation")] {
            statement.sql(start).sql("SELECT evaluator, outcome, label FROM ").sql(table);
            statement.sql(" AS one WHERE one.trace_id = trace.trace_id");
        }
        if label.len() <= LONGEST_PATTERN {
            statement.sql(" AND one.labels LIKE ").bind(format!("%{}%", literally(&line(&label)))).sql(" ESCAPE '!'");
        }
        statement.sql(") AS said WHERE said.outcome = 'scored' AND lower(said.label) = ").bind(label.as_str());
        if let Some(evaluator) = &self.evaluator {
            statement.sql(" AND said.evaluator = ").bind(key(evaluator));
        }
        statement.sql(")");
    }
}

/// A pattern that matches nothing but this text.
fn literally(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}
