//! The machine that figures were measured on: a figure without it says little.

use std::fmt;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Properties that figures depend on, as far as the system tells; others are empty or 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's name.
    pub cpu: String,
    /// CPUID's family, model and stepping: names are vague in virtual machines.
    pub cpu_id: String,
    /// CPUs that are online.
    pub cores: usize,
    /// The time stamp counter's rate.
    pub tsc_mhz: f64,
    /// The first CPU's caches, such as `L2 Unified 2048K`.
    pub caches: Vec<String>,
    /// All of the memory.
    pub memory_mb: u64,
    /// Size of a hugepage of the default size.
    pub hugepage_kb: u64,
    /// Number of hugepages.
    pub hugepages: u64,
    /// True in a virtual machine.
    pub virtual_machine: bool,
    /// The kernel's release.
    pub kernel: String,
    /// The DPDK that programs here are built with.
    pub dpdk: String,
    /// The compiler.
    pub rustc: String,
}

impl Machine {
    /// Describes the machine that this runs on.
    pub fn describe() -> Self {
        let cpus = read("/proc/cpuinfo");
        let memory = read("/proc/meminfo");
        let number = |key| field(&memory, key).split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let id = |key| field(&cpus, key);
        Self {
            cpu: id("model name").to_owned(),
            cpu_id: format!("family {} model {} stepping {}", id("cpu family"), id("model"), id("stepping")),
            cores: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            // Where the counter is constant, the kernel derives this from it: twice its rate.
            tsc_mhz: id("bogomips").parse().map_or(0.0, |bogomips: f64| bogomips / 2.0),
            caches: caches(),
            memory_mb: number("MemTotal") >> 10,
            hugepage_kb: number("Hugepagesize"),
            hugepages: number("HugePages_Total"),
            virtual_machine: id("flags").split(' ').any(|flag| flag == "hypervisor"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            dpdk: output("pkg-config", &["--modversion", "libdpdk"]),
            rustc: output("rustc", &["--version"]),
        }
    }
}

/// One line.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cpu_id, cores, tsc_mhz, kernel, dpdk, .. } = self;
        let kind = if self.virtual_machine { " (virtual machine)" } else { "" };
        write!(f, "{cores} x {cpu}{kind}, {cpu_id}, TSC {tsc_mhz:.0} MHz, ")?;
        for cache in &self.caches {
            write!(f, "{cache}, ")?;
        }
        write!(f, "{} MB, {} hugepages of {} kB, ", self.memory_mb, self.hugepages, self.hugepage_kb)?;
        write!(f, "Linux {kernel}, DPDK {dpdk}, {}", self.rustc)
    }
}

/// The first CPU's, in the order of their levels.
fn caches() -> Vec<String> {
    let of = |index: u32, file: &str| {
        read(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}")).trim().to_owned()
    };
    (0..8)
        .map(|i| (of(i, "level"), of(i, "type"), of(i, "size")))
        .take_while(|(level, ..)| !level.is_empty())
        .map(|(level, kind, size)| format!("L{level} {kind} {size}"))
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value behind the first `key :`.
pub fn field<'a>(text: &'a str, key: &str) -> &'a str {
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    });
    value.unwrap_or_default()
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
