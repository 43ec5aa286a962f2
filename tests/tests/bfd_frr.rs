//! BFD with FRR's bfdd behind a hypervisor: Open vSwitch makes the tunnel, another implementation speaks.

use std::{fs, os::unix::fs::chown, path::Path};

use nix::unistd::{Group, User};
use testkit::{
    lab::{Lab, NODE},
    namespace::Namespace,
    node::{Config, Node},
    openflow::Places,
    overlay::{Hypervisor, Overlay},
    process::{Process, wait_for},
};

/// Sessions of bfdd: the node's end of the tunnel is 169.254.1.0.
const SESSION: &str = "bfd\n peer 169.254.1.0 local-address 169.254.1.1\n  receive-interval 300\n  transmit-interval 300\n !\n!\n";

/// Gives the hypervisor an address in the tunnel to the node, on a port of its own.
fn connect(hypervisor: &Hypervisor) {
    let namespace = &hypervisor.host.namespace;
    hypervisor.vsctl("add-port br-int bfd0 -- set interface bfd0 type=internal");
    namespace.run("ethtool -K bfd0 tx off");
    namespace.ip("link set dev bfd0 up");
    namespace.ip("address add 169.254.1.1/31 dev bfd0");
    namespace.ip("neighbour replace 169.254.1.0 lladdr 00:23:20:00:00:01 dev bfd0 nud permanent");
    let mac = hypervisor.vsctl("get interface bfd0 mac_in_use");
    let mac = mac.trim().trim_matches('"');
    for rule in [
        format!("in_port=bfd0,udp,tp_dst=3784,actions=set_field:{NODE}->tun_dst,output:gre0"),
        format!("in_port=gre0,tun_id=0,udp,tp_dst=3784,actions=set_field:{mac}->eth_dst,output:bfd0"),
    ] {
        hypervisor.ofctl(&format!("add-flow br-int table=0,priority=20,{rule}"));
    }
}

/// FRR's zebra and bfdd in a namespace.
fn start_frr(namespace: &Namespace, folder: &Path) -> Vec<Process> {
    let folder = folder.join("frr");
    fs::create_dir(&folder).expect("the folder is ours");
    let missing = "FRR is installed: scripts/install-deps";
    let user = User::from_name("frr").ok().flatten().expect(missing);
    let group = Group::from_name("frrvty").ok().flatten().expect(missing);
    chown(&folder, Some(user.uid.as_raw()), Some(group.gid.as_raw())).expect("root may");
    let at = |what: &str| folder.join(what).display().to_string();
    let start = |(program, options): (&str, String)| {
        fs::write(folder.join(format!("{program}.conf")), "").expect("the folder is ours");
        let line = format!(
            "/usr/lib/frr/{program} --config_file {} --socket {} --vty_socket {} --pid_file {} --vty_port 0 --log stdout{options}",
            at(&format!("{program}.conf")),
            at("zserv.api"),
            folder.display(),
            at(&format!("{program}.pid")),
        );
        let process = namespace.start(&line, &folder.join(format!("{program}.log")));
        wait_for("FRR's terminal", || folder.join(format!("{program}.vty")).exists().then_some(()));
        process
    };
    let programs = [("zebra", String::new()), ("bfdd", format!(" --bfdctl {}", at("bfdd.sock")))];
    let processes = programs.map(start).into();
    let file = folder.join("session");
    fs::write(&file, SESSION).expect("the folder is ours");
    namespace.run(&format!("vtysh --vty_socket {} --inputfile {}", folder.display(), file.display()));
    processes
}

#[test]
fn frrs_bfdd_behind_a_hypervisor_comes_up_hears_a_drain_and_notices_the_nodes_death() {
    let lab = Lab::new();
    let config = Config::new(lab.folder()).set("bfd.interval_ms", 300).set("bfd.hold_back_s", 0);
    let mut node = Node::start(&lab, &config);
    let overlay = Overlay::new(&lab, Places::Told, &[&[5001]]);
    overlay.introduce();
    node.serve(5001, &overlay.teps());
    let hypervisor = &overlay.hypervisors[0];
    connect(hypervisor);
    let namespace = &hypervisor.host.namespace;
    let _frr = start_frr(namespace, lab.folder());
    let folder = lab.folder().join("frr");
    let peers = || {
        let shown = output_of(namespace, &folder);
        shown.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let wait_line = |what: &str, line: &str| {
        wait_for(what, || peers().iter().any(|shown| shown == line).then_some(()));
    };
    wait_line("bfdd to be up", "Status: up");
    assert!(peers().contains(&"Diagnostics: ok".to_owned()), "{:?}", peers());
    let shown = node.must(&format!("tep show {} -o json", overlay.teps()[0]));
    assert!(shown.contains("\"local\":\"up\",\"remote\":\"up\",\"diagnostic\":0"), "{shown}");
    node.must("node drain");
    wait_line("the drain", "Remote diagnostics: concatenated path down");
    wait_line("a session that stays up", "Status: up");
    node.must("node undrain");
    wait_line("the drain's end", "Remote diagnostics: ok");
    node.kill9();
    wait_line("the death", "Status: down");
    wait_line("its reason", "Diagnostics: control detection time expired");
}

fn output_of(namespace: &Namespace, folder: &Path) -> String {
    let mut command = namespace.command("vtysh");
    command.arg("--vty_socket").arg(folder).args(["-d", "bfdd", "-c", "show bfd peers"]);
    let output = testkit::process::output(&mut command);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
