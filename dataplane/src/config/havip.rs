//! `[havip]`: how many virtual IPs there may be, and when one that flaps is held still.

use bcast_domain::limits::MAX_VIPS;
use ctl_havip::Damping;
use ctl_server::HavipLimits;
use serde::Deserialize;

use super::ValueError;
use super::file::{Whole, number};

/// Limits of virtual IPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HavipConfig {
    /// Limit of virtual IPs.
    pub limits: HavipLimits,
    /// Limits by which they freeze, thaw and are taken over.
    pub damping: Damping,
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Havip {
    attachments: Whole,
    per_instance: Whole,
    per_vni: Whole,
    total: Whole,
    flap_moves: Whole,
    flap_window_s: Whole,
    thaw_quiet_s: Whole,
    thaw_after_s: Whole,
    takeover_quiet_s: Whole,
}

impl Default for Havip {
    fn default() -> Self {
        let HavipLimits { attachments, per_instance, per_vni, total } = HavipLimits::default();
        Self {
            attachments: Whole(attachments.into()),
            per_instance: Whole(per_instance.into()),
            per_vni: Whole(per_vni.into()),
            total: Whole(total.into()),
            flap_moves: Whole(5),
            flap_window_s: Whole(180),
            thaw_quiet_s: Whole(30),
            thaw_after_s: Whole(540),
            takeover_quiet_s: Whole(3),
        }
    }
}

/// Most seconds that anything here may take: a day.
const DAY_S: u32 = 86_400;

impl Havip {
    pub fn check(&self) -> Result<HavipConfig, (&'static str, ValueError)> {
        let most = u32::try_from(MAX_VIPS).unwrap_or(u32::MAX);
        let limits = HavipLimits {
            attachments: number("havip.attachments", self.attachments, 1_u32, 64)?,
            per_instance: number("havip.per_instance", self.per_instance, 1_u32, most)?,
            per_vni: number("havip.per_vni", self.per_vni, 1_u32, 10_000)?,
            total: number("havip.total", self.total, 1_u32, most)?,
        };
        let damping = Damping::of_seconds(
            number("havip.flap_moves", self.flap_moves, 1_u32, 1_000_000)?,
            number("havip.flap_window_s", self.flap_window_s, 1_u32, DAY_S)?,
            number("havip.thaw_quiet_s", self.thaw_quiet_s, 1_u32, DAY_S)?,
            number("havip.thaw_after_s", self.thaw_after_s, 1_u32, DAY_S)?,
            number("havip.takeover_quiet_s", self.takeover_quiet_s, 1_u32, DAY_S)?,
        );
        Ok(HavipConfig { limits, damping })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_crates_that_keep_to_them() {
        let defaults = HavipConfig { limits: HavipLimits::default(), damping: Damping::default() };
        assert_eq!(Havip::default().check().unwrap(), defaults);
    }
}
