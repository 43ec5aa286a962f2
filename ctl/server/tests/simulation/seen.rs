//! The node's state as its clients see it, in the model's words: by a snapshot, and by following a watch.

use std::collections::{BTreeMap, BTreeSet};

use ctl_api::model::{HavipEntry, HavipState};
use ctl_api::proto::{self, watch_event::Kind};

use crate::model::{Domain, Fields, Model, Told};

/// VNI, attached instances, the holder's instance, and whether it is frozen.
type SeenVip = (u32, BTreeSet<u8>, Option<u32>, bool);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub teps: BTreeMap<u16, Fields>,
    pub domains: BTreeMap<u32, Domain>,
    pub vips: BTreeMap<u8, SeenVip>,
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str, prefix: &str) -> T {
    text.strip_prefix(prefix).unwrap().parse().unwrap()
}

fn last(address: &[u8]) -> u16 {
    u16::from_be_bytes([address[2], address[3]])
}

impl Seen {
    /// Visible part of the model.
    pub fn of(model: &Model) -> Self {
        let vips = model.vips.iter().map(|(&name, vip)| {
            (name, (vip.vni, vip.attached.clone(), vip.machine.holder, vip.machine.is_frozen()))
        });
        Self { teps: model.teps.clone(), domains: model.domains.clone(), vips: vips.collect() }
    }

    pub fn tep(&mut self, tep: proto::Tep) {
        let limit = tep.limit.map(|limit| limit.frames.unwrap());
        let name = tep.name.map(|name| number(&name, "n"));
        self.teps.insert(last(&tep.address), Fields { name, limit });
    }

    pub fn domain(&mut self, domain: proto::Domain) {
        let limit = domain.limit.map(|limit| limit.copies.unwrap());
        let members = domain.members.unwrap_or_default().ipv4.chunks(4).map(last).collect();
        self.domains.insert(domain.vni, Domain { fields: Fields { name: None, limit }, members });
    }

    pub fn havip(&mut self, entry: proto::HavipEntry) {
        let HavipEntry { havip, binding } = entry.try_into().unwrap();
        let attached = havip.attachments.iter().map(|attachment| {
            let instance: u8 = number(attachment.instance.as_str(), "vm");
            assert_eq!(attachment.mac.octets()[5], instance);
            assert_eq!(attachment.teps, [crate::rig::tep(instance.into())]);
            instance
        });
        let holder = binding.holder.map(|holder| number(holder.instance.as_str(), "vm"));
        let name: u8 = number(havip.name.as_str(), "h");
        assert_eq!(havip.address, crate::rig::havip::ip(name));
        let is_frozen = binding.state == HavipState::Frozen;
        self.vips.insert(name, (havip.vni.get(), attached.collect(), holder, is_frozen));
    }

    /// Follows one event; what happened to a HAVIP is returned.
    pub fn follow(&mut self, kind: Kind) -> Option<Told> {
        match kind {
            Kind::TepSet(tep) => self.tep(tep),
            Kind::TepDeleted(address) => _ = self.teps.remove(&last(&address)).expect("a TEP that was there"),
            Kind::DomainSet(domain) => self.domain(domain),
            Kind::DomainDeleted(vni) => drop(self.domains.remove(&vni).expect("a domain that was there")),
            Kind::HavipSet(entry) => self.havip(entry),
            Kind::HavipDeleted(name) => {
                drop(self.vips.remove(&number(&name, "h")).expect("a HAVIP that was there"));
            }
            Kind::HavipEvent(event) => {
                let event: ctl_api::model::HavipEvent = event.try_into().unwrap();
                return Some((number(event.havip.as_str(), "h"), event.kind.as_str().to_owned()));
            }
            Kind::Reset(_) | Kind::Committed(_) | Kind::AnnouncementRefused(_) => unreachable!("no change"),
        }
        None
    }
}
