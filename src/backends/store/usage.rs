//! What traces used, and what of it counts for the day's budgets of agents.
//!
//! A charge is kept for each trace and scope, so that a later version takes back what the one before had counted: a sum
//! is always that of the newest versions.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::columns::{key, limit};
use super::dialect::Dialect;
use super::retry::retried;
use super::statement::{Statement, for_keys, insert};
use super::traces::RecordedTrace;
use super::{Store, StoreError};
use crate::domain::ids::TraceId;
use crate::domain::money::NanoUsd;
use crate::domain::usage::{ModelUsage, ToolUsage};
use crate::limits::budget::{AGENT_BUDGET, alert_fingerprint, day_of};

/// The most that one trace counts for, however many it stands for.
const MOST_CHARGE: f64 = 1e15;
/// The most that a sum tells, so that adding to it does not overflow.
const MOST_SPENT: i64 = 9_000_000_000_000_000_000;

/// What agents have spent of one day's budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentBudgetDay {
    /// `dimension=value`.
    pub scope: String,
    /// What they have spent.
    pub spent: NanoUsd,
}

impl Store {
    /// What was spent of a day's budgets, dearest first: of one scope, or of those that have spent at least so much.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agent_budget_day(
        &self,
        day: i64,
        scope: Option<&str>,
        least: NanoUsd,
        most: usize,
    ) -> Result<Vec<AgentBudgetDay>, StoreError> {
        retried("read what agents have spent", || async {
            let mut statement = Statement::new("SELECT scope, spent FROM agent_budget_day WHERE day = ");
            statement.bind(day).sql(" AND spent >= ").bind(least.0);
            if let Some(scope) = scope {
                statement.sql(" AND scope = ").bind(key(scope));
            }
            statement.sql(" ORDER BY spent DESC, scope LIMIT ").bind(limit(most));
            let rows = statement.fetch(&self.readers).await?;
            let read = |row: &AnyRow| {
                Ok(AgentBudgetDay { scope: row.try_get("scope")?, spent: NanoUsd(row.try_get("spent")?) })
            };
            rows.iter().map(read).collect()
        })
        .await
    }

    /// The traces that count most for a day's budget of a scope.
    ///
    /// # Errors
    /// The database failed.
    pub async fn dearest_traces(&self, day: i64, scope: &str, most: usize) -> Result<Vec<TraceId>, StoreError> {
        retried("read the dearest traces", || async {
            let sql = "SELECT trace_id FROM agent_charge WHERE scope = $1 AND day = $2 ORDER BY cost DESC LIMIT $3";
            let query = sqlx::query(sql).bind(key(scope)).bind(day).bind(limit(most));
            query.fetch_all(&self.readers).await?.iter().map(|row| row.try_get("trace_id")).collect()
        })
        .await
    }
}

/// Writes what traces used.
pub(super) async fn insert_usage(
    connection: &mut AnyConnection,
    recorded: &[&RecordedTrace],
) -> Result<(), sqlx::Error> {
    let models: Vec<(&RecordedTrace, &String, &ModelUsage)> =
        recorded.iter().flat_map(|it| it.usage.models.iter().map(|(model, of)| (*it, model, of))).collect();
    insert(
        connection,
        "trace_model (trace_id, model, operation, calls, unpriced, input_tokens, output_tokens, cached_tokens, cost)",
        &models,
        |row, (it, model, of)| {
            row.bind(it.trace.trace_id).bind(key(model)).bind(it.usage.operation.as_deref().map(key));
            for count in [of.calls, of.unpriced, of.input_tokens, of.output_tokens, of.cached_tokens] {
                row.bind(count.cast_signed());
            }
            row.bind(of.cost.0);
        },
        "",
    )
    .await?;
    let tools: Vec<(&RecordedTrace, &String, &ToolUsage)> =
        recorded.iter().flat_map(|it| it.usage.tools.iter().map(|(tool, of)| (*it, tool, of))).collect();
    insert(
        connection,
        "trace_tool (trace_id, tool, calls, failed, empty)",
        &tools,
        |row, (it, tool, of)| {
            row.bind(it.trace.trace_id).bind(key(tool));
            for count in [of.calls, of.failed, of.empty] {
                row.bind(count.cast_signed());
            }
        },
        "",
    )
    .await
    .map(drop)
}

/// One trace's part of a day's budget.
struct Charge {
    trace_id: TraceId,
    scope: String,
    day: i64,
    cost: i64,
}

