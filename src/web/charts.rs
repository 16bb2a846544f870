//! Charts as inline SVG. All text is escaped by maud and stripped of control characters.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::quantity::Quantity;
use crate::domain::measurement::SeriesKind;
use crate::domain::release::ChangeEvent;
use crate::domain::report::{DistributionBin, Estimate, HistoryPoint, SeriesReport};
use crate::domain::text::{clip_to, number};
use crate::domain::time::Timestamp;

/// Width of an interval plot in a table, in pixels.
const INTERVAL_WIDTH: f64 = 160.0;
/// Size of a chart.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 170.0;
/// Room for labels at the left, and below.
const LEFT: f64 = 68.0;
const BELOW: f64 = 22.0;
/// Room for the name of an axis below its numbers.
const AXIS_NAME: f64 = 16.0;
const ABOVE: f64 = 18.0;
/// Height of a category's row.
const ROW: f64 = 24.0;
/// Room for a category's name.
const NAME: f64 = 220.0;
/// Room for what a bar's share was and is.
const SHARES: f64 = 122.0;
/// Room for an amount.
const AMOUNT: f64 = 100.0;
/// Room between bars and what stands beside them.
const GAP: f64 = 8.0;
/// Characters of a name in what is shown where one points.
const LONGEST_NAME: usize = 120;
/// Changes closer than this share a label.
const LABEL_ROOM: f64 = 70.0;

/// A number line.
struct Axis {
    low: f64,
    high: f64,
    start: f64,
    length: f64,
}

impl Axis {
    /// `None` when the values span nothing.
    fn over(values: impl IntoIterator<Item = f64>, start: f64, length: f64) -> Option<Self> {
        let ends = values.into_iter().filter(|value| value.is_finite());
        let (low, high) =
            ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
        (high > low).then_some(Self { low, high, start, length })
    }

    fn at(&self, value: f64) -> String {
        format!("{:.1}", self.place(value))
    }

    fn place(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * self.length
    }
}

fn ends(estimate: &Estimate) -> [Option<f64>; 2] {
    [estimate.low, estimate.high]
}

/// Both intervals on one scale, the baseline above.
pub(crate) fn intervals(before: &Estimate, after: &Estimate) -> Markup {
    let known = [ends(before), ends(after)].concat().into_iter().collect::<Option<Vec<f64>>>();
    let Some(axis) = known.and_then(|ends| Axis::over(ends, 5.0, INTERVAL_WIDTH - 10.0)) else { return html! {} };
    html! {
        svg viewBox=(format!("0 0 {INTERVAL_WIDTH} 22")) width=(INTERVAL_WIDTH) height="22" role="img" aria-label="95 % intervals" {
            (interval(before, &axis, "7", "b", "bl"))
            (interval(after, &axis, "16", "a", "al"))
        }
    }
}

fn interval(side: &Estimate, axis: &Axis, y: &str, fill: &str, line: &str) -> Markup {
    let (Some(low), Some(value), Some(high)) = (side.low, side.estimate, side.high) else { return html! {} };
    html! {
        line class=(line) x1=(axis.at(low)) x2=(axis.at(high)) y1=(y) y2=(y) stroke-width="2" {}
        circle class=(fill) cx=(axis.at(value)) cy=(y) r="3.2" {}
    }
}

/// An interval of a difference against what it must exceed.
pub(crate) fn against(low: f64, value: f64, high: f64, bound: f64) -> Markup {
    let Some(axis) = Axis::over([low, high, bound, 0.0], 5.0, INTERVAL_WIDTH - 10.0) else { return html! {} };
    let shown = Estimate { n: 0, estimate: Some(value), low: Some(low), high: Some(high), upstream_unknown: 0 };
    html! {
        svg viewBox=(format!("0 0 {INTERVAL_WIDTH} 26")) width=(INTERVAL_WIDTH) height="26" role="img" aria-label="interval of the difference" {
            line class="axis" x1=(axis.at(0.0)) x2=(axis.at(0.0)) y1="2" y2="24" {}
            line class="margin" x1=(axis.at(bound)) x2=(axis.at(bound)) y1="2" y2="24" {}
            (interval(&shown, &axis, "13", "a", "al"))
        }
    }
}

