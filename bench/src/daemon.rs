//! A daemon on files instead of a network.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::frames::NODE;

/// A `bcastd` without a network: its port reads a capture file for ever and frees what it is given to send.
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
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let path = folder.path().display();
        let config = format!(
            "[port]\ndevice = \"{device}\"\n\
             [underlay]\naddresses = [\"{NODE}/15\"]\ngateway_mac = \"02:00:00:00:00:03\"\ntap = \"\"\n\
             [workers]\ncores = [1]\n\
             [store]\npath = \"{path}/domains.redb\"\n[api]\nsocket = \"{path}/api.sock\"\n\
             [metrics]\nlisten = \"127.0.0.1:{metrics}\"\n\
             [eal]\nmemory_mb = 256\nhugepages = {hugepages}\n"
        );
        let file = folder.path().join("bcastd.toml");
        std::fs::write(&file, config)?;
        let child = Command::new(release_binary("bcastd")).arg("--config").arg(file).spawn()?;
        let mut daemon = Self { child, folder, metrics };
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
        let page = self.http("/metrics")?;
        let values = page.lines().filter_map(|line| {
            let (metric, value) = line.rsplit_once(' ')?;
            (metric.split('{').next() == Some(name)).then(|| value.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }

    /// CPU time that the first worker has used: nanoseconds, by the scheduler.
    ///
    /// # Errors
    /// The daemon is gone.
    pub fn worker_cpu_ns(&self) -> std::io::Result<u64> {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?.path();
            if std::fs::read_to_string(task.join("comm"))?.trim() == "worker-0" {
                let times = std::fs::read_to_string(task.join("schedstat"))?;
                return times.split(' ').next().and_then(|ns| ns.parse().ok()).ok_or_else(|| {
                    std::io::Error::other("this kernel keeps no scheduler statistics for threads")
                });
            }
        }
        Err(std::io::Error::other("bcastd has no worker"))
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

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

/// A binary beside the running one: `cargo run --release` puts them all into one folder.
pub fn release_binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new(".")).join(name)
}
