//! pktgen against a real bcastd, by the script that people use: everything arrives, and what is set up wrong is told.
//! Needs root and a release build of bcastd and bcastctl.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use testkit::node::binary;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/pktgen");
const BENCH: &str = env!("CARGO_BIN_EXE_bench");

/// Runs the script with a program in the place of `bench`; gives what it printed, and the rows of its report.
fn run(program: &Path, folder: &Path, words: &str) -> (Output, Vec<Value>) {
    let mut command = Command::new(SCRIPT);
    command.env("BENCH", program).env("BCASTD", binary("bcastd"));
    let output = command.args(words.split_whitespace()).arg("--out").arg(folder).output().unwrap();
    let report = fs::read_to_string(folder.join("pktgen-count.json"));
    let report: Value = report.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    (output, report["rows"].as_array().cloned().unwrap_or_default())
}

/// A program in the place of `bench`: these lines of shell, in which `ctl` is bcastctl to the node, which is up.
fn wrapper(folder: &Path, lines: &str) -> PathBuf {
    let path = folder.join("wrapper");
    let script = format!(
        "#!/bin/sh -e\n\
         OWN='{BENCH}'\n\
         last=; for word; do [ \"$last\" != --socket ] || socket=$word; last=$word; done\n\
         until [ -S \"$socket\" ]; do sleep 0.05; done\n\
         ctl() {{ '{}' --socket \"$socket\" \"$@\"; }}\n{lines}",
        binary("bcastctl").display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The numbers of a row or a member by these names.
fn numbers<const N: usize>(of: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| of[name].as_u64().unwrap_or_else(|| panic!("{name} in {of}")))
}

#[test]
fn every_copy_of_every_kind_arrives_once_at_each_member_and_nowhere_else() {
    for (link, kind, sizes) in
        [("veth", "broadcast", "60,1400"), ("veth", "vrrp", "70"), ("memif", "garp", "66,1472")]
    {
        let folder = tempfile::tempdir().unwrap();
        let words = format!(
            "--link {link} count --kind {kind} --sizes {sizes} --domains 3 --fan-outs 4 --rate 500 --frames 90"
        );
        let (output, rows) = run(Path::new(BENCH), folder.path(), &words);
        assert!(output.status.success(), "{words}: {output:?}");
        assert_eq!(rows.len(), sizes.split(',').count(), "{words}: {output:?}");
        for row in rows {
            let counted =
                numbers(&row, ["sent", "expected", "received", "lost", "doubled", "out_of_order", "damaged"]);
            assert_eq!(counted, [90, 360, 360, 0, 0, 0, 0], "{words}: {row}");
            assert_eq!(numbers(&row, ["wrong_vni", "not_member", "to_source"]), [0, 0, 0], "{words}: {row}");
            let members = row["members"].as_array().unwrap();
            let received: u64 = members.iter().map(|member| member["received"].as_u64().unwrap()).sum();
            assert_eq!((members.len(), received), (7, 360), "{words}: {row}");
        }
    }
}

#[test]
fn a_wrong_membership_is_told_as_loss_and_misdelivery() {
    let folder = tempfile::tempdir().unwrap();
    // The node is told of .5 in place of .4, behind pktgen's back.
    let wrapper = wrapper(
        folder.path(),
        "for tep in 1 2 3 4 5; do ctl tep add 198.19.0.$tep; done\n\
         ctl domain create 5001\n\
         ctl domain join 5001 198.19.0.1 198.19.0.2 198.19.0.3 198.19.0.5\n\
         exec \"$OWN\" \"$@\" --register false\n",
    );
    let words = "count --first-vni 5001 --domains 1 --fan-outs 3 --rate 500 --frames 50";
    let (output, rows) = run(&wrapper, folder.path(), words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let [row] = &rows[..] else { panic!("{output:?}") };
    let counted =
        numbers(row, ["expected", "received", "lost", "not_member", "to_source", "wrong_vni", "doubled"]);
    assert_eq!(counted, [150, 100, 50, 50, 0, 0, 0], "{row}");
    let members = row["members"].as_array().unwrap().iter();
    let members: Vec<_> =
        members.map(|m| (m["tep"].as_str().unwrap(), numbers(m, ["lost", "misdelivered"]))).collect();
    let expected =
        [("198.19.0.1", [0, 0]), ("198.19.0.3", [0, 0]), ("198.19.0.4", [50, 0]), ("198.19.0.5", [0, 50])];
    assert_eq!(members, expected, "{row}");
}

#[test]
fn a_domain_that_is_somebody_elses_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let wrapper = wrapper(
        folder.path(),
        "ctl domain create 2\n\
         \"$OWN\" \"$@\" || status=$?\n\
         ctl domain list\n\
         exit $status\n",
    );
    let (output, rows) = run(&wrapper, folder.path(), "count --domains 3 --frames 10");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), rows.len()), (Some(2), 0), "{output:?}");
    assert!(error.contains("domain 2 is there already: choose --first-vni"), "{error}");
    assert!(
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line.trim_start().starts_with('2')),
        "{output:?}"
    );
}
