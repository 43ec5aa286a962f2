//! Limits of domains and TEPs.

use bcast_domain::{DomainLimit, Rate, TepLimit, Vni};
use ctl_api::model::TepRef;

use super::{Effect, Stage};
use crate::refusal::Problem;

impl Stage<'_> {
    pub(super) fn domain_limit(
        &mut self,
        vni: Vni,
        given: DomainLimit,
        reset: bool,
    ) -> Result<Effect, Problem> {
        let domain = self.edit_domain(vni).ok_or(Problem::NoDomain(vni))?;
        let before = domain.limit;
        domain.limit = DomainLimit {
            copies: rate(given.copies, before.copies, reset),
            bits: rate(given.bits, before.bits, reset),
            control: rate(given.control, before.control, reset),
        };
        Ok(Effect::changed(domain.limit != before))
    }

    pub(super) fn tep_limit(
        &mut self,
        tep: &TepRef,
        given: TepLimit,
        reset: bool,
    ) -> Result<Effect, Problem> {
        let address = self.member(tep)?;
        let mut entry = self.registered(address).unwrap_or_default();
        let frames = rate(given.frames, entry.limit.frames, reset);
        if entry.limit.frames == frames {
            return Ok(Effect::NOTHING);
        }
        entry.limit.frames = frames;
        self.set_tep(address, Some(entry));
        Ok(Effect::CHANGED)
    }
}

/// The rate that holds from now on.
fn rate(given: Option<Rate>, before: Option<Rate>, reset: bool) -> Option<Rate> {
    given.or(before.filter(|_| !reset))
}
