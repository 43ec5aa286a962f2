//! Builds the floor: C, with the flags of the system's DPDK.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} cannot be started (scripts/install-deps installs it)"))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=src/floor.c");
    let flags = |what| run(Command::new("pkg-config").args([what, "libdpdk"]));
    let out = env::var_os("OUT_DIR").context("cargo set no OUT_DIR")?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O3", "-Wall", "-Wextra", "-Werror"]).args(flags("--cflags")?.split_whitespace());
    compiler.arg("src/floor.c").arg("-o").arg(Path::new(&out).join("floor"));
    compiler.args(flags("--libs")?.split_whitespace());
    run(&mut compiler).map(|_| ())
}
