//! The web listener: API, metrics, health and pages over what `queries` answers.
//!
//! Trace text is hostile, so pages hold no script of others and allow none, and a browser that was lured here by another
//! site's name is refused. Once there are tokens, every request needs one. Unknown parameters are refused by name: a
//! misspelt filter must not answer with everything.

mod access;
mod alerts_api;
mod api;
mod assets;
mod audit;
pub(crate) mod charts;
mod costs;
mod error;
mod estimates;
mod gate;
mod guard;
mod health;
mod login;
mod pages;
mod parameters;
pub(crate) mod quantity;
mod readiness;
mod releases;
mod review_api;
mod system;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::backends::access::Access;
use crate::backends::clock::Clock;
use crate::backends::rabbitmq::BrokerQueue;
use crate::backends::store::Store;
use crate::domain::feedback::LARGEST_BODY;
use crate::evaluate::redaction::Redactor;
use crate::evaluate::run::Evaluators;
use crate::limits::budget::BudgetPolicy;
use crate::normalize::{AttributeMapping, PriceTable};
use crate::telemetry::metrics::Metrics;
use crate::watch::budgets::AgentBudgets;
use crate::watch::rules::Objective;
use crate::watch::segments::SegmentPattern;
use error::WebError;
pub use health::{Dependency, Readiness, ReadinessCheck, STORE_WRITE};
pub use pages::{audit_document, standalone};

/// What the web listener answers from.
#[derive(Clone)]
pub struct WebState {
    /// The store.
    pub store: Store,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// The clock that ages such as `since=24h` count back from.
    pub clock: Arc<dyn Clock>,
    /// The loaded evaluators.
    pub evaluators: Arc<Evaluators>,
    /// Names that traces can be selected by, besides the built-in ones.
    pub names: Arc<AttributeMapping>,
    /// What model calls cost.
    pub prices: Arc<PriceTable>,
    /// Name of the baseline that is watched against.
    pub baseline: String,
    /// Segments that are watched beside the whole of each service.
    pub segments: Arc<[SegmentPattern]>,
    /// What judging may cost a day.
    pub budget: Arc<BudgetPolicy>,
    /// What agents may cost a day.
    pub agent_budgets: Arc<AgentBudgets>,
    /// Which share of runs must be good.
    pub objectives: Arc<[Objective]>,
    /// Where people reach these pages, without a slash at its end.
    pub public_url: String,
    /// Where a tracing backend shows a trace: a URL with `{trace_id}`; empty for none.
    pub trace_link: String,
    /// Where its logs are shown, likewise.
    pub logs_link: String,
    /// Where agents send their traces, for people who have not yet.
    pub receive_url: String,
    /// What this process does.
    pub roles: Arc<[String]>,
    /// Whether any judge model is configured.
    pub judge_configured: bool,
    /// Whether only this machine can reach the listener; then only its own names are answered to.
    pub is_loopback: bool,
    /// What is taken out of feedback before it is kept.
    pub redactor: Option<Arc<Redactor>>,
    /// The broker's queue, where there is a broker.
    pub queue: Option<BrokerQueue>,
    /// Dependencies to check beside the store.
    pub checks: Vec<Arc<dyn ReadinessCheck>>,
}

