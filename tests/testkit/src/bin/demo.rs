//! The demo: what a cloud network cannot do without a broadcast node, and does with one. `--keep` leaves it running.

use std::{
    fs,
    io::{IsTerminal, Write, stdout},
    net::Ipv4Addr,
    path::Path,
    process::{Command, ExitCode},
    sync::OnceLock,
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use toml::Value;

use testkit::{
    keepalived::{Keepalived, Settings, VIP},
    kept,
    lab::{self, Host, Lab, NODE},
    namespace::Namespace,
    node::{Config, Node, binary},
    openflow::Places,
    overlay::{Overlay, Vm},
    ping::{Ping, outage},
    process::{Process, output, wait_for},
};

const VNI: u32 = 5001;
/// Broadcast address of the VMs' network.
const BROADCAST: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 255);
/// The lab that an interrupt has to clear away.
static LAB: OnceLock<String> = OnceLock::new();

fn main() -> ExitCode {
    let keep = match std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => false,
        [ref word] if word == "--keep" => true,
        _ => {
            eprintln!("usage: demo [--keep]");
            return ExitCode::from(2);
        }
    };
    clean_up_when_interrupted();
    headline(
        "A cloud of three hypervisors, each with its own Open vSwitch and a VM; one bcast node; no broadcast yet",
    );
    LAB.set(if keep { kept::NAME.to_owned() } else { lab::fresh_name() }).expect("there is one lab");
    let lab = if keep { kept::make() } else { Lab::named(LAB.get().cloned().unwrap_or_default()) };
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI], &[VNI], &[VNI]]);
    let machine = lab.bare_machine();
    let mut node = Node::start(&lab, &config(lab.folder(), NODE, &machine));
    overlay.introduce();
    for vm in &overlay.vms {
        let hypervisor = overlay.hypervisors[vm.hypervisor].host.address;
        say(&format!("{} {} on hypervisor {hypervisor}", vm.port, vm.address));
    }
    say(&format!("bcastd on the underlay at {NODE}, over DPDK's af_packet, with an empty table"));

    let [one, two, three] = &overlay.vms[..] else { unreachable!("three hypervisors have a VM each") };
    broadcast_begins(&lab, &overlay, &node);
    let (first, second) = failover(&lab, &overlay, [one, two, three]);
    a_leave_is_final(&lab, &overlay, &node);
    headline("What the node counted");
    bcastctl(&node, &["stats", &VNI.to_string()]);
    let other = a_node_dies(&lab, &overlay, &mut node, &machine);

    if keep {
        println!();
        first.keep();
        second.keep();
        other.keep();
        machine.namespace.keep();
        kept::keep(&lab, overlay, node);
        lab.keep();
    } else {
        headline("Done; the lab is gone. `scripts/demo --keep` leaves it running.");
    }
    ExitCode::SUCCESS
}

