//! Who may come in: tokens that people and programs send, held against those of the store.

use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use ring::rand::{SystemRandom, generate};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::clock::Clock;
use super::store::{Store, StoreError};
use crate::domain::access::{AccessToken, Role};
use crate::domain::time::Timestamp;
use crate::telemetry::logs::causes;

/// What a token begins with, so that scanners of secrets know one.
const PREFIX: &str = "driftline_";
/// How long it may take until a token that was made, or revoked, is known.
const FRESH: Duration = Duration::from_secs(2);
/// How long the store is waited for: less than a scrape waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long those may go on coming in while the store is away: the queue in front of it takes traces all that time, and
/// nobody can revoke a token either.
const OUTLIVES: Duration = Duration::from_hours(1);

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's name; `local` where none is needed.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
}

/// Why someone is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// A token is needed.
    #[error("a token is needed here")]
    NoToken,
    /// The token is not known, has expired or was revoked.
    #[error("this token is not known, has expired or was revoked")]
    UnknownToken,
    /// The token is for something else.
    #[error("this needs a token of the role {}, and yours is {}", .needed.as_str(), .role.as_str())]
    Role {
        /// What was needed.
        needed: Role,
        /// What the token has.
        role: Role,
    },
    /// Tokens cannot be looked up.
    #[error("tokens cannot be looked up at the moment")]
    Store(#[from] StoreError),
}

/// A token that is given out: once, here, and never again.
pub struct NewToken {
    /// What its holder sends.
    pub secret: String,
    /// What is kept of it.
    pub token: AccessToken,
}

/// Holds the tokens that are sent against those of the store.
pub struct Access {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Whether a listener without any token is open; one that the network reaches never is.
    is_loopback: bool,
    known: StdMutex<Option<Known>>,
    /// Held by the one who asks the store.
    asking: Mutex<()>,
}

/// The tokens as they were a moment ago.
#[derive(Clone)]
struct Known {
    read_at: Timestamp,
    /// When the store was asked last, with or without an answer.
    asked_at: Timestamp,
    tokens: Tokens,
}

type Tokens = Arc<Vec<([u8; 32], AccessToken)>>;

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Access").field("is_loopback", &self.is_loopback).finish_non_exhaustive()
    }
}

