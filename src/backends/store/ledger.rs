//! The spend ledger and the day's budget: a row for every request before it leaves, settled when its price is known.
//!
//! In a budget, `committed` is the sum of what was charged and what is reserved. Reserving checks and raises it in one
//! transaction with the ledger's rows, for as many calls as wait; settling lowers it to what was charged. Whoever dies
//! in between leaves the reservation, which then counts in full.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{key, text};
use super::retry::retried;
use super::statement::{Statement, for_keys, insert};
use super::{Store, StoreError};
use crate::domain::ids::TraceId;
use crate::domain::judge::TokenUsage;
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;
use crate::limits::budget::{ALL_SERVICES, Account, Admission, BudgetPolicy, day_of, scopes_of};

/// One request to a judge model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeCall {
    /// Sixteen random bytes.
    pub id: [u8; 16],
    /// When it was reserved; its day's budget bears it.
    pub reserved_at: Timestamp,
    /// The judge model, by its name in the settings.
    pub lane: String,
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Service of the judged trace.
    pub service: String,
    /// The judged trace.
    pub trace_id: TraceId,
    /// The most that it can cost.
    pub reserved: NanoUsd,
    /// How it ended.
    pub settled: Option<Settled>,
}

/// Outcome of a request that was reserved and never left.
pub const NOT_SENT: &str = "not_sent";

impl JudgeCall {
    /// Whether it has left and ended.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.settled.as_ref().is_some_and(|settled| settled.outcome != NOT_SENT)
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What it cost, or the most it can have cost.
    pub charged: NanoUsd,
    /// `answered`, [`NOT_SENT`], or a word for what went wrong.
    pub outcome: String,
    /// The model that answered, as the provider names it.
    pub response_model: Option<String>,
    /// Tokens, as far as the provider said.
    pub usage: TokenUsage,
    /// When it was sent, or would have been.
    pub sent_at: Timestamp,
    /// When it ended.
    pub at: Timestamp,
}

/// What became of reservations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservations {
    /// Whether each call may leave, in the order they were given.
    pub admissions: Vec<Admission>,
    /// What is committed of the day's budgets that were touched, by scope.
    pub committed: BTreeMap<String, NanoUsd>,
    /// Scopes whose budget refused a call.
    pub refused: Vec<String>,
}

/// A day's budget as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetDay {
    /// Days since the Unix epoch.
    pub day: i64,
    /// A service, or empty for all.
    pub scope: String,
    /// What was charged and is reserved.
    pub committed: NanoUsd,
    /// When a call was first refused: the day's judgements are partial since.
    pub stopped_at: Option<Timestamp>,
}

