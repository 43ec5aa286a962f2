//! Programs that run beside this one, and the namespace that some need.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{During, Failure};

/// The core of what forwards. All else runs on the other.
pub const FORWARDING_CORE: usize = 1;

/// A command on the core that does not forward, which dies with this program.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0", "setpriv", "--pdeathsig", "KILL"]).arg(program);
    command
}

/// Runs a command to its end, and gives what it printed.
///
/// # Errors
/// It fails.
pub fn run(command: &mut Command) -> Result<String, Failure> {
    let text = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().during(text.clone())?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(said(&output.stdout)),
        false => Err(Failure::Command { command: text, output: said(&output.stderr) }),
    }
}

/// A running program; killed when it is dropped.
pub struct Peer {
    /// The process.
    pub child: Child,
}

impl Peer {
    /// Starts it, in a process group of its own: an interrupt at the terminal reaches its owner alone.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Result<Self, Failure> {
        let child = command.process_group(0).spawn().during(format!("{command:?}"))?;
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
///
/// # Errors
/// It is gone.
pub fn hold(process: u32) -> Result<(), Failure> {
    signal(process, Signal::SIGSTOP)
}

/// Lets it go on, and gives it a moment to get up to speed.
///
/// # Errors
/// It is gone.
pub fn resume(process: u32) -> Result<(), Failure> {
    signal(process, Signal::SIGCONT)?;
    std::thread::sleep(Duration::from_millis(20));
    Ok(())
}

fn signal(process: u32, signal: Signal) -> Result<(), Failure> {
    let process = Pid::from_raw(process.cast_signed());
    kill(process, signal).during(format!("{signal} to process {process}"))
}

/// A network namespace; removed when it is dropped.
pub struct Namespace(String);

impl Namespace {
    /// Makes one, without IPv6: nothing in it sends by itself.
    ///
    /// # Errors
    /// Not allowed to.
    pub fn new(what: &str) -> Result<Self, Failure> {
        let name = format!("compare-{what}-{}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self(name);
        let off = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1";
        namespace.run(&format!("sysctl -q -w {off}"))?;
        namespace.ip("link set dev lo up")?;
        Ok(namespace)
    }

    /// Its file, to enter it by.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }

    /// A command inside, as [`command`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut inside = command("ip");
        inside.args(["netns", "exec", &self.0]).arg(program);
        inside
    }

    /// Runs a command line inside, split at blanks.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, line: &str) -> Result<String, Failure> {
        let mut command = Command::new("ip");
        run(command.args(["netns", "exec", &self.0]).args(line.split_whitespace()))
    }

    /// `ip -n NAMESPACE LINE`.
    ///
    /// # Errors
    /// It fails.
    pub fn ip(&self, line: &str) -> Result<String, Failure> {
        run(Command::new("ip").args(["-n", &self.0]).args(line.split_whitespace()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = run(Command::new("ip").args(["netns", "del", &self.0]));
    }
}
