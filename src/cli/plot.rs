//! Small plots of text.

use crate::domain::report::Estimate;

/// Eighths of a cell.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where numbers stand in a row of cells.
pub(super) struct Scale {
    low: f64,
    high: f64,
    width: usize,
}

impl Scale {
    /// A scale that holds both ends of all estimates; `None` where nothing has an interval.
    pub(super) fn around(estimates: &[Estimate], width: usize) -> Option<Self> {
        let ends = estimates.iter().flat_map(|it| [it.low, it.high]).flatten();
        let (low, high) =
            ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
        (low.is_finite() && high > low).then_some(Self { low, high, width })
    }

    fn cell(&self, value: f64) -> usize {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        (share * (self.width - 1) as f64).round() as usize
    }
}

/// Both intervals in one row: `-` before, `=` after, `#` both; `o` and `x` are the estimates.
pub(super) fn interval(before: &Estimate, after: &Estimate, scale: &Scale) -> String {
    let mut cells = vec![' '; scale.width];
    for (side, line) in [(before, '-'), (after, '=')] {
        if let (Some(low), Some(high)) = (side.low, side.high) {
            for cell in &mut cells[scale.cell(low)..=scale.cell(high)] {
                *cell = if *cell == ' ' { line } else { '#' };
            }
        }
    }
    for (side, mark) in [(before, 'o'), (after, 'x')] {
        if let Some(value) = side.estimate {
            cells[scale.cell(value)] = mark;
        }
    }
    cells.into_iter().collect::<String>().trim_end().to_owned()
}

/// A row of bars, each a value's part of `full`.
pub(super) fn spark(values: &[f64], full: f64) -> String {
    let level = |value: &f64| {
        let level = (value / full * LEVELS.len() as f64).ceil().clamp(1.0, LEVELS.len() as f64);
        LEVELS[level as usize - 1]
    };
    values.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(low: f64, value: f64, high: f64) -> Estimate {
        Estimate { n: 1, estimate: Some(value), low: Some(low), high: Some(high), upstream_unknown: 0 }
    }

    #[test]
    fn intervals_share_a_scale_and_what_they_share_is_marked() {
        let (before, after) = (estimate(0.0, 2.0, 5.0), estimate(4.0, 7.0, 10.0));
        let scale = Scale::around(&[before, after], 11).unwrap();
        assert_eq!(interval(&before, &after, &scale), "--o-##=x===");
        assert!(Scale::around(&[estimate(1.0, 1.0, 1.0)], 11).is_none(), "no width, no plot");
    }

    #[test]
    fn bars_rise_with_their_values() {
        assert_eq!(spark(&[0.0, 0.5, 1.0], 1.0), "▁▄█");
    }
}
