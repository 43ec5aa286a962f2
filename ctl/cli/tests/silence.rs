//! A daemon that gives no sign: the command ends in time, says so in one line, and exits with 3.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use support::model;
use support::node::{Node, told};

/// Time limit of a test that hangs after all.
const HANGS: &str = "60";

/// Runs bcastctl with a short patience; exit status and the only line of standard error.
fn run(socket: &Path, args: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new("timeout");
    command.args([HANGS, env!("CARGO_BIN_EXE_bcastctl"), "--timeout", "0.3"]).args(args);
    command.env("BCAST_SOCKET", socket).stdin(std::process::Stdio::null());
    let (status, _, error) = told(command.output().unwrap());
    assert_eq!(error.lines().count(), 1, "{error}");
    (status, error.trim().to_owned())
}

const COMMANDS: [&[&str]; 6] =
    [&["tep", "list"], &["domain", "create", "1"], &["stats"], &["watch"], &["export"], &["version"]];

#[test]
fn a_daemon_that_accepts_and_never_answers_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    // The kernel accepts for it, as it does for a daemon that is stopped.
    let _listener = UnixListener::bind(&socket).unwrap();
    for args in COMMANDS {
        let (status, error) = run(&socket, args);
        assert_eq!(status, 3, "{args:?}: {error}");
        assert!(error.contains("gave no sign for 0.3 s: it hangs, or is stopped"), "{error}");
        assert!(error.starts_with("bcastctl: the daemon at /"), "{error}");
    }
}

#[test]
fn a_daemon_whose_backlog_is_full_is_given_up_or_reached_once_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let listener = rustix_listener(&socket);
    let mut held = Vec::new();
    // As many as the kernel takes; one more would wait.
    while held.len() < 4 && nonblocking_connect(&socket).map(|stream| held.push(stream)).is_ok() {}
    let (status, error) = run(&socket, &["stats"]);
    assert_eq!(status, 3, "{error}");
    assert!(error.contains("gave no sign for 0.3 s"), "{error}");
    drop(listener);
}

/// A listener with room for one that waits.
fn rustix_listener(path: &Path) -> UnixListener {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    UnixListener::from(socket)
}

fn nonblocking_connect(path: &Path) -> Result<UnixStream, rustix::io::Errno> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

#[test]
fn a_daemon_that_stops_amid_a_stream_is_given_up() {
    let node = Node::with(model(&[(1, "hv1")], &[(5, "", &[1])]));
    node.script.lock().unwrap().stalls = true;
    for args in [&["export"][..], &["domain", "list"], &["havip", "list"]] {
        let (status, error) = run(&node.socket(), args);
        assert_eq!(status, 3, "{error}");
        assert!(error.contains("gave no sign for 0.3 s"), "{error}");
    }
    node.script.lock().unwrap().stalls = false;
    node.script.lock().unwrap().takes_no_more = true;
    let teps: Vec<String> =
        (0..60_000).map(|n| format!("{{address: 198.18.{}.{}}}", n / 250, n % 250 + 1)).collect();
    let file = node.file("large.yaml", &format!("teps: [{}]\n", teps.join(", ")));
    let (status, error) = run(&node.socket(), &["apply", "-f", &file]);
    assert_eq!(status, 3, "{error}");
    assert!(error.contains("gave no sign for 0.3 s"), "{error}");
}

#[test]
fn a_watch_waits_for_events_as_long_as_it_takes() {
    let node = Node::with(model(&[(1, "hv1")], &[]));
    node.script.lock().unwrap().stays_open = true;
    let mut watch = node.command(&["--timeout", "0.1", "watch"]).spawn().unwrap();
    thread::sleep(Duration::from_millis(1_000));
    assert_eq!(watch.try_wait().unwrap(), None, "it ended");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn what_is_no_daemon_is_told_in_one_line() {
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0xff; 4096], b"\0"] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // A broken pipe is the command's end.
                drop(stream.write_all(garbage));
                drop(stream.read_to_end(&mut Vec::new()));
            }
        });
        for args in COMMANDS {
            let (status, error) = run(&socket, args);
            assert_eq!(status, 3, "{args:?}: {error}");
        }
    }
}

#[test]
fn a_timeout_that_is_none_is_wrong_usage() {
    for text in ["0", "-1", "soon", "NaN", "1e300"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_bcastctl"))
            .args([&format!("--timeout={text}"), "stats"])
            .output()
            .unwrap();
        let (status, _, error) = told(output);
        assert_eq!(status, 2, "{text}");
        assert!(error.contains("no number of seconds"), "{error}");
    }
}
