//! The pages in a real browser: every one opened by its links, cases labelled by keyboard, hostile texts shown as text.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use driftline::backends::store::StoredEvaluation;
use driftline::domain::ids::TraceId;
use driftline::domain::label::Answer;
use driftline::domain::time::Timestamp;
use tokio::task::block_in_place;

use super::fixtures::{Service, fill, hostile};
use crate::stores::fixtures::stored_evaluation;
use crate::support::browser::Browser;

/// The judge of the shipped definitions, which passes every other trace.
const JUDGE: &str = "groundedness";
/// Of a laptop and of a phone.
const WIDTHS: [u32; 2] = [1280, 390];
/// Pages that one walk opens, each of another kind or of the first few of its kind.
const PAGES: usize = 60;

/// What cannot be read for want of room: texts in tables that stand like towers, and plots that are drawn smaller than
/// they are.
const CRAMPED: &str = "(() => {
    const towers = [...document.querySelectorAll('td:not(.number)')].filter(cell => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        const lines = range.getBoundingClientRect().height / 22;
        return lines > 4 && cell.innerText.length / lines < 12;
    });
    const shrunken = [...document.querySelectorAll('.charts svg[role=img]')].filter(
        plot => innerWidth < 600 && plot.getBoundingClientRect().width < plot.viewBox.baseVal.width - 1);
    return [...towers, ...shrunken].map(it => it.outerHTML.slice(0, 200)).join();
})()";

fn judgement(trace_id: TraceId, place: usize) -> StoredEvaluation {
    stored_evaluation(trace_id, JUDGE, Some(if place.is_multiple_of(2) { 0.0 } else { 1.0 }))
}

