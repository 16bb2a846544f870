//! The commands answer alike from the store and from a service.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::fixtures::{Service, TRACES};

async fn driftline(service: &Service, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    let folder = Path::new(service.store.url.strip_prefix("sqlite://").unwrap()).parent().unwrap();
    command.args(arguments).current_dir(folder).env("DRIFTLINE__STORE__URL", &service.store.url);
    command.env("DRIFTLINE__WEB__URL", "http://driftline.example");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_and_a_service_give_the_same_output() {
    let service = Service::with_traffic().await;
    service.raise_alert("loop fell from 0.98 to 0.71").await;
    let id = service.trace_ids[0].to_string();
    for arguments in [
        vec!["traces"],
        vec!["traces", "--where", "release=1.5.0,environment=production", "--limit", "5", "--json"],
        vec!["traces", "--where", "failing=true", "--since", "2024-01-01", "--json"],
        vec!["traces", "--top", "tools"],
        vec!["traces", "--top", "conversations", "--json"],
        vec!["traces", "--where", "verdict=fail,failing=true", "--json"],
        vec!["explain", &id],
        vec!["explain", &id, "--json"],
        vec!["alerts", "list"],
        vec!["alerts", "show", "f1", "--all", "--json"],
        vec!["alerts", "silences"],
        vec!["alerts", "list", "--open", "--service", "support-agent", "--json"],
    ] {
        let from_store = driftline(&service, &arguments).await;
        assert!(from_store.status.success(), "{arguments:?}: {}", text(&from_store.stderr));
        assert!(!from_store.stdout.is_empty(), "{arguments:?}");
        let asking = [arguments.as_slice(), &["--url", &service.url]].concat();
        let from_service = driftline(&service, &asking).await;
        assert_eq!(text(&from_store.stdout), text(&from_service.stdout), "{}", text(&from_service.stderr));
    }
    let lines = driftline(&service, &["traces", "--json", "--limit", "1000"]).await.stdout;
    let traces: Vec<Value> = text(&lines).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(traces.len(), TRACES);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_and_what_is_not_there_have_their_own_exit_codes() {
    let service = Service::with_traffic().await;
    let unknown = "1".repeat(32);
    for (arguments, code, part) in [
        (vec!["traces", "--where", "servce=a"], 2, "unknown key \"servce\""),
        (vec!["traces", "--where", "service"], 2, "not key=value"),
        (vec!["traces", "--limit", "0"], 2, "limit is 0"),
        (vec!["explain", "xyz"], 2, "not hexadecimal"),
        (vec!["explain", &unknown], 4, "is not known"),
    ] {
        let asking = [arguments.as_slice(), &["--url", &service.url]].concat();
        for arguments in [arguments, asking] {
            let output = driftline(&service, &arguments).await;
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
            assert!(text(&output.stderr).contains(part), "{arguments:?}: {}", text(&output.stderr));
        }
    }
    for (url, code, part) in [("localhost", 2, "not an address"), ("http://127.0.0.1:1", 4, "driftline serve")] {
        let output = driftline(&service, &["traces", "--url", url]).await;
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
}
