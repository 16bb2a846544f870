//! What runs used, summed by hour, so that nobody reads months of runs one by one.
//!
//! Every evaluated run counts, sampled for judging or not, each by what upstream sampling made of it; with what probability
//! it was kept upstream is taken as 1 where that is not known, and counted.
//!
//! An hour in which runs ended is summed up when it is over, by each dimension that does not have too many parts in it. The
//! database itself marks the hour when a run of it comes, changes or goes, in the transaction that does so, and the hour is
//! read run by run until it has been summed up again.

use std::ops::Range;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::agent_costs::{AgentCostRow, AgentDimension, costs_by_service};
use super::columns::{flag, key};
use super::erasure::write_over;
use super::retry::retried;
use super::selection::Selection;
use super::statement::{Statement, insert};
use super::summed_hours::{HOUR, Sums, within};
use super::tool_calls::{ToolDimension, ToolSums, tools_by_service};
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// What every run is told apart by.
const KEPT: [AgentDimension; 7] = [
    AgentDimension::Model,
    AgentDimension::Operation,
    AgentDimension::Service,
    AgentDimension::Release,
    AgentDimension::Environment,
    AgentDimension::User,
    AgentDimension::Conversation,
];

/// Pairs of service and part in one hour of which sums are kept.
pub(super) const MOST_PARTS: usize = 500;
/// The same of users and conversations. There may be nearly as many as runs, and their sums are read in half the time of
/// their runs all the same.
pub(super) const MOST_USERS: usize = 10_000;

/// The runs of a selection, under names of their own: other tables have columns of the same names.
const CHOSEN: &str = " FROM (SELECT trace_id AS id, service, release, environment, user_id, conversation_id, ended_at, \
                      1.0 / coalesce(upstream_probability, 1.0) AS weight, \
                      CASE WHEN upstream_probability IS NULL THEN trace_id END AS unknown FROM trace WHERE 1 = 1";

impl Store {
    /// Hours whose sums do not hold any more, the first of them.
    ///
    /// # Errors
    /// The database failed.
    pub async fn marked_used_hours(&self) -> Result<Vec<Timestamp>, StoreError> {
        Sums::Used.marked(self).await
    }

    /// The first hour with runs after all that were ever summed up, if it ended before `before`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn next_used_hour(&self, before: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Sums::Used.next(self, before).await
    }

    /// Sums up an hour, by what every run is told apart by and by these attributes. When a run of it changes meanwhile, it
    /// stays marked. False, with nothing done, where it cannot be begun now, because a change of runs takes long.
    ///
    /// # Errors
    /// The database failed; then the hour is read run by run.
    pub async fn sum_used_hour(&self, hour: Timestamp, attributes: &[&str]) -> Result<bool, StoreError> {
        let Some(begun) = Sums::Used.begin(self, hour).await? else { return Ok(false) };
        let named = attributes.iter().map(|name| AgentDimension::Attribute((*name).to_owned()));
        let dimensions: Vec<AgentDimension> = KEPT.into_iter().chain(named).collect();
        let sums = retried("sum up an hour", || async {
            let connection = &mut *self.readers.acquire().await?;
            let runs = Selection { since: Some(hour), until: Some(hour.plus(HOUR)), ..Selection::default() };
            let mut costs: Vec<(String, Costs)> = Vec::new();
            for by in &dimensions {
                let sums = costs_by_service(connection, by, &runs, by.most_parts() + 1).await?;
                costs.extend((sums.len() <= by.most_parts()).then(|| (by.kept(), sums)));
            }
            let mut tools: Vec<(&str, Tools)> = Vec::new();
            for by in ToolDimension::ALL {
                let sums = tools_by_service(connection, by, &runs, by.most_parts() + 1).await?;
                tools.extend((sums.len() <= by.most_parts()).then(|| (by.kept(), sums)));
            }
            Ok((costs, tools))
        });
        let (costs, tools) = sums.await?;
        retried("keep the sums of an hour", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            if !Sums::Used.hold(connection, hour, begun).await? {
                return Ok(());
            }
            // These sums tell users apart, and an erasure writes over what it finds, not over what was deleted before it.
            write_over(connection, self.dialect, true).await?;
            for table in ["DELETE FROM used_sum WHERE hour = $1", "DELETE FROM used_dimension WHERE hour = $1"] {
                sqlx::query(table).bind(hour).execute(&mut *connection).await?;
            }
            write_over(connection, self.dialect, false).await?;
            for (dimension, sums) in &costs {
                keep_costs(connection, hour, dimension, sums).await?;
            }
            for (dimension, sums) in &tools {
                keep_tools(connection, hour, dimension, sums).await?;
            }
            transaction.commit().await
        })
        .await?;
        Ok(true)
    }
}

