//! Standard output: sentences, tables, JSON. A reader that closes it early (`| head`) ends the command, not as an error.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, Table, Width};
use serde::Serialize;

use crate::args::Format;
use crate::failure::Failure;
use crate::shapes::given;

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
/// Stands in a table where there is nothing, so that columns keep their number.
pub const NONE: &str = "-";
/// Spaces between columns.
const GAP: u16 = 2;

impl Out {
    /// Standard output in this format.
    pub fn new(format: Format) -> Self {
        Self { sink: BufWriter::with_capacity(64 * 1024, io::stdout()), format }
    }

    /// Whether programs read it.
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

    /// A writer for what is neither.
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

    /// Hands over what is buffered.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.sink.flush()?)
    }
}

/// The text, or what stands for none.
pub fn or_none(text: &str) -> String {
    or_word(text, NONE)
}

/// The text, or a word where it is empty.
pub fn or_word(text: &str, word: &str) -> String {
    given(text).unwrap_or(word).to_owned()
}

/// Unix time in milliseconds as RFC 3339 says it, in UTC.
pub fn utc(unix_ms: u64) -> String {
    let (days, ms_of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (seconds, ms) = (ms_of_day / 1000, ms_of_day % 1000);
    // Days are counted in eras of 400 years that start on 1 March, so that a leap day is the last of its year.
    let day = days + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn unix_time_is_shown_as_date_and_time_in_utc() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_795_395_845_007, "2026-11-23T01:04:05.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(unix_ms), text);
        }
    }
}