/// How the values of a series are distributed on both sides.
pub(crate) fn distribution(row: &SeriesReport, has_baseline: bool) -> Markup {
    match row.kind {
        _ if row.distribution.is_empty() => html! {},
        SeriesKind::Categorical | SeriesKind::Sequence | SeriesKind::Boolean => rows(&row.distribution, has_baseline),
        SeriesKind::Numeric | SeriesKind::Ordinal => {
            columns(&row.distribution, Quantity::of(&row.series, row.kind).axis(), has_baseline)
        }
    }
}

/// A name that ends in the room that it has, whatever letters it is of: what does not fit is cut off at its end, where
/// an ellipsis says so.
fn fitting(name: &str, room: f64) -> String {
    // Of the widest fonts that browsers take for `system-ui` at 11 px.
    let width = |character: char| match character {
        'i' | 'j' | 'l' | '.' | ',' | ':' | '\'' | '|' | ' ' => 4.0,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 11.0,
        'A'..='Z' => 8.0,
        character if character.is_ascii() => 7.0,
        _ => 11.0,
    };
    let reach = |end: &mut f64, character: char| {
        *end += width(character);
        Some(*end)
    };
    let ends: Vec<f64> = name.chars().take(LONGEST_NAME).scan(0.0, reach).collect();
    if ends.last().is_none_or(|end| *end <= room) {
        return clip_to(name, LONGEST_NAME);
    }
    clip_to(name, ends.iter().take_while(|end| **end <= room - width('…')).count())
}

/// A name at the left of a row, as much of it as fits.
fn row_name(name: &str, y: f64) -> Markup {
    html! { text class="value" x=(NAME - GAP) y=(y + 16.0) text-anchor="end" { (fitting(name, NAME - GAP)) } }
}

fn largest(bins: &[DistributionBin]) -> f64 {
    bins.iter().map(|bin| bin.baseline.max(bin.current)).fold(f64::MIN_POSITIVE, f64::max)
}

fn tooltip(bin: &DistributionBin, has_baseline: bool) -> String {
    let DistributionBin { label, baseline, current } = bin;
    if !has_baseline {
        return format!("{}: {} %", clip_to(label, LONGEST_NAME), number(current * 100.0));
    }
    format!("{}: {} %, now {} %", clip_to(label, LONGEST_NAME), number(baseline * 100.0), number(current * 100.0))
}

/// Bars that stand beside each other, in order of value.
fn columns(bins: &[DistributionBin], unit: &str, has_baseline: bool) -> Markup {
    let (largest, slot) = (largest(bins), (WIDTH - LEFT) / bins.len() as f64);
    let room = HEIGHT - BELOW - ABOVE;
    let bar = |share: f64, x: f64, class| {
        let height = share / largest * room;
        let (y, width) = (HEIGHT - BELOW - height, (slot * 0.42).min(40.0));
        html! { rect class=(class) x=(format!("{x:.1}")) y=(format!("{y:.1}")) width=(format!("{width:.1}")) height=(format!("{height:.1}")) {} }
    };
    let (step, height) = (bins.len().div_ceil(4).max(1), HEIGHT + AXIS_NAME);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) width=(WIDTH) role="img" aria-label="distribution" {
            (frame())
            text x="0" y=(ABOVE + 8.0) { (number(largest * 100.0)) " %" }
            text x="0" y=(ABOVE + 24.0) { "of traces" }
            text x=(f64::midpoint(LEFT, WIDTH)) y=(height - 6.0) text-anchor="middle" { (unit) }
            @for (place, bin) in bins.iter().enumerate() {
                @let x = LEFT + slot * place as f64;
                g {
                    title { (tooltip(bin, has_baseline)) }
                    @if has_baseline { (bar(bin.baseline, x + slot * 0.06, "b")) }
                    (bar(bin.current, x + slot * 0.06 + (slot * 0.42).min(40.0), "a"))
                }
                @if place % step == 0 { text x=(format!("{x:.1}")) y=(HEIGHT - 6.0) { (lower_end(&bin.label)) } }
            }
        }
    }
}

/// Amounts that one chart holds.
pub(crate) const MOST_AMOUNTS: usize = 20;

