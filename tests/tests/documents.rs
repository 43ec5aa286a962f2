//! The documents say what is so.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use testkit::node::binary;
use wire::{CopyDropReason, DropReason};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).expect(name)
}

/// Names of all functions in the project's Rust files.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden && !path.ends_with("target") {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            for line in fs::read_to_string(&path).expect("text").lines() {
                if let Some((_, rest)) = line.split_once("fn ") {
                    names.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                }
            }
        }
    }
}

#[test]
fn every_test_that_the_specification_names_exists() {
    let mut known = BTreeSet::new();
    functions(Path::new(ROOT), &mut known);
    let text = document("SPECIFICATION.md");
    let mut named = 0;
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let tests = row.trim_end_matches('|').rsplit('|').next().expect("a last column");
        if tests.trim() == "tests" {
            continue;
        }
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test for: {row}");
        for name in names {
            assert!(known.contains(name), "there is no test {name}");
            named += 1;
        }
    }
    assert!(named > 30, "{named} tests were found in SPECIFICATION.md");
}

#[test]
fn every_drop_reason_has_its_row_in_the_order_of_the_checks() {
    let text = document("docs/drops.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: Vec<_> = rows.map(|(reason, _)| reason).collect();
    let reasons = DropReason::ALL.map(DropReason::as_str).into_iter();
    let all: Vec<_> = reasons.chain(CopyDropReason::ALL.map(CopyDropReason::as_str)).collect();
    assert_eq!(rows, all);
}

#[test]
fn the_documented_configuration_is_one_that_the_daemon_takes() {
    let text = document("docs/configuration.md");
    let block = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let file = tempfile::NamedTempFile::new().expect("a file");
    // Also with the keys that stand there as comments.
    for config in [block.to_owned(), block.replace("# gateway", "gateway")] {
        fs::write(file.path(), config.replace("cores = [1]", "cores = [0]")).expect("written");
        let checked =
            Command::new(binary("bcastd")).arg("--check-file").arg("--config").arg(file.path()).output();
        let checked = checked.expect("bcastd runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}
