//! The destinations of scores, and the way to each.

use std::time::Duration;

use super::channels::ChannelError;
use super::service::StartError;
use super::settings::{SecretSource, Settings, WriteBackKind, WriteBackSettings};
use crate::backends::http::HttpSender;
use crate::otlp::encode_base64;
use crate::pipeline::deliver::{Destination, Protocol};
use crate::pipeline::score_api::ScoreApi;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The destinations of scores.
///
/// # Errors
/// The first that cannot be used as it is configured.
pub fn destinations(settings: &Settings) -> Result<Vec<Destination>, StartError> {
    let destination = |written: &WriteBackSettings| {
        let (kind, protocol) = spoken(written.kind);
        let sender = sender(written).map_err(|source| StartError::WriteBack { kind, source })?;
        // A backend may be told both ways; OTLP, which was there first, goes by its address alone.
        let name = if protocol == Protocol::Otlp { sender.name() } else { format!("{kind} {}", sender.name()) };
        Ok(Destination { name, protocol, sender })
    };
    settings.write_back.iter().map(destination).collect()
}

/// The destination of whole traces, if there is one.
///
/// # Errors
/// It cannot be used as it is configured.
pub fn forward(settings: &Settings) -> Result<Option<Destination>, StartError> {
    let endpoint = Some(settings.forward.endpoint.as_str()).filter(|endpoint| !endpoint.is_empty());
    let wrong = |source| StartError::Destination { setting: "[forward] endpoint", source };
    let sender = endpoint.map(HttpSender::new).transpose().map_err(wrong)?;
    let destination = |sender: HttpSender| Destination {
        name: format!("forward {}", sender.name()),
        protocol: Protocol::Forward,
        sender,
    };
    Ok(sender.map(destination))
}

/// Each kind by name, and how it is spoken to.
const fn spoken(kind: WriteBackKind) -> (&'static str, Protocol) {
    match kind {
        WriteBackKind::Otlp => ("otlp", Protocol::Otlp),
        WriteBackKind::Phoenix => ("phoenix", Protocol::Scores(ScoreApi::Phoenix)),
        WriteBackKind::Langfuse => ("langfuse", Protocol::Scores(ScoreApi::Langfuse)),
        WriteBackKind::Mlflow => ("mlflow", Protocol::Scores(ScoreApi::Mlflow)),
    }
}

fn sender(written: &WriteBackSettings) -> Result<HttpSender, ChannelError> {
    let token = written.token.as_ref().map(SecretSource::read).transpose()?;
    let credentials = token.map(|token| match token.contains(':') {
        true => format!("Basic {:=<width$}", encode_base64(token.as_bytes()), width = token.len().div_ceil(3) * 4),
        false => format!("Bearer {token}"),
    });
    let header = credentials.as_deref().map(|credentials| ("authorization", credentials));
    Ok(HttpSender::with(&written.endpoint, TIMEOUT, header)?)
}
