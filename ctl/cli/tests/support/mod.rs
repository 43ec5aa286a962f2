//! Support of the command's tests.
#![allow(dead_code, clippy::unwrap_used)]

pub mod model;
pub mod node;
pub mod script;

use bcast_domain::{Tep, Vni};
use ctl_api::model::{DomainEntry, TepEntry};
use model::Model;

pub fn tep(last: u8) -> Tep {
    Tep::new([198, 18, 0, last].into()).unwrap()
}

/// TEPs by last byte and name, domains by VNI, name and members; "" is no name.
pub fn model(teps: &[(u8, &str)], domains: &[(u32, &str, &[u8])]) -> Model {
    let name = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    let entry =
        |&(last, text): &(u8, &str)| (tep(last), TepEntry { name: name(text), ..TepEntry::new(tep(last)) });
    let domain = |&(vni, text, members): &(u32, &str, &[u8])| {
        let (vni, members) = (Vni::from(vni), members.iter().map(|&last| tep(last)).collect());
        (vni, DomainEntry { name: name(text), members, ..DomainEntry::new(vni) })
    };
    Model {
        revision: 1,
        teps: teps.iter().map(entry).collect(),
        domains: domains.iter().map(domain).collect(),
        ..Model::default()
    }
}

impl Model {
    /// The TEP of that last byte, to be changed.
    pub fn tep_mut(&mut self, last: u8) -> &mut TepEntry {
        self.teps.get_mut(&tep(last)).unwrap()
    }

    /// The domain of that VNI, to be changed.
    pub fn domain_mut(&mut self, vni: u32) -> &mut DomainEntry {
        self.domains.get_mut(&vni.into()).unwrap()
    }
}
