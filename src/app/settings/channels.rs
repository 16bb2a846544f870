//! Where alerts are told: a `[[alerts.channels]]` table each.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::alert::Severity;

/// What speaks at the other end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// Anything that takes our JSON.
    Webhook,
    /// An incoming webhook of Slack, or of what speaks like it.
    Slack,
    /// PagerDuty Events API v2.
    Pagerduty,
    /// Alertmanager's API v2.
    Alertmanager,
}

/// A channel's settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenChannel")]
pub struct ChannelSettings {
    /// Its name.
    pub name: String,
    /// What speaks there.
    pub kind: ChannelKind,
    /// Its address; PagerDuty has its own.
    pub url: Option<SecretSource>,
    /// Its key: PagerDuty's routing key, or a bearer token.
    pub token: Option<SecretSource>,
    /// The least severity that it hears of.
    pub severity: Severity,
    /// The services that it hears of; all when empty.
    pub services: Vec<String>,
    /// After how long it is told again; the common setting when absent.
    pub remind_after: Option<Duration>,
}

/// Where a text that may be secret is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In the settings themselves.
    Text(String),
    /// In an environment variable.
    Variable(String),
    /// In a file.
    File(PathBuf),
}

/// Why a secret is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or blank.
    #[error("the environment variable {0} is not set")]
    Variable(String),
    /// The file cannot be read, or is blank.
    #[error("the file {} holds nothing that can be read", .0.display())]
    File(PathBuf),
}

impl SecretSource {
    /// The text, without white space around it.
    ///
    /// # Errors
    /// There is none.
    pub fn read(&self) -> Result<String, SecretError> {
        let filled = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Variable(name) => {
                std::env::var(name).ok().and_then(filled).ok_or_else(|| SecretError::Variable(name.clone()))
            }
            Self::File(path) => {
                let text = std::fs::read_to_string(path).ok().and_then(filled);
                text.ok_or_else(|| SecretError::File(path.clone()))
            }
        }
    }
}

/// A channel as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChannel {
    name: String,
    kind: ChannelKind,
    url: Option<String>,
    url_env: Option<String>,
    url_file: Option<PathBuf>,
    token_env: Option<String>,
    token_file: Option<PathBuf>,
    #[serde(default = "warn")]
    severity: Severity,
    #[serde(default)]
    services: Vec<String>,
    remind_after: Option<String>,
}

const fn warn() -> Severity {
    Severity::Warn
}

impl TryFrom<WrittenChannel> for ChannelSettings {
    type Error = String;

    fn try_from(written: WrittenChannel) -> Result<Self, String> {
        let WrittenChannel { name, kind, severity, services, .. } = written;
        if name.is_empty() || [crate::pipeline::notify::WEBHOOK, crate::pipeline::notify::LOG].contains(&name.as_str())
        {
            return Err(format!("the name {name:?} cannot be used; choose another"));
        }
        let owner = format!("channel {name:?}");
        let url = one_of(&owner, "url", written.url, written.url_env, written.url_file)?;
        let token = one_of(&owner, "token", None, written.token_env, written.token_file)?;
        if kind == ChannelKind::Pagerduty && token.is_none() {
            return Err(format!("channel {name:?} needs its routing key; set token_env or token_file"));
        }
        if kind != ChannelKind::Pagerduty && url.is_none() {
            return Err(format!("channel {name:?} has no address; set url, url_env or url_file"));
        }
        let parse = |text: &String| {
            humantime::parse_duration(text)
                .map_err(|error| format!("remind_after `{text}` is not a duration such as \"30s\": {error}"))
        };
        let remind_after = written.remind_after.as_ref().map(parse).transpose()?;
        Ok(Self { name, kind, url, token, severity, services, remind_after })
    }
}

/// The one place where a text of `owner` is found, if any.
pub(super) fn one_of(
    owner: &str,
    key: &str,
    text: Option<String>,
    variable: Option<String>,
    file: Option<PathBuf>,
) -> Result<Option<SecretSource>, String> {
    let sources = [text.map(SecretSource::Text), variable.map(SecretSource::Variable), file.map(SecretSource::File)];
    let mut given = sources.into_iter().flatten();
    let first = given.next();
    if given.next().is_some() {
        return Err(format!("{owner} has its {key} in two places; keep one"));
    }
    Ok(first)
}
