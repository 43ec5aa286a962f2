//! A daemon on files instead of a network.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use wire::MacAddr;

use crate::frames::NODE;

/// What is asked of the daemon's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Not in force.
    Off,
    /// In force, and so high that nothing reaches them: what they cost is there, and what they drop is not.
    High,
}

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// `port.device`.
    pub device: String,
    /// Whether its packet buffers come from hugepages.
    pub hugepages: bool,
    /// One worker each.
    pub cores: Vec<u32>,
    /// Per domain and per source.
    pub limits: Limits,
}

impl Options {
    /// One worker on core 1, without limits.
    pub fn new(device: impl Into<String>, hugepages: bool) -> Self {
        Self { device: device.into(), hugepages, cores: vec![1], limits: Limits::Off }
    }

    fn config(&self, folder: &Path, metrics: u16) -> String {
        let Self { device, hugepages, cores, limits } = self;
        let path = folder.display();
        let limits = match limits {
            Limits::Off => "enabled = false\n".to_owned(),
            Limits::High => ["domain_copies", "domain_bits", "tep_frames", "node_copies", "control_copies"]
                .map(|limit| format!("{limit} = {HIGH}\n"))
                .concat(),
        };
        format!(
            "[port]\ndevice = \"{device}\"\n\
             [underlay]\naddresses = [\"{NODE}/15\"]\ngateway_mac = \"{NEXT_HOP}\"\ntap = \"\"\n\
             [workers]\ncores = {cores:?}\n\
             [store]\npath = \"{path}/domains.redb\"\n[api]\nsocket = \"{path}/api.sock\"\n\
             [metrics]\nlisten = \"127.0.0.1:{metrics}\"\n\
             [eal]\nmemory_mb = 256\nhugepages = {hugepages}\n\
             [limits]\n{limits}"
        )
    }
}

/// A limit that nothing reaches (a second), and yet a limit: the greatest one stands for none.
const HIGH: u64 = 999_000_000_000;

/// The MAC address of every next hop.
pub const NEXT_HOP: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

/// A `bcastd` without a network: its port reads a capture file for ever and frees what it is given to send. It dies with its
/// owner.
pub struct Daemon {
    child: Child,
    /// Where its files are; removed with it.
    pub folder: tempfile::TempDir,
    metrics: u16,
}

impl Daemon {
    /// Starts the release build on `device` in a new folder and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(device: &str, hugepages: bool) -> std::io::Result<Self> {
        Self::start_in(tempfile::tempdir()?, device, hugepages)
    }

    /// The same with the files of an earlier one.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_in(folder: tempfile::TempDir, device: &str, hugepages: bool) -> std::io::Result<Self> {
        Self::start_with(folder, &Options::new(device, hugepages))
    }

    /// Starts the release build with these options, on the files that are in `folder`, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_with(folder: tempfile::TempDir, options: &Options) -> std::io::Result<Self> {
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = folder.path().join("bcastd.toml");
        std::fs::write(&file, options.config(folder.path(), metrics))?;
        let program = release_binary("bcastd");
        if !program.exists() {
            let what = format!("{} is not there: cargo build --release", program.display());
            return Err(std::io::Error::other(what));
        }
        let log = std::env::var("BCASTD_LOG").unwrap_or_else(|_| "warn".to_owned());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).arg("--config").arg(file).env("BCASTD_LOG", log);
        // Of its own group: an interrupt at the terminal reaches its owner alone, who then stops it.
        let mut daemon = Self { child: command.process_group(0).spawn()?, folder, metrics };
        daemon.wait_ready()?;
        Ok(daemon)
    }

    fn wait_ready(&mut self) -> std::io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.http("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            if let Some(status) = self.child.try_wait()? {
                return Err(std::io::Error::other(format!("bcastd ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(std::io::Error::other("bcastd is not ready after 60 s"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn http(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    /// The sum of a metric over its labels.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn metric(&self, name: &str) -> std::io::Result<f64> {
        Ok(self.metrics()?.sum(name))
    }

    /// All metrics, of one moment.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn metrics(&self) -> std::io::Result<Metrics> {
        self.http("/metrics").map(Metrics)
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory that is resident: bytes.
    ///
    /// # Errors
    /// The daemon is gone.
    pub fn resident_bytes(&self) -> std::io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kb.unwrap_or(0) * 1024)
    }

    /// Stops it by SIGTERM, and returns its folder.
    ///
    /// # Errors
    /// It did not stop cleanly.
    pub fn stop(mut self) -> std::io::Result<tempfile::TempDir> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(std::io::Error::other(format!("bcastd ended with {status}")));
        }
        // The drop below finds nothing to kill any more.
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir()?);
        Ok(folder)
    }
}

