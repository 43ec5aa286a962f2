//! Changes in the simulation's words, drawn by a seed, and as a client sends them.

use std::collections::BTreeSet;

use ctl_api::model::{Change, DomainFields, Field, HavipFields, Place, SetResource, Target, TepFields};
use fastrand::Rng;

use crate::model::Model;
use crate::rig;
use crate::rig::havip;

/// TEPs and instances 1 to 6, domains 1 to 4, HAVIPs 1 to 3, names 0 to 3.
const TEPS: u16 = 6;
const VNIS: u32 = 4;
const VIPS: u8 = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    AddTep(u16, Option<u8>),
    RemoveTep(u16, bool),
    LimitTep(u16, Option<u64>),
    Create(u32),
    RemoveDomain(u32, bool),
    LimitDomain(u32, Option<u64>),
    Members(u32, BTreeSet<u16>),
    Join(u32, BTreeSet<u16>),
    JoinNamed(u32, u8),
    Leave(u32, BTreeSet<u16>),
    CreateVip(u8, u32),
    RemoveVip(u8),
    Attach(u8, u8),
    Detach(u8, u8),
    Unfreeze(u8),
}

pub fn tep_name(name: u8) -> String {
    format!("n{name}")
}

pub fn vip_name(name: u8) -> String {
    format!("h{name}")
}

pub fn instance_name(instance: u8) -> String {
    format!("vm{instance}")
}

impl Op {
    pub fn change(&self) -> Change {
        let list = |teps: &BTreeSet<u16>| teps.iter().copied().collect::<Vec<u16>>();
        match self {
            Self::AddTep(tep, None) => rig::add(*tep),
            Self::AddTep(tep, Some(name)) => rig::add_named(*tep, &tep_name(*name)),
            Self::RemoveTep(tep, force) => rig::remove(*tep, *force),
            Self::LimitTep(tep, own) => {
                rig::limit_tep_by(rig::by(*tep), own.map(rig::frames).unwrap_or_default(), true)
            }
            Self::Create(vni) => rig::create(*vni),
            Self::RemoveDomain(vni, force) => {
                Change::Delete { target: Target::Domain((*vni).into()), force: *force }
            }
            Self::LimitDomain(vni, own) => {
                rig::limit_domain(*vni, own.map(rig::copies).unwrap_or_default(), true)
            }
            Self::Members(vni, teps) => rig::set(*vni, &list(teps)),
            Self::Join(vni, teps) => rig::join(*vni, &list(teps)),
            Self::JoinNamed(vni, name) => {
                let teps = [rig::named(&tep_name(*name))].into_iter().collect();
                Change::Join { vni: (*vni).into(), teps }
            }
            Self::Leave(vni, teps) => rig::leave(*vni, &list(teps)),
            Self::CreateVip(name, vni) => havip::create_havip(&vip_name(*name), *vni, *name),
            Self::RemoveVip(name) => havip::remove_havip(&vip_name(*name)),
            Self::Attach(name, instance) => {
                havip::attach(&vip_name(*name), &instance_name(*instance), *instance, &[u16::from(*instance)])
            }
            Self::Detach(name, instance) => havip::detach(&vip_name(*name), &instance_name(*instance)),
            Self::Unfreeze(name) => havip::unfreeze(&vip_name(*name)),
        }
    }
}

fn teps(rng: &mut Rng) -> BTreeSet<u16> {
    (0..rng.usize(0..4)).map(|_| rng.u16(1..=TEPS)).collect()
}

fn limit(rng: &mut Rng) -> Option<u64> {
    rng.bool().then(|| rng.u64(1..4))
}

/// One change of TEPs or domains that other changes may stand beside.
fn plain(rng: &mut Rng) -> Op {
    let (tep, vni) = (rng.u16(1..=TEPS), rng.u32(1..=VNIS));
    match rng.u8(0..16) {
        0..4 => Op::AddTep(tep, rng.bool().then(|| rng.u8(0..4))),
        4 => Op::LimitTep(tep, limit(rng)),
        5..7 => Op::Create(vni),
        7 => Op::LimitDomain(vni, limit(rng)),
        8..10 => Op::Members(vni, teps(rng)),
        10..14 => Op::Join(vni, teps(rng)),
        _ => Op::Leave(vni, teps(rng)),
    }
}

