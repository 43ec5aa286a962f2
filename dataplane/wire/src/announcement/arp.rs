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
        return None;
    }
    let kind = if arp.is_gratuitous() { Kind::Claim } else { Kind::Use };
    let names = Names { v4: slice::from_ref(arp.sender_octets()), ..Names::default() };
    Some(Announcement { kind, source, bound: arp.sender_mac, cut: false, names })
}
