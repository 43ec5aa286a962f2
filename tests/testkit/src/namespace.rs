//! Network namespaces: made, entered, removed with all that runs in them.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::process::{Process, output, run};

/// Folder in which iproute2 keeps the named namespaces.
const NAMES: &str = "/run/netns";

/// A network namespace; removed, with the processes in it, when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace and brings its loopback interface up.
    pub fn new(name: String) -> Self {
        run(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self { name };
        namespace.ip("link set dev lo up");
        namespace
    }

    /// Name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip -n <name> <line>`; the line is split at blanks.
    pub fn ip(&self, line: &str) -> String {
        run(Command::new("ip").args(["-n", &self.name]).args(line.split_whitespace()))
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs a command line inside, split at blanks; it must succeed.
    pub fn run(&self, line: &str) -> String {
        run(&mut self.words(line))
    }

    /// Runs a command line inside; tells whether it succeeded.
    pub fn succeeds(&self, line: &str) -> bool {
        output(&mut self.words(line)).status.success()
    }

    /// Starts a command line inside, in the background.
    pub fn start(&self, line: &str, log: &Path) -> Process {
        Process::start(&mut self.words(line), log)
    }

    fn words(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a command line has a program"));
        command.args(words);
        command
    }

    /// Calls `task` in a thread inside the namespace. Sockets that it opens stay there, wherever they are used later.
    pub fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        let path = Path::new(NAMES).join(&self.name);
        let handle = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let result = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(handle, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
                task()
            });
            thread.join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Leaves the namespace in place when this value ends.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Joins `near` (interface name) in `from` with `far` in `to` by a veth pair; both ends are up and leave checksums to
/// nobody: Open vSwitch's userspace datapath sees frames as they would be on a wire.
pub fn join(from: &Namespace, near: &str, to: &Namespace, far: &str) {
    from.ip(&format!("link add {near} type veth peer name {far} netns {}", to.name()));
    for (namespace, interface) in [(from, near), (to, far)] {
        namespace.run(&format!("ethtool -K {interface} tx off"));
        namespace.ip(&format!("link set dev {interface} up"));
    }
}

/// Removes every namespace whose name starts with `prefix`, and what runs in it.
pub fn remove_all(prefix: &str) {
    names().iter().filter(|name| name.starts_with(prefix)).for_each(|name| remove(name));
}

/// The names of all namespaces.
pub fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(NAMES) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Ends what runs in the namespace and deletes it. Errors are passed over: two runs may clear away the same leftovers.
fn remove(name: &str) {
    // A process may fork while its parent is being ended, so until none is left.
    for _ in 0..100 {
        let listed = Command::new("ip").args(["netns", "pids", name]).output();
        let pids: Vec<i32> = listed
            .map(|output| String::from_utf8_lossy(&output.stdout).lines().flat_map(str::parse).collect())
            .unwrap_or_default();
        // Children of ours are zombies until their owner waits for them, and not listed then.
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    let _ = Command::new("ip").args(["netns", "del", name]).output();
}
