//! The daemon's servers under clients that say nothing, and the command in front of a daemon that does.

use std::{
    io::Write,
    net::TcpStream,
    os::unix::net::UnixStream,
    process::{Command, id},
};

use testkit::{
    lab::Lab,
    node::{Node, get},
    process::{run, wait_for},
};

/// Clients of each server.
const CLIENTS: usize = 1_500;

/// A process' limit of open files, soft and hard.
fn limit_files(pid: u32, limits: &str) {
    run(Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={limits}")]));
}

#[test]
fn fifteen_hundred_half_requests_to_each_server_leave_readiness_and_the_api_answering() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let pid = node.process().id();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let files: Vec<_> = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .expect("the kernel tells it")
        .split_whitespace()
        .collect();
    assert_eq!(files[0], files[1], "the soft limit is the hard one");
    limit_files(pid, "1024:1024");
    limit_files(id(), "8192:8192");

    let half = |text: &str| -> Vec<TcpStream> {
        lab.node.inside(|| {
            let clients = (0..CLIENTS).map(|_| {
                let mut stream = TcpStream::connect("127.0.0.1:9117").expect("it listens");
                // The daemon may have closed it by now, to let another one in.
                let _sent = stream.write_all(text.as_bytes());
                stream
            });
            clients.collect()
        })
    };
    let mut held = half("GET /metrics HTTP/1.1\r\nHost: no");
    held.extend(half("GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n"));
    let mut silent = Vec::new();
    for n in 0..CLIENTS {
        // Blocks while the daemon's queue is full.
        let mut stream = UnixStream::connect(node.socket()).expect("it listens");
        let _sent = stream.write_all(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..n % 25]);
        silent.push(stream);
    }
    wait_for("readiness", || {
        get(&lab.node, "/readyz").filter(|reply| reply.starts_with("HTTP/1.1 200")).map(drop)
    });
    node.must("--timeout 20 domain create 1");
    let metrics = node.metrics();
    for server in ["api", "metrics"] {
        let open = metrics.labelled("bcast_connections", "server", server);
        assert!(open <= 256, "{open} connections of {server}");
        assert!(metrics.labelled("bcast_connections_evicted_total", "server", server) > 1_000);
    }
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    assert!(descriptors < 500, "{descriptors} files");
    drop((held, silent));
    assert!(node.stop().success(), "{}", node.log());
}

#[test]
fn in_front_of_a_daemon_that_is_stopped_the_command_ends_with_status_3() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let pid = node.process().id().to_string();
    run(Command::new("kill").args(["-STOP", &pid]));
    for command in [&["stats"][..], &["tep", "add", "198.18.0.1"], &["export"], &["watch"]] {
        let answer = node.ctl(&[&["--timeout", "0.5"], command].concat());
        assert_eq!(answer.status, 3, "{answer:?}");
        assert!(answer.stderr.contains("gave no sign for 0.5 s"), "{answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
    }
    run(Command::new("kill").args(["-CONT", &pid]));
    node.must("domain create 1");
    assert!(node.stop().success(), "{}", node.log());
}