/// Amounts as bars below each other, each with its name and the amount as `shown`; the first that a chart holds.
pub(crate) fn amounts(bars: &[(String, f64)], shown: impl Fn(f64) -> String) -> Markup {
    let bars = &bars[..bars.len().min(MOST_AMOUNTS)];
    let largest = bars.iter().map(|(_, amount)| *amount).fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW * bars.len() as f64 + 4.0;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) width=(WIDTH) role="img" aria-label="amounts" {
            @for (place, (name, amount)) in bars.iter().enumerate() {
                @let y = ROW * place as f64;
                g {
                    title { (clip_to(name, LONGEST_NAME)) ": " (shown(*amount)) }
                    (row_name(name, y))
                    rect class="a" x=(NAME) y=(y + 5.0) width=(format!("{:.1}", amount / largest * (WIDTH - NAME - AMOUNT - GAP))) height="14" {}
                    text x=(WIDTH - AMOUNT) y=(y + 16.0) { (shown(*amount)) }
                }
            }
        }
    }
}

/// Where a range of values begins.
fn lower_end(label: &str) -> String {
    clip_to(label.split(" to ").next().unwrap_or(label), 12)
}

fn frame() -> Markup {
    let bottom = HEIGHT - BELOW;
    html! { line class="axis" x1=(LEFT) x2=(WIDTH) y1=(bottom) y2=(bottom) {} }
}

/// Bars below each other, largest first, with their names.
fn rows(bins: &[DistributionBin], has_baseline: bool) -> Markup {
    let (largest, height) = (largest(bins), ROW * bins.len() as f64 + 4.0);
    let width = |share: f64| format!("{:.1}", share / largest * (WIDTH - NAME - SHARES - GAP));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) width=(WIDTH) role="img" aria-label="shares" {
            @for (place, bin) in bins.iter().enumerate() {
                @let y = ROW * place as f64;
                g {
                    title { (tooltip(bin, has_baseline)) }
                    (row_name(&bin.label, y))
                    @if has_baseline { rect class="b" x=(NAME) y=(y + 3.0) width=(width(bin.baseline)) height="8" {} }
                    rect class="a" x=(NAME) y=(y + 12.0) width=(width(bin.current)) height="8" {}
                    text x=(WIDTH - SHARES) y=(y + 16.0) {
                        @if has_baseline { (format!("{:.1} % → ", bin.baseline * 100.0)) }
                        (format!("{:.1} %", bin.current * 100.0))
                    }
                }
            }
        }
    }
}

/// Estimates of a quantity over time with their intervals, and a line where a version came.
pub(crate) fn history(points: &[HistoryPoint], changes: &[ChangeEvent], quantity: Quantity) -> Markup {
    let times = points.iter().map(|point| point.at.0 as f64);
    let values = points.iter().flat_map(|point| [point.estimate.low, point.estimate.estimate, point.estimate.high]);
    let x = Axis::over(times, LEFT + 6.0, WIDTH - LEFT - 14.0);
    // Upwards is smaller.
    let y = Axis::over(values.flatten(), HEIGHT - BELOW - 2.0, -(HEIGHT - BELOW - ABOVE - 2.0));
    let (Some(x), Some(y)) = (x, y) else { return html! {} };
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) role="img" aria-label="over time" {
            (frame())
            text x="0" y=(ABOVE + 6.0) { (quantity.shown(y.high)) }
            text x="0" y=(f64::midpoint(ABOVE, HEIGHT - BELOW)) { (quantity.axis()) }
            text x="0" y=(HEIGHT - BELOW) { (quantity.shown(y.low)) }
            text x=(LEFT) y=(HEIGHT - 6.0) { (moment(x.low)) }
            text x=(WIDTH) y=(HEIGHT - 6.0) text-anchor="end" { (moment(x.high)) }
            (marks(changes, &x))
            @for point in points { (point_mark(point, (&x, &y), quantity)) }
        }
    }
}