/// Act 1: ARP gets no answer, the hypervisors join, ARP gets one.
fn broadcast_begins(lab: &Lab, overlay: &Overlay, node: &Node) {
    let (one, two) = (&overlay.vms[0], &overlay.vms[1]);
    headline("1. Without broadcast, VMs cannot even find each other: nobody hears vm1 ask who vm2 is");
    shell(one, &format!("ping -n -c 1 -W 4 {}", two.address));

    headline("   The hypervisors join the network's broadcast domain");
    for tep in overlay.teps() {
        bcastctl(node, &["tep", "add", &tep.to_string()]);
    }
    let teps: Vec<_> = overlay.teps().iter().map(ToString::to_string).collect();
    bcastctl(node, &["domain", "create", &VNI.to_string(), "--name", "vpc-a"]);
    let join =
        [&["domain", "join", "5001"][..], &teps.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    bcastctl(node, &join);
    node.wait_resolved(&overlay.teps());

    headline("   The same question again: one frame reaches the node, a copy goes to every other hypervisor");
    let mut wire = listen(&lab.switch, "node", lab, "wire", "proto gre");
    shell(one, &format!("ping -n -c 3 -i 0.2 {}", two.address));
    excerpt("underlay", "tcpdump -i node proto gre", &mut wire, "Request who-has", 3);
}

/// Act 2: the master is cut off, the other VM takes over, and a third VM hardly notices.
fn failover(lab: &Lab, overlay: &Overlay, [one, two, three]: [&Vm; 3]) -> (Keepalived, Keepalived) {
    headline(&format!(
        "2. Keepalived on vm1 and vm2 shares the virtual IP {VIP}: multicast VRRP, an advert each 100 ms"
    ));
    let start =
        |vm: &Vm| Keepalived::start(vm, Settings::FAST, lab.folder().join(format!("keepalived-{}", vm.port)));
    let mut first = start(one);
    first.wait_entered("MASTER", 1);
    let mut second = start(two);
    second.wait_entered("BACKUP", 1);
    say("vm1 is master. vm3 pings the virtual IP a hundred times a second.");
    let announced = format!("arp and ether src {}", lab::mac_text(two.mac));
    let mut capture = listen(&three.namespace, "eth0", lab, "failover", &announced);
    let ping = Ping::start(&three.namespace, VIP, &lab.folder().join("ping"));
    wait_for("a second of answers", || (ping.answers().len() > 100).then_some(()));

    headline("   vm1 is cut off");
    overlay.set_connected(one, false);
    second.wait_entered("MASTER", 1);
    let answers = ping.answers().len();
    wait_for("a second of answers from vm2", || (ping.answers().len() > answers + 100).then_some(()));
    let outage = outage(&ping.stop());
    let log = second.log();
    prompt("vm2", "keepalived");
    let taking_over = log.lines().skip_while(|line| !line.contains("advertisement timeout"));
    taking_over.filter(|line| line.contains("(vip)")).take(4).for_each(reply);
    excerpt("vm3", &format!("tcpdump -i eth0 {announced}"), &mut capture, &format!("who-has {VIP} "), 1);
    result(&format!("vm3 had no answer from {VIP} for {} ms", outage.as_millis()));
    overlay.set_connected(one, true);
    first.wait_entered("BACKUP", 2);
    (first, second)
}

/// Act 3: after the answer to a leave not one more copy comes.
fn a_leave_is_final(lab: &Lab, overlay: &Overlay, node: &Node) {
    headline(
        "3. Domains change while traffic flows: hypervisor 3 leaves, and when the answer is there it is final",
    );
    let three = &overlay.vms[2];
    let mut capture = listen(&three.namespace, "eth0", lab, "leave", "vrrp");
    capture.wait_for_lines("VRRPv3", 10);
    say("vm3 hears ten VRRP adverts a second.");
    let tep = overlay.teps()[2].to_string();
    bcastctl(node, &["domain", "leave", &VNI.to_string(), &tep]);
    // Adverts that the answer overtook in tcpdump's pipe.
    thread::sleep(Duration::from_millis(50));
    let before = capture.log().lines().count();
    thread::sleep(Duration::from_secs(2));
    result(&format!("adverts at vm3 in the two seconds since: {}", capture.log().lines().count() - before));
    bcastctl(node, &["domain", "join", &VNI.to_string(), &tep]);
    let before = capture.log().lines().count();
    thread::sleep(Duration::from_secs(2));
    result(&format!("adverts at vm3 in the two seconds since: {}", capture.log().lines().count() - before));
    capture.stop();
}

/// Configuration of a node at this address, with both nodes in it.
fn config(folder: &Path, address: Ipv4Addr, machine: &Host) -> Config {
    let node = |(name, address): (&str, Ipv4Addr)| {
        let keys =
            [("node", name.to_owned()), ("zone", format!("cab-{name}")), ("address", address.to_string())];
        Value::Table(keys.map(|(key, value)| (key.to_owned(), value.into())).into_iter().collect())
    };
    Config::new(folder)
        .set("underlay.addresses", vec![format!("{address}/16")])
        .set("cluster.nodes", [("n1", NODE), ("n2", machine.address)].map(node).to_vec())
}

/// Act 4: a node is killed while VMs broadcast, and the hypervisors find the other one.
fn a_node_dies<'lab>(lab: &Lab, overlay: &Overlay, node: &mut Node, machine: &'lab Host) -> Node<'lab> {
    headline("4. A second node with the same domains; hypervisors watch both by BFD, in the tunnel");
    let folder = lab.folder().join("n2");
    fs::create_dir(&folder).expect("the lab's folder is ours");
    bcastctl(node, &["domain", "pin", "5001", "n1"]);
    let other = Node::start_on(machine, &folder, &config(&folder, machine.address, machine));
    let domains = folder.join("domains.yaml");
    fs::write(&domains, node.must("export")).expect("the folder is ours");
    other.must(&format!("apply -f {}", domains.display()));
    other.wait_resolved(&overlay.teps());
    for (number, hypervisor) in overlay.hypervisors.iter().enumerate() {
        let tep = hypervisor.host.address;
        prompt(&format!("hypervisor {}", number + 1), &format!("bcastctl hypervisor flows {tep} | sh"));
        hypervisor.shell(&node.must(&format!("hypervisor flows {tep}")));
    }
    bcastctl(node, &["placement", "5001"]);
    wait_for("BFD with both nodes", || {
        let up = |shown: String| shown.matches("Forwarding: true").count() == 2;
        overlay.hypervisors.iter().all(|hypervisor| up(hypervisor.appctl("bfd/show"))).then_some(())
    });
    let [_, two, three] = &overlay.vms[..] else { unreachable!("three hypervisors have a VM each") };
    two.namespace.run("sysctl -q -w net.ipv4.icmp_echo_ignore_broadcasts=0");
    say("vm3 pings the broadcast address a hundred times a second, and vm2 answers.");
    let ping = Ping::broadcast(&three.namespace, BROADCAST, &lab.folder().join("ping-broadcast"));
    wait_for("a second of answers", || (ping.answers().len() > 100).then_some(()));

    headline("   The first node is killed (kill -9)");
    node.kill9();
    let answers = ping.answers().len();
    wait_for("a second of answers by the other node", || {
        (ping.answers().len() > answers + 100).then_some(())
    });
    result(&format!("vm3 had no answer for {} ms", outage(&ping.stop()).as_millis()));
    bcastctl(&other, &["stats", &VNI.to_string()]);
    node.restart();
    other
}

