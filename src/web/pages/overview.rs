//! How things stand, at a glance.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::charts;
use super::super::parameters::Parameters;
use super::super::quantity::Quantity;
use super::PageError;
use super::alerts::{extent as causes, group_card};
use super::figures::{duration, percent, share, whole};
use super::layout::{address, badge, instant, page};
use super::series::path;
use super::text::clipped;
use crate::backends::store::QueueDepths;
use crate::domain::measurement::SeriesKind;
use crate::domain::report::calibration_mark;
use crate::domain::text::number;
use crate::domain::time::Timestamp;
use crate::queries::alerts::Alerts;
use crate::queries::objectives::objectives;
use crate::queries::overview::{Course, Measured, Overview, ServiceOverview, ServiceScore, overview as ask};
use crate::queries::series::{Figures, Window};
use crate::watch::key::{ALL, SeriesKey};
use crate::watch::rules::ErrorBudget;

/// Open alerts shown here, those of one cause as one; the rest stand on their own page.
const ALERTS: usize = 5;
/// Series that are not watched shown; more are told of.
const UNWATCHED: usize = 30;
/// Error budgets shown, those with least left first.
const BUDGETS: usize = 10;
/// Services shown; more are told of.
const SERVICES: usize = 50;

pub(in crate::web) async fn overview(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    parameters.finish()?;
    let now = state.clock.now();
    let overview = ask(&state.store, state.watched(), now).await?;
    let budgets = objectives(&state.store, &state.objectives, now).await?.objectives;
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
                (error_budgets(&budgets))
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
                code { "driftline baseline create " (state.baseline) " --from since=24h --url " (state.public_url) } ": of all "
                "services, or of one with " code { "--from service=…,since=24h" } "." }
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
    let groups = Alerts { alerts: overview.alerts.clone() }.groups();
    let count = groups.len();
    html! {
        section {
            h2 { "Open alerts" @if count > 0 { " (" (causes(&groups)) ")" } }
            @for group in groups.iter().take(ALERTS) { (group_card(group)) }
            @if count == 0 { p.muted { "Nothing is alarming now." } }
            @if count > ALERTS { p { a href="/alerts?open=true" { "All open alerts, of " (count) " causes" } } }
        }
    }
}

/// The day that an instant is of. Runs are counted by day; on the first one they may have come later.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take("2026-01-01".len()).collect()
}