fn point_mark(point: &HistoryPoint, (x, y): (&Axis, &Axis), quantity: Quantity) -> Markup {
    let (fill, line) = if point.is_current { ("a", "al") } else { ("b", "bl") };
    let at = x.at(point.at.0 as f64);
    let Estimate { n, estimate: Some(value), low, high, .. } = point.estimate else { return html! {} };
    html! {
        g {
            title { (point.at.to_string()) ": " (quantity.shown(value)) " over " (n) " traces" }
            @if let (Some(low), Some(high)) = (low, high) {
                line class=(line) x1=(at) x2=(at) y1=(y.at(low)) y2=(y.at(high)) stroke-opacity=".6" {}
            }
            circle class=(fill) cx=(at) cy=(y.at(value)) r="2.8" {}
        }
    }
}

/// Size of a cell of the map of transitions, and room for its names.
const CELL: f64 = 30.0;
const TOOL_NAME: f64 = 150.0;
/// Tools in the map; the most frequent.
const TOOLS: usize = 14;

/// Shares of transitions, from a tool to a tool.
pub(crate) type Transitions = BTreeMap<(String, String), f64>;

/// Where steps lead: a row and a column for each tool, each cell darker the larger the share, the baseline at its left and
/// now at its right.
pub(crate) fn transition_map(before: &Transitions, after: &Transitions) -> Markup {
    let tools = tools(before, after);
    let largest = before.values().chain(after.values()).copied().fold(f64::MIN_POSITIVE, f64::max);
    let height = TOOL_NAME + CELL * tools.len() as f64;
    // The slanted names of the last columns lean out.
    let width = height + TOOL_NAME / 2.0;
    html! {
        svg viewBox=(format!("0 0 {width} {height}")) width=(width) role="img" aria-label="transitions" {
            @for (place, name) in tools.iter().enumerate() {
                @let at = TOOL_NAME + CELL * place as f64;
                text class="value" x=(TOOL_NAME - 8.0) y=(at + 19.0) text-anchor="end" { (clip_to(name, 20)) }
                text class="value" transform=(format!("translate({:.0} {:.0}) rotate(-60)", at + 18.0, TOOL_NAME - 8.0)) { (clip_to(name, 20)) }
            }
            @for (row, from) in tools.iter().enumerate() {
                @for (column, to) in tools.iter().enumerate() {
                    (transition((from, to), [before, after], (column, row), largest))
                }
            }
        }
    }
}

/// The tools that occur, by how often; a run starts and ends in names of their own.
fn tools(before: &Transitions, after: &Transitions) -> Vec<String> {
    let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
    for ((from, to), share) in before.iter().chain(after) {
        *weights.entry(from).or_default() += share;
        *weights.entry(to).or_default() += share;
    }
    let mut names: Vec<(&str, f64)> = weights.into_iter().collect();
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    names.into_iter().take(TOOLS).map(|(name, _)| name.to_owned()).collect()
}

fn transition(
    (from, to): (&String, &String),
    sides: [&Transitions; 2],
    (column, row): (usize, usize),
    largest: f64,
) -> Markup {
    let share = |side: &Transitions| side.get(&(from.clone(), to.clone())).copied().unwrap_or_default();
    let [before, after] = sides.map(share);
    let (x, y) = (TOOL_NAME + CELL * column as f64, TOOL_NAME + CELL * row as f64);
    let half = |class, x: f64, share: f64| {
        let opacity = format!("{:.2}", if share > 0.0 { 0.08 + 0.92 * (share / largest).sqrt() } else { 0.0 });
        html! { rect class=(class) x=(x) y=(y + 1.0) width=(CELL / 2.0 - 1.0) height=(CELL - 2.0) fill-opacity=(opacity) {} }
    };
    html! {
        g {
            title { (clip_to(from, LONGEST_NAME)) " → " (clip_to(to, LONGEST_NAME)) ": " (format!("{:.1} % → {:.1} %", before * 100.0, after * 100.0)) }
            rect class="cell" x=(x) y=(y) width=(CELL) height=(CELL) {}
            (half("b", x + 1.0, before))
            (half("a", x + CELL / 2.0, after))
        }
    }
}

