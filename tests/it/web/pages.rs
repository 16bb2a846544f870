//! What people see.

use driftline::otlp::{AnyValue, any_value};

use super::fixtures::{Service, append, fill, hostile};
use crate::stores::fixtures::stored_evaluation;

#[tokio::test]
async fn an_empty_store_tells_how_to_send_the_first_trace() {
    let page = Service::empty().await.page("/").await;
    for part in
        ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:4318/v1/traces", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]
    {
        assert!(page.contains(part), "{page}");
    }
}

#[tokio::test]
async fn the_overview_shows_alerts_services_and_what_is_not_set_up() {
    let service = Service::with_traffic().await;
    service.raise_alert("loop fell from 0.98 to 0.71").await;
    let page = service.page("/").await;
    let evidence = format!("/traces/{}", service.trace_ids[0]);
    for part in ["loop fell from 0.98 to 0.71", &evidence, "No judge model is configured", "no baseline named", "n = "]
    {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let hint = "driftline baseline create default --from since=24h --url http";
    assert!(page.contains(hint), "the service has the store, and takes the baseline: {page}");
    let alerts = service.page("/alerts").await;
    assert!(alerts.contains("loop fell from 0.98 to 0.71") && alerts.contains(&evidence));
}

#[tokio::test]
async fn a_trace_page_shows_question_answer_scores_and_spans() {
    let service = Service::with_traffic().await;
    let id = service.trace_ids[0];
    let page = service.page(&format!("/traces/{id}")).await;
    let link = format!("https://traces.example/{id}?tab=spans");
    let logs = format!("https://logs.example/?trace={id}");
    for part in ["Final answer", "groundedness", "Timeline", "invoke_agent", &link, &logs, "probability"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(service.page("/traces?failing=true").await.contains("flagged"));
    assert_eq!(service.get(&format!("/traces/{}", "1".repeat(32))).await.status(), 404);
    assert_eq!(service.get("/traces/xyz").await.status(), 400);
}

#[tokio::test]
async fn traces_are_narrowed_by_a_form_that_keeps_what_else_is_chosen() {
    let service = Service::with_traffic().await;
    let page = service.page("/traces?top=tools&model=x&service=support-agent&since=24h").await;
    for kept in
        ["name=\"top\" value=\"tools\"", "name=\"model\" value=\"x\"", "name=\"service\" value=\"support-agent\""]
    {
        assert!(page.contains(kept), "{kept} is not in {page}");
    }
    assert!(page.contains("<a href=\"/traces?top=tools\">show all</a>"), "a ranking stays one: {page}");
    let sent = service.page("/traces?service=support-agent&release=&since=&failing=&limit=5").await;
    assert!(
        sent.contains("The newest 5,") && sent.contains("/traces?service=support-agent&amp;limit=50\">more"),
        "{sent}"
    );
    assert!(sent.contains("href=\"/traces?conversation=") && sent.contains("Flagged: a rule or a judge"), "{sent}");
}

#[tokio::test]
async fn series_say_what_their_numbers_are() {
    let service = Service::with_traffic().await;
    let list = service.page("/series").await;
    for quantity in ["largest share of model calls", "mean, seconds", "share of runs that pass", " %<div"] {
        assert!(list.contains(quantity), "{quantity} is not in {list}");
    }
    let categories = service.page("/series/support-agent:finish_reasons:all").await;
    assert!(categories.contains("Largest share of model calls") && !categories.contains("95th percentile"));
    let numbers = service.page("/series/support-agent:latency_seconds:all").await;
    assert!(numbers.contains("95th percentile") && numbers.contains(">seconds<"), "{numbers}");
    let sequence = service.page("/series/support-agent:tool_transitions:all").await;
    assert!(sequence.contains("The shares as numbers") && sequence.contains("at the right: now"), "{sequence}");
}

#[tokio::test]
async fn an_answer_speaks_of_the_run_and_not_of_its_judge() {
    let judgement = |trace_id, _| stored_evaluation(trace_id, "groundedness", Some(0.0));
    let service = Service::with_judged_traffic(judgement).await;
    let id = service.trace_ids[0];
    let page = service.page(&format!("/review?reviewer=anna&trace={id}&evaluator=groundedness")).await;
    assert!(page.contains("Yes, the run passes") && page.contains("No, the run fails"), "{page}");
    assert!(!page.contains("Right") && !page.contains("Wrong"), "{page}");
}

#[tokio::test]
async fn a_pending_trace_has_a_page_that_says_so() {
    let service = Service::empty().await;
    let id = append(&service.store.store, hostile("0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", "agent")).await[0];
    assert!(service.page(&format!("/traces/{id}")).await.contains("pending"));
}

#[tokio::test]
async fn hostile_text_has_no_power_on_any_page() {
    let service = Service::empty().await;
    let text = "</script></pre><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}gpj\u{1b}[2J";
    let id = fill(&service.store.store, hostile("0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", text)).await[0];
    service.raise_alert(text).await;
    for path in ["/".to_owned(), "/traces".to_owned(), "/alerts".to_owned(), format!("/traces/{id}")] {
        let page = service.page(&path).await;
        assert!(page.contains("&lt;/script&gt;"), "{path}: the text is not shown");
        for power in ["<script", "<img", "\u{202e}", "\u{1b}"] {
            assert!(!page.contains(power), "{path} contains {power:?}");
        }
    }
}

#[tokio::test]
async fn a_huge_trace_makes_no_huge_page() {
    let service = Service::empty().await;
    let mut request = hostile("0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", "agent");
    let spans = &mut request[0].scope_spans[0].spans;
    let template = spans[0].clone();
    spans.extend((1..2_000_u64).map(|number| {
        let mut span = template.clone();
        span.span_id = (number << 16).to_be_bytes().to_vec();
        span.parent_span_id.clone_from(&template.span_id);
        span.name = "x".repeat(5_000);
        span
    }));
    let id = fill(&service.store.store, request).await[0];
    let page = service.page(&format!("/traces/{id}")).await;
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert!(page.contains("1700 more spans"));
}

#[tokio::test]
async fn an_invented_clock_gives_no_duration() {
    let service = Service::empty().await;
    let mut request = hostile("0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", "agent");
    let id = fill(&service.store.store, request.clone()).await[0];
    assert!(service.page(&format!("/traces/{id}")).await.contains("1.00 s"));

    let service = Service::empty().await;
    let resource = request[0].resource.as_mut().unwrap();
    let mut attribute = resource.attributes[0].clone();
    attribute.key = "dataset.timestamps".to_owned();
    attribute.value = Some(AnyValue { value: Some(any_value::Value::StringValue("synthetic".to_owned())) });
    resource.attributes.push(attribute);
    let id = fill(&service.store.store, request).await[0];
    assert!(service.page(&format!("/traces/{id}")).await.contains("times are invented"));
    assert!(service.answer(&format!("/api/v1/traces/{id}")).await["latency_seconds"].is_null());
}

#[tokio::test]
async fn a_path_that_is_none_is_told_to_a_browser_as_a_page_and_to_a_program_as_json() {
    let service = Service::empty().await;
    let ask = reqwest::Client::new().get(format!("{}/nothing", service.url));
    let page = ask.try_clone().unwrap().header("accept", "text/html,*/*").send().await.unwrap();
    assert_eq!(page.status(), 404);
    let page = page.text().await.unwrap();
    assert!(page.contains("there is nothing at this path") && page.contains("href=\"/traces\""), "{page}");
    let answer: serde_json::Value = ask.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["error"], "there is nothing at this path");
}
