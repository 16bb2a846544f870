//! Alerts, last raised first, and what people do about them: take one in hand, silence some for a time.

use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{LONGEST_WORDS, QueryError};
use crate::backends::store::{AlertFilter, Store};
use crate::domain::alert::{Acknowledgement, Alert, AlertState, Amendment};
use crate::domain::silence::{Silence, SilenceMatcher};
use crate::domain::time::Timestamp;

/// What is silenced longer is not watched.
const LONGEST_SILENCE: Duration = Duration::from_hours(24 * 365);

/// The alerts that were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    /// Last raised first.
    pub alerts: Vec<Alert>,
}

/// Alerts of one cause.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertGroup {
    /// The one that is told.
    pub parent: Alert,
    /// Those it speaks for.
    pub children: Vec<Alert>,
}

impl Alerts {
    /// The alerts by cause, in their order: each with those that it speaks for.
    #[must_use]
    pub fn groups(&self) -> Vec<AlertGroup> {
        let is_child = |alert: &&Alert| self.alerts.iter().any(|other| alert.is_told_by(other));
        let children = |parent: &Alert| self.alerts.iter().filter(|alert| alert.is_told_by(parent)).cloned().collect();
        let parents = self.alerts.iter().filter(|alert| !is_child(alert));
        parents.map(|parent| AlertGroup { parent: parent.clone(), children: children(parent) }).collect()
    }
}

/// The silences that hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silences {
    /// Soonest to end first.
    pub silences: Vec<Silence>,
}

/// Someone takes an alert in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckRequest {
    /// Who.
    pub by: String,
    /// What they say.
    #[serde(default)]
    pub note: Option<String>,
}

/// A silence as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceRequest {
    /// Which alerts: an alert's id, or `key=value[,key=value]`.
    pub matcher: String,
    /// For how long, for example `2h`.
    #[serde(rename = "for")]
    pub duration: String,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Someone ends a silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsilenceRequest {
    /// Who.
    pub by: String,
}

/// Lists alerts.
///
/// # Errors
/// The store failed.
pub async fn alerts(store: &Store, filter: &AlertFilter) -> Result<Alerts, QueryError> {
    Ok(Alerts { alerts: store.alerts(filter).await? })
}

/// One alert.
///
/// # Errors
/// There is none with this id, or the store failed.
pub async fn alert(store: &Store, id: &str) -> Result<Alert, QueryError> {
    store.alert(id).await?.ok_or_else(|| QueryError::UnknownAlert { id: id.to_owned() })
}

/// Takes an open alert in hand. Answers the alert as it is then.
///
/// # Errors
/// There is none with this id, it is over, or the store failed.
pub async fn acknowledge(store: &Store, id: &str, asked: AckRequest, now: Timestamp) -> Result<Alert, QueryError> {
    let by = words("by", &asked.by)?;
    let note = asked.note.as_deref().map(|note| words("note", note)).transpose()?;
    let amendment = Amendment::Acknowledge(Acknowledgement { by, at: now, note });
    let alert = store.amend_alert(id, &amendment, now).await?;
    match alert.ok_or_else(|| QueryError::UnknownAlert { id: id.to_owned() })? {
        alert if alert.state == AlertState::Resolved => Err(QueryError::AlertOver { id: id.to_owned() }),
        alert => Ok(alert),
    }
}

/// Lists the silences that hold.
///
/// # Errors
/// The store failed.
pub async fn silences(store: &Store, now: Timestamp) -> Result<Silences, QueryError> {
    Ok(Silences { silences: store.silences(now).await? })
}

/// Silences alerts for a time: they are recorded and not sent.
///
/// # Errors
/// What is asked for means nothing, or the store failed.
pub async fn silence(store: &Store, asked: &SilenceRequest, now: Timestamp) -> Result<Silence, QueryError> {
    let matcher: SilenceMatcher = asked.matcher.parse()?;
    let duration = humantime::parse_duration(&asked.duration).ok();
    let duration = duration.filter(|duration| !duration.is_zero() && *duration <= LONGEST_SILENCE);
    let duration = duration.ok_or_else(|| QueryError::SilenceTime { text: asked.duration.clone() })?;
    let identity = digest(&SHA256, format!("{matcher}:{}:{}", asked.by, now.0).as_bytes());
    let silence = Silence {
        id: hex::encode(&identity.as_ref()[..4]),
        matcher,
        by: words("by", &asked.by)?,
        reason: words("reason", &asked.reason)?,
        created_at: now,
        ends_at: now.plus(duration),
        ended_by: None,
    };
    store.insert_silence(&silence).await?;
    Ok(silence)
}

/// Ends a silence before its time.
///
/// # Errors
/// There is none with this id, or the store failed.
pub async fn unsilence(
    store: &Store,
    id: &str,
    asked: &UnsilenceRequest,
    now: Timestamp,
) -> Result<Silence, QueryError> {
    let ended = store.end_silence(id, &words("by", &asked.by)?, now).await?;
    ended.ok_or_else(|| QueryError::UnknownSilence { id: id.to_owned() })
}

pub(super) fn words(name: &'static str, text: &str) -> Result<String, QueryError> {
    let text = text.trim();
    let is_usable = !text.is_empty() && text.chars().count() <= LONGEST_WORDS;
    is_usable.then(|| text.to_owned()).ok_or(QueryError::Words { name })
}
