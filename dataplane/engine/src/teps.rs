//! The TEP array, into which member indices point. One immutable value, replaced as a whole.

use std::net::{IpAddr, Ipv4Addr};

use bcast_domain::{Tep, TepIndex};
use wire::MacAddr;
use wire::encap::{Encap, Gre, TemplateOf};

/// Registered TEPs as workers see them: a header template each, and their addresses.
pub struct TepArray<E = Gre> {
    /// Templates by [`TepIndex`]; an index without a TEP has a template that is not resolved.
    templates: Box<[TemplateOf<E>]>,
    /// Open-addressed, at most half full, by source address; index `EMPTY`: nobody.
    by_address: Box<[(u32, u32)]>,
    /// Next hops that are no TEPs themselves, in order.
    gateways: Box<[IpAddr]>,
    /// Every index has a TEP, and every TEP a next hop.
    all_resolved: bool,
}

const EMPTY: u32 = u32::MAX;

/// Multiplicative hash (Knuth): registered addresses are the operator's, so nobody else can choose collisions; a stranger's
/// address costs a look at one cluster of an array that is at most half full.
fn bucket(address: u32, mask: usize) -> usize {
    let hash = u64::from(address).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(hash).unwrap_or(0) & mask
}

impl<E: Encap> TepArray<E> {
    /// Array without TEPs.
    pub fn empty() -> Self {
        let by_address = Box::from([(0, EMPTY); 1]);
        Self { templates: Box::default(), by_address, gateways: Box::default(), all_resolved: true }
    }

    /// Array of each index's TEP and next hop; `teps[i]` is index `i`.
    pub fn build(port_mac: MacAddr, teps: &[Option<(Tep, Option<MacAddr>)>]) -> Self {
        let unused = TemplateOf::new(port_mac, None, Ipv4Addr::UNSPECIFIED);
        let live = teps.iter().flatten().count();
        let mut by_address = vec![(0, EMPTY); (live * 2).next_power_of_two()].into_boxed_slice();
        let mask = by_address.len() - 1;
        let mut templates = vec![unused; teps.len()].into_boxed_slice();
        for (index, entry) in (0_u32..).zip(teps) {
            let Some((tep, next_hop)) = entry else { continue };
            let slot = TepIndex::new(index).map_or(0, TepIndex::index);
            templates[slot] = TemplateOf::new(port_mac, *next_hop, tep.address());
            let address = tep.address().to_bits();
            let mut at = bucket(address, mask);
            while by_address[at].1 != EMPTY {
                at = (at + 1) & mask;
            }
            by_address[at] = (address, index);
        }
        let all_resolved = templates.iter().all(TemplateOf::is_resolved);
        Self { templates, by_address, gateways: Box::default(), all_resolved }
    }

    /// The array with these gateways: next hops of TEPs.
    #[must_use]
    pub fn with_gateways(mut self, gateways: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut gateways: Vec<IpAddr> = gateways.into_iter().collect();
        gateways.sort_unstable();
        gateways.dedup();
        self.gateways = gateways.into();
        self
    }

    /// True if a TEP is reached by way of this address.
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        self.gateways.binary_search(&address).is_ok()
    }

    /// Header template of each TEP, by index.
    #[inline(always)]
    pub fn templates(&self) -> &[TemplateOf<E>] {
        &self.templates
    }

    /// True if every index has a TEP with a next hop: then no check per target is needed.
    #[inline(always)]
    pub fn all_resolved(&self) -> bool {
        self.all_resolved
    }

    /// True if the TEP's next hop is known.
    #[inline(always)]
    pub fn is_resolved(&self, tep: TepIndex) -> bool {
        self.templates.get(tep.index()).is_some_and(TemplateOf::is_resolved)
    }

    /// TEP with this underlay address.
    #[inline(always)]
    pub fn find(&self, address: Ipv4Addr) -> Option<TepIndex> {
        let (address, mask) = (address.to_bits(), self.by_address.len() - 1);
        let mut at = bucket(address, mask);
        loop {
            let (known, index) = *self.by_address.get(at)?;
            if index == EMPTY {
                return None;
            }
            if known == address {
                return TepIndex::new(index).ok();
            }
            at = (at + 1) & mask;
        }
    }
}
