//! The TEP array: what member indices point into. One immutable value, replaced as a whole.

use std::net::Ipv4Addr;

use bcast_domain::{Tep, TepIndex};
use wire::{MacAddr, Template};

/// All registered TEPs as workers see them: a header template each, and who has which address.
pub struct TepArray {
    /// By [`TepIndex`]; an index without a TEP has a template that is not resolved.
    templates: Box<[Template]>,
    /// Open-addressed, at most half full, by source address; index `EMPTY`: nobody.
    by_address: Box<[(u32, u32)]>,
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

impl TepArray {
    /// No TEP at all.
    pub fn empty() -> Self {
        Self { templates: Box::default(), by_address: Box::from([(0, EMPTY); 1]), all_resolved: true }
    }

    /// From each index's TEP and next hop; `teps[i]` is index `i`.
    pub fn build(port_mac: MacAddr, teps: &[Option<(Tep, Option<MacAddr>)>]) -> Self {
        let unused = Template::new(port_mac, None, Ipv4Addr::UNSPECIFIED);
        let live = teps.iter().flatten().count();
        let mut by_address = vec![(0, EMPTY); (live * 2).next_power_of_two()].into_boxed_slice();
        let mask = by_address.len() - 1;
        let mut templates = vec![unused; teps.len()].into_boxed_slice();
        for (index, entry) in (0_u32..).zip(teps) {
            let Some((tep, next_hop)) = entry else { continue };
            let place = TepIndex::new(index).map_or(0, TepIndex::index);
            templates[place] = Template::new(port_mac, *next_hop, tep.address());
            let address = tep.address().to_bits();
            let mut at = bucket(address, mask);
            while by_address[at].1 != EMPTY {
                at = (at + 1) & mask;
            }
            by_address[at] = (address, index);
        }
        let all_resolved = templates.iter().all(Template::is_resolved);
        Self { templates, by_address, all_resolved }
    }

    /// The header template of each TEP, by index.
    #[inline(always)]
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// Whether copies can be sent to every index that there is: then none needs to be asked.
    #[inline(always)]
    pub fn all_resolved(&self) -> bool {
        self.all_resolved
    }

    /// Whether the TEP's next hop is known.
    #[inline(always)]
    pub fn is_resolved(&self, tep: TepIndex) -> bool {
        self.templates.get(tep.index()).is_some_and(Template::is_resolved)
    }

    /// Which TEP has this underlay address.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tep(text: &str) -> Tep {
        text.parse().unwrap()
    }

    #[test]
    fn an_empty_array_knows_nobody() {
        assert_eq!(TepArray::empty().find(Ipv4Addr::new(198, 18, 0, 1)), None);
        assert_eq!(TepArray::build(MacAddr([2; 6]), &[]).find(Ipv4Addr::UNSPECIFIED), None);
        assert_eq!(TepArray::build(MacAddr([2; 6]), &[None]).find(Ipv4Addr::UNSPECIFIED), None);
    }

    #[test]
    fn each_tep_is_found_by_its_address_and_strangers_are_not() {
        let hop = MacAddr([2, 0, 0, 0, 0, 9]);
        let teps: Vec<_> = (0..5_000_u32)
            .map(|i| {
                let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + i);
                (i % 7 != 3).then(|| (Tep::new(address).unwrap(), (i % 2 == 0).then_some(hop)))
            })
            .collect();
        let array = TepArray::build(MacAddr([2; 6]), &teps);
        for (index, entry) in (0_u32..).zip(&teps) {
            let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + index);
            let expected = entry.map(|_| TepIndex::new(index).unwrap());
            assert_eq!(array.find(address), expected, "{address}");
            let resolved = entry.is_some_and(|(_, hop)| hop.is_some());
            assert_eq!(array.templates()[index as usize].is_resolved(), resolved, "{address}");
        }
        assert_eq!(array.find(tep("203.0.113.1").address()), None);
    }
}
