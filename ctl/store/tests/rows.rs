//! Rows as the fuzzer reads them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use ctl_store::rows::{Table, reencode};

#[test]
fn every_seed_of_the_fuzzer_is_a_row_that_comes_back_as_it_was_written() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/stored_rows");
    let mut seen = BTreeSet::new();
    for file in std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap()) {
        if !file.file_name().to_str().unwrap().starts_with("seed-") {
            continue;
        }
        let bytes = std::fs::read(file.path()).unwrap();
        let (&table, row) = bytes.split_first().unwrap();
        let (now, written) = reencode(Table::ALL[usize::from(table)], row).unwrap();
        assert_eq!(reencode(now, &written), Some((now, written)), "{}", file.path().display());
        seen.insert(table);
    }
    assert_eq!(seen.len(), Table::ALL.len(), "each table has a seed");
}
