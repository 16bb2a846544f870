//! Text in columns.

use super::failure::Failure;
use super::output::Output;
use crate::domain::text::printable;

/// Longest cell; longer ones are cut, because a wrapped table cannot be read.
const LONGEST: usize = 48;

/// Rows under a head, each column as wide as its longest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|name| name.to_uppercase()).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| cut(&cell)).collect());
    }

    pub(super) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            output.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn cut(cell: &str) -> String {
    let line = printable(cell).replace('\n', " ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_cell_stays_on_its_line_and_within_its_column() {
        assert_eq!(cut("a\nb"), "a b");
        assert_eq!(cut(&"é".repeat(100)).chars().count(), super::LONGEST + 1);
    }
}
