//! Query parameters, each of which must be known.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::error::WebError;
use crate::queries::selection::Condition;

/// The parameters that have not been taken yet, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    left: Vec<Condition>,
    known: Vec<&'static str>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, WebError> {
        let Query(left) = Query::<Vec<Condition>>::from_request_parts(parts, state).await?;
        Ok(Self { left, known: Vec::new() })
    }
}

impl Parameters {
    /// Takes a parameter that may be absent.
    pub(super) fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let index = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.remove(index).1)
    }

    /// Takes a parameter that must be there.
    pub(super) fn require(&mut self, name: &'static str) -> Result<String, WebError> {
        let missing = || WebError::bad_request(format!("parameter {name} is missing"), format!("add {name}=…"));
        self.take(name).ok_or_else(missing)
    }

    /// Takes a parameter of another type than text.
    pub(super) fn parse<T: FromStr>(&mut self, name: &'static str, expected: &str) -> Result<Option<T>, WebError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let wrong = |_| WebError::bad_request(format!("{name}={text:?} is not {expected}"), format!("give {expected}"));
        text.parse().map(Some).map_err(wrong)
    }

    /// Everything that is left, for a selection to understand.
    pub(super) fn rest(self) -> Vec<Condition> {
        self.left
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), WebError> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        let error = if self.known.iter().any(|known| known == name) {
            format!("parameter {name} is given twice")
        } else {
            format!("unknown parameter {name:?}")
        };
        Err(WebError::bad_request(error, format!("parameters of this path: {known}")))
    }
}