/// What each service may still fail.
fn error_budgets(budgets: &[ErrorBudget]) -> Markup {
    let series = |of: &ErrorBudget| path(&of_series(&of.service, &of.series));
    html! {
        @if !budgets.is_empty() {
            section {
                h2 { "Error budgets, the last 30 days" }
                div.scroll { table {
                    thead { tr { th { "Service" } th { "Objective" } th.number { "Left" } th.number { "Bad runs" } th.number { "Allowed" } th.number { "Runs" } th { "Watched since" } } }
                    tbody { @for of in budgets.iter().take(BUDGETS) { tr {
                        td { (clipped(&of.service, 80)) }
                        td { (percent(of.objective)) " good: " a href=(series(of)) { (clipped(&of.series.replace('_', " "), 60)) }
                            @if let Some(most) = of.at_most { " of " (number(most)) " at most" } }
                        td.number { (percent(of.remaining)) @if of.remaining <= 0.0 { " " (badge("page", "spent")) } }
                        td.number { (whole(of.bad as f64)) }
                        td.number { (whole(of.allowed.floor())) }
                        td.number { (whole(of.traces as f64)) }
                        td.nowrap { (day(of.since)) }
                    } } }
                } }
                @if budgets.len() > BUDGETS { p.muted { "and " (budgets.len() - BUDGETS) " more: driftline alerts objectives lists them" } }
            }
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
    let ranking = |top| address("/traces", &[("top", top), ("service", &of.service)]);
    html! {
        article.service {
            h3 { a href=(address("/traces", &[("service", &of.service)])) { (clipped(&of.service, 80)) } }
            dl.facts {
                div { dt { "Traces" } dd { (of.traces) } }
                div {
                    dt { a href=(address("/traces", &[("service", &of.service), ("failing", "true")])) { "Flagged" } }
                    dd { (share(&of.failing)) }
                }
            }
            div.tiers {
                div {
                    h4 { "Infrastructure" }
                    (measured(&of.infrastructure))
                    p { a href=(ranking("tools")) { "Tools by failures" } " · "
                        a href=(ranking("conversations")) { "Conversations by tool calls" } }
                }
                div {
                    h4 { "Models" }
                    (measured(&of.models))
                    p { a href=(address("/costs", &[("of", "agents"), ("service", &of.service)])) { "What its runs cost" } }
                }
            }
            h4 { "Quality" }
            div.scroll { table {
                thead { tr { th { "Passes" } th { "Share of traces, or mean score" } th.number { "Scored" } } }
                tbody { @for score in &of.scores { (score_row(&of.service, score)) } }
            } }
            (course(&of.course))
        }
    }
}

/// Measured series: means and shares with their intervals.
fn measured(series: &[Measured]) -> Markup {
    html! {
        table { tbody { @for one in series { tr {
            td { a href=(path(&one.key)) { (one.key.series.replace('_', " ")) } }
            td { (measured_figures(one)) }
        } } } }
        @if series.is_empty() { p.muted { "The traces tell nothing of it." } }
    }
}

fn measured_figures(of: &Measured) -> Markup {
    let estimate = &of.figures.estimate;
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    html! {
        @match of.kind {
            SeriesKind::Boolean => (share(estimate)),
            SeriesKind::Categorical | SeriesKind::Sequence => {
                @if let Some(largest) = of.figures.shares.first() { (clipped(&largest.to, 40)) " " }
                (share(estimate))
            }
            SeriesKind::Numeric | SeriesKind::Ordinal if of.unit == "seconds" => (time(&of.figures)),
            SeriesKind::Numeric | SeriesKind::Ordinal => {
                span.figure { (shown(estimate.estimate)) } " "
                span.muted {
                    @if estimate.low.is_some() { (shown(estimate.low)) " to " (shown(estimate.high)) " " }
                    (of.unit) ", n = " (estimate.n)
                }
            }
        }
    }
}

fn time(latency: &Figures) -> Markup {
    let shown = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), duration);
    html! {
        "median " (shown(latency.p50)) ", 95 % within " (shown(latency.p95)) ", 99 % within " (shown(latency.p99))
        span.muted { ", n = " (latency.estimate.n) }
    }
}

/// Quality beside cost, with lines where versions came.
fn course(of: &Course) -> Markup {
    let cost = charts::history(&of.cost, &of.changes, Quantity::of("cost_usd", SeriesKind::Numeric));
    html! {
        div.charts.side {
            @if let Some((series, points)) = &of.quality {
                @let quality = charts::history(points, &of.changes, Quantity::score());
                @if !quality.0.is_empty() { div { h4 { "Quality over time: " (clipped(series, 60)) ", mean score, where passing is 1" } (quality) } }
            }
            @if !cost.0.is_empty() { div { h4 { "Cost over time: mean of a trace, US dollars" } (cost) } }
        }
    }
}

fn score_row(service: &str, of: &ServiceScore) -> Markup {
    let (figures, coverage) = (&of.figures, of.figures.coverage);
    html! {
        tr {
            td { a href=(path(&of_series(service, &of.series))) { (clipped(&of.series, 60)) } (calibration_mark(of.calibrated)) }
            td { (share(&figures.estimate)) }
            td.number { (coverage.with_value) @if let Some(traces) = coverage.traces { " of " (traces) } }
        }
    }
}

fn of_series(service: &str, series: &str) -> SeriesKey {
    SeriesKey { service: service.to_owned(), series: series.to_owned(), segment: ALL.to_owned() }
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
