//! Where scores go besides the store: a `[[write_back]]` table each.

use std::path::PathBuf;

use serde::Deserialize;

use super::channels::{SecretSource, one_of};

/// What speaks at the other end of a write-back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteBackKind {
    /// Any OTLP/HTTP endpoint.
    Otlp,
    /// Annotations of spans in Phoenix.
    Phoenix,
    /// Scores in Langfuse.
    Langfuse,
    /// Assessments in MLflow.
    Mlflow,
}

/// A destination of scores.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenWriteBack")]
pub struct WriteBackSettings {
    /// What speaks there.
    pub kind: WriteBackKind,
    /// Its address.
    pub endpoint: String,
    /// What it lets us in for: `user:password` for basic authentication, anything else a bearer token.
    pub token: Option<SecretSource>,
}

/// A destination as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWriteBack {
    kind: WriteBackKind,
    endpoint: String,
    token_env: Option<String>,
    token_file: Option<PathBuf>,
}

impl TryFrom<WrittenWriteBack> for WriteBackSettings {
    type Error = String;

    fn try_from(written: WrittenWriteBack) -> Result<Self, String> {
        let WrittenWriteBack { kind, endpoint, token_env, token_file } = written;
        let token = one_of("this destination", "token", None, token_env, token_file)?;
        Ok(Self { kind, endpoint, token })
    }
}
