//! Releases for a person at a terminal.

use super::drift_text::{self, estimate};
use super::plot::{Scale, interval, spark};
use super::table::{Table, number};
use crate::domain::release::{ChangeKind, Release, ReleaseStatus};
use crate::domain::report::{DriftVerdict, calibration_mark};
use crate::queries::releases::{Headline, ReleaseComparison, ReleaseDetail, Releases};

/// Cells of a plot.
const PLOT_WIDTH: usize = 24;

/// Every release, and what else changed.
pub(super) fn list(found: &Releases) -> String {
    if found.releases.is_empty() {
        return "no version has been noticed; traces tell theirs by service.version, the model and prompt_version"
            .to_owned();
    }
    let mut table = Table::new(&["service", "kind", "version", "before", "first seen", "traces", "share", "status"]);
    found.releases.iter().for_each(|release| table.row(cells(release)));
    let others: Vec<String> =
        found.changes.iter().filter(|it| it.kind != ChangeKind::Release).map(ToString::to_string).collect();
    if others.is_empty() {
        return table.to_string();
    }
    format!("{table}\n\nwhat else changed\n  {}", others.join("\n  "))
}

fn cells(release: &Release) -> [String; 8] {
    [
        release.service.clone(),
        release.dimension.clone(),
        release.value.clone(),
        release.previous.clone().unwrap_or_else(|| "-".to_owned()),
        release.first_seen_at.to_string(),
        release.traces.to_string(),
        percent(release.recent_share),
        status(release.status).to_owned(),
    ]
}

/// One release, hour by hour.
pub(super) fn detail(found: &ReleaseDetail) -> String {
    let release = &found.release;
    let shares: Vec<f64> = found.hours.iter().map(|hour| hour.traces as f64 / hour.all.max(1) as f64).collect();
    let mut lines = vec![
        format!("{} {} of {}: {}", release.dimension, release.value, release.service, status(release.status)),
        format!(
            "first seen {}, last seen {}, {} traces, {} of the traffic since",
            release.first_seen_at,
            release.last_seen_at,
            release.traces,
            percent(release.share)
        ),
        format!("before it: {}", release.previous.as_deref().unwrap_or("nothing")),
        format!("share by hour of traffic: {}", spark(&shares, 1.0)),
    ];
    lines.extend(found.changes.iter().map(ToString::to_string));
    lines.join("\n")
}

/// Quality beside cost, and then every series.
pub(super) fn comparison(found: &ReleaseComparison) -> String {
    let ReleaseComparison { service, dimension, before, after, quality, cost, drift } = found;
    let heading = format!(
        "{service}: {dimension} {} ({} traces, until {}) and {} ({} traces, since {})",
        before.value, before.traces, before.until, after.value, after.traces, after.since
    );
    let mut parts = vec![heading];
    for (name, rows) in [("quality", quality), ("cost, mean of a trace", cost)] {
        if !rows.is_empty() {
            parts.push(format!("{name}\n{}", headlines(rows)));
        }
    }
    parts.push(drift_text::text(drift));
    parts.join("\n\n")
}

fn headlines(rows: &[Headline]) -> Table {
    let mut table = Table::new(&["series", "before", "after", "change", "", "plot: o before, x after"]);
    for row in rows {
        let scale = Scale::around(&[row.before, row.after], PLOT_WIDTH);
        let plot = scale.map(|scale| interval(&row.before, &row.after, &scale)).unwrap_or_default();
        let unit = row.unit.as_ref().map(|unit| format!(" [{unit}]")).unwrap_or_default();
        table.row([
            format!("{}{unit}{}", row.series, calibration_mark(row.calibrated)),
            estimate(&row.before),
            estimate(&row.after),
            row.change.map_or_else(|| "-".to_owned(), |change| format!("{:+.1} %", change * 100.0)),
            moved(row).to_owned(),
            plot,
        ]);
    }
    table
}

/// What is known of a change, in a word.
fn moved(row: &Headline) -> &'static str {
    match row.verdict {
        DriftVerdict::Drift => "moved",
        _ if row.notable => "notable",
        DriftVerdict::NoDrift => "same",
        DriftVerdict::InsufficientEvidence => "too few",
    }
}

const fn status(status: ReleaseStatus) -> &'static str {
    match status {
        ReleaseStatus::Main => "main",
        ReleaseStatus::Concurrent => "concurrent",
        ReleaseStatus::Gone => "gone",
        ReleaseStatus::Unsettled => "unsettled",
    }
}

fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}
