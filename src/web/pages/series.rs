//! Series: the list of what is measured and watched, and each one closely, down to the traces behind every bar.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::charts;
use super::super::parameters::Parameters;
use super::super::quantity::Quantity;
use super::PageError;
use super::alert::{origin, transitions};
use super::figures::{capitalized, percent};
use super::layout::{address, badge, elsewhere, instant, page};
use super::releases::line as change_line;
use super::text::clipped;
use super::traces;
use crate::domain::alert::Alert;
use crate::domain::measurement::SeriesKind;
use crate::domain::report::{DriftVerdict, Estimate, SeriesReport};
use crate::domain::text::{number, p_value};
use crate::queries::search::DEFAULT_LIMIT;
use crate::queries::selection::Condition;
use crate::queries::series::{Figures, SeriesDetail, SeriesView, Share, series as list};
use crate::queries::series_page::{SegmentRow, SeriesPage, series_page, series_traces};
use crate::watch::key::{ALL, PARTS, SeriesKey};

/// Changes listed.
const CHANGES: usize = 20;
/// Segments listed.
const SEGMENTS: usize = 100;
/// Share of the traffic, before or now, from which on a segment is listed.
const LEAST_SHARE: f64 = 0.01;
/// Ages that the page offers.
const AGES: [&str; 4] = ["6h", "24h", "7d", "30d"];

pub(in crate::web) async fn series(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let selection = state.selection(parameters)?;
    let found = list(&state.store, state.watched(), &selection).await?;
    let mut services: Vec<&str> = found.series.iter().map(|series| series.service.as_str()).collect();
    services.dedup();
    Ok(page(
        "Series",
        "/series",
        &html! {
            h1 { "Series" }
            p.muted { "Everything that is measured, of each service: the baseline beside the newest " (found.window.traces) " traces." }
            @if found.series.is_empty() { p { "No trace has been evaluated yet. " a href="/" { "How to send the first one" } } }
            @for service in services {
                h2 { (clipped(service, 80)) }
                div.scroll { table {
                    (head())
                    tbody { @for series in found.series.iter().filter(|series| series.service == service) { (row(series)) } }
                } }
            }
        },
    ))
}

fn head() -> Markup {
    html! {
        thead { tr { th { "Series" } th.number { "Baseline" } th.number { "Now" } th { "95 % intervals" } th { "Watched" } } }
    }
}

fn row(series: &SeriesView) -> Markup {
    let estimate = |figures: &Option<Figures>| figures.as_ref().map(|figures| figures.estimate);
    let (before, after) = (estimate(&series.baseline), estimate(&series.current));
    let quantity = quantity(series);
    html! {
        tr {
            td {
                a href=(path(&series.key)) { (clipped(&series.series, 60)) }
                @if series.segment != ALL { " " span.muted { (clipped(&series.segment, 60)) } }
                " " span.muted { (quantity.name()) }
            }
            td.number { (shown(before, quantity)) (of_what(series.baseline.as_ref())) }
            td.number { (shown(after, quantity)) (of_what(series.current.as_ref())) }
            td { @if let (Some(before), Some(after)) = (before, after) { span.charts { (charts::intervals(&before, &after)) } } }
            td.muted { @if series.watched { "yes" } @else { "no: " (series.why.as_deref().unwrap_or_default()) } }
        }
    }
}

fn quantity(series: &SeriesView) -> Quantity {
    Quantity::of(&series.series, series.kind)
}

fn shown(estimate: Option<Estimate>, quantity: Quantity) -> String {
    let amount = estimate.and_then(|estimate| estimate.estimate);
    amount.map_or_else(|| "–".to_owned(), |amount| quantity.shown(amount))
}

/// Of which category or transition a largest share is; nothing of other numbers.
fn of_what(figures: Option<&Figures>) -> Markup {
    let largest = figures.and_then(|figures| figures.shares.first());
    html! { @if let Some(Share { from, to, .. }) = largest {
        div.muted { @if !from.is_empty() { (clipped(from, 24)) " → " } (clipped(to, 24)) }
    } }
}

/// The page of a series.
pub(super) fn path(key: &SeriesKey) -> String {
    format!("/series/{key}")
}

