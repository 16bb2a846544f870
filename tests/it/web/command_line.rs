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
        vec!["traces", "--top", "tools", "--since", "2024-01-01"],
        vec!["traces", "--top", "conversations", "--since", "2024-01-01", "--json"],
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
    let ranked = driftline(&service, &["traces", "--top", "tools", "--since", "2024-01-01"]).await.stdout;
    assert!(text(&ranked).contains("from 2024-01-01T00:00:00Z on"), "{}", text(&ranked));
    let ranked = driftline(&service, &["traces", "--top", "tools", "--json", "--url", &service.url]).await.stdout;
    let first: Value = serde_json::from_str(text(&ranked).lines().next().unwrap()).unwrap();
    assert!(first["tool"].is_string() && first["since"].is_null(), "of all time where nothing is said: {first}");
    let lines = driftline(&service, &["traces", "--json", "--limit", "1000"]).await.stdout;
    let traces: Vec<Value> = text(&lines).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(traces.len(), TRACES);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_of_nothing_writes_no_file_and_its_json_can_be_read() {
    let service = Service::with_traffic().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.html");
    let output = driftline(&service, &["audit", "nope", "--html", file.to_str().unwrap()]).await;
    assert_eq!((output.status.code(), file.exists()), (Some(4), false), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("nothing is known of nope"), "{}", text(&output.stderr));
    let output = driftline(&service, &["audit", "nope", "--json"]).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), found["runs"].as_array().unwrap().len()), (Some(0), 0));
    let output = driftline(&service, &["audit", "invoice.id=nope"]).await;
    assert!(output.status.success() && text(&output.stdout).contains("nothing is known of invoice.id=nope"));
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
        (vec!["traces", "--since", "abc"], 2, "write for example 24h"),
        (vec!["traces", "--where", "failing=maybe"], 2, "write true or false"),
        (vec!["traces", "--since", "2h", "--until", "5h"], 2, "is later than until"),
        (vec!["costs", "--by", "mood"], 2, "known: day, environment, evaluator"),
        (vec!["calibrate", "nope"], 4, "there is no judge \"nope\""),
        (vec!["review", "next", "--judge", "nope"], 4, "there is no judge \"nope\"; known: "),
        (
            vec!["readiness", "--service", "nope"],
            4,
            "a service \"nope\" is known; known: invoice-agent, research-agent",
        ),
        (vec!["alerts", "show", "nope"], 4, "there is no alert"),
        (vec!["baseline", "show", "nope"], 4, "there is no baseline"),
    ] {
        let asking = [arguments.as_slice(), &["--url", &service.url]].concat();
        for arguments in [arguments, asking] {
            let output = driftline(&service, &arguments).await;
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
            assert!(text(&output.stderr).contains(part), "{arguments:?}: {}", text(&output.stderr));
        }
    }
    let label = ["review", "label", &unknown, "fail", "--url", &service.url];
    let output = driftline(&service, &label).await;
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("is not known"), "{}", text(&output.stderr));
    for (url, code, part) in [("localhost", 2, "not an address"), ("http://127.0.0.1:1", 4, "driftline serve")] {
        let output = driftline(&service, &["traces", "--url", url]).await;
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
}
