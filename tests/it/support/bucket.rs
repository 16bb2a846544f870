//! A bucket that speaks as much S3 as an archive needs: whole objects and such in parts, ranges, listing and deletion.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use driftline::backends::archive::Archive;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const NAME: &str = "/bucket";

/// The bucket and its server.
pub(crate) struct FakeBucket {
    url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    parts: Mutex<BTreeMap<u32, Vec<u8>>>,
    is_away: Mutex<bool>,
    /// Uploads that may go through.
    uploads: Semaphore,
}

impl FakeBucket {
    pub(crate) async fn start() -> Self {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let shared = Arc::new(Shared {
            objects: Mutex::default(),
            parts: Mutex::default(),
            is_away: Mutex::default(),
            uploads: Semaphore::new(1_000),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, _serving: serving }
    }

    /// The archive in it.
    pub(crate) fn archive(&self) -> Archive {
        let variables = [
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "not-to-be-seen"),
            ("HOME", "/"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Archive::at("s3://bucket/runs/kept", variables.into_iter()).unwrap()
    }

    /// Every object, by name, but for the one that says whose archive it is.
    pub(crate) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut objects = self.shared.objects.lock().unwrap().clone();
        objects.retain(|name, _| !name.ends_with("/driftline-store"));
        objects
    }

    /// Puts an object there as anyone may.
    pub(crate) fn insert(&self, name: &str, object: &str) {
        self.shared.objects.lock().unwrap().insert(name.to_owned(), object.into());
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        *self.shared.is_away.lock().unwrap() = is_away;
    }

    /// Lets no upload through until they are let go.
    pub(crate) async fn hold_uploads(&self) {
        self.shared.uploads.acquire_many(1_000).await.unwrap().forget();
    }

    pub(crate) fn let_uploads_go(&self) {
        self.shared.uploads.add_permits(1_000);
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signed = headers.get("authorization").is_some_and(|it| it.to_str().unwrap().starts_with("AWS4-HMAC-SHA256 "));
    if !signed || !uri.path().starts_with(NAME) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if *shared.is_away.lock().unwrap() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let key = uri.path()[NAME.len()..].trim_start_matches('/').to_owned();
    match method {
        Method::PUT => put(&shared, key, &query, body).await,
        Method::POST => post(&shared, key, &query, &body),
        Method::GET if key.is_empty() => list(&shared, &query["prefix"]),
        Method::GET => get(&shared, &key, headers.get("range").map(|range| range.to_str().unwrap())),
        other => panic!("{other} {uri}"),
    }
}

async fn put(shared: &Shared, key: String, query: &HashMap<String, String>, body: Bytes) -> Response {
    let _permit = shared.uploads.acquire().await.unwrap();
    match query.get("partNumber") {
        Some(part) => drop(shared.parts.lock().unwrap().insert(part.parse().unwrap(), body.into())),
        None => drop(shared.objects.lock().unwrap().insert(key, body.into())),
    }
    [("etag", "\"1\"")].into_response()
}

fn post(shared: &Shared, key: String, query: &HashMap<String, String>, body: &[u8]) -> Response {
    if query.contains_key("delete") {
        let text = std::str::from_utf8(body).unwrap();
        let keys: Vec<&str> = text.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
        shared.objects.lock().unwrap().retain(|key, _| !keys.contains(&key.as_str()));
        let deleted: String = keys.iter().map(|key| format!("<Deleted><Key>{key}</Key></Deleted>")).collect();
        return format!("<DeleteResult>{deleted}</DeleteResult>").into_response();
    }
    if query.contains_key("uploads") {
        return "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>".into_response();
    }
    let parts = std::mem::take(&mut *shared.parts.lock().unwrap());
    assert!(parts.len() > 1, "an upload in parts has several");
    shared.objects.lock().unwrap().insert(key, parts.into_values().flatten().collect());
    "<CompleteMultipartUploadResult><ETag>\"1\"</ETag></CompleteMultipartUploadResult>".into_response()
}

fn list(shared: &Shared, prefix: &str) -> Response {
    let objects = shared.objects.lock().unwrap();
    let listed = objects.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(key, object)| {
        format!(
            "<Contents><Key>{key}</Key><Size>{}</Size><ETag>\"1\"</ETag>\
             <LastModified>2026-01-31T00:00:00.000Z</LastModified></Contents>",
            object.len()
        )
    });
    format!("<ListBucketResult>{}</ListBucketResult>", listed.collect::<String>()).into_response()
}

fn get(shared: &Shared, key: &str, range: Option<&str>) -> Response {
    let objects = shared.objects.lock().unwrap();
    let Some(object) = objects.get(key) else { return StatusCode::NOT_FOUND.into_response() };
    let described = [("etag", "\"1\"".to_owned()), ("last-modified", "Sat, 31 Jan 2026 00:00:00 GMT".to_owned())];
    let Some(range) = range else { return (described, object.clone()).into_response() };
    let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
    let whole = [("content-range", format!("bytes {from}-{to}/{}", object.len()))];
    (StatusCode::PARTIAL_CONTENT, described, whole, object[from..=to].to_vec()).into_response()
}