/// The page of what an alert is about, since it began.
pub(super) fn path_of_alert(alert: &Alert) -> String {
    // Parts of a series, such as single tools, have no page of their own.
    let is_part = alert.segment.split_once('=').is_some_and(|(dimension, _)| PARTS.contains(&dimension));
    let segment = if is_part { ALL.to_owned() } else { alert.segment.clone() };
    let key = SeriesKey { service: alert.service.clone(), series: alert.series.clone(), segment };
    address(&path(&key), &[("since", &alert.onset_at.to_string())])
}

pub(in crate::web) async fn one_series(
    State(state): State<WebState>,
    Path(key): Path<String>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let key: SeriesKey = key.parse()?;
    let conditions = parameters.clone().rest();
    let selection = state.selection(parameters)?;
    let found = series_page(&state.store, state.watched(), &key, &selection).await?;
    let view = &found.detail.series;
    Ok(page(
        &format!("{} of {}", clipped(&key.series, 60), clipped(&key.service, 60)),
        "/series",
        &html! {
            h1 { (clipped(&key.series, 80)) " " span.muted { "of " (clipped(&key.service, 80)) } }
            @if key.segment != ALL { p { (badge("", &clipped(&key.segment, 120))) } }
            (standing(&found.detail, &key))
            (windows(&key, &conditions))
            (figures(view, found.comparison.as_ref().filter(|_| view.baseline.is_some())))
            @if let Some(comparison) = &found.comparison { (plots(comparison, &found, &conditions)) }
            @if view.kind == SeriesKind::Sequence { (transition_map(view)) }
            @if let Some(explanation) = &found.explanation { (origin(explanation, taken_apart(view))) }
            (segments(&found.segments, quantity(view), &conditions))
            @if !found.changes.is_empty() {
                h2 { "Versions that came" }
                ul { @for change in found.changes.iter().rev().take(CHANGES) { li { (change_line(change)) } } }
            }
            (links(&state, &key))
        },
    ))
}

fn standing(detail: &SeriesDetail, key: &SeriesKey) -> Markup {
    let series = &detail.series;
    html! {
        p {
            @if series.watched { (badge("good", "watched")) " against the baseline " code { (detail.baseline_name.as_deref().unwrap_or_default()) } }
            @else { (badge("warn", "not watched")) " " (series.why.as_deref().unwrap_or_default()) }
            " · " a href=(address("/alerts", &[("service", &key.service)])) { "alerts of this service" }
        }
        @if let (Some(since), Some(until)) = (detail.window.since, detail.window.until) {
            p.muted { (detail.window.traces) " traces, which ended " (instant(since)) " to " (instant(until)) }
        }
    }
}

/// Other stretches of time.
fn windows(key: &SeriesKey, conditions: &[Condition]) -> Markup {
    let since = conditions.iter().find(|(name, _)| name == "since").map(|(_, value)| value.as_str());
    html! {
        p.desk {
            "Now is: " a href=(path(key)) aria-current=[since.is_none().then_some("true")] { "the newest traces" }
            @for age in AGES {
                " · " a href=(address(&path(key), &[("since", age)])) aria-current=[(since == Some(age)).then_some("true")] { (age) }
            }
            @if let Some(since) = since.filter(|since| !AGES.contains(since)) { " · since " (clipped(since, 40)) }
        }
    }
}

/// What [`crate::watch::explanation`] takes apart: the detectors' score of the way in which the estimate has moved.
fn taken_apart(view: &SeriesView) -> &'static str {
    let estimate = |side: &Option<Figures>| side.as_ref().and_then(|figures| figures.estimate.estimate);
    match view.kind {
        SeriesKind::Boolean => "share of runs for which it is true",
        SeriesKind::Ordinal => "mean",
        _ if estimate(&view.current) < estimate(&view.baseline) => {
            "share of runs at or below the baseline's 10th percentile"
        }
        _ => "share of runs above the baseline's 90th percentile",
    }
}

