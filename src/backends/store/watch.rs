//! What the watchers keep: which hours they have consumed, and what their detectors remember.

use std::time::Duration;

use sqlx::{AnyConnection, Row};

use super::alerts::report_alerts;
use super::columns::{count, key, text};
use super::retry::retried;
use super::{Store, StoreError};
use crate::domain::alert::Alert;
use crate::domain::time::Timestamp;

/// Everything that consuming an hour of a service leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct HourCommit {
    /// The service.
    pub service: String,
    /// Start of the hour.
    pub hour: Timestamp,
    /// Traces that were consumed.
    pub traces: u64,
    /// What [`Store::detector_state`] said before.
    pub previous_state: Option<String>,
    /// What the detectors remember from now on, as JSON.
    pub detector_state: String,
    /// What of it the rules remember, as JSON.
    pub rules: String,
    /// What was seen in the hour, as JSON.
    pub summary: String,
    /// What detectors say of alerts that are new or changed.
    pub alerts: Vec<Alert>,
}

/// An hour that the detectors have consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedHour {
    /// The service.
    pub service: String,
    /// Start of the hour.
    pub hour: Timestamp,
    /// When it was consumed.
    pub watched_at: Timestamp,
    /// Traces that were consumed.
    pub traces: u64,
    /// Traces of the hour that came later: reports have them, detectors have not.
    pub late_excluded: u64,
    /// What was seen in the hour, as JSON.
    pub summary: String,
}

impl Store {
    /// Hours that have traces, ended at or before `before`, and were not consumed; earliest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn unwatched_hours(&self, before: Timestamp) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let last = before.minus(Duration::from_hours(1));
        retried("list unwatched hours", || async {
            let sql = "SELECT service, hour FROM service_hour WHERE watched_at IS NULL AND hour <= $1 \
                       ORDER BY hour, service";
            let rows = sqlx::query(sql).bind(last).fetch_all(&self.readers).await?;
            rows.iter().map(|row| Ok((row.try_get("service")?, row.try_get("hour")?))).collect()
        })
        .await
    }

    /// Consumes an hour. Answers false, and changes nothing, when the hour was consumed before, or when the detectors'
    /// state has changed since it was read: then read it again and look again.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn commit_hour(&self, commit: &HourCommit, now: Timestamp) -> Result<bool, StoreError> {
        retried("consume an hour", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            // What was done so far is undone when the transaction is not committed.
            if !swap_state(connection, commit).await? || !consume(connection, commit, now).await? {
                return Ok(false);
            }
            report_alerts(connection, self.dialect, &commit.alerts, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Keeps what the rules of a service made of an hour that stays to be consumed. Answers false, and changes nothing,
    /// when the state has changed since it was read; the hour's summary is not kept.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn commit_rules(&self, commit: &HourCommit, now: Timestamp) -> Result<bool, StoreError> {
        retried("keep the state of rules", || async {
            let mut transaction = self.begin().await?;
            if !swap_state(&mut transaction, commit).await? {
                return Ok(false);
            }
            report_alerts(&mut transaction, self.dialect, &commit.alerts, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// The services whose detectors remember something, by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn watched_services(&self) -> Result<Vec<String>, StoreError> {
        retried("list watched services", || async {
            sqlx::query_scalar("SELECT service FROM detector_state ORDER BY service").fetch_all(&self.readers).await
        })
        .await
    }

    /// What the rules of every service remember, each as a JSON object that has it as `rules`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn rule_states(&self) -> Result<Vec<(String, String)>, StoreError> {
        retried("read the rules' state", || async {
            // Of a service that a process of an earlier release has watched last, there is only everything.
            let sql = "SELECT detector_state.service AS service, coalesce('{\"rules\":' || rules || '}', state) AS kept \
                       FROM detector_state LEFT JOIN detector_rules ON detector_rules.service = detector_state.service \
                       ORDER BY detector_state.service";
            let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
            rows.iter().map(|row| Ok((row.try_get("service")?, row.try_get("kept")?))).collect()
        })
        .await
    }

    /// What the detectors of a service remember, as JSON.
    ///
    /// # Errors
    /// The database failed.
    pub async fn detector_state(&self, service: &str) -> Result<Option<String>, StoreError> {
        retried("read the detectors' state", || async {
            let query = sqlx::query_scalar("SELECT state FROM detector_state WHERE service = $1").bind(key(service));
            query.fetch_optional(&self.readers).await
        })
        .await
    }

    /// Hours of a service that were consumed and start at or after `since`, earliest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn watched_hours(&self, service: &str, since: Timestamp) -> Result<Vec<WatchedHour>, StoreError> {
        retried("read watched hours", || async {
            let sql = "SELECT service, hour, watched_at, traces, summary, (SELECT count(*) FROM trace \
                       WHERE trace.service = service_hour.service AND trace.ended_at >= service_hour.hour \
                       AND trace.ended_at < service_hour.hour + $1) AS present \
                       FROM service_hour WHERE service = $2 AND hour >= $3 AND watched_at IS NOT NULL ORDER BY hour";
            let query = sqlx::query(sql).bind(Timestamp::NANOS_PER_HOUR).bind(key(service)).bind(since);
            let mut hours = Vec::new();
            for row in query.fetch_all(&self.readers).await? {
                let traces: u64 = count(&row, "traces")?;
                hours.push(WatchedHour {
                    service: row.try_get("service")?,
                    hour: row.try_get("hour")?,
                    watched_at: row.try_get("watched_at")?,
                    traces,
                    late_excluded: count::<u64>(&row, "present")?.saturating_sub(traces),
                    summary: row.try_get("summary")?,
                });
            }
            Ok(hours)
        })
        .await
    }
}

/// Replaces the detectors' state if it is still what it was, and what of it the rules remember, which a change of the state
/// deletes.
async fn swap_state(connection: &mut AnyConnection, commit: &HourCommit) -> Result<bool, sqlx::Error> {
    let service = key(&commit.service);
    let query = match &commit.previous_state {
        None => {
            sqlx::query("INSERT INTO detector_state (service, state) VALUES ($1, $2) ON CONFLICT (service) DO NOTHING")
                .bind(service)
                .bind(text(&commit.detector_state))
        }
        Some(previous) => sqlx::query("UPDATE detector_state SET state = $2 WHERE service = $1 AND state = $3")
            .bind(service)
            .bind(text(&commit.detector_state))
            .bind(previous.as_str()),
    };
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let rules = "INSERT INTO detector_rules (service, rules) VALUES ($1, $2) \
                 ON CONFLICT (service) DO UPDATE SET rules = excluded.rules";
    sqlx::query(rules).bind(key(&commit.service)).bind(text(&commit.rules)).execute(connection).await?;
    Ok(true)
}

/// Marks the hour as consumed, unless it is.
async fn consume(connection: &mut AnyConnection, commit: &HourCommit, now: Timestamp) -> Result<bool, sqlx::Error> {
    let consumed = sqlx::query(
        "INSERT INTO service_hour (service, hour, watched_at, traces, summary) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (service, hour) DO UPDATE SET watched_at = excluded.watched_at, traces = excluded.traces, \
         summary = excluded.summary WHERE service_hour.watched_at IS NULL",
    )
    .bind(key(&commit.service))
    .bind(commit.hour)
    .bind(now)
    .bind(i64::try_from(commit.traces).unwrap_or(i64::MAX))
    .bind(text(&commit.summary))
    .execute(connection)
    .await?;
    Ok(consumed.rows_affected() > 0)
}
