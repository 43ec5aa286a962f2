//! CPU time and memory of other processes, by /proc.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// A thread of some process.
#[derive(Clone, Debug)]
pub struct Thread(PathBuf);

impl Thread {
    /// The first thread whose name begins with this text.
    ///
    /// # Errors
    /// The process has none.
    pub fn find(process: u32, name: &str) -> Result<Self> {
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?.path();
            if fs::read_to_string(task.join("comm"))?.starts_with(name) {
                return Ok(Self(task));
            }
        }
        bail!("process {process} has no thread {name}")
    }

    /// CPU time used, in nanoseconds, by the scheduler's account. That of a running thread lags by up to a tick.
    ///
    /// # Errors
    /// The thread has ended, or the kernel keeps no such times.
    pub fn cpu_ns(&self) -> Result<u64> {
        let times = fs::read_to_string(self.0.join("schedstat")).context("the CPU time of a thread")?;
        let first = times.split(' ').next().and_then(|ns| ns.parse().ok());
        first.context("this kernel keeps no scheduler statistics for threads")
    }
}

/// Resident memory of a process, in bytes. Hugepages are not in it.
///
/// # Errors
/// The process is gone.
pub fn resident_bytes(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kb.unwrap_or(0) * 1024)
}
