//! Where a question is put: to a running service, or to the configured store.

use std::time::Duration;

use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Context;
use super::failure::Failure;
use crate::app::settings::Settings;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::backends::store::Store;
use crate::domain::ids::TraceId;
use crate::queries::{QueryError, audit};

/// Variable that holds the token of a service.
const TOKEN: &str = "DRIFTLINE_TOKEN";
/// A drift report over a large store takes its time.
const PATIENCE: Duration = Duration::from_secs(300);

/// The flag that every reporting command has.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Ask a running service, for example http://localhost:8080, with the token in DRIFTLINE_TOKEN if it is set;
    /// without it the configured store is read.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
}

/// Who answers.
pub(super) enum Asked {
    /// The configured store, opened read-only.
    Store(Store),
    /// A running service.
    Service(Service),
}

impl Place {
    /// The running service that is to be asked, if one is named.
    pub(super) fn service(&self) -> Result<Option<Service>, Failure> {
        self.url.as_ref().map(|url| Service::new(url, std::env::var(TOKEN).ok())).transpose()
    }

    pub(super) async fn open(&self, context: &Context) -> Result<Asked, Failure> {
        match self.service()? {
            Some(service) => Ok(Asked::Service(service)),
            None => Ok(Asked::Store(open_store(&context.settings()?).await?)),
        }
    }
}

/// The configured store, to be changed while no service runs on it.
pub(super) async fn open_for_writing(context: &Context) -> Result<Store, Failure> {
    let remedy = "while driftline serve runs on it, ask the service with --url";
    let failed = |error| Failure::CouldNot(format!("{}; {remedy}", super::failure::chain(&error)));
    let settings = context.settings()?;
    Ok(Store::open(&settings.store.url, false).await.map_err(failed)?.with_archive(settings.archive().map_err(failed)?))
}

async fn open_store(settings: &Settings) -> Result<Store, Failure> {
    let remedy = "start driftline serve, set store.url, or ask a running service with --url";
    let failed = |error| Failure::CouldNot(format!("{}; {remedy}", super::failure::chain(&error)));
    Ok(Store::open(&settings.store.url, true).await.map_err(failed)?.with_archive(settings.archive().map_err(failed)?))
}

/// Notes that text of these traces is about to be shown.
pub(super) async fn shown(store: &Store, trace_ids: &[TraceId]) -> Result<(), Failure> {
    let noted = audit::shown(store, trace_ids, SystemClock.now()).await;
    noted.map_err(|error| Failure::could_not("note in the audit log what is to be shown", &error))
}

/// The answer of a question, or what to do about there being none.
pub(super) fn answer<T>(answer: Result<T, QueryError>) -> Result<T, Failure> {
    answer.map_err(|error| refused(error.is_usage(), &super::failure::chain(&error), error.remedy()))
}

fn refused(is_usage: bool, error: &str, remedy: &str) -> Failure {
    let message = format!("{error}; {remedy}");
    if is_usage { Failure::Usage(message) } else { Failure::CouldNot(message) }
}

/// A running service.
pub(super) struct Service {
    base: Url,
    token: Option<String>,
    client: reqwest::Client,
}

/// How a service says what went wrong.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    remedy: String,
}

impl Service {
    pub(super) fn new(url: &str, token: Option<String>) -> Result<Self, Failure> {
        let unusable = || Failure::Usage(format!("--url {url:?} is not an address; write http://HOST:PORT"));
        let base = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(unusable)?;
        let client = reqwest::Client::builder().timeout(PATIENCE).build();
        let client = client.map_err(|error| Failure::could_not("prepare HTTP", &error))?;
        Ok(Self { base, token, client })
    }

    /// Asks for the JSON at a path, given in parts so that no part can reach out of its place.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        parameters: &[(String, String)],
    ) -> Result<T, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        self.send(self.client.get(url)).await
    }

    /// Sends a body as JSON to a path, given in parts, and gives the answer.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        self.send(self.client.post(url).json(body)).await
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let unreachable = |error: reqwest::Error| {
            let cause = super::failure::chain(&error.without_url());
            Failure::CouldNot(format!("cannot ask {}: {cause}; check that driftline serve runs there", self.base))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            let unreadable = |error| Failure::could_not(format_args!("read the answer of {}", self.base), &error);
            return serde_json::from_slice(&body).map_err(unreadable);
        }
        Err(match serde_json::from_slice::<Refusal>(&body) {
            Ok(Refusal { error, remedy }) => refused(status == 400, &error, &remedy),
            Err(_) => Failure::CouldNot(format!("{} answered {status}; check that it is driftline", self.base)),
        })
    }
}
