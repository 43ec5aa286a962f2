//! Address resolution: whatever is asked or answered, the sender is bound (RFC 826, "merge").

use core::slice;

use super::{Announcement, Kind, Names, is_hosts};
use crate::view::Arp;
use bcast_domain::MacAddr;

/// Any operation counts: Linux looks at requests and replies only, but RFC 826 merges before it looks, and BSD does so.
#[inline(always)]
pub(super) fn read(source: MacAddr, payload: &[u8]) -> Option<Announcement<'_>> {
    let arp = Arp::parse(payload)?;
    if !is_hosts(arp.sender().into()) {
        return probe(source, arp);
    }
    let kind = if arp.is_gratuitous() { Kind::Claim } else { Kind::Use };
    let names = Names { v4: slice::from_ref(arp.sender_octets()), ..Names::default() };
    Some(Announcement { kind, source, bound: arp.sender_mac, cut: false, names })
}

/// A packet without a sender, of any operation: whoever is about to take the target's address yields to it.
#[cold]
fn probe(source: MacAddr, arp: &Arp) -> Option<Announcement<'_>> {
    let names = Names { v4: slice::from_ref(arp.target_octets()), ..Names::default() };
    let is_probe = arp.sender().is_unspecified() && is_hosts(arp.target().into());
    is_probe.then_some(Announcement { kind: Kind::Probe, source, bound: source, cut: false, names })
}

/// A reverse ARP request of the frame's source for itself.
#[cold]
pub(super) fn arrival(source: MacAddr, payload: &[u8]) -> Option<Announcement<'_>> {
    let arp = Arp::parse(payload)?;
    let own = arp.operation.get() == Arp::REVERSE_REQUEST && arp.sender_mac == source;
    let names = Names::default();
    own.then_some(Announcement { kind: Kind::Arrival, source, bound: source, cut: false, names })
}