impl Access {
    /// Guards a listener; `is_loopback` says whether only this machine can reach it.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, is_loopback: bool) -> Self {
        Self { store, clock, is_loopback, known: StdMutex::default(), asking: Mutex::default() }
    }

    /// Whether only this machine can reach what is guarded.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Who may come in with this token, or without one, for something that needs a role. Without one this machine may,
    /// until the first token is made: those that have expired or were revoked are tokens too.
    ///
    /// # Errors
    /// They may not.
    pub async fn admit(&self, secret: Option<&str>, needed: Role) -> Result<Principal, Denied> {
        let tokens = self.tokens().await?;
        self.hold_against(&tokens, secret, needed)
    }

    /// As [`Access::admit`], by what the store said last, however long ago that was. While it has yet to answer at all,
    /// this machine may come in.
    ///
    /// # Errors
    /// They may not.
    pub fn admit_as_last_known(&self, secret: Option<&str>, needed: Role) -> Result<Principal, Denied> {
        let tokens = self.lock().as_ref().map(|known| Arc::clone(&known.tokens));
        self.hold_against(&tokens.unwrap_or_default(), secret, needed)
    }

    fn hold_against(&self, tokens: &Tokens, secret: Option<&str>, needed: Role) -> Result<Principal, Denied> {
        let now = self.clock.now();
        if self.is_loopback && tokens.is_empty() {
            return Ok(Principal { name: "local".into(), role: Role::Admin });
        }
        let hash = hash(secret.ok_or(Denied::NoToken)?);
        // Every token is looked at, and each to its end: how long this takes tells nothing.
        let same = tokens.iter().filter(|(known, _)| is_same(known, &hash)).fold(None, |_, (_, token)| Some(token));
        let token = same.filter(|token| token.is_active(now)).ok_or(Denied::UnknownToken)?;
        if token.role.allows(needed) {
            Ok(Principal { name: token.name.as_str().into(), role: token.role })
        } else {
            Err(Denied::Role { needed, role: token.role })
        }
    }

    /// The tokens as the store has them, or had them when it answered last.
    async fn tokens(&self) -> Result<Tokens, StoreError> {
        let late = |_| StoreError::Late { seconds: PATIENCE.as_secs() };
        // Who comes while another asks takes what was known a moment ago; what is older may have been revoked since.
        let recent = self.known().filter(|known| is_since(known.asked_at, FRESH + PATIENCE, self.clock.now()));
        let _asking = match (self.asking.try_lock(), recent) {
            (Ok(asking), _) => asking,
            (Err(_), Some(known)) => return Ok(known.tokens),
            (Err(_), None) => timeout(PATIENCE, self.asking.lock()).await.map_err(late)?,
        };
        let (last, now) = (self.known(), self.clock.now());
        if let Some(last) = last.as_ref().filter(|last| is_since(last.asked_at, FRESH, now)) {
            return Ok(Arc::clone(&last.tokens));
        }
        let answer = timeout(PATIENCE, self.store.tokens()).await.map_err(late).flatten();
        match (answer, last) {
            (Ok(tokens), _) => Ok(self.remember(tokens, now)),
            (Err(error), None) => Err(error),
            (Err(error), Some(last)) => {
                tracing::warn!(
                    error = causes(&error),
                    "tokens cannot be looked up: those known last are good for an hour"
                );
                *self.lock() = Some(Known { asked_at: self.clock.now(), ..last.clone() });
                Ok(last.tokens)
            }
        }
    }

    /// What the store said last, unless that is too long ago.
    fn known(&self) -> Option<Known> {
        let now = self.clock.now();
        // A clock that was set back a little closes no door, and one that was set back far opens none.
        self.lock().clone().filter(|known| now.minus(OUTLIVES) < known.read_at && now < known.read_at.plus(OUTLIVES))
    }

    fn remember(&self, tokens: Vec<([u8; 32], AccessToken)>, now: Timestamp) -> Tokens {
        let tokens = Arc::new(tokens);
        *self.lock() = Some(Known { read_at: now, asked_at: now, tokens: Arc::clone(&tokens) });
        tokens
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a token and keeps its hash. Gives none when there is no randomness, or the store failed.
///
/// # Errors
/// The store failed, or the system has no randomness to give.
pub async fn create_token(
    store: &Store,
    role: Role,
    name: &str,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<NewToken, StoreError> {
    let random: [u8; 32] = generate(&SystemRandom::new()).map_err(|_| StoreError::Random)?.expose();
    let secret = format!("{PREFIX}{}", hex::encode(random));
    let hash = hash(&secret);
    let id = super::store::id_of(&hash);
    let token = AccessToken { id, name: name.to_owned(), role, created_at: now, expires_at, revoked_at: None };
    store.insert_token(&hash, &token).await?;
    Ok(NewToken { secret, token })
}

/// The token of an `Authorization` header.
#[must_use]
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, secret) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn hash(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Whether a moment was no longer ago than that. What a clock says that was set back is no moment ago.
fn is_since(moment: Timestamp, span: Duration, now: Timestamp) -> bool {
    moment <= now && now < moment.plus(span)
}

fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::clock::ManualClock;

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/store.db", folder.path().display());
        (folder, Store::open(&url, false).await.unwrap())
    }

    #[tokio::test]
    async fn without_tokens_this_machine_comes_in_and_the_network_does_not() {
        let (_folder, store) = store().await;
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let local = Access::new(store.clone(), clock.clone(), true);
        assert_eq!(&*local.admit(None, Role::Admin).await.unwrap().name, "local");
        let open = Access::new(store, clock, false);
        assert!(matches!(open.admit(None, Role::Read).await, Err(Denied::NoToken)));
    }

    #[tokio::test]
    async fn nobody_waits_for_long_while_tokens_cannot_be_looked_up() {
        let (_folder, store) = store().await;
        let access = Access::new(store, Arc::new(ManualClock::new(Timestamp(0))), true);
        let _asking = access.asking.lock().await;
        let denied = access.admit(None, Role::Read).await;
        assert!(matches!(denied, Err(Denied::Store(StoreError::Late { .. }))), "{denied:?}");
    }

    #[tokio::test]
    async fn a_token_opens_what_its_role_says_until_it_expires_or_is_revoked() {
        let (_folder, store) = store().await;
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let end = Timestamp(0).plus(Duration::from_hours(1));
        let made = create_token(&store, Role::Read, "ci", Some(end), Timestamp(0)).await.unwrap();
        let lasting = create_token(&store, Role::Admin, "me", None, Timestamp(0)).await.unwrap();
        let access = Access::new(store.clone(), clock.clone(), true);
        assert_eq!(&*access.admit(Some(&made.secret), Role::Read).await.unwrap().name, "ci");
        assert!(matches!(access.admit(Some(&made.secret), Role::Admin).await, Err(Denied::Role { .. })));
        assert!(matches!(access.admit(None, Role::Read).await, Err(Denied::NoToken)));
        assert!(matches!(access.admit(Some("driftline_0"), Role::Read).await, Err(Denied::UnknownToken)));
        clock.advance(Duration::from_hours(2));
        assert!(matches!(access.admit(Some(&made.secret), Role::Read).await, Err(Denied::UnknownToken)));
        store.revoke_token(&hash(&lasting.secret), clock.now()).await.unwrap();
        clock.advance(FRESH);
        assert!(matches!(
            Access::new(store, clock, false).admit(Some(&lasting.secret), Role::Read).await,
            Err(Denied::UnknownToken)
        ));
    }

    #[tokio::test]
    async fn the_end_of_the_last_token_opens_nothing() {
        let (_folder, store) = store().await;
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let access = Access::new(store.clone(), clock.clone(), true);
        let end = Timestamp(0).plus(Duration::from_hours(1));
        create_token(&store, Role::Admin, "short", Some(end), Timestamp(0)).await.unwrap();
        clock.advance(Duration::from_hours(2));
        assert!(matches!(access.admit(None, Role::Read).await, Err(Denied::NoToken)), "it has expired");
        let last = create_token(&store, Role::Admin, "last", None, clock.now()).await.unwrap();
        store.revoke_token(&hash(&last.secret), clock.now()).await.unwrap();
        clock.advance(FRESH);
        assert!(matches!(access.admit(None, Role::Read).await, Err(Denied::NoToken)), "it was revoked");
        assert!(matches!(access.admit(Some(&last.secret), Role::Read).await, Err(Denied::UnknownToken)));
        let way_back = create_token(&store, Role::Admin, "new", None, clock.now()).await.unwrap();
        clock.advance(FRESH);
        access.admit(Some(&way_back.secret), Role::Admin).await.unwrap();
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_makes_what_is_known_of_tokens_no_younger() {
        let (_folder, store) = store().await;
        let clock = Arc::new(ManualClock::new(Timestamp(0).plus(Duration::from_hours(48))));
        let made = create_token(&store, Role::Read, "ci", None, Timestamp(0)).await.unwrap();
        let access = Access::new(store.clone(), clock.clone(), false);
        access.admit(Some(&made.secret), Role::Read).await.unwrap();
        store.revoke_token(&hash(&made.secret), clock.now()).await.unwrap();
        let new = create_token(&store, Role::Read, "new", None, Timestamp(0)).await.unwrap();
        clock.set(Timestamp(0).plus(Duration::from_hours(24)));
        assert!(matches!(access.admit(Some(&made.secret), Role::Read).await, Err(Denied::UnknownToken)));
        access.admit(Some(&new.secret), Role::Read).await.unwrap();
    }

    #[tokio::test]
    async fn who_comes_while_tokens_are_looked_up_is_held_against_those_of_a_moment_ago_and_no_older_ones() {
        let (_folder, store) = store().await;
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let made = create_token(&store, Role::Read, "ci", None, Timestamp(0)).await.unwrap();
        let access = Access::new(store, clock.clone(), false);
        let admit = || access.admit(Some(&made.secret), Role::Read);
        admit().await.unwrap();
        let _asking = access.asking.lock().await;
        clock.advance(FRESH);
        admit().await.unwrap();
        clock.advance(PATIENCE);
        assert!(matches!(admit().await, Err(Denied::Store(StoreError::Late { .. }))));
    }

    #[tokio::test]
    async fn while_the_store_is_away_those_come_in_who_did_before_and_no_longer_than_an_hour() {
        let (_folder, store) = store().await;
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let made = create_token(&store, Role::Ingest, "collector", None, Timestamp(0)).await.unwrap();
        let access = Access::new(store.clone(), clock.clone(), false);
        let admit = || access.admit(Some(&made.secret), Role::Ingest);
        admit().await.unwrap();
        store.close().await;
        for _ in 0..3 {
            clock.advance(Duration::from_mins(19));
            admit().await.unwrap();
            assert!(matches!(access.admit(Some("driftline_0"), Role::Ingest).await, Err(Denied::UnknownToken)));
        }
        clock.advance(Duration::from_mins(19));
        assert!(matches!(admit().await, Err(Denied::Store(_))));
        access.admit_as_last_known(Some(&made.secret), Role::Ingest).unwrap();
    }

    #[tokio::test]
    async fn what_the_store_said_last_guards_this_machine_however_long_the_store_is_away() {
        let (_folder, store) = store().await;
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let access = Access::new(store.clone(), clock.clone(), true);
        access.admit_as_last_known(None, Role::Read).unwrap();
        let made = create_token(&store, Role::Read, "prometheus", None, Timestamp(0)).await.unwrap();
        access.admit(Some(&made.secret), Role::Read).await.unwrap();
        store.close().await;
        clock.advance(Duration::from_hours(24));
        assert!(matches!(access.admit_as_last_known(None, Role::Read), Err(Denied::NoToken)));
        access.admit_as_last_known(Some(&made.secret), Role::Read).unwrap();
    }

    #[test]
    fn a_header_holds_a_token_after_the_word_bearer() {
        assert_eq!(bearer("Bearer x"), Some("x"));
        assert_eq!(bearer("bearer  x "), Some("x"));
        assert_eq!(bearer("Basic x"), None);
        assert_eq!(bearer("x"), None);
    }
}
