//! Builds the floor: C, with the flags of the system's DPDK.

use std::env;
use std::path::Path;
use std::process::Command;

#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error("{0} cannot be started: {1} (scripts/install-deps installs it)")]
    Start(String, std::io::Error),
    #[error("{0} failed:\n{1}")]
    Failed(String, String),
    #[error("cargo set no OUT_DIR")]
    OutDir,
}

fn run(command: &mut Command) -> Result<String, BuildError> {
    let output = command.output().map_err(|error| BuildError::Start(format!("{command:?}"), error))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Failed(format!("{command:?}"), errors));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn main() -> Result<(), BuildError> {
    println!("cargo::rerun-if-changed=src/floor.c");
    let flags = |what| run(Command::new("pkg-config").args([what, "libdpdk"]));
    let out = env::var_os("OUT_DIR").ok_or(BuildError::OutDir)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O3", "-Wall", "-Wextra", "-Werror"]).args(flags("--cflags")?.split_whitespace());
    compiler.arg("src/floor.c").arg("-o").arg(Path::new(&out).join("floor"));
    compiler.args(flags("--libs")?.split_whitespace());
    run(&mut compiler).map(|_| ())
}
