//! bcastctl: the command that changes and shows a node's broadcast domains.

fn main() {}