fn figures(view: &SeriesView, comparison: Option<&SeriesReport>) -> Markup {
    let quantity = quantity(view);
    let sides = [("baseline", &view.baseline), ("now", &view.current)];
    // Only numbers have them.
    let has_percentiles = sides.iter().any(|(_, side)| side.as_ref().is_some_and(|side| side.p50.is_some()));
    html! {
        div.scroll { table {
            thead { tr {
                th {} th.number { "Traces" } th.number { (capitalized(&quantity.name())) } th.number { "95 % interval" }
                @if has_percentiles { @for heading in ["Median", "95th percentile", "99th percentile"] { th.number { (heading) } } }
                th.number { "Coverage" }
            } }
            tbody {
                @for (name, side) in sides {
                    @if let Some(side) = side {
                        tr {
                            td { (name) }
                            td.number { (side.estimate.n) }
                            td.number { (shown(Some(side.estimate), quantity)) (of_what(Some(side))) }
                            td.number { (ends(&side.estimate, quantity)) }
                            @if has_percentiles {
                                @for value in [side.p50, side.p95, side.p99] { td.number { (value.map(number).unwrap_or_default()) } }
                            }
                            td.number { (side.coverage.with_value) @if let Some(traces) = side.coverage.traces { " of " (traces) } }
                        }
                    }
                }
            }
        } }
        @if let Some(comparison) = comparison {
            p {
                @match comparison.verdict {
                    DriftVerdict::Drift => (badge("page", "differs")),
                    DriftVerdict::NoDrift => (badge("good", "no difference shown")),
                    DriftVerdict::InsufficientEvidence => (badge("", "too little to tell")),
                }
                @if let Some(effect) = comparison.effect.value { " " (comparison.effect.name.replace('_', " ")) " " (number(effect)) }
                @if let Some(p) = comparison.p_value { " · p " (p_value(p)) }
                " " span.muted { (clipped(&comparison.test, 200)) @if let Some(note) = &comparison.note { " · " (clipped(note, 300)) } }
            }
        }
    }
}

fn ends(estimate: &Estimate, quantity: Quantity) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{} to {}", quantity.shown(low), quantity.shown(high)),
        _ => "–".to_owned(),
    }
}

fn plots(comparison: &SeriesReport, found: &SeriesPage, conditions: &[Condition]) -> Markup {
    let key = &found.detail.series.key;
    let has_baseline = found.detail.series.baseline.is_some();
    let quantity = quantity(&found.detail.series);
    let course = charts::history(&comparison.history, &found.changes, quantity);
    html! {
        @if has_baseline { (legend("baseline", "now")) }
        div.charts.side {
            @if !comparison.distribution.is_empty() {
                div { h3 { "How the values are distributed" } (charts::distribution(comparison, has_baseline)) }
            }
            @if !course.0.is_empty() {
                div { h3 { (capitalized(&quantity.name())) ": over time, with 95 % intervals; lines where a version came" } (course) }
            }
        }
        @if !comparison.distribution.is_empty() {
            details { summary { "The traces behind each bar" }
                div.scroll { table {
                    thead { tr { th { "Value" } @if has_baseline { th.number { "Baseline" } } th.number { "Now" } th {} } }
                    tbody {
                        @for bin in &comparison.distribution {
                            tr {
                                td { (clipped(&bin.label, 120)) }
                                @if has_baseline { td.number { (percent(bin.baseline)) } }
                                td.number { (percent(bin.current)) }
                                td { a href=(traces_path(key, conditions, &bin.label)) { "traces" } }
                            }
                        }
                    }
                } }
            }
        }
        @if !comparison.transitions.is_empty() {
            h2 { "What moved" }
            (transitions(&comparison.transitions))
        }
    }
}

/// Which colour is which side.
fn legend(before: &str, after: &str) -> Markup {
    let dot = |class: &str| html! { svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(class) width="10" height="10" rx="2" {} } };
    html! { p.legend.charts { (dot("b")) " " (before) " " (dot("a")) " " (after) } }
}

fn traces_path(key: &SeriesKey, conditions: &[Condition], bin: &str) -> String {
    let mut all: Vec<(&str, &str)> = conditions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.push(("bin", bin));
    address(&format!("{}/traces", path(key)), &all)
}

fn transition_map(view: &SeriesView) -> Markup {
    let shares = |side: &Option<Figures>| {
        let shares = side.as_ref().map(|figures| figures.shares.clone()).unwrap_or_default();
        shares.into_iter().map(|share| ((share.from, share.to), share.share)).collect()
    };
    let (before, after) = (shares(&view.baseline), shares(&view.current));
    html! {
        h2 { "From tool to tool" }
        p.muted { "Each cell: the share of all steps from the row's tool to the column's, the darker the larger." }
        (legend("at the left: baseline", "at the right: now"))
        div.scroll.charts { (charts::transition_map(&before, &after)) }
        details { summary { "The shares as numbers" } (transition_table(&before, &after)) }
    }
}

