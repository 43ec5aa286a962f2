//! `[bfd]`: how fast hypervisors notice that the node does not replicate.

use std::time::Duration;

use serde::Deserialize;

use super::ValueError;
use super::file::{Whole, number};

/// Settings of BFD sessions with hypervisors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdConfig {
    /// Interval at which the node sends to each hypervisor, microseconds.
    pub interval_us: u32,
    /// Intervals without a packet after which a hypervisor takes the node for lost.
    pub multiplier: u8,
    /// Time from the start until sessions may come up.
    pub hold_back: Duration,
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bfd {
    interval_ms: Whole,
    multiplier: Whole,
    hold_back_s: Whole,
    /// A setting of each burst: see [`RuntimeSettings`](engine::runtime::RuntimeSettings).
    pub allow_inner: bool,
}

impl Default for Bfd {
    fn default() -> Self {
        Self { interval_ms: Whole(50), multiplier: Whole(3), hold_back_s: Whole(10), allow_inner: false }
    }
}

impl Bfd {
    pub fn check(&self) -> Result<BfdConfig, (&'static str, ValueError)> {
        let hold_back_s = number("bfd.hold_back_s", self.hold_back_s, 0_u32, 3_600)?;
        Ok(BfdConfig {
            interval_us: number("bfd.interval_ms", self.interval_ms, 10_u32, 10_000)? * 1_000,
            multiplier: number("bfd.multiplier", self.multiplier, 2_u8, 255)?,
            hold_back: Duration::from_secs(hold_back_s.into()),
        })
    }
}
