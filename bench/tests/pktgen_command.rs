//! Errors of the command line are one line, before anything is started.

use std::process::Command;

#[test]
fn bad_input_gets_one_line_that_says_what_to_do() {
    let device = ["--device", "af_packet:none"];
    for (words, said) in [
        (&["noise"][..], "invalid value 'noise' for '<MODES>...' [possible values: count, throughput"),
        (&[], "the following required arguments were not provided: <MODES>..."),
        (&["count"], "no device: give --device"),
        (&["count", "--device", "eth0"], "\"eth0\" names no kind of device"),
        (&["count", "--rate", "0"], "a rate of 0 sends nothing: give frames per second"),
        (&["count", "--rate", "fast"], "\"fast\" is no rate"),
        (
            &["count", device[0], device[1], "--sizes", "37"],
            "37 bytes is no size for a frame of kind Broadcast: 38 to 1472",
        ),
        (&["count", device[0], device[1], "--sizes", "1473"], "1473 bytes is no size"),
        (&["count", device[0], device[1], "--sizes", "60", "--kind", "vrrp"], "70 to 1472"),
        (
            &["count", device[0], device[1], "--fan-outs", "0"],
            "'--fan-outs <FAN_OUTS>': 0 is not in 1..=16383",
        ),
        (
            &["count", device[0], device[1], "--seconds", "0"],
            "'--seconds <SECONDS>': out of range: 0.05 to 3600",
        ),
        (&["count", "--config", "/nonexistent.toml"], "cannot read /nonexistent.toml"),
        (&["count", "--speed", "1"], "unexpected argument '--speed'"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bench")).arg("pktgen").args(words).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {error}");
        assert!(error.starts_with("pktgen: ") && error.contains(said), "{words:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{words:?}: {error}");
    }
}
