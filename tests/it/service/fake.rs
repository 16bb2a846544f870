//! Somebody else's HTTP server, which answers as it is told and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What was asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// Method, path and query.
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

/// Answers a request, given every request so far, itself the last; `None` never answers.
type Script = dyn Fn(&[Asked]) -> Option<Response> + Send + Sync;

/// A server that listens until it is dropped.
pub(crate) struct Fake {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Scripted {
    script: Arc<Script>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// A server on a port of its own.
    pub(crate) async fn start(script: impl Fn(&[Asked]) -> Option<Response> + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// A server at an address, whoever had it before.
    pub(crate) async fn start_at(
        address: SocketAddr,
        script: impl Fn(&[Asked]) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let state = Scripted { script: Arc::new(script), asked: Arc::clone(&asked) };
        let router = Router::new().fallback(answer).with_state(state);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked, server }
    }

    /// Everything asked so far, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer without a body.
pub(crate) fn status(code: u16) -> Option<Response> {
    Some(StatusCode::from_u16(code).unwrap().into_response())
}

async fn answer(
    State(scripted): State<Scripted>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let (path, line) = (uri.path().to_owned(), format!("{method} {uri}"));
    let answer = {
        let mut asked = scripted.asked.lock().unwrap();
        asked.push(Asked { path, line, authorization, body, at: Instant::now() });
        (scripted.script)(&asked)
    };
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}
