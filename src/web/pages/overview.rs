//! How things stand, at a glance.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::alerts::card;
use super::figures::{duration, share};
use super::layout::{instant, page};
use super::text::clipped;
use crate::backends::store::QueueDepths;
use crate::domain::report::calibration_mark;
use crate::queries::overview::{Overview, ServiceOverview, ServiceScore, overview as ask};
use crate::queries::series::{Figures, Window};
use crate::watch::key::ALL;

/// Open alerts shown here; the rest stand on their own page.
const ALERTS: usize = 10;
/// Series that are not watched shown; more are told of.
const UNWATCHED: usize = 30;
/// Services shown; more are told of.
const SERVICES: usize = 50;

pub(in crate::web) async fn overview(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    parameters.finish()?;
    let overview = ask(&state.store, state.watched(), state.clock.now()).await?;
    Ok(page(
        "Overview",
        "/",
        &html! {
            h1 { "Overview" }
            @if overview.services.is_empty() {
                (first_steps(&state.receive_url))
            } @else {
                (notices(&state, &overview))
                (open_alerts(&overview))
                (services(&overview))
            }
            (queues(overview.queues))
        },
    ))
}

fn first_steps(receive_url: &str) -> Markup {
    html! {
        section {
            h2 { "No trace has been evaluated yet" }
            p { "Send the OpenTelemetry traces of your agent here; any OTLP/HTTP exporter will do:" }
            pre { "export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" (receive_url) "/v1/traces\n"
                  "export OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf" }
            p { "Or try it with recorded or simulated traffic:" }
            pre { "driftline replay traces.jsonl --to " (receive_url) "\n"
                  "driftline simulate --traces 200 --to " (receive_url) }
            p.muted { "A trace shows here a few seconds after its root span has ended." }
        }
    }
}

fn notices(state: &WebState, overview: &Overview) -> Markup {
    html! {
        @if !state.judge_configured {
            p.notice { strong { "No judge model is configured: " }
                "traces are scored by rules alone. Set " code { "[judge.models.default]" } " in driftline.toml." }
        }
        @if !overview.has_baseline {
            p.notice { strong { "Nothing is watched for drift yet: " }
                "there is no baseline named " code { (state.baseline) } ". Create it with "
                code { "driftline baseline create " (state.baseline) " --from service=…" } "." }
        }
        @if !overview.unwatched.is_empty() { (unwatched(overview)) }
    }
}

fn unwatched(overview: &Overview) -> Markup {
    let count = overview.unwatched.len();
    html! {
        details.notice {
            summary { strong { (count) " series are not watched" } }
            ul {
                @for (key, why) in overview.unwatched.iter().take(UNWATCHED) {
                    li { (clipped(&key.series, 60)) " of " (clipped(&key.service, 60))
                         @if key.segment != ALL { " (" (clipped(&key.segment, 60)) ")" } ": " (why) }
                }
            }
            @if count > UNWATCHED { p.muted { "and " (count - UNWATCHED) " more: /api/v1/series lists them" } }
        }
    }
}

fn open_alerts(overview: &Overview) -> Markup {
    let count = overview.alerts.len();
    html! {
        section {
            h2 { "Open alerts (" (count) ")" }
            @for alert in overview.alerts.iter().take(ALERTS) { (card(alert)) }
            @if count == 0 { p.muted { "Nothing is alarming now." } }
            @if count > ALERTS { p { a href="/alerts?open=true" { "All " (count) " open alerts" } } }
        }
    }
}

fn services(overview: &Overview) -> Markup {
    let count = overview.services.len();
    html! {
        section {
            h2 { "Services" }
            (extent(&overview.window))
            @for of_service in overview.services.iter().take(SERVICES) { (service(of_service)) }
            @if count > SERVICES { p.muted { "and " (count - SERVICES) " more services" } }
        }
    }
}

fn extent(window: &Window) -> Markup {
    html! {
        @if let (Some(since), Some(until)) = (window.since, window.until) {
            p.muted { "The newest " (window.traces) " traces, which ended " (instant(since)) " to " (instant(until))
                ". Intervals are 95 %, weighted by how traces were sampled and clustered by conversation." }
        }
        @if window.upstream_unknown > 0 {
            p.notice { strong { "Upstream sampling is not known " } "for " (window.upstream_unknown)
                " of them: each stands for itself alone. Say what a collector keeps in " code { "[[sampling.upstream]]" } "." }
        }
    }
}

fn service(of: &ServiceOverview) -> Markup {
    html! {
        article.service {
            h3 { a href=(address("/traces", &[("service", &of.service)])) { (clipped(&of.service, 80)) } }
            dl.facts {
                div { dt { "Traces" } dd { (of.traces) } }
                div {
                    dt { a href=(address("/traces", &[("service", &of.service), ("failing", "true")])) { "Flagged" } }
                    dd { (share(&of.failing)) }
                }
                @if let Some(errors) = &of.errors {
                    div { dt { "Ended in an error" } dd { (share(&errors.estimate)) } }
                }
                @if let Some(latency) = &of.latency { (time(latency)) }
            }
            div.scroll { table {
                thead { tr { th { "Passes" } th { "Share of traces, or mean score" } th.number { "Scored" } } }
                tbody { @for of in &of.scores { (score(of)) } }
            } }
        }
    }
}

fn time(latency: &Figures) -> Markup {
    let shown = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), duration);
    html! {
        div { dt { "Duration" }
            dd { "median " (shown(latency.p50)) ", 99 % within " (shown(latency.p99))
                span.muted { ", n = " (latency.estimate.n) } } }
    }
}

fn score(of: &ServiceScore) -> Markup {
    let (figures, coverage) = (&of.figures, of.figures.coverage);
    html! {
        tr {
            td { (clipped(&of.series, 60)) (calibration_mark(of.calibrated)) }
            td { (share(&figures.estimate)) }
            td.number { (coverage.with_value) @if let Some(traces) = coverage.traces { " of " (traces) } }
        }
    }
}

fn queues(depths: QueueDepths) -> Markup {
    let rows = [
        ("Traces waiting for completion", depths.pending),
        ("of those, complete and waiting for a worker", depths.due),
        ("Judgements to make", depths.judge_jobs),
        ("Scores and alerts to send", depths.outbox),
    ];
    html! {
        section {
            h2 { "Queues" }
            dl.facts { @for (name, depth) in rows { div { dt { (name) } dd { (depth) } } } }
        }
    }
}

/// A path with parameters, whatever characters they hold.
fn address(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut url = String::from(path);
    for (index, (name, value)) in parameters.iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                url.push(char::from(byte));
            } else {
                url.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn a_hostile_name_stays_one_parameter() {
        let url = address("/traces", &[("service", "a&b=c#\"é"), ("failing", "true")]);
        assert_eq!(url, "/traces?service=a%26b%3Dc%23%22%C3%A9&failing=true");
    }
}