impl Store {
    /// Reserves money for calls and writes their rows; a call that is not admitted leaves no row. `longest_call` is how
    /// long a call can be under way before its reservation is taken for lost.
    ///
    /// # Errors
    /// The database failed; then nothing is reserved.
    pub async fn reserve_calls(
        &self,
        calls: &[JudgeCall],
        policy: &BudgetPolicy,
        longest_call: Duration,
        now: Timestamp,
    ) -> Result<Reservations, StoreError> {
        retried("reserve money for judge calls", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let day = day_of(now);
            let limits: BTreeMap<&str, NanoUsd> = calls.iter().flat_map(|call| policy.scopes(&call.service)).collect();
            let mut accounts = self.lock_accounts(connection, day, &limits).await?;
            if calls.iter().any(|call| policy.admit(&accounts, &call.service, call.reserved) != Admission::Admit) {
                read_under_way(connection, day, now.minus(longest_call), &mut accounts).await?;
            }
            let (admissions, refused) = admit(&mut accounts, policy, calls, day);
            for scope in &refused {
                stop(connection, day, scope, now).await?;
            }
            let admitted = calls.iter().zip(&admissions).filter(|(_, admission)| **admission == Admission::Admit);
            let admitted: Vec<&JudgeCall> = admitted.map(|(call, _)| call).collect();
            commit(connection, day, &admitted).await?;
            insert_calls(connection, &admitted).await?;
            transaction.commit().await?;
            let committed = accounts.into_iter().map(|(scope, account)| (scope, account.committed)).collect();
            Ok(Reservations { admissions, committed, refused })
        })
        .await
    }

    /// Settles requests that no job of the queue has sent.
    ///
    /// # Errors
    /// The database failed; then they stay reserved in full.
    pub async fn settle_calls(&self, calls: &[JudgeCall]) -> Result<(), StoreError> {
        retried("settle judge calls", || async {
            let mut transaction = self.begin().await?;
            settle(&mut transaction, &calls.iter().collect::<Vec<_>>()).await?;
            transaction.commit().await
        })
        .await
    }

    /// The budgets of a day, by scope.
    ///
    /// # Errors
    /// The database failed.
    pub async fn budget_day(&self, day: i64) -> Result<Vec<BudgetDay>, StoreError> {
        retried("read the day's budget", || async {
            let sql = "SELECT day, scope, committed, stopped_at FROM budget_day WHERE day = $1 ORDER BY scope";
            let rows = sqlx::query(sql).bind(day).fetch_all(&self.readers).await?;
            rows.iter().map(read_budget_day).collect()
        })
        .await
    }

    /// The verdicts given before on these questions, by question, where there are some.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cached_verdicts(&self, keys: &[[u8; 32]]) -> Result<BTreeMap<Vec<u8>, String>, StoreError> {
        retried("look up verdicts", || async {
            let slices: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
            let mut connection = self.readers.acquire().await?;
            let rows =
                for_keys(&mut connection, "SELECT key, verdict FROM judge_cache WHERE key IN", &slices, "").await?;
            rows.iter().map(|row| Ok((row.try_get("key")?, row.try_get("verdict")?))).collect()
        })
        .await
    }

    /// Forgets verdicts that were given before `before`; answers whether there may be more of them.
    ///
    /// # Errors
    /// The database failed.
    pub async fn purge_verdicts(&self, before: Timestamp) -> Result<bool, StoreError> {
        const BATCH: i64 = 1_000;
        retried("forget old verdicts", || async {
            let mut transaction = self.begin().await?;
            let sql =
                "DELETE FROM judge_cache WHERE key IN (SELECT key FROM judge_cache WHERE cached_at < $1 LIMIT $2) \
                 RETURNING key";
            let deleted = sqlx::query(sql).bind(before).bind(BATCH).fetch_all(&mut *transaction).await?;
            let keys: Vec<&[u8]> = deleted.iter().map(|row| row.try_get("key")).collect::<Result<_, _>>()?;
            for_keys(&mut transaction, "DELETE FROM judge_cache_trace WHERE key IN", &keys, "").await?;
            transaction.commit().await?;
            Ok(keys.len() == BATCH as usize)
        })
        .await
    }

    /// The accounts of these scopes, each locked until the transaction ends. One that is new starts with what the
    /// ledger holds, so that a limit that is set at noon counts the morning.
    async fn lock_accounts(
        &self,
        connection: &mut AnyConnection,
        day: i64,
        limits: &BTreeMap<&str, NanoUsd>,
    ) -> Result<BTreeMap<String, Account>, sqlx::Error> {
        let mut accounts = BTreeMap::new();
        for (scope, limit) in limits {
            let committed = match self.lock_account(connection, day, scope).await? {
                Some(committed) => Some(committed),
                None => {
                    open_account(connection, day, scope).await?;
                    self.lock_account(connection, day, scope).await?
                }
            };
            let committed = committed.ok_or(sqlx::Error::RowNotFound)?;
            accounts.insert((*scope).to_owned(), Account { limit: *limit, committed, under_way: NanoUsd::ZERO });
        }
        Ok(accounts)
    }

    async fn lock_account(
        &self,
        connection: &mut AnyConnection,
        day: i64,
        scope: &str,
    ) -> Result<Option<NanoUsd>, sqlx::Error> {
        let mut statement = Statement::new("SELECT committed FROM budget_day WHERE day = ");
        statement.bind(day).sql(" AND scope = ").bind(key(scope)).sql(self.dialect.lock());
        let rows = statement.fetch(connection).await?;
        rows.first().map(|row| row.try_get("committed").map(NanoUsd)).transpose()
    }
}

