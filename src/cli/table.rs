//! Tables for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::stdout;

/// A table without lines. Columns named in `right` are aligned to the right.
pub fn table(header: &[&str], right: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.to_vec()).add_rows(rows);
    for (index, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if right.contains(name) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Rows printed at a time.
const BLOCK: usize = 1000;

/// The table of a run: what images gave, on stdout, block by block so that a long run does not gather it all.
pub struct Results {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Results {
    /// A table with these columns.
    pub fn new(header: impl Into<Vec<&'static str>>) -> Self {
        Self { header: header.into(), rows: Vec::new() }
    }

    /// Adds the rows of one image.
    pub fn add(&mut self, rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        self.rows.extend(rows);
        if self.rows.len() >= BLOCK { self.print() } else { Ok(()) }
    }

    /// Prints what is left.
    pub fn print(&mut self) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        stdout::line(&table(&self.header, &["class", "probability", "logit", "value"], self.rows.drain(..)))
    }
}

/// A number with its thousands set apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}
