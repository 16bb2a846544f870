//! Alerts: what each is now, every step of its life, and what has been told of it.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::audit_log::append;
use super::columns::{flag, json, key, parse_json, parse_word, word};
use super::dialect::Dialect;
use super::outbox::{NewOutboxItem, insert_in_order};
use super::retry::retried;
use super::statement::{Statement, Values, insert};
use super::traces::classify;
use super::{Store, StoreError};
use crate::domain::access::{Action, NewLogEntry};
use crate::domain::alert::{Alert, AlertEvent, AlertState, Amendment, Severity, Transition};
use crate::domain::evaluation::FailureClass;
use crate::domain::time::Timestamp;

const COLUMNS: &str = "alert (fingerprint, service, state, severity, raised_at, updated_at, alert, confirmed_at)";

/// Which alerts are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Only what still goes on.
    pub open_only: bool,
    /// Only this service.
    pub service: Option<String>,
}

/// An alert that there may be something to tell of.
#[derive(Debug, Clone, PartialEq)]
pub struct Noticing {
    /// The alert as it is now.
    pub alert: Alert,
    /// When a detector last reported it, by the clock; unknown of alerts of an earlier release.
    pub confirmed_at: Option<Timestamp>,
    /// Its steps that have not been considered yet, in order.
    pub events: Vec<AlertEvent>,
    /// The step before them, where there are any, and it is still kept.
    pub considered: Option<AlertEvent>,
    /// What has been told of it.
    pub notice: Option<Notice>,
}

/// What has been told of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The last step that was considered.
    pub last_event: i64,
    /// Whether anyone still waits to be told the end of it.
    pub is_open: bool,
    /// What each channel knows, as JSON.
    pub told: String,
}

/// Everything that telling of an alert leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeCommit {
    /// The alert.
    pub fingerprint: String,
    /// What [`Store::noticing`] said before.
    pub before: Option<Notice>,
    /// What has been told from now on.
    pub after: Notice,
    /// What is to be sent, in this order.
    pub messages: Vec<NewOutboxItem>,
}

