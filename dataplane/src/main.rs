//! bcastd: the daemon that replicates broadcast frames.

fn main() {}
