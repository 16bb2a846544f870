//! Versions counted by hour, and what traces are judged and watched by.
//!
//! Counts are taken anew from the traces' own rows for every hour that has been recorded into, so they are exact whatever
//! was superseded, and counting twice changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{count, key, parse_word, text, word};
use super::retry::retried;
use super::selection::Selection;
use super::statement::{Statement, insert};
use super::{Store, StoreError};
use crate::domain::release::{ChangeEvent, ChangeKind, VERSION_DIMENSIONS, VersionHour};
use crate::domain::time::Timestamp;

/// How much older than the last count a recorded trace may be that is seen only now: its commit may have taken time, and
/// clocks of other processes may be behind.
const OVERLAP: Duration = Duration::from_mins(10);

impl Store {
    /// The hours of services that were recorded into since everything was counted last, see [`Self::note_counted`].
    ///
    /// # Errors
    /// The database failed.
    pub async fn uncounted_hours(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        retried("list hours with new traces", || async {
            let last = sqlx::query_scalar("SELECT coalesce(max(counted_until), 0) FROM version_count");
            let last = Timestamp(last.fetch_one(&self.readers).await?);
            let mut statement = Statement::new("SELECT DISTINCT service, ended_at - ended_at % ");
            statement.bind(Timestamp::NANOS_PER_HOUR).sql(" AS hour FROM trace WHERE recorded_at >= ");
            statement.bind(last.minus(OVERLAP)).sql(" ORDER BY service, hour");
            let rows = statement.fetch(&self.readers).await?;
            rows.iter().map(|row| Ok((row.try_get("service")?, row.try_get("hour")?))).collect()
        })
        .await
    }

    /// Counts the versions of one hour of a service, and gives them.
    ///
    /// # Errors
    /// The database failed; then the hour is counted as it was.
    pub async fn count_versions(
        &self,
        service: &str,
        hour: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<VersionHour>, StoreError> {
        let counted = self.counted_versions(service, hour).await?;
        self.put_versions(service, hour, &counted, now).await?;
        Ok(counted)
    }

    /// Notes that every hour is counted that was recorded into before an instant: when the hours were listed. A pass that
    /// ends before this is done again as a whole.
    ///
    /// # Errors
    /// The database failed.
    pub async fn note_counted(&self, until: Timestamp) -> Result<(), StoreError> {
        retried("note what is counted", || async {
            let mut transaction = self.begin().await?;
            insert(
                &mut transaction,
                "version_count (id, counted_until)",
                &[until],
                |row, until| {
                    row.bind(1_i64).bind(*until);
                },
                "ON CONFLICT (id) DO UPDATE SET counted_until = excluded.counted_until \
                 WHERE excluded.counted_until > version_count.counted_until",
            )
            .await?;
            transaction.commit().await
        })
        .await
    }

    async fn counted_versions(&self, service: &str, hour: Timestamp) -> Result<Vec<VersionHour>, StoreError> {
        retried("count versions", || async {
            let mut statement = Statement::new(
                "SELECT release, model, prompt_version, agent_version, count(*) AS traces, min(ended_at) AS first_at, \
                 max(ended_at) AS last_at FROM trace WHERE service = ",
            );
            statement.bind(service).sql(" AND ended_at >= ").bind(hour).sql(" AND ended_at < ");
            statement.bind(hour.plus(Duration::from_hours(1)));
            statement.sql(" GROUP BY release, model, prompt_version, agent_version");
            let mut counted = BTreeMap::new();
            for row in statement.fetch(&self.readers).await? {
                add_row(&mut counted, &row, service, hour)?;
            }
            Ok(counted.into_values().collect())
        })
        .await
    }

    async fn put_versions(
        &self,
        service: &str,
        hour: Timestamp,
        counted: &[VersionHour],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        retried("keep counted versions", || async {
            let mut transaction = self.begin().await?;
            let mut gone = Statement::new("DELETE FROM version_hour WHERE service = ");
            gone.bind(service).sql(" AND hour = ").bind(hour);
            gone.fetch(&mut *transaction).await?;
            insert(
                &mut transaction,
                "version_hour (service, dimension, value, hour, traces, first_at, last_at, counted_at)",
                counted,
                |row, one| {
                    row.bind(one.service.as_str()).bind(one.dimension.as_str()).bind(one.value.as_str()).bind(one.hour);
                    row.bind(i64::try_from(one.traces).unwrap_or(i64::MAX))
                        .bind(one.first_at)
                        .bind(one.last_at)
                        .bind(now);
                },
                // Another process may have counted the same hour meanwhile.
                "ON CONFLICT (service, hour, dimension, value) DO UPDATE SET traces = excluded.traces, \
                 first_at = excluded.first_at, last_at = excluded.last_at, counted_at = excluded.counted_at",
            )
            .await?;
            transaction.commit().await
        })
        .await
    }

    /// The counted hours of a service, or of all.
    ///
    /// # Errors
    /// The database failed.
    pub async fn version_hours(&self, service: Option<&str>) -> Result<Vec<VersionHour>, StoreError> {
        retried("read counted versions", || async {
            let mut statement = Statement::new(
                "SELECT service, dimension, value, hour, traces, first_at, last_at FROM version_hour WHERE 1 = 1",
            );
            if let Some(service) = service {
                statement.sql(" AND service = ").bind(key(service));
            }
            statement.sql(" ORDER BY service, dimension, hour, value");
            statement.fetch(&self.readers).await?.iter().map(read_version_hour).collect()
        })
        .await
    }

    /// By which revisions the evaluators scored the traces of a selection.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revisions(&self, selection: &Selection) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
        retried("read revisions", || async {
            let mut statement = Statement::new("");
            for (start, table) in [("", "evaluation"), (" UNION ", "listed_evaluation")] {
                statement.sql(start).sql("SELECT DISTINCT evaluator, revision FROM ").sql(table);
                statement.sql(" WHERE outcome = 'scored' AND trace_id IN (SELECT trace_id FROM trace WHERE 1 = 1");
                selection.narrow(&mut statement);
                statement.sql(")");
            }
            let mut revisions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for row in statement.fetch(&self.readers).await? {
                revisions.entry(row.try_get("evaluator")?).or_default().insert(row.try_get("revision")?);
            }
            Ok(revisions)
        })
        .await
    }