/// What the daemon counts, at one moment.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Metrics {
    /// The sum of a metric over its labels.
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name, "")
    }

    /// The sum over what has a label, such as `worker="0"`.
    pub fn of(&self, name: &str, label: &str) -> f64 {
        self.each(name).filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value).sum()
    }

    /// A metric's values by their labels, such as `{worker="0"}`.
    pub fn each(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.lines().filter_map(move |line| {
            let (metric, value) = line.rsplit_once(' ')?;
            let labels = metric.strip_prefix(name)?;
            let whole = labels.is_empty() || labels.starts_with('{');
            Some((labels, value.parse().ok()?)).filter(|_| whole)
        })
    }
}

/// A thread of some process.
#[derive(Clone, Debug)]
pub struct Thread(PathBuf);

impl Thread {
    /// The thread whose name begins so.
    ///
    /// # Errors
    /// There is none.
    pub fn find(process: u32, name: &str) -> std::io::Result<Self> {
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?.path();
            if std::fs::read_to_string(task.join("comm"))?.starts_with(name) {
                return Ok(Self(task));
            }
        }
        Err(std::io::Error::other(format!("process {process} has no thread {name}")))
    }

    /// CPU time that it has used: nanoseconds, by the scheduler. That of a running thread lags by up to a tick.
    ///
    /// # Errors
    /// It has ended, or the kernel keeps no such times.
    pub fn cpu_ns(&self) -> std::io::Result<u64> {
        let times = std::fs::read_to_string(self.0.join("schedstat"))?;
        let first = times.split(' ').next().and_then(|ns| ns.parse().ok());
        first.ok_or_else(|| std::io::Error::other("this kernel keeps no scheduler statistics for threads"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

/// A binary of the release build: beside the running one, where `cargo run --release` puts them all, or in `release` of
/// the target folder, seen from a test.
pub fn release_binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let found = own.ancestors().map(|folder| folder.join("release").join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| own.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_the_labels_that_are_asked_for_and_none_but_its_own_name() {
        let page = "# HELP bcast_drops_total What was dropped.\n\
                    bcast_drops_total{reason=\"tep_unknown\"} 3\nbcast_drops_total{reason=\"job_full\"} 4\n\
                    bcast_drops_total_other{reason=\"job_full\"} 100\nbcast_domains 7\n";
        let metrics = Metrics(page.to_owned());
        for (name, label, sum) in [
            ("bcast_drops_total", "", 7.0),
            ("bcast_drops_total", "\"job_full\"", 4.0),
            ("bcast_drops_total", "\"full\"", 0.0),
            ("bcast_domains", "", 7.0),
            ("bcast", "", 0.0),
        ] {
            assert_eq!(metrics.of(name, label), sum, "{name} {label}");
        }
    }

    #[test]
    fn a_thread_is_found_by_its_name_and_has_used_cpu_time() {
        let thread = Thread::find(std::process::id(), "").unwrap();
        assert!(thread.cpu_ns().unwrap() > 0);
        assert!(Thread::find(std::process::id(), "no such thread").is_err());
    }
}