/// How the time of a selection divides into hours whose sums hold and times whose runs are read one by one.
#[derive(Debug)]
pub(super) struct Hours {
    dimension: String,
    service: Option<String>,
    /// What begins and ends on the hour; within it whatever is not among the others is summed up.
    whole: Range<Timestamp>,
    unsummed: Vec<Range<Timestamp>>,
}

impl Hours {
    /// The division for a dimension; `None` where the selection asks for more than a service and a time.
    pub(super) async fn of(
        connection: &mut AnyConnection,
        dimension: String,
        selection: &Selection,
    ) -> Result<Option<Self>, sqlx::Error> {
        let Selection { service, since, until, .. } = selection.clone();
        if *selection != (Selection { service: service.clone(), since, until, ..Selection::default() }) {
            return Ok(None);
        }
        let time = since.unwrap_or_default()..until.unwrap_or(Timestamp(i64::MAX));
        let whole = whole_hours(&time);
        let known = "SELECT hour, CASE WHEN state = 1 AND EXISTS (SELECT 1 FROM used_dimension \
                     WHERE used_dimension.hour = used_hour.hour AND dimension = $1) THEN 1 ELSE 0 END AS is_summed \
                     FROM used_hour WHERE hour >= $2 AND hour < $3 ORDER BY hour";
        let query = sqlx::query(known).bind(&dimension).bind(whole.start).bind(whole.end);
        let read = |row: &AnyRow| Ok((row.try_get("hour")?, flag(row, "is_summed")?));
        let known: Vec<_> =
            query.fetch_all(&mut *connection).await?.iter().map(read).collect::<Result<_, sqlx::Error>>()?;
        let unsummed = unsummed(&time, &known, Sums::Used.last(connection).await?);
        Ok(Some(Self { dimension, service, whole, unsummed }))
    }

    /// Adds where the sums are, in one of their tables, to a statement that selects columns of them.
    pub(super) fn write_sums(&self, statement: &mut Statement, table: &str) {
        let known = format!(" FROM {table} JOIN used_hour ON used_hour.hour = {table}.hour WHERE state = 1");
        statement.sql(&known).sql(" AND dimension = ").bind(self.dimension.as_str());
        // Of the sums: PostgreSQL would not see that the hours of the one bound those of the other.
        for (bound, instant) in [(">=", self.whole.start), ("<", self.whole.end)] {
            statement.sql(&format!(" AND {table}.hour {bound} ")).bind(instant);
        }
        if let Some(service) = &self.service {
            statement.sql(" AND service = ").bind(key(service));
        }
    }
}

/// Adds the runs of a selection that are in no sum, `chosen`, each beside its rows of a table.
pub(super) fn choose(statement: &mut Statement, selection: &Selection, hours: Option<&Hours>, table: &str) {
    statement.sql(CHOSEN);
    match hours {
        Some(hours) => {
            Selection { since: None, until: None, ..selection.clone() }.narrow(statement);
            within(statement, "ended_at", &hours.unsummed);
        }
        None => selection.narrow(statement),
    }
    statement.sql(&format!(") AS chosen JOIN {table} ON {table}.trace_id = chosen.id"));
}

/// Adds what many rows come to in all.
pub(super) fn write_totals(statement: &mut Statement, counts: &[&str], amounts: &[&str]) {
    for column in counts {
        statement.sql(&format!(", CAST(sum({column}) AS BIGINT) AS {column}"));
    }
    for column in amounts {
        statement.sql(&format!(", sum({column}) AS {column}"));
    }
}

/// Adds a weighted sum that no hostile count can overflow.
pub(super) fn write_weighted(statement: &mut Statement, table: &str, column: &str) {
    statement.sql(&format!(", CAST(sum({table}.{column} * chosen.weight) AS DOUBLE PRECISION) AS {column}"));
}

/// The hours that lie wholly within a time.
fn whole_hours(time: &Range<Timestamp>) -> Range<Timestamp> {
    let start = time.start.hour();
    let start = if start < time.start { start.plus(HOUR) } else { start };
    start..time.end.hour().max(start)
}

