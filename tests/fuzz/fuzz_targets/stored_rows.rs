//! Rows of the store: any bytes are an error, or a row that is the same once it is written and read again.
#![no_main]

use ctl_store::rows::{Table, reencode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&table, row)) = input.split_first() else { return };
    let Some(table) = Table::ALL.get(usize::from(table)) else { return };
    // Rows of an older schema come back as rows of the present one.
    let Some((table, written)) = reencode(*table, row) else { return };
    assert_eq!(reencode(table, &written), Some((table, written)), "a row of {table:?} changes as it is read");
});
