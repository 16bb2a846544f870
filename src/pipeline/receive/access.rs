//! Who may send: on both transports a token in `authorization`, which gRPC calls metadata.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use super::grpc;
use super::http::{answer, encoding, header};
use super::refusal::Refusal;
use crate::backends::access::{Access, Denied, bearer};
use crate::domain::access::Role;

/// Puts the guard before every route.
pub fn guarded(router: Router, access: Access) -> Router {
    router.layer(from_fn_with_state(Arc::new(access), admitted))
}

async fn admitted(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let secret = bearer(header(request.headers(), &AUTHORIZATION));
    match access.admit(secret, Role::Ingest).await {
        Ok(_) => next.run(request).await,
        Err(denied) => refused(denied, &request),
    }
}

fn refused(denied: Denied, request: &Request) -> Response {
    if let Denied::Store(error) = &denied {
        tracing::warn!(error = error as &dyn std::error::Error, "tokens cannot be looked up; senders are turned away");
    }
    let refusal = Refusal::Denied(denied);
    if grpc::is_grpc(request.headers()) {
        return grpc::refused(&refusal);
    }
    answer(&refusal, encoding(request.headers()).ok())
}
