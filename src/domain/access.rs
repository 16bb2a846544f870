//! Who may do what, and what is noted of it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Send traces and feedback, and nothing else.
    Ingest,
    /// Look at everything.
    Read,
    /// Look, label, and take alerts in hand.
    Review,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Read, Self::Review, Self::Admin];

    /// Whether a holder of this role may do what asks for another.
    #[must_use]
    pub const fn allows(self, needed: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Review => matches!(needed, Self::Read | Self::Review),
            Self::Read => matches!(needed, Self::Read),
            Self::Ingest => matches!(needed, Self::Ingest),
        }
    }

    /// The role as it is written in JSON, columns and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Review => "review",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is none of ingest, read, review, admin"))
    }
}

/// An access token as it is kept: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The first digits of its hash, by which it is revoked.
    pub id: String,
    /// Whose it is, or what for.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made, in nanoseconds since the Unix epoch.
    pub created_at: Timestamp,
    /// From when on it does nothing any more; absent for never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl AccessToken {
    /// Whether it opens anything.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Something that is noted for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Text of a trace was shown.
    Read,
    /// A trace was labelled.
    Label,
    /// An alert was taken in hand.
    Acknowledge,
    /// Alerts were silenced.
    Silence,
    /// A silence was ended.
    Unsilence,
    /// The service started with settings that differ from those before.
    Configure,
    /// A token was made.
    CreateToken,
    /// A token was revoked.
    RevokeToken,
    /// Traces were erased.
    Erase,
}

/// What is to be noted; who did it and when is known where it is noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLogEntry {
    /// What was done.
    pub action: Action,
    /// What it was done to: ids, never text of traces, and nobody's name in clear who was erased.
    pub subject: String,
    /// What else there is to know.
    pub detail: String,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Later lines have larger ones.
    pub id: i64,
    /// When, in nanoseconds since the Unix epoch.
    pub at: Timestamp,
    /// The token's name; `local` for who needed none, `user NAME` for commands on the store itself.
    pub actor: String,
    /// What was done.
    pub action: Action,
    /// What it was done to.
    pub subject: String,
    /// What else there is to know.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn a_role_allows_no_more_than_it_says() {
        let allowed = |role: Role| Role::ALL.map(|needed| role.allows(needed));
        assert_eq!(allowed(Role::Ingest), [true, false, false, false]);
        assert_eq!(allowed(Role::Read), [false, true, false, false]);
        assert_eq!(allowed(Role::Review), [false, true, true, false]);
        assert_eq!(allowed(Role::Admin), [true; 4]);
    }
}