    /// Notes what traces are judged and watched by from now on: each subject with its value. What is as it was is not
    /// noted again. Tells which subjects had another value before.
    ///
    /// # Errors
    /// The database failed; then nothing is noted.
    pub async fn note_definitions(
        &self,
        definitions: &[(ChangeKind, String, String)],
        now: Timestamp,
    ) -> Result<Vec<ChangeEvent>, StoreError> {
        retried("note definitions", || async {
            let mut transaction = self.begin().await?;
            let mut known = BTreeMap::new();
            for event in read_changes(&mut transaction).await? {
                known.insert((event.kind, event.subject), event.to);
            }
            let mut changes = Vec::new();
            for (kind, subject, value) in definitions {
                let from = known.get(&(*kind, subject.clone())).cloned();
                if from.as_ref() != Some(value) {
                    let (subject, to) = (subject.clone(), value.clone());
                    changes.push(ChangeEvent { at: now, kind: *kind, service: None, subject, from, to });
                }
            }
            insert_changes(&mut transaction, &changes).await?;
            transaction.commit().await?;
            changes.retain(|change| change.from.is_some());
            Ok(changes)
        })
        .await
    }

    /// Changes of what traces are judged and watched by, earliest first; what was there from the start is none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn changes(&self) -> Result<Vec<ChangeEvent>, StoreError> {
        retried("read changes", || async {
            let mut transaction = self.begin_read().await?;
            let mut changes = read_changes(&mut transaction).await?;
            transaction.commit().await?;
            changes.retain(|change| change.from.is_some());
            Ok(changes)
        })
        .await
    }
}

/// Adds a row of counts to every dimension's value in it.
fn add_row(
    counted: &mut BTreeMap<(&'static str, String), VersionHour>,
    row: &AnyRow,
    service: &str,
    hour: Timestamp,
) -> Result<(), sqlx::Error> {
    let traces: u64 = count(row, "traces")?;
    let (first_at, last_at): (Timestamp, Timestamp) = (row.try_get("first_at")?, row.try_get("last_at")?);
    for dimension in VERSION_DIMENSIONS {
        let value = row.try_get::<Option<String>, _>(dimension)?.unwrap_or_default();
        let (service, name) = (service.to_owned(), dimension.to_owned());
        let one = counted.entry((dimension, value.clone())).or_insert_with(|| VersionHour {
            service,
            dimension: name,
            value,
            hour,
            traces: 0,
            first_at,
            last_at,
        });
        one.traces += traces;
        one.first_at = one.first_at.min(first_at);
        one.last_at = one.last_at.max(last_at);
    }
    Ok(())
}

fn read_version_hour(row: &AnyRow) -> Result<VersionHour, sqlx::Error> {
    Ok(VersionHour {
        service: row.try_get("service")?,
        dimension: row.try_get("dimension")?,
        value: row.try_get("value")?,
        hour: row.try_get("hour")?,
        traces: count(row, "traces")?,
        first_at: row.try_get("first_at")?,
        last_at: row.try_get("last_at")?,
    })
}

/// Every noted value, earliest first, with the one before it.
async fn read_changes(connection: &mut AnyConnection) -> Result<Vec<ChangeEvent>, sqlx::Error> {
    let sql = "SELECT kind, subject, changed_at, value FROM change_event ORDER BY changed_at, kind, subject";
    let mut values: BTreeMap<(ChangeKind, String), String> = BTreeMap::new();
    let mut changes = Vec::new();
    for row in sqlx::query(sql).fetch_all(connection).await? {
        let (kind, subject): (ChangeKind, String) = (parse_word(row.try_get("kind")?)?, row.try_get("subject")?);
        let to: String = row.try_get("value")?;
        let from = values.insert((kind, subject.clone()), to.clone());
        changes.push(ChangeEvent { at: row.try_get("changed_at")?, kind, service: None, subject, from, to });
    }
    Ok(changes)
}

async fn insert_changes(connection: &mut AnyConnection, changes: &[ChangeEvent]) -> Result<(), sqlx::Error> {
    let mut rows = Vec::with_capacity(changes.len());
    for change in changes {
        rows.push((word(&change.kind)?, change));
    }
    insert(
        connection,
        "change_event (kind, subject, changed_at, value)",
        &rows,
        |row, (kind, change)| {
            row.bind(kind.as_str()).bind(key(&change.subject)).bind(change.at).bind(text(&change.to));
        },
        "ON CONFLICT (kind, subject, changed_at) DO NOTHING",
    )
    .await
    .map(drop)
}
