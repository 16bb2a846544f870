//! What sampling asks of the traces before: how many fell under which stratum, and which agent versions are known.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{count, key, limit};
use super::retry::retried;
use super::selection::Selection;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// Traces of one service that fell under one stratum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StratumCount {
    /// The service.
    pub service: String,
    /// The stratum: a policy's name or a built-in reason.
    pub stratum: String,
    /// Traces that were received.
    pub traces: u64,
    /// Those of them that were chosen for judging.
    pub sampled: u64,
}

/// A version of a service's agent.
pub type AgentVersion = (String, String);

impl Store {
    /// The exact totals of a selection by service and stratum. They are counted over the traces' own rows, of which
    /// every received trace has one whatever sampling decided, so they hold once however often a step ran.
    ///
    /// # Errors
    /// The database failed.
    pub async fn strata(&self, selection: &Selection) -> Result<Vec<StratumCount>, StoreError> {
        self.count_strata(|statement| selection.narrow(statement)).await
    }

    /// The totals of the traces that were recorded at or after `since` and before `until`, whenever they ended.
    ///
    /// # Errors
    /// The database failed.
    pub async fn strata_recorded(&self, since: Timestamp, until: Timestamp) -> Result<Vec<StratumCount>, StoreError> {
        let narrow = |statement: &mut Statement| {
            statement.sql(" AND recorded_at >= ").bind(since).sql(" AND recorded_at < ").bind(until);
        };
        self.count_strata(narrow).await
    }

    async fn count_strata(&self, narrow: impl Fn(&mut Statement)) -> Result<Vec<StratumCount>, StoreError> {
        retried("count traces by stratum", || async {
            let mut statement = Statement::new(
                "SELECT service, stratum, count(*) AS traces, count(CASE WHEN sampled = 1 THEN 1 END) AS sampled \
                 FROM trace WHERE stratum IS NOT NULL",
            );
            narrow(&mut statement);
            statement.sql(" GROUP BY service, stratum ORDER BY service, stratum");
            statement.fetch(&self.readers).await?.iter().map(read_stratum).collect()
        })
        .await
    }

    /// Notes versions of agents, as long as fewer than `most` of their service were first seen since `since`, and tells
    /// which of the given are known now. Processes that do so at the same moment may let in one more each.
    ///
    /// # Errors
    /// The database failed; then nothing is noted.
    pub async fn admit_agent_versions(
        &self,
        versions: &BTreeSet<AgentVersion>,
        since: Timestamp,
        most: usize,
        now: Timestamp,
    ) -> Result<BTreeSet<AgentVersion>, StoreError> {
        retried("note agent versions", || async {
            let mut transaction = self.begin().await?;
            let mut known = BTreeSet::new();
            for (service, version) in versions {
                admit(&mut transaction, (service, version), since, most, now).await?;
                if is_known(&mut transaction, (service, version)).await? {
                    known.insert((service.clone(), version.clone()));
                }
            }
            transaction.commit().await?;
            Ok(known)
        })
        .await
    }
}

fn read_stratum(row: &AnyRow) -> Result<StratumCount, sqlx::Error> {
    Ok(StratumCount {
        service: row.try_get("service")?,
        stratum: row.try_get("stratum")?,
        traces: count(row, "traces")?,
        sampled: count(row, "sampled")?,
    })
}

async fn admit(
    connection: &mut AnyConnection,
    (service, version): (&str, &str),
    since: Timestamp,
    most: usize,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut statement = Statement::new("INSERT INTO agent_version (service, version, first_seen_at) SELECT ");
    statement.sql("CAST(").bind(key(service)).sql(" AS TEXT), CAST(").bind(key(version)).sql(" AS TEXT), CAST(");
    statement.bind(now).sql(" AS BIGINT) WHERE (SELECT count(*) FROM agent_version WHERE service = ");
    statement.bind(key(service)).sql(" AND first_seen_at >= ").bind(since).sql(") < ").bind(limit(most));
    statement.sql(" ON CONFLICT (service, version) DO NOTHING");
    statement.fetch(connection).await.map(drop)
}

async fn is_known(connection: &mut AnyConnection, (service, version): (&str, &str)) -> Result<bool, sqlx::Error> {
    let mut statement = Statement::new("SELECT version FROM agent_version WHERE service = ");
    statement.bind(key(service)).sql(" AND version = ").bind(key(version));
    Ok(!statement.fetch(connection).await?.is_empty())
}