impl fmt::Debug for WebState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WebState").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Every route of the web listener.
pub fn router(state: WebState) -> Router {
    let is_loopback = state.is_loopback;
    let access = Arc::new(Access::new(state.store.clone(), Arc::clone(&state.clock), is_loopback));
    let router = Router::new()
        .route("/api/v1/traces", get(api::traces))
        .route("/api/v1/traces/{id}", get(api::trace))
        .route("/api/v1/traces/{id}/explain", get(api::explain))
        .route("/api/v1/traces/{id}/scores", get(api::scores))
        .route("/api/v1/traces/{id}/inspect", get(api::inspect))
        .route("/api/v1/feedback", post(api::feedback).layer(DefaultBodyLimit::max(LARGEST_BODY)))
        .route("/api/v1/series", get(api::series))
        .route("/api/v1/series/{key}", get(api::one_series))
        .route("/api/v1/series/{key}/traces", get(api::series_traces))
        .route("/api/v1/drift", get(api::drift))
        .route("/api/v1/gate", post(gate::gate))
        .route("/api/v1/alerts", get(api::alerts))
        .route("/api/v1/alerts/{id}", get(alerts_api::alert))
        .route("/api/v1/alerts/{id}/traces", get(alerts_api::affected))
        .route("/api/v1/alerts/{id}/ack", post(alerts_api::acknowledge))
        .route("/api/v1/alerts/silences", get(alerts_api::silences).post(alerts_api::silence))
        .route("/api/v1/alerts/silences/{id}/end", post(alerts_api::unsilence))
        .route("/api/v1/releases", get(releases::releases))
        .route("/api/v1/releases/show", get(releases::release))
        .route("/api/v1/releases/compare", get(releases::compare))
        .route("/api/v1/costs", get(costs::costs))
        .route("/api/v1/budgets/{scope}", get(costs::budget))
        .route("/api/v1/readiness", get(readiness::readiness))
        .route("/api/v1/judges", get(api::judges))
        .route("/api/v1/evaluators/backfill", post(api::backfill))
        .route("/api/v1/review/next", get(api::next_review))
        .route("/api/v1/review/anchors", post(api::add_anchors))
        .route("/api/v1/review/assign", post(review_api::assign))
        .route("/api/v1/review/remove", post(review_api::remove))
        .route("/api/v1/review/agreement", get(review_api::agreement))
        .route("/api/v1/labels", get(api::labels).post(api::add_labels))
        .route("/api/v1/calibration", get(api::calibration))
        .route("/api/v1/baselines", get(api::baselines).post(api::create_baseline))
        .route("/api/v1/baselines/{name}", get(api::baseline))
        .route("/api/v1/audit", get(audit::audit))
        .route("/api/v1/audit/log", get(audit::log))
        .route("/api/v1/erase", post(audit::erase))
        .route("/api/v1/tokens", get(audit::tokens).post(audit::create_token))
        .route("/api/v1/tokens/{id}/revoke", post(audit::revoke_token))
        .route("/api/v1/objectives", get(system::objectives))
        .route("/api/v1/system", get(system::system))
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/openapi.json", get(api::description))
        .route("/style.css", get(assets::style))
        .route("/", get(pages::overview))
        .route("/traces", get(pages::traces))
        .route("/traces/{id}", get(pages::trace))
        .route("/alerts", get(pages::alerts))
        .route("/alerts/{id}", get(pages::alert))
        .route("/alerts/{id}/ack", post(pages::acknowledge))
        .route("/alerts/{id}/silence", post(pages::silence))
        .route("/runbooks/{name}", get(pages::runbook))
        .route("/releases", get(pages::releases))
        .route("/releases/compare", get(pages::release_comparison))
        .route("/audit", get(pages::audit))
        .route("/audit/log", get(pages::audit_log))
        .route("/login", get(login::page).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/readiness", get(pages::readiness))
        .route("/series", get(pages::series))
        .route("/series/{key}", get(pages::one_series))
        .route("/series/{key}/traces", get(pages::traces_of_series))
        .route("/judges", get(pages::judges))
        .route("/costs", get(pages::costs))
        .route("/evaluators", get(pages::evaluators))
        .route("/system", get(pages::system))
        .route("/review", get(pages::review))
        .route("/review/label", post(pages::label))
        .route("/review/assign", post(pages::assign_cases))
        .route("/review/remove", post(pages::remove_case))
        .route("/review/case", get(pages::regression_case))
        .route("/review/agreement", get(pages::reviewer_agreement))
        .route("/review.js", get(assets::review_keys))
        .fallback(async |headers: HeaderMap| pages::error_for(&headers, WebError::no_such_path()))
        .method_not_allowed_fallback(async |headers: HeaderMap| pages::error_for(&headers, WebError::no_such_method()))
        .layer(from_fn_with_state(access, access::admitted))
        .with_state(state);
    guard::guarded(router, is_loopback)
}
