//! Starting and stopping: what the operator is told, and that nothing is lost on the way out.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use driftline::backends::store::{Selection, Store};
use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use prost::Message as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::fake::Fake;
use super::fixtures::{PROTOBUF, requests, simulated};
use crate::support::serve::Serve;
use crate::support::services::postgres;

const STORE: &str = "[store]\nurl = \"sqlite://{folder}/driftline.db\"\n";

/// Runs `driftline serve` in a folder until it ends by itself; gives its exit code and what it said.
async fn ends(folder: &Path, settings: &str) -> (Option<i32>, String) {
    let settings = settings.replace("{folder}", &folder.display().to_string());
    fs::write(folder.join("other.toml"), settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command.args(["serve", "--config", "other.toml"]).current_dir(folder).stdin(Stdio::null());
    let said = fs::File::create(folder.join("said")).unwrap();
    let mut process = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let code = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status.code();
        }
        if Instant::now() > deadline {
            process.kill().unwrap();
            process.wait().unwrap();
            break None;
        }
        sleep(Duration::from_millis(20)).await;
    };
    (code, fs::read_to_string(folder.join("said")).unwrap())
}

fn listening(http: &str, web: &str) -> String {
    format!("[receive]\nhttp = \"{http}\"\ngrpc = \"127.0.0.1:0\"\n[web]\nlisten = \"{web}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    let grpc =
        |address: &str| listening(free, free).replace("grpc = \"127.0.0.1:0\"", &format!("grpc = \"{address}\""));
    for (settings, setting) in [
        (listening(&address, free), "[receive] http"),
        (grpc(&address), "[receive] grpc"),
        (listening(free, &address), "[web] listen"),
    ] {
        let (code, said) = ends(folder.path(), &format!("{STORE}{settings}")).await;
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains(&address) && said.contains(setting), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_opened_is_named_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "not a folder").unwrap();
    fs::write(folder.path().join("text.db"), "not a database, however long this text may be".repeat(100)).unwrap();
    let missing = postgres().database().await.replace("driftline@", "driftline:secret@") + "_missing";
    let stores = ["sqlite://{folder}/file/driftline.db".to_owned(), "sqlite://{folder}/text.db".to_owned(), missing];
    for store in stores {
        let settings = format!("[store]\nurl = \"{store}\"\n{}", listening("127.0.0.1:0", "127.0.0.1:0"));
        let (code, said) = ends(folder.path(), &settings).await;
        assert_eq!(code, Some(4), "{store}: {said}");
        assert!(said.contains("[store] url"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_file_is_refused_and_the_first_goes_on() {
    let serve = Serve::start(STORE);
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("[store]\nurl = \"{}\"\n{}", serve.sqlite_url(), listening("127.0.0.1:0", "127.0.0.1:0"));
    let (code, said) = ends(folder.path(), &settings).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    TcpStream::connect(serve.receives_on).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_open_to_the_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let free = "127.0.0.1:0";
    let grpc = listening(free, free).replace("grpc = \"127.0.0.1:0\"", "grpc = \"0.0.0.0:0\"");
    for (settings, setting) in [
        (listening("0.0.0.0:0", free), "[receive] http"),
        (grpc, "[receive] grpc"),
        (listening(free, "[::]:0"), "[web] listen"),
    ] {
        let (code, said) = ends(folder.path(), &format!("{STORE}{settings}")).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(setting) && said.contains("open to the network"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_a_mistake_in_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["nonsense", "127.0.0.1:70000", "127.0.0.1"] {
        let (code, said) = ends(folder.path(), &format!("{STORE}{}", listening(address, "127.0.0.1:0"))).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("[receive] http") && said.contains(address), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_under_load_it_answers_what_is_under_way_and_loses_nothing() {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let mut serve = Serve::start(STORE);
    let traces = simulated("healthy", 300, Timestamp(1_760_000_000_000_000_000), Duration::from_hours(1));
    let http = reqwest::Client::new();
    let mut senders = tokio::task::JoinSet::new();
    for (request, traces) in requests(&traces, 5).into_iter().zip(traces.chunks(5)) {
        let ids: Vec<TraceId> = traces.iter().map(|trace| trace.truth.trace_id).collect();
        let url = format!("http://{}/v1/traces", serve.receives_on);
        let request = http.post(url).header("content-type", PROTOBUF).body(request.encode_to_vec());
        senders.spawn(async move { request.send().await.is_ok_and(|answer| answer.status() == 200).then_some(ids) });
    }
    let mut accepted = BTreeSet::new();
    accepted.extend(senders.join_next().await.unwrap().unwrap().unwrap());
    let stopping = Instant::now();
    let status = tokio::task::block_in_place(|| serve.terminate());
    assert_eq!(status.code(), Some(0), "{}", serve.log());
    assert!(stopping.elapsed() < Duration::from_secs(40), "{:?}", stopping.elapsed());
    while let Some(sent) = senders.join_next().await {
        accepted.extend(sent.unwrap().into_iter().flatten());
    }

    serve.restart();
    let store = Store::open(&serve.sqlite_url(), true).await.unwrap();
    let scored = async || {
        let found = store.search(&Selection::default(), 1_000).await.unwrap();
        let found: BTreeSet<TraceId> = found.iter().map(|trace| trace.trace_id).collect();
        accepted.is_subset(&found).then_some(())
    };
    super::fixtures::eventually("everything that was accepted", scored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_never_ends_its_request_and_a_judge_that_never_answers_do_not_hold_up_the_end() {
    let judge = Fake::start(|_| None).await;
    let mut serve = Serve::start(&format!(
        "{STORE}[sampling]\nhealthy_rate = 1.0\n[judge.models.default]\nbase_url = \"{}/v1\"\nmodel = \"m\"\n\
         allow_unpriced = true\n",
        judge.url
    ));
    let trace = super::fixtures::judgeable();
    let url = format!("http://{}", serve.receives_on);
    let response = super::fixtures::post(&url, &[("content-type", PROTOBUF)], trace.request.encode_to_vec()).await;
    assert_eq!(response.status(), 200);
    super::fixtures::eventually("a question to the judge", async || judge.asked().first().map(drop)).await;
    let mut half = TcpStream::connect(serve.receives_on).unwrap();
    half.write_all(
        b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
    )
    .unwrap();
    let stopping = Instant::now();
    let status = tokio::task::block_in_place(|| serve.terminate());
    assert_eq!(status.code(), Some(0), "{}", serve.log());
    assert!(stopping.elapsed() < Duration::from_secs(40), "{:?}", stopping.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_holds_its_tables_does_not_hold_up_the_end() {
    let url = postgres().database().await;
    let mut serve = Serve::start(&format!("[service]\ndrain = \"1s\"\n[store]\nurl = \"{url}\"\n"));
    let ready = async || serve.readiness().await.filter(|(is_ready, _)| *is_ready);
    super::fixtures::eventually("readiness", ready).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut held = database.begin().await.unwrap();
    held.execute("LOCK TABLE lease IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waiting = async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let mut another = PgConnection::connect(&url).await.unwrap();
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut another).await.unwrap();
        (count > 0).then_some(())
    };
    super::fixtures::eventually("a statement that waits", waiting).await;
    let stopping = Instant::now();
    let status = tokio::task::block_in_place(|| serve.terminate());
    assert_eq!(status.code(), Some(0), "{}", serve.log());
    assert!(stopping.elapsed() < Duration::from_secs(15), "{:?}", stopping.elapsed());
    held.rollback().await.unwrap();
}