/// A path with what differs between pages of one kind taken out.
fn kind(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap();
    let part = |part: &str| if part.len() >= 16 || part.contains(':') { "…".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Opens a page and everything that it leads to; gives the kinds of pages that were seen.
fn walk(browser: &mut Browser, service: &Service) -> BTreeSet<String> {
    let mut waiting = VecDeque::from(["/".to_owned()]);
    let (mut known, mut kinds): (BTreeSet<String>, Vec<String>) = (waiting.iter().cloned().collect(), Vec::new());
    while let Some(path) = waiting.pop_front().filter(|_| kinds.len() < PAGES) {
        browser.open(&format!("{}{path}", service.url));
        let complaints = browser.complaints();
        assert!(complaints.is_empty(), "{path}: {complaints:?}");
        let title = browser.value("document.title");
        assert!(
            title.as_str().is_some_and(|title| title.ends_with("· driftline") && !title.starts_with("Error")),
            "{path}: {title}"
        );
        for width in WIDTHS {
            assert!(browser.fits(width), "{path} is too wide for {width} pixels");
            assert_eq!(browser.value(CRAMPED), "", "{path} at {width} pixels");
        }
        kinds.push(kind(&path));
        let links = browser
            .value("[...document.querySelectorAll('a[href^=\"/\"]:not([download])')].map(a => a.getAttribute('href'))");
        for link in links.as_array().unwrap().iter().map(|link| link.as_str().unwrap().to_owned()) {
            let is_page = !link.starts_with("/api/") && link != "/metrics";
            let seen = waiting.iter().chain([&path]).filter(|other| kind(other) == kind(&link)).count();
            let opened = kinds.iter().filter(|other| **other == kind(&link)).count();
            if is_page && seen + opened < 3 && known.insert(link.clone()) {
                waiting.push_back(link);
            }
        }
    }
    kinds.into_iter().collect()
}

/// Traffic whose alerts and releases are known: made up, and real where that is here.
async fn services() -> Vec<Service> {
    let made_up = Service::with_judged_traffic(judgement).await;
    let services: Vec<Service> =
        [Some(made_up), Service::with_real_traffic(judgement).await].into_iter().flatten().collect();
    for service in &services {
        service.raise_alert("loop fell from 0.98 to 0.71").await;
        service.count_versions().await;
    }
    services
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_reached_by_links_and_no_console_complains() {
    for service in services().await {
        every_page(&service);
    }
}

fn every_page(service: &Service) {
    let kinds = block_in_place(|| walk(&mut Browser::start(), service));
    for expected in [
        "/",
        "/traces",
        "/traces/…",
        "/series",
        "/series/…",
        "/series/…/traces",
        "/alerts",
        "/alerts/f1",
        "/runbooks/quality-drift",
        "/releases",
        "/releases/compare",
        "/review",
        "/review/agreement",
        "/judges",
        "/evaluators",
        "/costs",
        "/system",
    ] {
        assert!(kinds.contains(expected), "{expected} is not among {kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_cases_are_labelled_by_keyboard_and_the_last_one_once_more() {
    for service in services().await {
        label_ten(&service).await;
    }
}

async fn label_ten(service: &Service) {
    let keys = ["y", "n", "s", "y", "n", "y", "y", "n", "s", "n"];
    block_in_place(|| {
        let mut browser = Browser::start();
        browser.open(&format!("{}/review?reviewer=anna&judge={JUDGE}", service.url));
        assert!(!browser.text().contains("it was judged"), "the verdict shows before the answer");
        assert!(browser.text().contains("the judge fails it"), "a flagged case says why it is one");
        browser.press("?");
        assert_eq!(browser.value("document.querySelector('details.help').open"), true);
        for (place, key) in keys.into_iter().enumerate() {
            service.clock.advance(Duration::from_secs(3));
            browser.press_and_follow(key);
            let text = browser.text();
            assert!(
                text.contains(&format!("{} answered today", place + 1))
                    && text.contains("it was judged: the run fails"),
                "{text}"
            );
        }
        browser.press_and_follow("u");
        assert!(browser.text().contains("What you say now takes its place"));
        browser.press("c");
        for key in ["n", "o"] {
            browser.press(key);
        }
        assert_eq!(browser.value("document.querySelector('input[name=note]').value"), "no", "keys in a field are text");
        browser.press("Escape");
        service.clock.advance(Duration::from_secs(3));
        browser.press_and_follow("y");
        assert_eq!(browser.complaints(), Vec::<String>::new());
    });
    let labels = service.store.store.labels_by("anna", Timestamp(0), 20).await.unwrap();
    let answers: Vec<&str> = labels.iter().rev().map(|label| label.label.as_str()).collect();
    let pressed = keys.map(|key| match key {
        "y" => "pass",
        "n" => "fail",
        _ => "skip",
    });
    assert_eq!(answers[..10], pressed);
    let (last, once_more) = (&labels[1], &labels[0]);
    assert_eq!((once_more.trace_id, once_more.label), (last.trace_id, Answer::Pass));
    assert_eq!(once_more.note.as_deref(), Some("no"));
}

/// What the page that is open says, after it was found to have nothing to complain about.
fn shown(browser: &mut Browser) -> String {
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_leads_to_its_traces_and_a_trace_to_the_audit_of_its_conversation() {
    for service in services().await {
        let id = service.trace_ids[0];
        let conversation = service.store.store.trace(id).await.unwrap().unwrap().conversation_id.unwrap();
        block_in_place(|| {
            let mut browser = Browser::start();
            browser.open(&format!("{}/alerts", service.url));
            browser.follow("article.alert a[href='/alerts/f1']");
            assert!(shown(&mut browser).contains("loop fell from 0.98 to 0.71"));
            browser.follow(&format!("a[href='/traces/{id}']"));
            let trace = shown(&mut browser);
            assert!(
                trace.contains("Final answer") && trace.contains(JUDGE) && trace.contains("uncalibrated"),
                "{trace}"
            );
            browser.follow("a[href^='/audit?id=']");
            assert!(shown(&mut browser).contains("1 run by"), "the decision is rebuilt");
            browser.value(&format!("document.querySelector('#id').value = '{conversation}'"));
            browser.follow("form[action='/audit'] button");
            let audit = shown(&mut browser);
            assert!(audit.contains(&conversation) && audit.contains(&id.to_string()), "{audit}");
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_are_compared_from_their_list() {
    for service in services().await {
        block_in_place(|| {
            let mut browser = Browser::start();
            browser.open(&format!("{}/releases?service={}&unsettled=true", service.url, service.agent));
            browser.follow("a[href^='/releases/compare'][href*='dimension=release']");
            let compared = shown(&mut browser);
            for part in ["Quality", "Cost, mean of a trace", "What moved", "uncalibrated", "output_tokens"] {
                assert!(compared.contains(part), "{part}: {compared}");
            }
        });
    }
}

/// Pages on which names out of traces may stand.
const OTHERS: [&str; 12] = [
    "/traces?top=tools",
    "/traces?top=conversations",
    "/releases?unsettled=true",
    "/review?reviewer=anna",
    "/judges",
    "/costs?by=operation&since=9999d",
    "/costs?by=user&since=9999d",
    "/costs?by=conversation&since=9999d",
    "/readiness",
    "/evaluators",
    "/audit/log",
    "/system",
];

/// What a page says, after it was found that nothing on it came to power.
fn harmless(browser: &mut Browser, service: &Service, path: &str) -> String {
    browser.open(&format!("{}{path}", service.url));
    assert_eq!(browser.value("typeof window.pwned"), "undefined", "{path}");
    assert_eq!(browser.complaints(), Vec::<String>::new(), "{path}");
    let shown = browser.text();
    assert!(!shown.contains(['\u{202e}', '\u{1b}']), "{path}: the text keeps its powers");
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_are_text_in_a_browser_and_no_script_of_theirs_runs() {
    let service = Service::empty().await;
    let attack =
        "</script></pre><script>window.pwned=1</script><img src=x onerror=\"window.pwned=1\">\u{202e}gpj\u{1b}[2J";
    let text = format!("{attack}{}", "long line ".repeat(100_000));
    let id = fill(&service.store.store, hostile("0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", &text)).await[0];
    service.raise_alert(&text).await;
    block_in_place(|| {
        let mut browser = Browser::start();
        let of_trace = [format!("/traces/{id}"), format!("/audit?id={id}")];
        let showing =
            ["/", "/traces", "/alerts", "/alerts/f1", "/series"].into_iter().map(str::to_owned).chain(of_trace);
        for path in showing {
            let shown = harmless(&mut browser, &service, &path);
            assert!(shown.contains("<script>"), "{path}: the text is not shown");
        }
        for path in OTHERS {
            harmless(&mut browser, &service, path);
        }
        for path in ["/", "/review"] {
            browser.open(&format!("{}{path}", service.url));
            browser.value("document.head.append(Object.assign(document.createElement('script'), {textContent: 'window.pwned = 1'}))");
            assert_eq!(browser.value("typeof window.pwned"), "undefined", "{path} lets scripts in");
            let complaints = browser.complaints();
            assert!(complaints.iter().any(|it| it.contains("Content Security Policy")), "{path}: {complaints:?}");
        }
    });
}
