//! The channels of alerts: which hear what, and the way to each.

use std::time::Duration;

use super::service::StartError;
use super::settings::{ChannelKind, ChannelSettings, SecretError, SecretSource, Settings};
use crate::backends::http::{AddressError, HttpSender};
use crate::pipeline::deliver::{Destination, Protocol};
use crate::pipeline::notify::WEBHOOK;
use crate::pipeline::notify::channel::Channel;
use crate::pipeline::notify::format::{Format, Secret};
use crate::pipeline::notify::message::Links;

const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// How often Alertmanager hears of what is open, as from Prometheus.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// Messages that may be lost before Alertmanager takes an alert for over, as from Prometheus.
const LOST_MESSAGES: u32 = 4;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a channel cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Its address or key is not there.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Its address is none; it may be secret, and is not repeated.
    #[error("its address is no http or https URL")]
    Url,
    /// Its key cannot be sent.
    #[error("its token holds characters that cannot be sent")]
    Token,
    /// The HTTP client could not be built.
    #[error(transparent)]
    Client(AddressError),
}

impl From<AddressError> for ChannelError {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::Url(_) => Self::Url,
            AddressError::Header(_) => Self::Token,
            error @ AddressError::Client(_) => Self::Client(error),
        }
    }
}

/// Where people look further.
#[must_use]
pub fn links(settings: &Settings) -> Links {
    let web = match settings.web.url.as_str() {
        "" => format!("http://{}", settings.web.listen),
        url => url.trim_end_matches('/').to_owned(),
    };
    Links { web, trace: settings.links.trace.clone() }
}

/// The channels that hear of alerts.
#[must_use]
pub fn channels(settings: &Settings) -> Vec<Channel> {
    let alerts = &settings.alerts;
    let webhook = (!alerts.webhook.is_empty()).then(|| Channel::of_everything(WEBHOOK, alerts.remind_after));
    webhook.into_iter().chain(alerts.channels.iter().map(|channel| listening(channel, alerts.remind_after))).collect()
}

fn listening(channel: &ChannelSettings, remind_after: Duration) -> Channel {
    let forgets = channel.kind == ChannelKind::Alertmanager;
    Channel {
        name: channel.name.clone(),
        severity: channel.severity,
        services: channel.services.clone(),
        remind_after: channel.remind_after.unwrap_or(if forgets { KEEP_ALIVE } else { remind_after }),
        forgets,
    }
}

/// The way to each channel.
///
/// # Errors
/// The first that cannot be used as it is configured.
pub fn destinations_of(settings: &Settings) -> Result<Vec<Destination>, StartError> {
    let mut destinations = Vec::new();
    if !settings.alerts.webhook.is_empty() {
        let wrong = |source| StartError::Destination { setting: "[alerts] webhook", source };
        let sender = HttpSender::new(&settings.alerts.webhook).map_err(wrong)?;
        destinations.push(Destination {
            name: WEBHOOK.to_owned(),
            protocol: Protocol::Alerts(Format::Webhook),
            sender,
        });
    }
    for channel in &settings.alerts.channels {
        let wrong = |source| StartError::Channel { name: channel.name.clone(), source };
        destinations.push(destination(channel, settings.alerts.remind_after).map_err(wrong)?);
    }
    Ok(destinations)
}

fn destination(channel: &ChannelSettings, remind_after: Duration) -> Result<Destination, ChannelError> {
    let url = channel.url.as_ref().map_or_else(|| Ok(PAGERDUTY.to_owned()), SecretSource::read)?;
    let token = channel.token.as_ref().map(SecretSource::read).transpose()?;
    let format = match channel.kind {
        ChannelKind::Webhook => Format::Webhook,
        ChannelKind::Slack => Format::Slack,
        ChannelKind::Pagerduty => Format::PagerDuty { routing_key: Secret(token.clone().unwrap_or_default()) },
        ChannelKind::Alertmanager => {
            let valid_for = listening(channel, remind_after).remind_after.saturating_mul(LOST_MESSAGES);
            Format::Alertmanager { valid_for }
        }
    };
    let bearer = token.filter(|_| channel.kind != ChannelKind::Pagerduty).map(|token| format!("Bearer {token}"));
    let header = bearer.as_deref().map(|bearer| ("authorization", bearer));
    let sender = HttpSender::with(&url, TIMEOUT, header)?;
    Ok(Destination { name: channel.name.clone(), protocol: Protocol::Alerts(format), sender })
}
