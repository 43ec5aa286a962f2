//! The kernel's VXLAN: a device with a list of remotes for the all-zero MAC address (head-end replication).
//!
//! One network, one next hop, no bridge, no receiving: a packet socket gives frames to the device itself, and what
//! the device made of them is counted and dropped at the underlay interface's egress hook, before any driver. All of
//! it is in the CPU time of the thread that sends. This is more kind to the kernel than the others' work.

use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bench::harness::tep;
use nix::ifaddrs::getifaddrs;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use testkit::namespace::Namespace;
use testkit::process::run;

use crate::candidate::{Candidate, lost, rate, unexpected};
use crate::peer::{FORWARDING_CORE, namespace};
use crate::workload::Workload;

/// Name on the command line.
pub const NAME: &str = "vxlan";

/// A VXLAN device in a namespace of its own.
pub struct Vxlan {
    copies: u32,
    /// The inner frames.
    frames: Vec<Vec<u8>>,
    socket: OwnedFd,
    namespace: Namespace,
}

impl Vxlan {
    /// Makes the device with so many remotes.
    pub fn new(workload: &Workload, copies: u32) -> Result<Self> {
        let namespace = namespace(NAME);
        for line in [
            "link add under type veth peer name far",
            "link set under mtu 1600 up",
            "link set far up",
            "address add 198.18.0.254/24 dev under",
            "neighbour add 198.18.0.1 lladdr 02:00:00:00:00:03 dev under nud permanent",
            "route add 198.19.0.0/16 via 198.18.0.1",
            "link add vx0 type vxlan id 5001 local 198.18.0.254 dstport 4789 nolearning",
            "link set vx0 up",
        ] {
            namespace.ip(line);
        }
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let remotes: String = (0..copies)
            .map(|member| format!("fdb append 00:00:00:00:00:00 dev vx0 dst {}\n", tep(member)))
            .collect();
        let file = folder.path().join("remotes");
        std::fs::write(&file, remotes).context("the remotes")?;
        namespace.run(&format!("bridge -batch {}", file.display()));
        let sink = "add table netdev sink; \
             add chain netdev sink copies { type filter hook egress device under priority 0; }; \
             add rule netdev sink copies udp dport 4789 counter drop";
        run(namespace.command("nft").arg(sink));
        let frames = workload.domains.iter().map(|domain| {
            let frame = domain.frame();
            frame[frame.len() - usize::from(domain.size)..].to_vec()
        });
        let (frames, socket) = (frames.collect(), open(&namespace)?);
        Ok(Self { copies, frames, socket, namespace })
    }

    /// Copies that have come to the underlay.
    fn counted(&self) -> Result<u64> {
        let output = self.namespace.run("nft list chain netdev sink copies");
        let count =
            output.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        count.ok_or_else(|| unexpected(NAME, &output))
    }

    /// Sends for so long, and gives frames and nanoseconds of CPU time.
    fn send(&self, time: Duration) -> nix::Result<(u64, u64)> {
        let mut cores = CpuSet::new();
        cores.set(FORWARDING_CORE)?;
        sched_setaffinity(Pid::from_raw(0), &cores)?;
        let cpu = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
        let (start, cpu_start) = (Instant::now(), cpu()?);
        let mut sent = 0;
        while start.elapsed() < time {
            for frame in &self.frames {
                send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
            }
            sent += self.frames.len() as u64;
        }
        let used = cpu()? - cpu_start;
        Ok((sent, u64::try_from(used.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A packet socket on the VXLAN device: made in the namespace, it is of use everywhere.
fn open(namespace: &Namespace) -> Result<OwnedFd> {
    let inside = || -> nix::Result<OwnedFd> {
        let device = getifaddrs()?
            .filter(|found| found.interface_name == "vx0")
            .find_map(|found| found.address.filter(|address| address.as_link_addr().is_some()))
            .ok_or(nix::Error::ENODEV)?;
        // No protocol: it receives nothing.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        bind(socket.as_raw_fd(), &device)?;
        Ok(socket)
    };
    namespace.inside(inside).context("a packet socket on the VXLAN device")
}

impl Candidate for Vxlan {
    fn name(&self) -> &str {
        "Linux VXLAN"
    }

    fn measure(&mut self, seconds: f64) -> Result<f64> {
        let before = self.counted()?;
        let time = Duration::from_secs_f64(seconds);
        let sent = thread::scope(|scope| scope.spawn(|| self.send(time)).join());
        let (frames, cpu_ns) = sent.unwrap_or(Err(nix::Error::EIO)).context("sending to the VXLAN device")?;
        let copies = (self.counted()? - before) as f64;
        let wanted = frames as f64 * f64::from(self.copies);
        if copies != wanted {
            return Err(lost(self.name(), wanted - copies, "copies that did not leave", frames as f64));
        }
        Ok(rate(copies, cpu_ns))
    }
}
