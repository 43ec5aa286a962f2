//! Standard output: sentences, tables, JSON. A reader that closes it early (`| head`) ends the command, without error.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, Table, Width};
use serde::Serialize;

use crate::failure::Failure;

/// Format of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Plain columns and sentences
    Table,
    /// JSON; bcastctl --help says its shapes
    Json,
}

/// Buffered standard output and the wanted format.
pub struct Out {
    sink: BufWriter<Stdout>,
    format: Format,
}

/// A column of a table.
#[derive(Clone, Copy)]
pub enum Column {
    /// Words, aligned left.
    Text(&'static str),
    /// Numbers, aligned right.
    Number(&'static str),
}

/// Rows laid out at a time: a table of a million rows would take more memory than all that it shows.
const ROWS_AT_A_TIME: usize = 4096;
/// Spaces between columns.
const GAP: u16 = 2;

impl Out {
    /// Standard output in this format.
    pub fn new(format: Format) -> Self {
        Self { sink: BufWriter::with_capacity(64 * 1024, io::stdout()), format }
    }

    /// Format for programs.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One line of text.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        Ok(writeln!(self.sink, "{line}")?)
    }

    /// One JSON value on a line.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.sink, value)?;
        self.line("")
    }

    /// A JSON array, an entry a line: made entry by entry, since there may be a million.
    pub fn array(&mut self, items: impl Iterator<Item = impl Serialize>) -> Result<(), Failure> {
        self.sink.write_all(b"[")?;
        for (at, item) in items.enumerate() {
            self.sink.write_all(if at == 0 { b"" } else { b",\n" })?;
            serde_json::to_writer(&mut self.sink, &item)?;
        }
        self.line("]")
    }

    /// A writer for other bytes.
    pub fn raw(&mut self) -> &mut impl Write {
        &mut self.sink
    }

    /// A table with a header, columns two spaces apart.
    pub fn table<const N: usize>(
        &mut self,
        columns: [Column; N],
        rows: &[[String; N]],
    ) -> Result<(), Failure> {
        let header = columns.map(|column| match column {
            Column::Text(title) | Column::Number(title) => title.to_owned(),
        });
        let mut widths = [0; N];
        for row in rows.iter().chain([&header]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        self.rows(columns, widths, &[header])?;
        rows.chunks(ROWS_AT_A_TIME).try_for_each(|chunk| self.rows(columns, widths, chunk))
    }

    fn rows<const N: usize>(
        &mut self,
        columns: [Column; N],
        widths: [usize; N],
        rows: &[[String; N]],
    ) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.add_rows(rows);
        for ((column, laid_out), width) in columns.iter().zip(table.column_iter_mut()).zip(widths) {
            let width = u16::try_from(width).unwrap_or(u16::MAX - GAP);
            laid_out
                .set_padding((0, GAP))
                .set_constraint(ColumnConstraint::Absolute(Width::Fixed(width + GAP)));
            if let Column::Number(_) = column {
                laid_out.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().try_for_each(|line| self.line(line.trim_end()))
    }

    /// Hands over all buffered output.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.sink.flush()?)
    }
}