impl Store {
    /// Alerts, last raised first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StoreError> {
        retried("read alerts", || async {
            let mut statement = Statement::new("SELECT alert FROM alert WHERE 1 = 1");
            if filter.open_only {
                statement.sql(" AND state <> ").bind(word(&AlertState::Resolved)?);
            }
            if let Some(service) = &filter.service {
                statement.sql(" AND service = ").bind(key(service));
            }
            statement.sql(" ORDER BY raised_at DESC, fingerprint");
            let rows = statement.fetch(&self.readers).await?;
            rows.iter().map(|row| parse_json(row.try_get("alert")?)).collect()
        })
        .await
    }

    /// One alert as it is now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn alert(&self, fingerprint: &str) -> Result<Option<Alert>, StoreError> {
        retried("read an alert", || async { read(&mut *self.readers.acquire().await?, fingerprint, "").await }).await
    }

    /// Every step in the life of an alert, earliest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn alert_events(&self, fingerprint: &str) -> Result<Vec<AlertEvent>, StoreError> {
        retried("read the life of an alert", || async {
            events(&mut *self.readers.acquire().await?, fingerprint, 0).await
        })
        .await
    }

    /// Forgets some thousand steps from before an instant, of alerts that are over; whether there may be more. What each
    /// alert is now stays.
    ///
    /// # Errors
    /// The database failed.
    pub async fn purge_alert_events(&self, before: Timestamp) -> Result<bool, StoreError> {
        const BATCH: i64 = 1_000;
        retried("forget old steps of alerts", || async {
            let sql = "DELETE FROM alert_event WHERE id IN (SELECT alert_event.id FROM alert_event JOIN alert \
                       ON alert.fingerprint = alert_event.fingerprint WHERE alert_event.at < $1 \
                       AND alert.state = $2 LIMIT $3)";
            let over = word(&AlertState::Resolved)?;
            let query = sqlx::query(sql).bind(before).bind(over).bind(BATCH);
            Ok(query.execute(&self.writers).await?.rows_affected() == BATCH as u64)
        })
        .await
    }

    /// Keeps what a detector says of an alert. What people did with an open one stands.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn put_alert(&self, alert: &Alert, now: Timestamp) -> Result<(), StoreError> {
        retried("write an alert", || async {
            let mut transaction = self.begin().await?;
            report_alerts(&mut transaction, self.dialect, std::slice::from_ref(alert), now).await?;
            transaction.commit().await
        })
        .await
    }

    /// Amends an open alert. Answers the alert as it is now; `None` when there is none.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn amend_alert(
        &self,
        fingerprint: &str,
        amendment: &Amendment,
        now: Timestamp,
    ) -> Result<Option<Alert>, StoreError> {
        retried("change an alert", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let Some(before) = read(connection, fingerprint, self.dialect.lock()).await? else { return Ok(None) };
            let Some(after) = before.amended(amendment) else { return Ok(Some(before)) };
            overwrite(connection, &after).await?;
            note(connection, Some(&before), &after, now).await?;
            if let Amendment::Acknowledge(acknowledgement) = amendment {
                let detail = format!("by {}", acknowledgement.by);
                let entry = NewLogEntry { action: Action::Acknowledge, subject: fingerprint.to_owned(), detail };
                append(connection, &[entry], now).await?;
            }
            transaction.commit().await?;
            Ok(Some(after))
        })
        .await
    }

    /// Alerts that are open, have steps that were not considered, or of which someone waits to be told the end.
    ///
    /// # Errors
    /// The database failed.
    pub async fn noticing(&self) -> Result<Vec<Noticing>, StoreError> {
        retried("look for what is to be told", || async {
            let mut transaction = self.begin_read().await?;
            let connection = &mut *transaction;
            let mut statement = Statement::new(
                "SELECT alert.fingerprint, alert.alert, alert.confirmed_at, alert_notice.last_event, \
                 alert_notice.is_open, alert_notice.told FROM alert LEFT JOIN alert_notice \
                 ON alert_notice.fingerprint = alert.fingerprint WHERE alert.state <> ",
            );
            statement.bind(word(&AlertState::Resolved)?).sql(
                " OR alert_notice.is_open = 1 OR EXISTS (SELECT 1 FROM alert_event \
                 WHERE alert_event.fingerprint = alert.fingerprint AND alert_event.id > \
                 coalesce(alert_notice.last_event, 0)) ORDER BY alert.raised_at, alert.fingerprint",
            );
            let mut found = Vec::new();
            for row in statement.fetch(&mut *connection).await? {
                let notice = read_notice(&row)?;
                let after = notice.as_ref().map_or(0, |notice| notice.last_event);
                let new = events(connection, row.try_get("fingerprint")?, after).await?;
                let considered = match new.first() {
                    Some(step) => {
                        let all = events(connection, &step.alert.fingerprint, after - 1).await?;
                        all.into_iter().next().filter(|step| step.id == after)
                    }
                    None => None,
                };
                found.push(Noticing {
                    alert: parse_json(row.try_get("alert")?)?,
                    confirmed_at: row.try_get("confirmed_at")?,
                    events: new,
                    considered,
                    notice,
                });
            }
            transaction.commit().await?;
            Ok(found)
        })
        .await
    }

    /// Keeps what is told of an alert, and its messages. Answers false, and changes nothing, when someone else has told
    /// of it since it was read.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn commit_notice(&self, commit: &NoticeCommit, now: Timestamp) -> Result<bool, StoreError> {
        retried("note what is told", || async {
            let mut transaction = self.begin().await?;
            if !swap_notice(&mut transaction, commit).await? {
                return Ok(false);
            }
            insert_in_order(&mut transaction, &commit.fingerprint, &commit.messages, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }
}

/// Keeps what detectors say of alerts, and the steps that follow.
pub(super) async fn report_alerts(
    connection: &mut AnyConnection,
    dialect: Dialect,
    alerts: &[Alert],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for alert in alerts {
        let stored = match insert_new(connection, alert, now).await? {
            true => None,
            false => read(connection, &alert.fingerprint, dialect.lock()).await?,
        };
        let kept = alert.reported(stored.as_ref());
        if stored.is_some() {
            overwrite(connection, &kept).await?;
            confirm(connection, &kept.fingerprint, now).await?;
        }
        note(connection, stored.as_ref(), &kept, now).await?;
        // What merely deviates, one hour in twenty does; and what is wrong with a trace by itself stands.
        if alert.severity > Severity::Info {
            classify(connection, &alert.trace_ids, FailureClass::Drifting).await?;
        }
    }
    Ok(())
}

/// Inserts an alert unless its fingerprint is known; whether it was not. Of two processes at once, one waits here.
async fn insert_new(connection: &mut AnyConnection, alert: &Alert, now: Timestamp) -> Result<bool, sqlx::Error> {
    let (state, severity, json) = (word(&alert.state)?, word(&alert.severity)?, json(alert)?);
    let write = |row: &mut Values<'_>, alert: &&Alert| {
        row.bind(key(&alert.fingerprint)).bind(key(&alert.service)).bind(state.as_str()).bind(severity.as_str());
        row.bind(alert.raised_at).bind(alert.updated_at).bind(json.as_str()).bind(now);
    };
    let then = "ON CONFLICT (fingerprint) DO NOTHING RETURNING fingerprint";
    Ok(!insert(connection, COLUMNS, &[alert], write, then).await?.is_empty())
}

