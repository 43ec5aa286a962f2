//! Tables for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// A table without lines, numbers to the right; the names of its columns are separated by `|`.
pub fn table(head: &str) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(head.split('|'));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
