//! Changes of HAVIPs, and what a rig shows of them.

use std::net::IpAddr;
use std::path::Path;

use bcast_domain::{AnnouncementKind, Announcer, AnnouncerId, Mac, Tep, Vip, VipId, Vni};
use ctl_api::model::{
    ArpInspection, Attachment, AttachmentFields, Binding, Change, DomainFields, Event, Existing, Field,
    Havip, HavipEntry, HavipEvent, HavipEventKind, HavipFields, HavipState, Holder, Name, Place, Set,
    SetResource, Subnet, Target, TepFields, Why, Word,
};
use ctl_api::proto::{self, watch_event::Kind};
use ctl_server::HavipLimits;
use ctl_store::{EmbeddedStore, Group, Record, Store};
use tonic::Streaming;

use super::{Rig, add, add_named, by, set, tep, teps};

/// A claim.
pub const CLAIM: AnnouncementKind = AnnouncementKind::Claim { mac: [0; 6] };
/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// Three TEPs, a domain with them, and a HAVIP with an instance on each of two.
pub fn prepare(rig: &Rig) {
    rig.commit(vec![add(1), add(2), add(3), set(5001, &[1, 2, 3])]);
    rig.commit(vec![
        create_havip("web", 5001, 100),
        attach("web", "vm1", 1, &[1]),
        attach("web", "vm2", 2, &[2]),
    ]);
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn subnet() -> Subnet {
    "10.0.0.0/24".parse().unwrap()
}

pub fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

pub fn mac(last: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

pub fn create_havip(text: &str, vni: u32, last: u8) -> Change {
    create_havip_at(text, vni, ip(last), HavipFields::default())
}

/// Creates a HAVIP at any address, with these fields.
pub fn create_havip_at(text: &str, vni: u32, address: IpAddr, fields: HavipFields) -> Change {
    let place = Some(Place { vni: Vni::from(vni), subnet: subnet(), address });
    SetResource::Havip(name(text), HavipFields { place, ..fields }).set_if(Existing::Same)
}

/// The HAVIP shall be exactly this.
pub fn set_havip(havip: Havip) -> Change {
    let resource = SetResource::Havip(havip.name.clone(), havip.into());
    Change::Set(Box::new(Set { resource, existing: Existing::Any, replace: true }))
}

pub fn remove_havip(text: &str) -> Change {
    Change::delete(Target::Havip(name(text)))
}

pub fn attach(text: &str, instance: &str, last: u8, on: &[u16]) -> Change {
    let attachment = AttachmentFields { instance: name(instance), mac: mac(last), teps: teps(on) };
    Change::SetAttachment { havip: name(text), attachment: Box::new(attachment) }
}

pub fn attachment(instance: &str, last: u8, teps: &[u16]) -> Attachment {
    let teps = teps.iter().map(|&last| tep(last)).collect();
    Attachment { instance: name(instance), mac: mac(last), teps }
}

pub fn detach(text: &str, instance: &str) -> Change {
    Change::DeleteAttachment { havip: name(text), instance: name(instance) }
}

fn set_eip(text: &str, eip: Field<IpAddr>, existing: Existing) -> Change {
    let fields = HavipFields { eip, ..HavipFields::default() };
    SetResource::Havip(name(text), fields).set_if(existing)
}

pub fn bind_eip_if(text: &str, eip: &str, existing: Existing) -> Change {
    set_eip(text, Field::Value(eip.parse().unwrap()), existing)
}

pub fn bind_eip(text: &str, eip: &str) -> Change {
    bind_eip_if(text, eip, Existing::Required)
}

pub fn unbind_eip(text: &str) -> Change {
    set_eip(text, Field::Clear, Existing::Required)
}

pub fn unfreeze(text: &str) -> Change {
    Change::Unfreeze { havip: name(text) }
}

pub fn inspect(vni: u32, sticky: bool) -> Change {
    let mode = if sticky { ArpInspection::Sticky } else { ArpInspection::Off };
    let fields = DomainFields { arp_inspection: Some(mode), ..DomainFields::default() };
    SetResource::Domain(vni.into(), fields).set_if(Existing::Required)
}

pub fn route_gateway(last: u16, v4: Option<&str>, v6: Option<&str>) -> Change {
    let route_gateway = v4.map(|v4| Field::Value(v4.parse().unwrap())).unwrap_or_default();
    let route_gateway6 = v6.map(|v6| Field::Value(v6.parse().unwrap())).unwrap_or_default();
    let fields = TepFields { route_gateway, route_gateway6, ..TepFields::default() };
    SetResource::Tep(by(last), fields).set_if(Existing::Required)
}

/// Addresses, and for each who may announce it: MAC and TEP, the last byte of each.
pub type Guarded = Vec<(String, Vec<(u8, u8)>)>;

impl Rig {
    pub fn with_havip_limits(folder: &Path, limits: HavipLimits) -> Self {
        let store = EmbeddedStore::open(&folder.join("domains.redb")).unwrap();
        Self::start(folder, store, |config| config.havips = limits)
    }

    /// The same node after a restart that found a HAVIP held by this instance.
    pub fn hold(self, folder: &Path, text: &str, instance: &str, last: u16) -> Self {
        self.bind(folder, text, |entry| {
            let attachment = entry.havip.attachment(&name(instance)).unwrap();
            let holder = Holder { instance: name(instance), mac: attachment.mac, tep: tep(last) };
            entry.binding = Binding {
                state: HavipState::Bound,
                holder: Some(holder),
                why: Some(Why::Garp),
                ..entry.binding.clone()
            };
        })
    }

    /// The same node after a restart that found a HAVIP bound otherwise.
    pub fn bind(mut self, folder: &Path, text: &str, bind: impl FnOnce(&mut HavipEntry)) -> Self {
        let mut entry = self.havip(text);
        let base = self.server().revision();
        self.stop();
        drop(self);
        bind(&mut entry);
        entry.binding.generation = base.next().get();
        let event = HavipEvent::of(&entry, HavipEventKind::Bound, 1);
        let events = vec![Event::HavipSet(Box::new(entry)), Event::HavipEvent(Box::new(event))];
        let records = vec![Record { revision: base.next(), unix_ms: 1, events }];
        let store = EmbeddedStore::open(&folder.join("domains.redb")).unwrap();
        store.commit(&Group { base, unix_ms: 1, records, ..Group::default() }).unwrap();
        drop(store);
        Self::new(folder)
    }

    pub fn havip(&self, text: &str) -> HavipEntry {
        let status = self.run(self.client().havip(&name(text))).unwrap();
        status.entry.unwrap().try_into().unwrap()
    }

    pub fn history(&self, text: &str) -> Vec<HavipEvent> {
        let events = self.run(self.client().havip_history(&name(text))).unwrap();
        events.into_iter().map(|event| event.try_into().unwrap()).collect()
    }

    /// The guard of a domain, as workers find it, by address.
    pub fn vips(&self, vni: u32) -> Vec<Vip> {
        let reader = self.readers.reader();
        let list = reader.lookup(Vni::from(vni)).unwrap();
        let mut vips = list.vip_table().map(|table| table.vips().to_vec()).unwrap_or_default();
        vips.sort_unstable_by_key(|vip| vip.address.to_string());
        vips
    }

    pub fn guarded(&self, vni: u32) -> Guarded {
        let array = self.readers.reader().array().clone();
        let announcer = |announcer: &Announcer| {
            let tep: Tep = array[announcer.tep.index()].expect("an announcer's TEP is in the array");
            (announcer.mac.octets()[5], tep.address().octets()[3])
        };
        let guarded = self.vips(vni).into_iter().map(|vip| {
            let mut announcers: Vec<_> = vip.announcers.iter().map(announcer).collect();
            announcers.sort_unstable();
            (vip.address.to_string(), announcers)
        });
        guarded.collect()
    }

    /// The number of a domain's first HAVIP.
    pub fn vip(&self, vni: u32) -> VipId {
        self.vips(vni)[0].id
    }

    /// Announcers of a domain's HAVIPs.
    pub fn announcers(&self, vni: u32) -> Vec<Announcer> {
        self.vips(vni).iter().flat_map(|vip| vip.announcers.to_vec()).collect()
    }

    /// The number of the one with this MAC at this TEP.
    pub fn announcer(&self, vni: u32, mac: u8, last: u16) -> AnnouncerId {
        let array = self.readers.reader().array().clone();
        let is = |announcer: &&Announcer| {
            (announcer.mac, array[announcer.tep.index()]) == (super::havip::mac(mac), Some(tep(last)))
        };
        self.announcers(vni).iter().find(is).unwrap().id
    }

    /// The next revision that changes something, as text: what is there or other than before, what is gone, what happened.
    pub fn revision(&self, watch: &mut Streaming<proto::WatchEvent>) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            let event = self.run(watch.message()).unwrap().expect("a watch does not end");
            match event.kind.unwrap() {
                Kind::Committed(_) => return events,
                Kind::Reset(_) => events.push("reset".to_owned()),
                Kind::TepSet(tep) => events.push(format!("+{}", super::text(&tep.address))),
                Kind::TepDeleted(address) => events.push(format!("-{}", super::text(&address))),
                Kind::DomainSet(domain) => events.push(format!("+{}", domain.vni)),
                Kind::DomainDeleted(vni) => events.push(format!("-{vni}")),
                Kind::HavipSet(entry) => events.push(format!("+{}", entry.havip.unwrap().name)),
                Kind::HavipDeleted(name) => events.push(format!("-{name}")),
                Kind::AnnouncementRefused(refused) => events.push(format!("refused {}", refused.vni)),
                Kind::HavipEvent(havip) => {
                    assert_eq!(havip.generation, event.revision);
                    let kind = HavipEventKind::from_number(havip.kind).unwrap().unwrap();
                    let why = Why::from_number(havip.why).unwrap().unwrap();
                    events.push(format!("{} {kind} {why}", havip.havip));
                }
            }
        }
    }
}

pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Three TEPs, two domains with the first two, and a HAVIP in the first.
pub fn havip_rig(folder: &Path) -> Rig {
    let rig = Rig::new(folder);
    rig.commit(vec![
        add_named(1, "hv1"),
        add_named(2, "hv2"),
        add(3),
        set(5001, &[1, 2]),
        set(5002, &[1, 2]),
    ]);
    rig.commit(vec![create_havip("web", 5001, 100)]);
    rig
}