async fn overwrite(connection: &mut AnyConnection, alert: &Alert) -> Result<(), sqlx::Error> {
    let mut statement = Statement::new("UPDATE alert SET state = ");
    statement.bind(word(&alert.state)?).sql(", severity = ").bind(word(&alert.severity)?);
    statement.sql(", raised_at = ").bind(alert.raised_at).sql(", updated_at = ").bind(alert.updated_at);
    statement.sql(", alert = ").bind(json(alert)?).sql(" WHERE fingerprint = ").bind(key(&alert.fingerprint));
    statement.fetch(connection).await.map(drop)
}

async fn confirm(connection: &mut AnyConnection, fingerprint: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    let mut statement = Statement::new("UPDATE alert SET confirmed_at = ");
    statement.bind(now).sql(" WHERE fingerprint = ").bind(key(fingerprint));
    statement.fetch(connection).await.map(drop)
}

/// Writes down the step from one version of an alert to the next. The alert's row is locked, so that the steps of one
/// alert are numbered in the order in which they are committed.
async fn note(
    connection: &mut AnyConnection,
    before: Option<&Alert>,
    after: &Alert,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let Some(transition) = Transition::between(before, after) else { return Ok(()) };
    let (transition, json) = (word(&transition)?, json(after)?);
    let write = |row: &mut Values<'_>, alert: &&Alert| {
        row.bind(key(&alert.fingerprint)).bind(now).bind(transition.as_str()).bind(json.as_str());
    };
    insert(connection, "alert_event (fingerprint, at, transition, alert)", &[after], write, "").await.map(drop)
}

async fn read(connection: &mut AnyConnection, fingerprint: &str, lock: &str) -> Result<Option<Alert>, sqlx::Error> {
    let mut statement = Statement::new("SELECT alert FROM alert WHERE fingerprint = ");
    statement.bind(key(fingerprint)).sql(lock);
    let rows = statement.fetch(connection).await?;
    rows.first().map(|row| parse_json(row.try_get("alert")?)).transpose()
}

async fn events(connection: &mut AnyConnection, fingerprint: &str, after: i64) -> Result<Vec<AlertEvent>, sqlx::Error> {
    let mut statement = Statement::new("SELECT id, at, transition, alert FROM alert_event WHERE fingerprint = ");
    statement.bind(key(fingerprint)).sql(" AND id > ").bind(after).sql(" ORDER BY id");
    let rows = statement.fetch(connection).await?;
    let event = |row: &AnyRow| {
        Ok(AlertEvent {
            id: row.try_get("id")?,
            at: row.try_get("at")?,
            transition: parse_word(row.try_get("transition")?)?,
            alert: parse_json(row.try_get("alert")?)?,
        })
    };
    rows.iter().map(event).collect()
}

fn read_notice(row: &AnyRow) -> Result<Option<Notice>, sqlx::Error> {
    let Some(last_event) = row.try_get::<Option<i64>, _>("last_event")? else { return Ok(None) };
    Ok(Some(Notice { last_event, is_open: flag(row, "is_open")?, told: row.try_get("told")? }))
}

/// Replaces what has been told if it is still what it was.
async fn swap_notice(connection: &mut AnyConnection, commit: &NoticeCommit) -> Result<bool, sqlx::Error> {
    let NoticeCommit { fingerprint, before, after, .. } = commit;
    let is_open = i64::from(after.is_open);
    let Some(before) = before else {
        let write = |row: &mut Values<'_>, after: &&Notice| {
            row.bind(key(fingerprint)).bind(after.last_event).bind(is_open).bind(after.told.as_str());
        };
        let then = "ON CONFLICT (fingerprint) DO NOTHING RETURNING fingerprint";
        let into = "alert_notice (fingerprint, last_event, is_open, told)";
        return Ok(!insert(connection, into, &[after], write, then).await?.is_empty());
    };
    let mut statement = Statement::new("UPDATE alert_notice SET last_event = ");
    statement.bind(after.last_event).sql(", is_open = ").bind(is_open).sql(", told = ").bind(after.told.as_str());
    statement.sql(" WHERE fingerprint = ").bind(key(fingerprint)).sql(" AND last_event = ").bind(before.last_event);
    statement.sql(" AND told = ").bind(before.told.as_str()).sql(" RETURNING fingerprint");
    Ok(!statement.fetch(connection).await?.is_empty())
}
