//! Access tokens: made, listed, revoked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{QueryError, words};
use crate::backends::access::create_token;
use crate::backends::store::Store;
use crate::domain::access::{AccessToken, Role};
use crate::domain::time::Timestamp;

const LONGEST_LIFE: Duration = Duration::from_hours(24 * 3650);

/// A token as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it allows.
    pub role: Role,
    /// Whose it is, or what for; without it the role's name.
    #[serde(default)]
    pub name: Option<String>,
    /// How long it lives, for example `90d`; without it for good.
    #[serde(default)]
    pub expires: Option<String>,
}

/// A token as it is given out, once.
#[derive(Clone, Serialize, Deserialize)]
pub struct GivenToken {
    /// What its holder sends.
    pub secret: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub token: AccessToken,
}

/// The tokens there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Oldest first, revoked ones too.
    pub tokens: Vec<AccessToken>,
}

/// Makes a token.
///
/// # Errors
/// What is asked for means nothing, or the store failed.
pub async fn create(store: &Store, asked: &TokenRequest, now: Timestamp) -> Result<GivenToken, QueryError> {
    let name = words("name", asked.name.as_deref().unwrap_or(asked.role.as_str()))?;
    let expires_at = asked.expires.as_deref().map(|text| end(text, now)).transpose()?;
    let made = create_token(store, asked.role, &name, expires_at, now).await?;
    Ok(GivenToken { secret: made.secret, token: made.token })
}

fn end(text: &str, now: Timestamp) -> Result<Timestamp, QueryError> {
    let life = humantime::parse_duration(text).ok().filter(|life| !life.is_zero() && *life <= LONGEST_LIFE);
    life.map(|life| now.plus(life)).ok_or_else(|| QueryError::TokenTime { text: text.to_owned() })
}

/// Lists tokens; what they are is never told again.
///
/// # Errors
/// The store failed.
pub async fn list(store: &Store) -> Result<Tokens, QueryError> {
    Ok(Tokens { tokens: store.tokens().await?.into_iter().map(|(_, token)| token).collect() })
}

/// Revokes the token of an id, or the tokens of a name.
///
/// # Errors
/// There is none, or the store failed.
pub async fn revoke(store: &Store, id: &str, now: Timestamp) -> Result<Tokens, QueryError> {
    let is_meant = |token: &AccessToken| token.revoked_at.is_none() && (token.id == id || token.name == id);
    let mut revoked = Vec::new();
    for (hash, token) in store.tokens().await?.into_iter().filter(|(_, token)| is_meant(token)) {
        store.revoke_token(&hash, now).await?;
        revoked.push(AccessToken { revoked_at: Some(now), ..token });
    }
    if revoked.is_empty() {
        Err(QueryError::UnknownToken { id: id.to_owned() })
    } else {
        Ok(Tokens { tokens: revoked })
    }
}
