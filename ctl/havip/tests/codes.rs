//! Codes of diagnoses and their table in the documentation.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

#[test]
fn each_code_of_a_diagnosis_is_in_the_table_and_no_other() {
    let text = include_str!("../../../docs/havip.md");
    let section = text.split("## Diagnoses").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<&str> = rows.collect();
    assert_eq!(listed, ctl_havip::codes::ALL.iter().copied().collect());
}
