//! Versions are counted to the end, wherever the process dies, and a release that comes is said.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use driftline::backends::clock::{Clock, SystemClock};
use driftline::backends::store::Store;
use prost::Message as _;

use super::fixtures::{PROTOBUF, eventually, post, requests, simulated};
use crate::stores::fixtures::plain;
use crate::support::serve::Serve;

const SETTINGS: &str = "[store]\nurl = \"sqlite://{folder}/before.db\"\n";

async fn counted(store: &Store) -> u64 {
    let hours = store.version_hours(Some("shop")).await.unwrap();
    hours.iter().filter(|hour| hour.dimension == "release").map(|hour| hour.traces).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_count_that_was_interrupted_is_taken_up_again_however_old_the_traces_are() {
    let mut serve = Serve::start(SETTINGS);
    serve.kill();
    // A store that was filled long ago, by a program that did not count.
    let url = serve.sqlite_url();
    let store = Store::open(&url, false).await.unwrap();
    // Nearly as old as records become.
    let start = SystemClock.now().minus(Duration::from_hours(300 * 24));
    let traces: Vec<_> = (1..=5)
        .map(|number| {
            let mut one = plain(number);
            one.trace.ended_at = start.plus(Duration::from_hours(number));
            one
        })
        .collect();
    store.record_traces(&traces, start.plus(Duration::from_hours(25))).await.unwrap();
    store.close().await;
    drop(store);
    let settings = url.replace("sqlite://", "").replace("driftline.db", "driftline.toml");
    let text = fs::read_to_string(&settings).unwrap().replace("before.db", "driftline.db");
    fs::write(&settings, text).unwrap();

    let folder = Path::new(&settings).parent().unwrap();
    let log = fs::File::options().append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command.arg("serve").current_dir(folder).stderr(log);
    let dying = command.env("DRIFTLINE_CRASH_AT", "keep counted versions").spawn().unwrap();
    let dying = RefCell::new(dying);
    eventually("that it died", async || dying.borrow_mut().try_wait().unwrap()).await;
    let store = Store::open(&url, true).await.unwrap();
    assert_eq!(counted(&store).await, 1, "{}", serve.log());
    serve.restart();
    eventually("every trace to be counted", async || (counted(&store).await == 5).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_comes_is_said() {
    let mut serve = Serve::start("[store]\nurl = \"sqlite://{folder}/driftline.db\"\n");
    let start = SystemClock.now().minus(Duration::from_hours(3));
    let traces = simulated("healthy", 200, start, Duration::from_hours(2));
    let releases: BTreeSet<&str> = traces.iter().map(|trace| trace.truth.release.as_str()).collect();
    for request in requests(&traces, 20) {
        let url = format!("http://{}", serve.receives_on);
        assert_eq!(post(&url, &[("content-type", PROTOBUF)], request.encode_to_vec()).await.status(), 200);
    }
    let store = Store::open(&serve.sqlite_url(), true).await.unwrap();
    eventually("every trace", async || (store.counts().await.unwrap().traces == 200).then_some(())).await;
    // The next count is a minute away, or at the next start: what was uncounted then is news.
    serve.kill();
    serve.restart();
    let said = |serve: &Serve| serve.log().matches("a release is noticed").count();
    eventually("a release in the log", async || (said(&serve) > 0).then_some(())).await;
    serve.terminate();
    let log = serve.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("a release is noticed")).collect();
    assert!(releases.iter().any(|release| lines.iter().any(|line| line.contains(release))), "{lines:#?}");
}