/// A change of one HAVIP.
fn of_vip(rng: &mut Rng, name: u8) -> Op {
    match rng.u8(0..16) {
        0..4 => Op::CreateVip(name, rng.u32(1..=VNIS)),
        4 => Op::RemoveVip(name),
        5..12 => Op::Attach(name, rng.u8(1..=6)),
        12..14 => Op::Detach(name, rng.u8(1..=6)),
        _ => Op::Unfreeze(name),
    }
}

/// A batch. What deletes by force, or names a TEP by its name, stands alone; of a HAVIP there is one change.
pub fn batch(rng: &mut Rng) -> Vec<Op> {
    match rng.u8(0..16) {
        0 => vec![Op::RemoveTep(rng.u16(1..=TEPS), rng.u8(0..3) == 0)],
        1 => vec![Op::RemoveDomain(rng.u32(1..=VNIS), rng.u8(0..3) == 0)],
        2 => vec![Op::JoinNamed(rng.u32(1..=VNIS), rng.u8(0..4))],
        3..9 => {
            let mut ops: Vec<Op> = (0..rng.usize(0..4)).map(|_| plain(rng)).collect();
            let first = rng.u8(1..=VIPS);
            ops.extend((first..=VIPS).map(|name| of_vip(rng, name)));
            ops
        }
        _ => (0..rng.usize(1..9)).map(|_| plain(rng)).collect(),
    }
}

/// A desired state: this one, with some of it gone and some of it new.
pub fn desired(rng: &mut Rng, model: &Model) -> Model {
    let mut next = model.clone();
    if rng.u8(0..3) == 0 {
        let tep = rng.u16(1..=TEPS);
        next.teps.remove(&tep);
        next.domains.values_mut().for_each(|domain| {
            domain.members.remove(&tep);
        });
        next.vips.values_mut().for_each(|vip| vip.attached.retain(|&instance| u16::from(instance) != tep));
    }
    if rng.u8(0..3) == 0 {
        let vni = rng.u32(1..=VNIS);
        next.domains.remove(&vni);
        next.vips.retain(|_, vip| vip.vni != vni);
    }
    for _ in 0..rng.usize(0..3) {
        let (tep, vni) = (rng.u16(1..=TEPS), rng.u32(1..=VNIS));
        next.teps.entry(tep).or_default();
        next.domains.entry(vni).or_default().members.insert(tep);
    }
    next
}

/// The entries of a desired state.
pub fn resources(desired: &Model) -> Vec<SetResource> {
    let field = |limit: Option<u64>| rig::rate(limit.unwrap_or(0).max(1)).filter(|_| limit.is_some());
    let value = |limit| field(limit).map(Field::Value).unwrap_or_default();
    let mut all = Vec::new();
    for (&tep, fields) in &desired.teps {
        let name = fields.name.map(|name| Field::Value(tep_name(name).parse().unwrap()));
        let (name, frames) = (name.unwrap_or_default(), value(fields.limit));
        all.push(SetResource::Tep(rig::by(tep), TepFields { name, frames, ..TepFields::default() }));
    }
    for (&vni, domain) in &desired.domains {
        let members: Vec<u16> = domain.members.iter().copied().collect();
        let (members, copies) = (Some(rig::teps(&members)), value(domain.fields.limit));
        let fields = DomainFields { members, copies, ..DomainFields::default() };
        all.push(SetResource::Domain(vni.into(), fields));
    }
    for (&name, vip) in &desired.vips {
        let place = Place { vni: vip.vni.into(), subnet: havip::subnet(), address: havip::ip(name) };
        let attached = vip
            .attached
            .iter()
            .map(|&instance| havip::attachment(&instance_name(instance), instance, &[u16::from(instance)]));
        let name = havip::name(&vip_name(name));
        let havip = ctl_api::model::Havip {
            attachments: attached.collect(),
            ..ctl_api::model::Havip::new(name.clone(), place)
        };
        all.push(SetResource::Havip(name, HavipFields::from(havip)));
    }
    all
}
