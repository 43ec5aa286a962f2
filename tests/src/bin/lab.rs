//! `lab up [--learned]`, `lab down`: the tests' cloud, to play with.

use std::process::ExitCode;

use e2e::{
    lab::{self, Lab},
    node::{Config, Node, binary},
    openflow::Places,
    overlay::Overlay,
};

/// One lab at a time may be kept.
const NAME: &str = "bcast-lab";
const VNI: u32 = 5001;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["up"] => up(Places::Told),
        ["up", "--learned"] => up(Places::Learned),
        ["down"] => lab::remove(NAME),
        _ => {
            eprintln!("usage: lab up [--learned] | lab down");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn up(places: Places) {
    lab::remove(NAME);
    let lab = Lab::named(NAME.to_owned());
    let overlay = Overlay::new(&lab, places, &[&[VNI], &[VNI], &[VNI]]);
    let config = Config::new(lab.folder()).set("replication.outer_source", places.outer_source());
    let node = Node::start(&lab, &config);
    node.serve(VNI, &overlay.teps());
    println!("Three hypervisors with a VM each, and the node, in network {VNI}. Try:\n");
    for line in [
        format!("ip netns exec {NAME}-vm1 ping {}", overlay.vms[1].address),
        format!("ip netns exec {NAME}-node tcpdump -ni eth0 proto gre"),
        format!("{} --socket {} domain show {VNI}", binary("bcastctl").display(), node.socket().display()),
    ] {
        println!("    {line}");
    }
    println!("\nLogs and sockets are in {}; `scripts/lab down` ends it.", lab.folder().display());
    node.keep();
    overlay.keep();
    lab.keep();
}
