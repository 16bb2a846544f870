//! Alerts on their way to people: the real Alertmanager, and what Slack and PagerDuty document.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftline::app::settings::{ChannelKind, ChannelSettings, SecretSource, Settings};
use driftline::domain::alert::{Acknowledgement, Alert, AlertState, Amendment, Severity};
use driftline::domain::silence::Silence;
use serde_json::Value;

use super::fake::{Asked, Fake, status};
use super::fixtures::{Running, eventually};
use crate::stores::fixtures::{alert, seconds};
use crate::support::services::{alertmanager, find};

fn channel(name: &str, kind: ChannelKind, url: &str) -> ChannelSettings {
    ChannelSettings {
        name: name.to_owned(),
        kind,
        url: Some(SecretSource::Text(url.to_owned())),
        token: None,
        severity: Severity::Warn,
        services: Vec::new(),
        remind_after: None,
    }
}

async fn telling(channels: Vec<ChannelSettings>) -> Running {
    Running::start(|settings: &mut Settings| {
        settings.alerts.channels = channels;
        settings.web.url = "https://driftline.example".to_owned();
    })
    .await
}

fn warned(fingerprint: &str, service: &str) -> Alert {
    alert(fingerprint, service, AlertState::Pending, seconds(1))
}

async fn put(running: &Running, alert: &Alert) {
    running.store.put_alert(alert, now()).await.unwrap();
}

fn now() -> driftline::domain::time::Timestamp {
    driftline::backends::clock::Clock::now(&driftline::backends::clock::SystemClock)
}

