//! What of the configuration workers read while it changes.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use crate::counters::NoMemory;
use crate::police::{Limits, LimitsConfig};

/// Whose address the outer header of a copy carries as its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuterSource {
    /// The node address that the frame was sent to.
    Node,
    /// The TEP that the frame came from (RFC 9574, section 9.1).
    Origin,
}

/// What can change while the daemon runs (SIGHUP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveConfig {
    /// Bytes of inner frame from which the payload is shared instead of copied.
    pub share_payload_from: u16,
    /// The copies' outer source address.
    pub outer_source: OuterSource,
    /// Microseconds that an idle worker sleeps; 0: it polls always.
    pub idle_sleep_us: u32,
    /// Frames a second that are handed to the kernel at most.
    pub punt_rate: u32,
    /// What domains and TEPs may send.
    pub limits: LimitsConfig,
}

/// Read by workers, written by the control side.
pub struct Live {
    share_payload_from: AtomicU32,
    origin: AtomicBool,
    idle_sleep_us: AtomicU32,
    punt_rate: AtomicU32,
    /// Whether the port's link is up, where the kernel tells.
    link_up: AtomicBool,
    /// What domains and TEPs may send.
    pub limits: Limits,
}

/// What one burst goes by.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Bytes of inner frame from which copies share the payload.
    pub share_payload_from: usize,
    /// Copies carry the address of the TEP that the frame came from.
    pub origin: bool,
}

impl Live {
    /// As configured.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(config: LiveConfig) -> Result<Self, NoMemory> {
        let live = Self {
            share_payload_from: AtomicU32::default(),
            origin: AtomicBool::default(),
            idle_sleep_us: AtomicU32::default(),
            punt_rate: AtomicU32::default(),
            link_up: AtomicBool::new(true),
            limits: Limits::new(config.limits)?,
        };
        live.set(config);
        Ok(live)
    }

    /// Takes effect at each worker's next burst.
    pub fn set(&self, config: LiveConfig) {
        self.share_payload_from.store(config.share_payload_from.into(), Relaxed);
        self.origin.store(config.outer_source == OuterSource::Origin, Relaxed);
        self.idle_sleep_us.store(config.idle_sleep_us, Relaxed);
        self.punt_rate.store(config.punt_rate, Relaxed);
        self.limits.set(config.limits);
    }

    /// While the link is down nothing is handed to the port: a driver on a kernel interface would keep it, and send it when
    /// the link is back, when it may be wrong. Returns what was so before.
    pub fn set_link_up(&self, up: bool) -> bool {
        self.link_up.swap(up, Relaxed)
    }

    /// Whether the port's link is up.
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

    /// For one burst.
    #[inline]
    pub fn settings(&self) -> Settings {
        Settings {
            share_payload_from: self.share_payload_from.load(Relaxed) as usize,
            origin: self.origin.load(Relaxed),
        }
    }
}