/// Counts traces for the budgets of their day, and takes back what their earlier versions had counted for.
pub(super) async fn charge(
    connection: &mut AnyConnection,
    dialect: Dialect,
    recorded: &[&RecordedTrace],
) -> Result<(), sqlx::Error> {
    let again: Vec<TraceId> = recorded.iter().filter(|it| it.trace.version > 1).map(|it| it.trace.trace_id).collect();
    let mut sums: BTreeMap<(i64, String), i64> = BTreeMap::new();
    let returning = " RETURNING day, scope, cost";
    for row in for_keys(connection, "DELETE FROM agent_charge WHERE trace_id IN", &again, returning).await? {
        let cost: i64 = row.try_get("cost")?;
        *sums.entry((row.try_get("day")?, row.try_get("scope")?)).or_default() -= cost;
    }
    let charges: Vec<Charge> = recorded.iter().flat_map(|it| charges(it)).collect();
    for charge in &charges {
        *sums.entry((charge.day, charge.scope.clone())).or_default() += charge.cost;
    }
    insert(
        connection,
        "agent_charge (trace_id, scope, day, cost)",
        &charges,
        |row, charge| {
            row.bind(charge.trace_id).bind(charge.scope.as_str()).bind(charge.day).bind(charge.cost);
        },
        // Two long scopes may be the same once they are cut.
        "ON CONFLICT (trace_id, scope) DO NOTHING",
    )
    .await?;
    add(connection, dialect, sums.into_iter().filter(|(_, spent)| *spent != 0).collect()).await
}

fn charges(it: &RecordedTrace) -> impl Iterator<Item = Charge> {
    let record = &it.trace.record;
    let weighted = (it.usage.cost().0 as f64 * record.upstream_weight()).clamp(0.0, MOST_CHARGE);
    // A float cast saturates, and turns NaN into 0.
    let (cost, day, trace_id) = (weighted.round() as i64, day_of(it.trace.ended_at), it.trace.trace_id);
    let scopes: BTreeSet<String> = it.budgets.iter().map(|scope| key(scope)).collect();
    scopes.into_iter().map(move |scope| Charge { trace_id, scope, day, cost })
}

/// A day's budget of a scope.
pub(super) type BudgetKey = (i64, String);

/// Takes what traces count for in budgets off them; gives the budgets.
pub(super) async fn uncharge(
    connection: &mut AnyConnection,
    trace_ids: &[TraceId],
) -> Result<BTreeSet<BudgetKey>, sqlx::Error> {
    let returning = " RETURNING day, scope";
    let rows = for_keys(connection, "DELETE FROM agent_charge WHERE trace_id IN", trace_ids, returning).await?;
    rows.iter().map(read_key).collect()
}

/// The budgets of a scope of which there is a sum.
pub(super) async fn budgets_of(
    connection: &mut AnyConnection,
    scope: &str,
) -> Result<BTreeSet<BudgetKey>, sqlx::Error> {
    let query = sqlx::query("SELECT day, scope FROM agent_budget_day WHERE scope = $1").bind(key(scope));
    query.fetch_all(connection).await?.iter().map(read_key).collect()
}

fn read_key(row: &AnyRow) -> Result<BudgetKey, sqlx::Error> {
    Ok((row.try_get("day")?, row.try_get("scope")?))
}

/// Removes the sums of those budgets for which no trace counts any more, with what was said and is still to be said of
/// them.
pub(super) async fn forget_budgets(
    connection: &mut AnyConnection,
    dialect: Dialect,
    budgets: BTreeSet<BudgetKey>,
) -> Result<(), sqlx::Error> {
    let mut fingerprints = Vec::new();
    for (day, scope) in budgets {
        // Who counts a trace for it meanwhile holds this row, and is seen afterwards.
        let sum = format!("SELECT spent FROM agent_budget_day WHERE day = $1 AND scope = $2{}", dialect.lock());
        sqlx::query(AssertSqlSafe(sum)).bind(day).bind(scope.as_str()).fetch_optional(&mut *connection).await?;
        let charge = "SELECT cost FROM agent_charge WHERE scope = $1 AND day = $2 LIMIT 1";
        let charge = sqlx::query(charge).bind(scope.as_str()).bind(day).fetch_optional(&mut *connection).await?;
        if charge.is_none() {
            let sql = "DELETE FROM agent_budget_day WHERE day = $1 AND scope = $2";
            sqlx::query(sql).bind(day).bind(scope.as_str()).execute(&mut *connection).await?;
            fingerprints.push(alert_fingerprint(AGENT_BUDGET, &scope, day));
        }
    }
    let fingerprints: Vec<&str> = fingerprints.iter().map(String::as_str).collect();
    for column in [
        "alert WHERE fingerprint",
        "alert_event WHERE fingerprint",
        "alert_notice WHERE fingerprint",
        "outbox WHERE lane",
    ] {
        for_keys(connection, &format!("DELETE FROM {column} IN"), &fingerprints, "").await?;
    }
    Ok(())
}

/// Adds to the sums, in one order everywhere.
async fn add(
    connection: &mut AnyConnection,
    dialect: Dialect,
    sums: Vec<((i64, String), i64)>,
) -> Result<(), sqlx::Error> {
    let least = dialect.least();
    let then = format!(
        "ON CONFLICT (day, scope) DO UPDATE SET spent = {least}(agent_budget_day.spent + excluded.spent, {MOST_SPENT})"
    );
    insert(
        connection,
        "agent_budget_day (day, scope, spent)",
        &sums,
        |row, ((day, scope), spent)| {
            row.bind(*day).bind(scope.as_str()).bind(*spent);
        },
        &then,
    )
    .await
    .map(drop)
}
