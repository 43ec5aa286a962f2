//! `bcastd --check`: it finds what would not start, changes nothing, and says OK otherwise.

use std::{fs, net::TcpListener, os::unix::net::UnixListener};

use testkit::{
    lab::Lab,
    node::{Config, Node, binary},
    process::output,
};

/// Exit status, standard output and standard error of a check in the node's namespace.
fn check(lab: &Lab, config: &Config) -> (i32, String, String) {
    let file = lab.folder().join("checked.toml");
    fs::write(&file, config.text()).expect("the lab's folder is ours");
    let mut command = lab.node.command(binary("bcastd"));
    let done = output(command.arg("--check").arg("--config").arg(&file));
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

#[test]
fn a_check_says_ok_with_status_0_and_changes_nothing() {
    let lab = Lab::new();
    lab.node.ip("link set eth0 down");
    let config = Config::new(lab.folder());
    let (status, said, log) = check(&lab, &config);
    assert_eq!((status, log.as_str()), (0, ""), "{said}");
    assert!(said.contains("checked.toml: OK: af_packet:eth0, 1 worker, store "), "{said}");
    let names: Vec<_> = fs::read_dir(lab.folder()).expect("it is there").flatten().collect();
    let made = |name: &str| names.iter().any(|entry| entry.file_name() == *name);
    assert!(!made("domains.redb") && !made("api.sock"), "{names:?}");
    assert!(lab.node.ip("link show eth0").contains("state DOWN"), "the port was not set up");
    let mut node = Node::start(&lab, &config);
    let (status, said, log) = check(&lab, &config);
    assert!(status == 0 && said.contains("a daemon serves "), "{status}: {said}{log}");
    assert!(node.stop().success());
    let (status, said, log) = check(&lab, &config);
    assert_eq!((status, log.as_str()), (0, ""), "{said}");
}

#[test]
fn a_check_finds_what_would_not_start_with_status_1_and_a_line_for_each() {
    let lab = Lab::new();
    let good = || Config::new(lab.folder());
    let path = |name: &str| lab.folder().join(name).display().to_string();
    let secret = lab.folder().join("no-secret");
    fs::write(lab.folder().join("letter.redb"), "a letter").expect("the lab's folder is ours");
    fs::write(lab.folder().join("file.sock"), "precious").expect("the lab's folder is ours");
    let free = good().set("metrics.listen", "127.0.0.1:9118");
    let _taken = lab.node.inside(|| TcpListener::bind("127.0.0.1:9117").expect("the port is free"));
    lab.node.ip("link add bcast9 type bridge");
    let cases = [
        ("memory", free.clone().set("eal.memory_mb", 64).set("workers.cores", vec![0, 1]), &["memory"][..]),
        ("hugepages", free.clone().set("eal.hugepages", true).set("eal.memory_mb", 65_536), &["hugepages"]),
        ("af_packet's MTU", free.clone().set("port.mtu", 9_000), &["port.mtu", "1500"]),
        ("no interface", free.clone().set("port.device", "af_packet:eth9"), &["eth9"]),
        ("a TAP that is there", free.clone().set("underlay.tap", "bcast9"), &["underlay.tap", "bcast9"]),
        ("no core", free.clone().set("workers.cores", vec![4000]), &["4000"]),
        ("a port in use", good(), &["metrics.listen", "127.0.0.1:9117"]),
        ("no store", free.clone().set("store.path", path("letter.redb")), &["is not a bcast store"]),
        ("a store in no folder", free.clone().set("store.path", path("a/b/c.redb")), &["no folder"]),
        (
            "no socket",
            free.clone().set("api.socket", path("file.sock")),
            &["file.sock is a file and no socket"],
        ),
        ("no secret", free.clone().webhook("noc", "https://127.0.0.1/", &secret), &["no-secret"]),
    ];
    for (what, config, words) in cases {
        let (status, said, log) = check(&lab, &config);
        assert_eq!((status, said.as_str()), (1, ""), "{what}: {log}");
        // DPDK has a last word of its own, as at a start.
        let is_ours = |line: &str| line.starts_with("bcastd: ") || line.starts_with("EAL: FATAL: ");
        assert!(log.lines().all(is_ours), "{what}: {log}");
        assert!(words.iter().all(|word| log.contains(word)), "{what}: {log}");
    }
    let both = good().set("store.path", path("letter.redb"));
    let (status, _, log) = check(&lab, &both);
    assert!(status == 1 && log.lines().count() == 2, "each fault is a line: {log}");
    // The interface's MTU.
    lab.node.ip("link set eth0 mtu 1400");
    let (status, _, log) = check(&lab, &free);
    assert!(status == 1 && log.contains("more than the MTU of eth0, 1400"), "{log}");
    let dead = lab.folder().join("dead.sock");
    drop(UnixListener::bind(&dead).expect("the lab's folder is ours"));
    lab.node.ip("link set eth0 mtu 1500");
    let (status, _, log) = check(&lab, &free.set("api.socket", dead.display().to_string()));
    assert_eq!((status, log.as_str()), (0, ""), "the socket of a daemon that is gone is replaced");
}

#[test]
fn a_typo_in_bcastd_log_is_an_error_at_the_start_that_names_the_right_forms() {
    for (levels, words) in
        [("debgu", "\"debgu\" is no level"), ("info,engin=debug", "names no module of bcastd")]
    {
        for flag in ["--check-file", "--check"] {
            let mut command = std::process::Command::new(binary("bcastd"));
            let done = output(command.arg(flag).env("BCASTD_LOG", levels));
            let log = String::from_utf8_lossy(&done.stderr).into_owned();
            assert_eq!(done.status.code(), Some(1), "{levels}: {log}");
            let forms = "MODULE=LEVEL, as in \"info\" or \"info,ctl_server=debug\"";
            assert!(
                log.starts_with("bcastd: BCASTD_LOG: ") && log.contains(words) && log.contains(forms),
                "{log}"
            );
        }
    }
}

#[test]
fn bcastd_and_bcastctl_say_their_names_versions_and_the_commit() {
    for name in ["bcastd", "bcastctl"] {
        let done = output(std::process::Command::new(binary(name)).arg("--version"));
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let rest = said.strip_prefix(&format!("{name} {} (", env!("CARGO_PKG_VERSION")));
        let commit = rest.and_then(|rest| rest.strip_suffix(")\n")).unwrap_or_else(|| panic!("{said}"));
        assert!(!commit.is_empty() && commit.chars().all(|c| c.is_ascii_graphic()), "{said}");
    }
}
