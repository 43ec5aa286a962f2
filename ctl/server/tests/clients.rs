//! Clients of other languages, with their defaults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;

use common::*;

/// Time limit of a client that hangs, in seconds.
const HANGS: &str = "240";

/// The Python that has grpcio: Debian's, unless another is named.
fn python() -> String {
    std::env::var("BCAST_TEST_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned())
}

#[test]
fn a_python_client_with_grpcios_defaults_is_served_over_the_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("timeout")
        .args([HANGS, &python()])
        .args([&here.join("tests/clients.py"), &here.join("../api/proto/bcast.proto"), &rig.socket])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(rig.server().counts().teps, 19);
}