/// The map in numbers, largest share first.
fn transition_table(before: &charts::Transitions, after: &charts::Transitions) -> Markup {
    let of = |side: &charts::Transitions, step| side.get(step).copied().unwrap_or_default();
    let steps: BTreeSet<&(String, String)> = before.keys().chain(after.keys()).collect();
    let mut rows: Vec<_> = steps.into_iter().map(|step| (step, of(before, step), of(after, step))).collect();
    rows.sort_by(|a, b| b.1.max(b.2).total_cmp(&a.1.max(a.2)));
    html! {
        div.scroll { table {
            thead { tr { th { "From" } th { "To" } th.number { "Baseline" } th.number { "Now" } } }
            tbody { @for ((from, to), before, after) in rows { tr {
                td { (clipped(from, 80)) }
                td { (clipped(to, 80)) }
                td.number { (percent(before)) }
                td.number { (percent(after)) }
            } } }
        } }
    }
}

fn segments(rows: &[SegmentRow], quantity: Quantity, conditions: &[Condition]) -> Markup {
    let all: Vec<(&str, &str)> = conditions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let is_large =
        |row: &&SegmentRow| [row.baseline, row.current].into_iter().flatten().any(|(share, _)| share >= LEAST_SHARE);
    let large: Vec<&SegmentRow> = rows.iter().filter(is_large).collect();
    html! {
        @if !rows.is_empty() {
            h2 { "Segments: mix against quality" }
            p.muted { "Baseline and now of each segment: " (quantity.name()) "." }
            div.scroll { table {
                thead { tr { th { "Segment" } th.number { "Share before" } th.number { "Share now" } th.number { "Baseline" } th.number { "Now" } th { "95 % intervals" } } }
                tbody { @for row in large.iter().take(SEGMENTS) { (segment(row, quantity, &all)) } }
            } }
            @let left = rows.len() - large.len().min(SEGMENTS);
            @if left > 0 { p.muted { "and " (left) " segments that few traces are of" } }
        }
    }
}

fn segment(row: &SegmentRow, quantity: Quantity, conditions: &[(&str, &str)]) -> Markup {
    let share = |side: Option<(f64, Estimate)>| side.map_or_else(|| "–".to_owned(), |(share, _)| percent(share));
    let (before, after) = (row.baseline.map(|side| side.1), row.current.map(|side| side.1));
    html! {
        tr {
            td { a href=(address(&path(&row.key), conditions)) { (clipped(&row.key.segment, 80)) } }
            td.number { (share(row.baseline)) }
            td.number { (share(row.current)) }
            td.number { (shown(before, quantity)) }
            td.number { (shown(after, quantity)) }
            td { @if let (Some(before), Some(after)) = (before, after) { span.charts { (charts::intervals(&before, &after)) } } }
        }
    }
}

fn links(state: &WebState, key: &SeriesKey) -> Markup {
    html! {
        p {
            a href={ "/api/v1/series/" (key) } { "JSON" }
            @if let Some(url) = elsewhere(&state.logs_link, "service", &key.service) {
                " · " a href=(url) rel="noreferrer" { "Open its logs" }
            }
        }
    }
}

/// The traces behind a series or one of its bars.
pub(in crate::web) async fn traces_of_series(
    State(state): State<WebState>,
    Path(key): Path<String>,
    mut parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let key: SeriesKey = key.parse()?;
    let bin = parameters.take("bin");
    let limit = parameters.parse("limit", "a number of traces")?.unwrap_or(DEFAULT_LIMIT);
    let selection = state.selection(parameters)?;
    let found = series_traces(&state.store, state.watched(), &key, &selection, (bin.clone(), limit)).await?;
    Ok(page(
        "Traces of a series",
        "/series",
        &html! {
            h1 { "Traces" }
            p {
                a href=(path(&key)) { (clipped(&key.series, 80)) " of " (clipped(&key.service, 80)) }
                @if key.segment != ALL { " " (badge("", &clipped(&key.segment, 80))) }
                @if let Some(bin) = &bin { " " (badge("", &clipped(bin, 120))) }
            }
            p.muted { (found.matching) " traces have such a value; the newest " (found.traces.len()) " are shown." }
            @if !found.traces.is_empty() { (traces::table(&found.traces)) }
        },
    ))
}
