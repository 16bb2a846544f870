//! Numbers as people read them: never without what they are worth.

use maud::{Markup, html};

use crate::domain::report::Estimate;

/// A share with its interval and count, and a bar of both.
pub(super) fn share(estimate: &Estimate) -> Markup {
    let Some(value) = estimate.estimate else { return html! { span.muted { "no data" } } };
    let (low, high) = (estimate.low.unwrap_or(value), estimate.high.unwrap_or(value));
    html! {
        span.figure { (percent(value)) }
        " "
        (bar(value, low, high))
        " "
        span.muted { (percent(low)) " to " (percent(high)) ", n = " (estimate.n) }
    }
}

/// The interval as a band, the estimate as a mark; drawn in a picture, because the page allows no inline styles.
fn bar(value: f64, low: f64, high: f64) -> Markup {
    let at = |share: f64| format!("{:.1}", share.clamp(0.0, 1.0) * 100.0);
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect.track x="0" y="3" width="100" height="2" {}
            rect.band x=(at(low)) y="1" width=(at((high - low).max(0.01))) height="6" {}
            rect.mark x=(at((value - 0.005).max(0.0))) y="0" width="1.2" height="8" {}
        }
    }
}

/// How many there are of something, also where that was weighted.
pub(super) fn whole(count: f64) -> String {
    grouped(&format!("{count:.0}"))
}

/// `1 alert`, `2 alerts`.
pub(super) fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{} {thing}s", whole(count as f64)) }
}

/// A phrase as it begins a heading.
pub(super) fn capitalized(phrase: &str) -> String {
    let mut letters = phrase.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Digits with commas between thousands.
fn grouped(digits: &str) -> String {
    let is_first = |place: usize| place > 0 && (digits.len() - place).is_multiple_of(3);
    let mut grouped = String::new();
    for (place, digit) in digits.char_indices() {
        if is_first(place) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A share in per cent, to a tenth.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A time span with the unit that fits it.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 120.0 => format!("{seconds:.2} s"),
        seconds if seconds < 7_200.0 => format!("{:.1} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_have_the_unit_that_fits() {
        let shown = [0.000_02, 0.25, 3.5, 150.0, 10_000.0].map(duration);
        assert_eq!(shown, ["20 µs", "250 ms", "3.50 s", "2.5 min", "2.8 h"]);
    }

    #[test]
    fn large_counts_have_commas_between_thousands() {
        let shown = [0.0, 999.4, 1_000.0, 86_400_000.0, -100_000.0].map(whole);
        assert_eq!(shown, ["0", "999", "1,000", "86,400,000", "-100,000"]);
    }

    #[test]
    fn a_share_is_never_shown_without_interval_and_count() {
        let estimate = Estimate { n: 40, estimate: Some(0.9), low: Some(0.77), high: Some(0.96), upstream_unknown: 0 };
        let text = share(&estimate).into_string();
        assert!(text.contains("90.0 %") && text.contains("77.0 % to 96.0 %, n = 40"), "{text}");
    }
}