/// What Alertmanager knows of a service now.
async fn active(service: &str) -> Vec<Value> {
    let url = format!("{}/api/v2/alerts?filter=service%3D%22{service}%22", alertmanager().url);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_holds_an_alert_once_for_as_long_as_it_is_open_and_lets_go_when_it_is_over() {
    let to_alertmanager = ChannelSettings {
        remind_after: Some(Duration::from_secs(1)),
        ..channel("am", ChannelKind::Alertmanager, &alertmanager().url)
    };
    let running = telling(vec![to_alertmanager]).await;
    let hostile = Alert { summary: "\u{1b}[2J{{ .Labels }} \"\n".to_owned(), ..warned("00000000000000aa", "am-shop") };
    put(&running, &hostile).await;
    let first = eventually("the alert", async || active("am-shop").await.pop()).await;
    assert_eq!(first["labels"]["series"], "loop");
    assert_eq!(first["annotations"]["runbook_url"], "https://driftline.example/runbooks/quality-drift");
    assert_eq!(first["annotations"]["description"], "\u{fffd}[2J{{ .Labels }} \" ");
    assert_eq!(first["generatorURL"], "https://driftline.example/alerts/00000000000000aa");

    // Without being told again, it would take the alert for over four seconds after the first message.
    running.store.amend_alert(&hostile.fingerprint, &taken(), now()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let is_held = async || (active("am-shop").await.len() == 1).then_some(());
    eventually("an acknowledgement here ends nothing there", is_held).await;

    put(&running, &Alert { severity: Severity::Page, ..hostile.clone() }).await;
    let louder = async || active("am-shop").await.pop().filter(|alert| alert["labels"]["severity"] == "page");
    eventually("the louder alert", louder).await;
    eventually("one alert", is_held).await;
    let amtool = find("amtool", "/usr/bin", "prometheus-alertmanager");
    let url = format!("--alertmanager.url={}", alertmanager().url);
    let asked = std::process::Command::new(amtool).args([&url, "alert", "query", "service=am-shop"]).output().unwrap();
    assert!(String::from_utf8_lossy(&asked.stdout).contains("DriftlineAlert"), "{asked:?}");

    let over =
        Alert { state: AlertState::Resolved, resolved_at: Some(seconds(9)), severity: Severity::Page, ..hostile };
    put(&running, &over).await;
    eventually("no alert", async || active("am-shop").await.is_empty().then_some(())).await;
}

fn taken() -> Amendment {
    Amendment::Acknowledge(Acknowledgement { by: "kim".to_owned(), at: now(), note: None })
}

fn bodies(fake: &Fake) -> Vec<Value> {
    fake.asked().iter().map(body).collect()
}

fn body(asked: &Asked) -> Value {
    serde_json::from_slice(&asked.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pagerduty_gets_one_incident_from_trigger_to_resolve_after_an_outage_in_order() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let pagerduty = Fake::start(move |_| status(if up.load(Ordering::Relaxed) { 202 } else { 500 })).await;
    let slack = Fake::start(|_| status(200)).await;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "routing-key-of-32-characters-long\n").unwrap();
    let to_pagerduty = ChannelSettings {
        token: Some(SecretSource::File(key)),
        severity: Severity::Page,
        ..channel("on-call", ChannelKind::Pagerduty, &format!("{}/v2/enqueue", pagerduty.url))
    };
    let running = telling(vec![to_pagerduty, channel("team", ChannelKind::Slack, &slack.url)]).await;
    let paged = Alert { severity: Severity::Page, ..warned("00000000000000bb", "shop") };
    put(&running, &paged).await;
    put(&running, &warned("00000000000000cc", "shop")).await;
    eventually("the other channel", async || (slack.asked().len() == 2).then_some(())).await;
    running.store.amend_alert(&paged.fingerprint, &taken(), now()).await.unwrap();
    eventually("the acknowledgement", async || (slack.asked().len() == 3).then_some(())).await;
    put(&running, &Alert { state: AlertState::Resolved, resolved_at: Some(seconds(9)), ..paged.clone() }).await;
    eventually("the end", async || (slack.asked().len() == 4).then_some(())).await;
    assert!(bodies(&pagerduty).iter().all(|body| body["event_action"] == "trigger"), "what follows waits its turn");

    let failed = pagerduty.asked().len();
    is_up.store(true, Ordering::Relaxed);
    running.delivered().await;
    let sent = bodies(&pagerduty).split_off(failed);
    let actions: Vec<&Value> = sent.iter().map(|body| &body["event_action"]).collect();
    assert_eq!(actions, ["trigger", "acknowledge", "resolve"], "and nothing of what is less than a page");
    for body in &sent {
        assert_eq!(body["routing_key"], "routing-key-of-32-characters-long");
        assert_eq!(body["dedup_key"], "driftline-00000000000000bb");
    }
    let payload = &sent[0]["payload"];
    assert_eq!((&payload["severity"], &payload["source"]), (&"critical".into(), &"shop".into()));
    assert!(payload["summary"].as_str().unwrap().len() <= 1024 && payload["timestamp"].is_string());
    assert!(pagerduty.asked().iter().all(|asked| asked.path == "/v2/enqueue"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silenced_alert_is_recorded_not_sent_and_told_once_when_the_silence_ends() {
    let slack = Fake::start(|_| status(200)).await;
    let running = telling(vec![channel("team", ChannelKind::Slack, &slack.url)]).await;
    let silence = Silence {
        id: "s1".to_owned(),
        matcher: "service=quiet".parse().unwrap(),
        by: "kim".to_owned(),
        reason: "maintenance".to_owned(),
        created_at: seconds(0),
        ends_at: now().plus(Duration::from_hours(1)),
        ended_by: None,
    };
    running.store.insert_silence(&silence).await.unwrap();
    put(&running, &warned("00000000000000dd", "quiet")).await;
    put(&running, &warned("00000000000000ee", "loud")).await;
    eventually("the other alert", async || (slack.asked().len() == 1).then_some(())).await;
    let is_firing = async || {
        let alert = running.store.alert("00000000000000dd").await.unwrap().unwrap();
        (alert.state == AlertState::Firing).then_some(())
    };
    eventually("the record", is_firing).await;
    running.store.end_silence("s1", "kim", now()).await.unwrap();
    eventually("the silenced alert", async || (slack.asked().len() == 2).then_some(())).await;
    put(
        &running,
        &Alert { state: AlertState::Resolved, resolved_at: Some(seconds(9)), ..warned("00000000000000dd", "quiet") },
    )
    .await;
    eventually("its end", async || (slack.asked().len() == 3).then_some(())).await;
    let titles: Vec<String> =
        bodies(&slack).iter().map(|body| body["attachments"][0]["title"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        titles,
        [
            "Alert [warn] loop of loud",
            "Silence ended, still open [warn] loop of quiet",
            "Resolved [resolved] loop of quiet"
        ]
    );
}
