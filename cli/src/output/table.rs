//! Aligned columns, streamed: the first rows decide the widths, later ones follow.

use super::{
    escape::{cut, escape, width},
    Output, Tone,
};
use crate::failure::Failure;

/// Rows that are held back to find the widths.
const LOOK_AHEAD: usize = 500;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    right: bool,
    max: usize,
}

impl Column {
    /// Text, at most `max` columns wide.
    pub const fn text(title: &'static str, max: usize) -> Self {
        Self {
            title,
            right: false,
            max,
        }
    }

    /// Numbers, aligned to the right.
    pub const fn number(title: &'static str) -> Self {
        Self {
            title,
            right: true,
            max: 24,
        }
    }
}

/// What stands in one place of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its text, escaped.
    pub text: String,
    /// Its meaning.
    pub tone: Tone,
}

impl Cell {
    /// A cell that means something.
    pub fn toned(tone: Tone, text: &str) -> Self {
        Self {
            text: escape(text).into_owned(),
            tone,
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(Tone::Plain, text.as_ref())
    }
}

/// A table that is being written.
pub struct Table {
    columns: Vec<Column>,
    held: Vec<Vec<Cell>>,
    widths: Option<Vec<usize>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            held: Vec::new(),
            widths: None,
        }
    }

    /// Adds a row.
    pub fn row(&mut self, out: &mut Output, cells: Vec<Cell>) -> Result<(), Failure> {
        if self.widths.is_some() {
            return self.write(out, &cells);
        }
        self.held.push(cells);
        if self.held.len() >= LOOK_AHEAD {
            self.release(out)?;
        }
        Ok(())
    }

    /// Writes what was held back. A table without rows writes nothing.
    pub fn end(mut self, out: &mut Output) -> Result<(), Failure> {
        if self.widths.is_none() && !self.held.is_empty() {
            self.release(out)?;
        }
        Ok(())
    }

    fn release(&mut self, out: &mut Output) -> Result<(), Failure> {
        let widths = self.columns.iter().enumerate().map(|(i, column)| {
            let cells = self.held.iter().filter_map(|row| row.get(i));
            let widest = cells.map(|cell| width(&cell.text)).max().unwrap_or(0);
            widest.clamp(width(column.title), column.max.max(width(column.title)))
        });
        self.widths = Some(widths.collect());
        let titles = self
            .columns
            .iter()
            .map(|c| Cell::toned(Tone::Faint, c.title));
        self.write(out, &titles.collect::<Vec<_>>())?;
        for row in std::mem::take(&mut self.held) {
            self.write(out, &row)?;
        }
        Ok(())
    }

    fn write(&self, out: &mut Output, cells: &[Cell]) -> Result<(), Failure> {
        let line = self.layout(cells, |tone, text| out.paint(tone, text));
        out.line(&line)
    }

    fn layout(&self, cells: &[Cell], paint: impl Fn(Tone, &str) -> String) -> String {
        let mut line = String::new();
        let widths = self.widths.as_deref().unwrap_or_default();
        for ((cell, column), &columns) in cells.iter().zip(&self.columns).zip(widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let text = cut(&cell.text, columns.max(column.max));
            let pad = " ".repeat(columns.saturating_sub(width(&text)));
            let text = paint(cell.tone, &text);
            match column.right {
                true => line.extend([pad, text]),
                false => line.extend([text, pad]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_rows_end_without_blanks() {
        let mut table = Table::new(&[
            Column::text("NAME", 6),
            Column::number("TIME"),
            Column::text("X", 9),
        ]);
        table.widths = Some(vec![6, 7, 1]);
        let line = |cells: &[&str]| {
            let cells: Vec<Cell> = cells.iter().map(Cell::from).collect();
            table.layout(&cells, |_, text| text.to_owned())
        };
        assert_eq!(line(&["read", "1.24 ms", "a"]), "read    1.24 ms  a");
        assert_eq!(line(&["tokenise", "9 ns", ""]), "token…     9 ns");
        assert_eq!(line(&["a\x1b", "", ""]), "a\\u{1…");
    }
}
