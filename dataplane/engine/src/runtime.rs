//! Settings and state that workers read while the control side changes them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use crate::counters::NoMemory;
use crate::police::{Policer, RateLimits};
use crate::probe::Probe;

/// Source address in the outer header of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuterSource {
    /// Node address that the frame was sent to.
    Node,
    /// TEP that the frame came from (RFC 9574, section 9.1).
    Origin,
}

/// Settings of the configuration that can change while the daemon runs (SIGHUP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Bytes of inner frame from which the payload is shared instead of copied.
    pub share_payload_from: u16,
    /// Source address of copies.
    pub outer_source: OuterSource,
    /// Microseconds that an idle worker sleeps; 0: it polls always.
    pub idle_sleep_us: u32,
    /// Frames a second that are handed to the kernel at most.
    pub punt_rate: u32,
    /// Broadcast and multicast BFD of VMs is replicated, not dropped.
    pub allow_inner_bfd: bool,
    /// Rates of domains, TEPs and the node.
    pub limits: RateLimits,
}

/// Settings in force, and state of the port: read by workers, written by the control side.
pub struct RuntimeConfig {
    share_payload_from: AtomicU32,
    origin: AtomicBool,
    idle_sleep_us: AtomicU32,
    punt_rate: AtomicU32,
    allow_inner_bfd: AtomicBool,
    /// True if the port's link is up, where the kernel tells.
    link_up: AtomicBool,
    /// Token buckets of domains, TEPs and the node.
    pub policer: Policer,
    /// Samples of frames and their verdicts.
    pub probe: Probe,
}

/// Settings of one burst.
#[derive(Clone, Copy)]
pub struct BurstConfig {
    /// Bytes of inner frame from which copies share the payload.
    pub share_payload_from: usize,
    /// Copies carry the address of the TEP that the frame came from.
    pub origin: bool,
    /// Frames are sampled.
    pub probed: bool,
}

impl RuntimeConfig {
    /// Settings as configured, the link up, the probe off.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(settings: RuntimeSettings) -> Result<Self, NoMemory> {
        let config = Self {
            share_payload_from: AtomicU32::default(),
            origin: AtomicBool::default(),
            idle_sleep_us: AtomicU32::default(),
            punt_rate: AtomicU32::default(),
            allow_inner_bfd: AtomicBool::default(),
            link_up: AtomicBool::new(true),
            policer: Policer::new(settings.limits)?,
            probe: Probe::default(),
        };
        config.set(settings);
        Ok(config)
    }

    /// Takes effect at each worker's next burst.
    pub fn set(&self, settings: RuntimeSettings) {
        self.share_payload_from.store(settings.share_payload_from.into(), Relaxed);
        self.origin.store(settings.outer_source == OuterSource::Origin, Relaxed);
        self.idle_sleep_us.store(settings.idle_sleep_us, Relaxed);
        self.punt_rate.store(settings.punt_rate, Relaxed);
        self.allow_inner_bfd.store(settings.allow_inner_bfd, Relaxed);
        self.policer.set(settings.limits);
    }

    /// Sets the state of the link, and returns the state before. While it is down nothing is handed to the port: a driver on a kernel
    /// interface would keep frames, and send them when the link is back, when they may be wrong.
    pub fn set_link_up(&self, up: bool) -> bool {
        self.link_up.swap(up, Relaxed)
    }

    /// True if the port's link is up.
    #[inline]
    pub fn link_up(&self) -> bool {
        self.link_up.load(Relaxed)
    }

    /// Microseconds that an idle worker sleeps.
    #[inline]
    pub fn idle_sleep_us(&self) -> u32 {
        self.idle_sleep_us.load(Relaxed)
    }

    /// Frames a second that may be handed to the kernel.
    #[inline]
    pub fn punt_rate(&self) -> u32 {
        self.punt_rate.load(Relaxed)
    }

    /// True if broadcast and multicast BFD of VMs is replicated.
    #[inline]
    pub fn allows_inner_bfd(&self) -> bool {
        self.allow_inner_bfd.load(Relaxed)
    }

    /// Settings of one burst.
    #[inline]
    pub fn burst(&self) -> BurstConfig {
        BurstConfig {
            share_payload_from: self.share_payload_from.load(Relaxed) as usize,
            origin: self.origin.load(Relaxed),
            probed: self.probe.is_on(),
        }
    }
}