/// tcpdump in a namespace, one line a frame.
fn listen(namespace: &Namespace, interface: &str, lab: &Lab, name: &str, filter: &str) -> Process {
    let line = format!("tcpdump -l -n -t --immediate-mode -i {interface} {filter}");
    let mut capture = namespace.start(&line, &lab.folder().join(name));
    capture.wait_for_lines("listening on", 1);
    capture
}

/// Shows the first lines of a capture that hold `text`.
fn excerpt(place: &str, command: &str, capture: &mut Process, text: &str, lines: usize) {
    capture.wait_for_lines(text, lines);
    prompt(place, command);
    capture.log().lines().filter(|line| line.contains(text)).take(lines).for_each(reply);
}

/// Runs a command on a VM, in view.
fn shell(vm: &Vm, line: &str) {
    prompt(&vm.port, line);
    let mut words = line.split(' ');
    let output = output(vm.namespace.command(words.next().unwrap_or_default()).args(words));
    show(&output.stdout);
}

/// Runs `bcastctl`, in view.
fn bcastctl(node: &Node, words: &[&str]) {
    prompt("node", &format!("bcastctl {}", words.join(" ")));
    let output = output(Command::new(binary("bcastctl")).arg("--socket").arg(node.socket()).args(words));
    show(&output.stdout);
    show(&output.stderr);
    assert!(output.status.success(), "bcastctl {words:?} failed");
}

fn show(text: &[u8]) {
    String::from_utf8_lossy(text).lines().filter(|line| !line.is_empty()).for_each(reply);
}

fn headline(text: &str) {
    println!("\n{}", paint("1", text));
}

fn say(text: &str) {
    println!("   {text}");
}

fn result(text: &str) {
    println!("   {}", paint("1;32", text));
}

fn prompt(place: &str, command: &str) {
    println!("   {} {command}", paint("36", &format!("{place}$")));
}

fn reply(line: &str) {
    println!("        {}", paint("2", line));
}

fn paint(style: &str, text: &str) -> String {
    if stdout().is_terminal() { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

/// On the first signal: what is there of the lab goes, then the process.
fn clean_up_when_interrupted() {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).expect("signals can be caught");
    thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        // What the main thread meanwhile says of commands that fail under its hands is of no interest.
        std::panic::set_hook(Box::new(|_| ()));
        // Nor what it goes on to show: it waits for this lock.
        let mut out = stdout().lock();
        let _ = writeln!(out, "\nInterrupted; removing the lab.");
        if let Some(name) = LAB.get() {
            lab::remove(name);
        }
        std::process::exit(128 + signal);
    });
}
