//! What domains and TEPs have of their own: limits, next hops, the GARP mode.

use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, TepLimit, Vni};
use ctl_api::model::{GarpMode, TepRef};

use super::{Effect, Transaction};
use crate::refusal::Problem;

impl Transaction<'_> {
    pub(super) fn domain_limit(
        &mut self,
        vni: Vni,
        given: DomainLimit,
        reset: bool,
    ) -> Result<Effect, Problem> {
        let domain = self.edit_domain(vni).ok_or(Problem::NoDomain(vni))?;
        let before = domain.limit;
        domain.limit = DomainLimit {
            copies: now(given.copies, before.copies, reset),
            bits: now(given.bits, before.bits, reset),
            control: now(given.control, before.control, reset),
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
        let frames = now(given.frames, entry.limit.frames, reset);
        if entry.limit.frames == frames {
            return Ok(Effect::NOTHING);
        }
        entry.limit.frames = frames;
        self.set_tep(address, Some(entry));
        Ok(Effect::CHANGED)
    }

    pub(super) fn tep_next_hop(
        &mut self,
        tep: &TepRef,
        next_hop: Option<Ipv4Addr>,
        next_hop6: Option<Ipv6Addr>,
        reset: bool,
    ) -> Result<Effect, Problem> {
        let address = self.member(tep)?;
        let before = self.registered(address).unwrap_or_default();
        let mut entry = before.clone();
        entry.next_hop = now(next_hop, before.next_hop, reset);
        entry.next_hop6 = now(next_hop6, before.next_hop6, reset);
        let changed = entry != before;
        if changed {
            self.set_tep(address, Some(entry));
        }
        Ok(Effect::changed(changed))
    }

    pub(super) fn domain_garp(&mut self, vni: Vni, mode: GarpMode) -> Result<Effect, Problem> {
        let domain = self.edit_domain(vni).ok_or(Problem::NoDomain(vni))?;
        let before = std::mem::replace(&mut domain.garp, mode);
        Ok(Effect::changed(before != mode))
    }
}

/// What holds from now on.
fn now<T>(given: Option<T>, before: Option<T>, reset: bool) -> Option<T> {
    given.or(before.filter(|_| !reset))
}
