//! Tables for a terminal: aligned columns, and no more.

use std::fmt;

pub(super) use crate::domain::text::{clip_to, number};

/// Longest cell that is shown whole, in characters.
const LONGEST_CELL: usize = 90;
const GAP: &str = "  ";

/// A table with headings. Columns of numbers stand to the right.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row; line breaks and control characters lose their power, long cells their end.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clip(&cell)).collect());
    }

    /// Whether every filled cell of a column is a number.
    fn is_numeric(&self, column: usize) -> bool {
        let is_number = |cell: &String| {
            cell.is_empty() || cell.starts_with(|first: char| first.is_ascii_digit() || "+-<".contains(first))
        };
        self.rows.iter().skip(1).filter_map(|row| row.get(column)).all(is_number)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or_default();
        let layout: Vec<(usize, bool)> = (0..columns).map(|column| (width(column), self.is_numeric(column))).collect();
        let lines = self.rows.iter().map(|row| {
            let cells = row.iter().zip(&layout).map(|(cell, &(width, is_numeric))| {
                if is_numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        });
        formatter.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// The start of a text, on one line, safe for a terminal.
pub(super) fn clip(text: &str) -> String {
    clip_to(text, LONGEST_CELL)
}

/// A p-value, where there is one.
pub(super) fn p_value(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), crate::domain::text::p_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_are_harmless() {
        let mut table = Table::new(&["name", "n"]);
        table.row(vec!["a\u{1b}[31m\nb".to_owned(), "5".to_owned()]);
        table.row(vec!["long ".repeat(40), "1234".to_owned()]);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("a\u{fffd}[31m b") && lines[1].ends_with("     5"), "{text}");
        assert!(lines[2].contains('…') && lines[2].ends_with("  1234"), "{text}");
    }
}