/// Versions that came; what comes at about one time has one label.
fn marks(changes: &[ChangeEvent], x: &Axis) -> Markup {
    let inside = |at: Timestamp| (x.low..=x.high).contains(&(at.0 as f64));
    let mut marks: Vec<(f64, String)> = Vec::new();
    for change in changes.iter().filter(|change| inside(change.at)) {
        let place = x.place(change.at.0 as f64);
        let is_apart = marks.last().is_none_or(|(last, _)| place - last >= LABEL_ROOM);
        marks.push((
            place,
            if is_apart { clip_to(&format!("{} {}", change.subject, change.to), 22) } else { String::new() },
        ));
    }
    html! {
        @for (place, label) in &marks {
            @let anchor = if *place > WIDTH / 2.0 { "end" } else { "start" };
            line class="change" x1=(format!("{place:.1}")) x2=(format!("{place:.1}")) y1=(ABOVE - 4.0) y2=(HEIGHT - BELOW) {}
            text class="mark" x=(format!("{place:.1}")) y="10" text-anchor=(anchor) { (label) }
        }
    }
}

/// To the minute, in the time that all pages tell.
fn moment(nanos: f64) -> String {
    let text = Timestamp(nanos as i64).to_string();
    format!("{} UTC", text.get(..16).unwrap_or(&text).replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(label: &str) -> Vec<DistributionBin> {
        vec![DistributionBin { label: label.to_owned(), baseline: 0.25, current: 0.75 }]
    }

    #[test]
    fn names_of_categories_cannot_break_out_of_a_chart() {
        let svg = rows(&bins("<script>\u{1b}[2J"), true).into_string();
        assert!(!svg.contains("<script>") && !svg.contains('\u{1b}'), "{svg}");
        assert!(svg.contains("25.0 % → 75.0 %"), "{svg}");
    }

    #[test]
    fn every_transition_has_a_cell_and_hostile_tools_have_no_power() {
        let before = Transitions::from([(("START".to_owned(), "<b>".to_owned()), 0.5)]);
        let after = Transitions::from([(("<b>".to_owned(), "END".to_owned()), 0.25)]);
        let svg = transition_map(&before, &after).into_string();
        assert!(!svg.contains("<b>") && svg.matches("class=\"cell\"").count() == 9, "{svg}");
        assert!(svg.contains("50.0 % → 0.0 %") && svg.contains("0.0 % → 25.0 %"), "{svg}");
    }

    #[test]
    fn what_spans_nothing_is_not_drawn() {
        let same = Estimate { n: 3, estimate: Some(1.0), low: Some(1.0), high: Some(1.0), upstream_unknown: 0 };
        assert_eq!(intervals(&same, &same).into_string(), "");
        assert_eq!(history(&[], &[], Quantity::score()).into_string(), "");
        assert!(!columns(&bins("0"), "seconds", true).into_string().contains("NaN"));
    }

    #[test]
    fn axes_say_their_unit_and_times_their_zone() {
        let estimate = |value: f64| Estimate {
            n: 3,
            estimate: Some(value),
            low: Some(value - 0.1),
            high: Some(value + 0.1),
            upstream_unknown: 0,
        };
        let point = |hour: i64, value| HistoryPoint {
            at: Timestamp(hour * Timestamp::NANOS_PER_HOUR),
            is_current: false,
            estimate: estimate(value),
        };
        let points = [point(1, 0.5), point(2, 0.7)];
        let svg = history(&points, &[], Quantity::of("latency_seconds", SeriesKind::Numeric)).into_string();
        assert!(svg.contains(">seconds<") && svg.contains("01:00 UTC") && svg.contains(">0.800<"), "{svg}");
        let svg = history(&points, &[], Quantity::of("run_error", SeriesKind::Boolean)).into_string();
        assert!(svg.contains(">share<") && svg.contains(">80.0 %<"), "{svg}");
        assert!(columns(&bins("0 to 1"), "tokens", true).into_string().contains(">tokens<"));
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_at_its_end_and_stands_whole_where_one_points() {
        let name = "support-conversation-0123456789abcdef0123456789";
        let svg = amounts(&[(name.to_owned(), 1.0), ("短".repeat(40), 0.5)], number).into_string();
        assert!(svg.contains(&format!("<title>{name}: 1.00</title>")), "{svg}");
        let start = fitting(name, NAME - GAP);
        assert!(start.ends_with('…') && name.starts_with(start.trim_end_matches('…')), "{start}");
        assert!(fitting(&"短".repeat(40), NAME - GAP).chars().count() <= 20);
        assert_eq!(fitting("gpt-5-mini", NAME - GAP), "gpt-5-mini");
    }
}