/// Admits what fits, in order, and names the scopes that refused something. A call of another day has to come again: it
/// would be paid for by one day and settled with another.
fn admit(
    accounts: &mut BTreeMap<String, Account>,
    policy: &BudgetPolicy,
    calls: &[JudgeCall],
    day: i64,
) -> (Vec<Admission>, Vec<String>) {
    let mut refused = Vec::new();
    let mut admissions = Vec::with_capacity(calls.len());
    for call in calls {
        if day_of(call.reserved_at) != day {
            admissions.push(Admission::Wait);
            continue;
        }
        let admission = policy.admit(accounts, &call.service, call.reserved);
        for (scope, _) in policy.scopes(&call.service) {
            let Some(account) = accounts.get_mut(scope) else { continue };
            if admission == Admission::Admit {
                account.committed = account.committed + call.reserved;
                account.under_way = account.under_way + call.reserved;
            } else if account.admit(call.reserved) == Admission::Refuse && !refused.iter().any(|it| it == scope) {
                refused.push(scope.to_owned());
            }
        }
        admissions.push(admission);
    }
    (admissions, refused)
}

/// What calls that may still settle have reserved.
async fn read_under_way(
    connection: &mut AnyConnection,
    day: i64,
    since: Timestamp,
    accounts: &mut BTreeMap<String, Account>,
) -> Result<(), sqlx::Error> {
    for (scope, account) in accounts {
        let mut statement = Statement::new(
            "SELECT CAST(coalesce(sum(reserved), 0) AS BIGINT) AS reserved FROM judge_call WHERE day = ",
        );
        statement.bind(day).sql(" AND settled_at IS NULL AND reserved_at > ").bind(since);
        if scope != ALL_SERVICES {
            statement.sql(" AND service = ").bind(key(scope));
        }
        for row in statement.fetch(&mut *connection).await? {
            account.under_way = NanoUsd(row.try_get("reserved")?);
        }
    }
    Ok(())
}

async fn open_account(connection: &mut AnyConnection, day: i64, scope: &str) -> Result<(), sqlx::Error> {
    let mut statement = Statement::new("INSERT INTO budget_day (day, scope, committed) SELECT ");
    statement
        .bind(day)
        .sql(", ")
        .bind(key(scope))
        .sql(", CAST(coalesce(sum(coalesce(charged, reserved)), 0) AS BIGINT) FROM judge_call WHERE day = ");
    statement.bind(day);
    if scope != ALL_SERVICES {
        statement.sql(" AND service = ").bind(key(scope));
    }
    statement.sql(" ON CONFLICT (day, scope) DO NOTHING");
    statement.fetch(connection).await.map(drop)
}

async fn stop(connection: &mut AnyConnection, day: i64, scope: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    let sql = "UPDATE budget_day SET stopped_at = $1 WHERE day = $2 AND scope = $3 AND stopped_at IS NULL";
    sqlx::query(sql).bind(now).bind(day).bind(key(scope)).execute(connection).await.map(drop)
}

/// Raises the budgets of a day by what calls reserve: those that [`give_back`] lowers again, whatever limits this process
/// knows. A scope that no process limits has no row, and none is changed.
async fn commit(connection: &mut AnyConnection, day: i64, calls: &[&JudgeCall]) -> Result<(), sqlx::Error> {
    let mut amounts: BTreeMap<&str, NanoUsd> = BTreeMap::new();
    for call in calls {
        for scope in scopes_of(&call.service) {
            let sum = amounts.entry(scope).or_default();
            *sum = *sum + call.reserved;
        }
    }
    for (scope, amount) in amounts {
        raise(connection, day, scope, amount).await?;
    }
    Ok(())
}

