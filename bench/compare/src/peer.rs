//! Programs that run beside this one, and the namespace that some need.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::namespace::Namespace;

/// The core of what forwards. All else runs on the other.
pub const FORWARDING_CORE: usize = 1;

/// A command on the core that does not forward, which dies with this program.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0", "setpriv", "--pdeathsig", "KILL"]).arg(program);
    command
}

/// A running program; killed when it is dropped.
pub struct Peer {
    /// The process.
    pub child: Child,
}

impl Peer {
    /// Starts it, in a process group of its own: an interrupt at the terminal reaches its owner alone.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.process_group(0).spawn().with_context(|| format!("{command:?}"))?;
        Ok(Self { child })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Holds a process still between its turns: what forwards polls, and would take the core from the others.
pub fn hold(process: u32) -> Result<()> {
    signal(process, Signal::SIGSTOP)
}

/// Lets it go on, and gives it a moment to get up to speed.
pub fn resume(process: u32) -> Result<()> {
    signal(process, Signal::SIGCONT)?;
    std::thread::sleep(Duration::from_millis(20));
    Ok(())
}

fn signal(process: u32, signal: Signal) -> Result<()> {
    let process = Pid::from_raw(process.cast_signed());
    kill(process, signal).with_context(|| format!("{signal} to process {process}"))
}

/// A network namespace of a name that the next lab clears away if this program is killed; without IPv6: nothing in it
/// sends by itself.
pub fn namespace(what: &str) -> Namespace {
    let namespace = Namespace::new(format!("bcast-{}-compare-{what}", std::process::id()));
    namespace.run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    namespace
}
