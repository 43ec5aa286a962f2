//! `lab up [--learned]`, `lab down`: the tests' cloud, to play with.

use std::process::ExitCode;

use testkit::{
    kept,
    node::{Config, Node},
    openflow::Places,
    overlay::Overlay,
};

const VNI: u32 = 5001;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["up"] => up(Places::Told),
        ["up", "--learned"] => up(Places::Learned),
        ["down"] => kept::remove(),
        _ => {
            eprintln!("usage: lab up [--learned] | lab down");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn up(places: Places) {
    let lab = kept::make();
    let overlay = Overlay::new(&lab, places, &[&[VNI], &[VNI], &[VNI]]);
    let config = Config::new(lab.folder()).set("replication.outer_source", places.outer_source());
    let node = Node::start(&lab, &config);
    node.serve(VNI, &overlay.teps());
    overlay.introduce();
    kept::keep(&lab, overlay, node);
    lab.keep();
}