async fn raise(connection: &mut AnyConnection, day: i64, scope: &str, amount: NanoUsd) -> Result<(), sqlx::Error> {
    let sql = "UPDATE budget_day SET committed = committed + $1 WHERE day = $2 AND scope = $3";
    sqlx::query(sql).bind(amount.0).bind(day).bind(key(scope)).execute(connection).await.map(drop)
}

async fn insert_calls(connection: &mut AnyConnection, calls: &[&JudgeCall]) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "judge_call (id, day, reserved_at, lane, evaluator, revision, service, trace_id, reserved, outcome, \
         input_tokens, output_tokens)",
        calls,
        |row, call| {
            row.bind(call.id.as_slice()).bind(day_of(call.reserved_at)).bind(call.reserved_at).bind(key(&call.lane));
            row.bind(key(&call.evaluator)).bind(key(&call.revision)).bind(key(&call.service)).bind(call.trace_id);
            row.bind(call.reserved.0).bind("under_way").bind(0_i64).bind(0_i64);
        },
        "",
    )
    .await
    .map(drop)
}

/// Writes how calls ended, and gives their budgets back what they did not cost. A call that is settled already stays so:
/// when the answer to a commit is lost all of this comes again, and no budget may be given anything twice.
pub(super) async fn settle(connection: &mut AnyConnection, calls: &[&JudgeCall]) -> Result<(), sqlx::Error> {
    let settled: Vec<(&JudgeCall, &Settled)> =
        calls.iter().filter_map(|call| Some((*call, call.settled.as_ref()?))).collect();
    let rows = insert(
        connection,
        "judge_call (id, day, reserved_at, lane, evaluator, revision, service, trace_id, reserved, charged, outcome, \
         response_model, input_tokens, output_tokens, sent_at, settled_at)",
        &settled,
        |row, (call, end)| {
            row.bind(call.id.as_slice()).bind(day_of(call.reserved_at)).bind(call.reserved_at).bind(key(&call.lane));
            row.bind(key(&call.evaluator)).bind(key(&call.revision)).bind(key(&call.service)).bind(call.trace_id);
            row.bind(call.reserved.0).bind(end.charged.0).bind(key(&end.outcome));
            row.bind(end.response_model.as_deref().map(text));
            let tokens = [end.usage.input, end.usage.output].map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX));
            row.bind(tokens[0]).bind(tokens[1]).bind(end.sent_at).bind(end.at);
        },
        "ON CONFLICT (id) DO UPDATE SET charged = excluded.charged, outcome = excluded.outcome, \
         response_model = excluded.response_model, input_tokens = excluded.input_tokens, \
         output_tokens = excluded.output_tokens, \
         sent_at = excluded.sent_at, settled_at = excluded.settled_at WHERE judge_call.settled_at IS NULL RETURNING id",
    )
    .await?;
    let now_settled: BTreeSet<Vec<u8>> = rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?;
    let settled: Vec<_> = settled.into_iter().filter(|(call, _)| now_settled.contains(call.id.as_slice())).collect();
    give_back(connection, &settled).await
}

async fn give_back(connection: &mut AnyConnection, settled: &[(&JudgeCall, &Settled)]) -> Result<(), sqlx::Error> {
    let mut differences: BTreeMap<(i64, &str), NanoUsd> = BTreeMap::new();
    for (call, end) in settled {
        for scope in scopes_of(&call.service) {
            let difference = differences.entry((day_of(call.reserved_at), scope)).or_default();
            *difference = *difference + end.charged - call.reserved;
        }
    }
    for ((day, scope), difference) in differences.into_iter().filter(|(_, difference)| *difference != NanoUsd::ZERO) {
        raise(connection, day, scope, difference).await?;
    }
    Ok(())
}

fn read_budget_day(row: &AnyRow) -> Result<BudgetDay, sqlx::Error> {
    Ok(BudgetDay {
        day: row.try_get("day")?,
        scope: row.try_get("scope")?,
        committed: NanoUsd(row.try_get("committed")?),
        stopped_at: row.try_get("stopped_at")?,
    })
}