/// When the runs of a time ended that are in no sum: outside its whole hours, in those that are known and have none, and
/// after the last that was ever summed up. What lies between known hours had no runs.
fn unsummed(time: &Range<Timestamp>, known: &[(Timestamp, bool)], last: Option<Timestamp>) -> Vec<Range<Timestamp>> {
    let whole = whole_hours(time);
    let mut times = vec![time.start..whole.start.min(time.end)];
    let mut is_open = true;
    for (hour, is_summed) in known {
        let hour = *hour..hour.plus(HOUR);
        match times.last_mut().filter(|_| is_open && !is_summed) {
            Some(time) => time.end = hour.end,
            None if *is_summed => {}
            None => times.push(hour),
        }
        is_open = !is_summed;
    }
    let rest = last.map_or(whole.start, |last| last.plus(HOUR)).clamp(whole.start, whole.end);
    times.push(rest..time.end);
    times.retain(|time| time.start < time.end);
    times
}

/// What the runs of each service and part came to.
type Costs = Vec<(String, AgentCostRow)>;
/// What the calls of tools of each service and part came to.
type Tools = Vec<(String, ToolSums)>;

/// Keeps the costs of an hour by one dimension.
async fn keep_costs(
    connection: &mut AnyConnection,
    hour: Timestamp,
    dimension: &str,
    sums: &Costs,
) -> Result<(), sqlx::Error> {
    keep(connection, hour, dimension).await?;
    insert(
        connection,
        "used_sum (hour, dimension, service, part, traces, upstream_unknown, calls, unpriced, input_tokens, \
         output_tokens, cached_tokens, cost)",
        sums,
        |row, (service, of)| {
            row.bind(hour).bind(dimension).bind(service.as_str()).bind(of.part.as_deref());
            row.bind(of.traces.cast_signed()).bind(of.upstream_unknown.cast_signed());
            for sum in [of.calls, of.unpriced, of.input_tokens, of.output_tokens, of.cached_tokens, of.cost] {
                row.bind(sum);
            }
        },
        "",
    )
    .await
    .map(drop)
}

/// Keeps what the calls of tools of an hour came to by one dimension.
async fn keep_tools(
    connection: &mut AnyConnection,
    hour: Timestamp,
    dimension: &str,
    sums: &Tools,
) -> Result<(), sqlx::Error> {
    keep(connection, hour, dimension).await?;
    insert(
        connection,
        "used_tool_sum (hour, dimension, service, part, traces, calls, failed, empty)",
        sums,
        |row, (service, of)| {
            row.bind(hour).bind(dimension).bind(service.as_str()).bind(of.part.as_str());
            row.bind(of.traces.cast_signed()).bind(of.calls).bind(of.failed).bind(of.empty);
        },
        "",
    )
    .await
    .map(drop)
}

/// Keeps that there are sums of an hour by a dimension.
async fn keep(connection: &mut AnyConnection, hour: Timestamp, dimension: &str) -> Result<(), sqlx::Error> {
    let kept = "INSERT INTO used_dimension (dimension, hour) VALUES ($1, $2)";
    sqlx::query(kept).bind(dimension).bind(hour).execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: i64 = Timestamp::NANOS_PER_HOUR;

    fn of(since: i64, until: i64, known: &[(i64, bool)], last: Option<i64>) -> Vec<(i64, i64)> {
        let known: Vec<_> = known.iter().map(|(hour, is_summed)| (Timestamp(hour * HOURS), *is_summed)).collect();
        let last = last.map(|last| Timestamp(last * HOURS));
        let times = unsummed(&(Timestamp(since)..Timestamp(until)), &known, last);
        times.into_iter().map(|time| (time.start.0, time.end.0)).collect()
    }

    #[test]
    fn what_no_sum_holds_is_read_run_by_run_and_nothing_twice() {
        assert_eq!(of(0, 9 * HOURS, &[], None), [(0, 9 * HOURS)], "nothing was ever summed up");
        assert_eq!(of(7, 8, &[], Some(5)), [(7, 8)], "within an hour");
        let known = [(1, true), (2, true), (4, true)];
        assert_eq!(of(7, 6 * HOURS, &known, Some(4)), [(7, HOURS), (5 * HOURS, 6 * HOURS)]);
        assert_eq!(of(HOURS, 3 * HOURS + 5, &known[..2], Some(4)), [(3 * HOURS, 3 * HOURS + 5)]);
        assert_eq!(of(HOURS, 3 * HOURS, &known[..2], Some(4)), []);
        let marked = [(1, true), (2, false), (4, false), (5, true), (6, false)];
        assert_eq!(of(HOURS, 7 * HOURS, &marked, Some(6)), [(2 * HOURS, 5 * HOURS), (6 * HOURS, 7 * HOURS)]);
    }
}
