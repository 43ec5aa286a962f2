//! What the tests of the command share.
#![allow(dead_code, clippy::unwrap_used)]

pub mod model;
pub mod node;

use bcast_domain::{Tep, Vni};
use model::Model;

pub fn tep(last: u8) -> Tep {
    Tep::new([198, 18, 0, last].into()).unwrap()
}

/// TEPs by last byte and name, domains by VNI, name and members; "" is no name.
pub fn model(teps: &[(u8, &str)], domains: &[(u32, &str, &[u8])]) -> Model {
    let name = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    let domain = |&(vni, text, members): &(u32, &str, &[u8])| {
        (Vni::from(vni), (name(text), members.iter().map(|&last| tep(last)).collect()))
    };
    Model {
        revision: 1,
        teps: teps.iter().map(|&(last, text)| (tep(last), name(text))).collect(),
        domains: domains.iter().map(domain).collect(),
        ..Model::default()
    }
}
