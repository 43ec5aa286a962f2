//! Commands that must succeed, processes that end with their owner, and waiting without timing.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Time after which anything counts as hung. It bounds waits; no test passes or fails by speed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command to its end and gives its standard output.
///
/// # Panics
/// The program cannot be started or fails; the message holds the command and its standard error.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} failed with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end, whatever that is.
///
/// # Panics
/// The program cannot be started at all.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("cannot start {command:?}: {error} (scripts/install-deps installs it)")
    })
}

/// Calls `probe` until it gives a value.
///
/// # Panics
/// After [`PATIENCE`], naming what was waited for.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A running program whose output goes to a log file; it is killed when the value is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and error in the file `log`, in a process group of its own, so that an
    /// interrupt at the terminal reaches the owner alone, who then ends it in order.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::create(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let errors = file.try_clone().expect("a file can be cloned");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Output of the program so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until the log has at least `count` lines that contain `text`.
    ///
    /// # Panics
    /// The program ends before, or after [`PATIENCE`].
    pub fn wait_for_lines(&mut self, text: &str, count: usize) {
        wait_for(&format!("{count} x {text:?} in {}", self.log.display()), || {
            // Asked before the log is read: what a program says as it ends is then seen.
            let ended = self.ended();
            let seen = self.log().lines().filter(|line| line.contains(text)).count() >= count;
            assert!(seen || ended.is_none(), "ended ({ended:?}) without {text:?}:\n{}", self.log());
            seen.then_some(())
        });
    }

    /// The exit status, if the program has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; to a program that has ended, nothing.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let pid = Pid::from_raw(self.child.id().try_into().expect("a pid fits an i32"));
            kill(pid, signal).expect("a child can be signalled");
        }
    }

    /// Waits for the end of the program.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for(&format!("the end of {}", self.log.display()), || self.ended())
    }

    /// Asks the program to end and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Ends the program without asking it.
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.wait()
    }

    /// Lets the program run on after the end of this value and of this process.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not `kill()`: it may panic, and this may run while a panic is under way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
