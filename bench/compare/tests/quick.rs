//! The whole comparison at small size: everything starts, forwards, and is right to the last byte. No figure is
//! looked at.

use std::process::Command;

/// Runs it; gives whether it succeeded, and what it said.
fn compare(args: &[&str]) -> std::io::Result<(bool, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_compare")).args(args).output()?;
    let text = [&output.stdout[..], &output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn every_frame_of_a_quick_run_is_right() {
    let (success, output) = compare(&["--quick"]).unwrap();
    assert!(success, "{output}");
    for line in ["bcastd: 128 copies, each of them right to the last byte", "All works."] {
        assert!(output.lines().any(|found| found.starts_with(line)), "{line:?} is missing:\n{output}");
    }
    for candidate in ["floor, bursts of 64", "bcastd, limits on", "bcastd, two workers", "Linux VXLAN"] {
        assert!(output.contains(candidate), "{candidate} is missing:\n{output}");
    }
}

#[test]
fn a_peer_that_nobody_knows_is_a_usage_error() {
    let (success, output) = compare(&["--without", "netware"]).unwrap();
    assert!(!success && output.contains("netware") && output.contains("vxlan"), "{output}");
}
