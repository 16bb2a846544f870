//! What the settings say of who may come in and what is kept, and what is noted of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ring::hmac;

use super::listening::Listening;
use super::service::{Role, StartError};
use super::settings::{RedactionSettings, Settings, changed, digest_of};
use crate::backends::store::StoreError;
use crate::domain::access::{Action, NewLogEntry};
use crate::evaluate::redaction::Redactor;
use crate::pipeline::Shared;
use crate::pipeline::redaction::Redaction;

/// What is taken out of what is received, if anything is.
pub(super) fn redaction(settings: &Settings) -> Result<Option<Redaction>, StartError> {
    let RedactionSettings { detect, drop, hash, hash_key_env, patterns } = &settings.redaction;
    let redactor = Redactor::new(detect, patterns)?;
    if redactor.is_idle() && drop.is_empty() && hash.is_empty() {
        return Ok(None);
    }
    let key = std::env::var(hash_key_env).unwrap_or_default();
    if key.is_empty() && !hash.is_empty() {
        return Err(StartError::HashKey { variable: hash_key_env.clone() });
    }
    Ok(Some(Redaction {
        redactor: Arc::new(redactor),
        drop: drop.iter().cloned().collect(),
        hash: hash.iter().cloned().collect(),
        key: hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()),
    }))
}

/// Notes which settings differ from those of the last process that did the same, by name and not by value.
pub(super) async fn note_settings(
    shared: &Shared,
    settings: &Settings,
    roles: &BTreeSet<Role>,
) -> Result<(), StoreError> {
    let name = format!("settings of {roles:?}");
    let before: BTreeMap<String, String> = shared.store.shared(&name).await?;
    let changed = changed(&before, &settings.effective);
    if changed.is_empty() {
        return Ok(());
    }
    let detail = if before.is_empty() { "first start".to_owned() } else { changed.join(", ") };
    let entry = NewLogEntry { action: Action::Configure, subject: digest_of(&settings.effective), detail };
    shared.store.note(&[entry], shared.now()).await?;
    shared.store.change_shared(&name, |kept| *kept = settings.effective.clone()).await
}

/// What the network can reach is open to no one but holders of tokens, of which there must be one.
pub(super) async fn refuse_exposed(shared: &Shared, listeners: [&Option<Listening>; 3]) -> Result<(), StartError> {
    let mut exposed = listeners.into_iter().flatten().filter(|listening| !listening.is_loopback());
    let Some(listening) = exposed.next() else { return Ok(()) };
    let now = shared.now();
    if shared.store.tokens().await?.iter().any(|(_, token)| token.is_active(now)) {
        return Ok(());
    }
    let address = listening.address.to_string();
    Err(StartError::Exposed { section: listening.section, key: listening.key, address })
}
