//! Random batches about HAVIPs against a plain model: what is accepted, what is stored, and whom workers guard by.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::havip::*;
use common::*;
use ctl_api::model::{self, Batch, Change, Havip, HavipEntry, Target};
use ctl_api::proto;
use ctl_server::HavipLimits;
use proptest::prelude::*;

const LIMITS: HavipLimits = HavipLimits { attachments: 2, per_instance: 1, per_vni: 2, total: 3 };

#[derive(Debug, Clone)]
enum Step {
    AddTep(u16),
    RemoveTep(u16, bool),
    CreateDomain(u32),
    RemoveDomain(u32, bool),
    Create(u8, u32, u8),
    Set(u8, u32, u8, Vec<Attached>),
    Remove(u8),
    Attach(u8, Attached),
    Detach(u8, u8),
    BindEip(u8, u8),
    UnbindEip(u8),
}

/// Instance, MAC, TEPs.
type Attached = (u8, u8, BTreeSet<u16>);

fn named(n: u8) -> String {
    format!("h{n}")
}

fn vm(n: u8) -> String {
    format!("vm{n}")
}

fn eip(n: u8) -> String {
    format!("203.0.113.{n}")
}

fn teps(teps: &BTreeSet<u16>) -> Vec<u16> {
    teps.iter().copied().collect()
}

impl Step {
    fn change(&self) -> Change {
        match self {
            Self::AddTep(tep) => add(*tep),
            Self::RemoveTep(tep, force) => remove(*tep, *force),
            Self::CreateDomain(vni) => create(*vni),
            Self::RemoveDomain(vni, force) => {
                Change::Delete { target: Target::Domain((*vni).into()), force: *force }
            }
            Self::Create(n, vni, last) => create_havip(&named(*n), *vni, *last),
            Self::Set(n, vni, last, attached) => {
                let place = model::Place { vni: (*vni).into(), subnet: subnet(), address: ip(*last) };
                let attachments = attached
                    .iter()
                    .map(|(instance, mac, on)| attachment(&vm(*instance), *mac, &teps(on)))
                    .collect();
                set_havip(Havip { attachments, ..Havip::new(name(&named(*n)), place) })
            }
            Self::Remove(n) => remove_havip(&named(*n)),
            Self::Attach(n, (instance, mac, on)) => attach(&named(*n), &vm(*instance), *mac, &teps(on)),
            Self::Detach(n, instance) => detach(&named(*n), &vm(*instance)),
            Self::BindEip(n, last) => bind_eip(&named(*n), &eip(*last)),
            Self::UnbindEip(n) => unbind_eip(&named(*n)),
        }
    }
}

/// MAC and TEPs.
type Place = (u8, BTreeSet<u16>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Vip {
    vni: u32,
    last: u8,
    /// By instance.
    attached: BTreeMap<u8, Place>,
    eip: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Model {
    teps: BTreeSet<u16>,
    domains: BTreeSet<u32>,
    havips: BTreeMap<u8, Vip>,
}

impl Model {
    /// False where the step is refused.
    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::AddTep(tep) => {
                self.teps.insert(*tep);
                true
            }
            Step::RemoveTep(tep, force) => self.remove_tep(*tep, *force),
            Step::CreateDomain(vni) => {
                self.domains.insert(*vni);
                true
            }
            Step::RemoveDomain(vni, force) => {
                let has = self.havips.values().any(|vip| vip.vni == *vni);
                if has && !force {
                    return false;
                }
                self.havips.retain(|_, vip| vip.vni != *vni);
                self.domains.remove(vni);
                true
            }
            Step::Create(n, vni, last) => match self.havips.get(n) {
                Some(vip) => (vip.vni, vip.last) == (*vni, *last),
                None => self.put(*n, Vip { vni: *vni, last: *last, ..Vip::default() }),
            },
            Step::Set(n, vni, last, attached) => {
                let by_instance: BTreeMap<_, _> =
                    attached.iter().map(|(instance, mac, on)| (*instance, (*mac, on.clone()))).collect();
                by_instance.len() == attached.len()
                    && self.put(*n, Vip { vni: *vni, last: *last, attached: by_instance, eip: None })
            }
            Step::Remove(n) => {
                self.havips.remove(n);
                true
            }
            Step::Attach(n, (instance, mac, on)) => self.havips.get(n).cloned().is_some_and(|mut vip| {
                vip.attached.insert(*instance, (*mac, on.clone()));
                self.put(*n, vip)
            }),
            Step::Detach(n, instance) => {
                if let Some(vip) = self.havips.get_mut(n) {
                    vip.attached.remove(instance);
                }
                true
            }
            Step::BindEip(n, last) => self.havips.get(n).cloned().is_some_and(|mut vip| {
                vip.eip = Some(*last);
                self.put(*n, vip)
            }),
            Step::UnbindEip(n) => self.havips.get_mut(n).is_some_and(|vip| {
                vip.eip = None;
                true
            }),
        }
    }

    /// Addresses and EIPs have one HAVIP each; within a batch they may pass from one to another.
    fn is_unique(&self) -> bool {
        let all: Vec<&Vip> = self.havips.values().collect();
        let clash =
            |a: &Vip, b: &Vip| (a.vni, a.last) == (b.vni, b.last) || a.eip.is_some() && a.eip == b.eip;
        !all.iter().enumerate().any(|(i, a)| all[i + 1..].iter().any(|b| clash(a, b)))
    }

    fn remove_tep(&mut self, tep: u16, force: bool) -> bool {
        let on_it = |vip: &Vip| vip.attached.values().any(|(_, teps)| teps.contains(&tep));
        if self.havips.values().any(on_it) && !force {
            return false;
        }
        for vip in self.havips.values_mut() {
            vip.attached.values_mut().for_each(|(_, teps)| teps.retain(|&on| on != tep));
            vip.attached.retain(|_, (_, teps)| !teps.is_empty());
        }
        self.teps.remove(&tep);
        true
    }

    fn put(&mut self, n: u8, vip: Vip) -> bool {
        let others = || self.havips.iter().filter(|(other, _)| **other != n).map(|(_, vip)| vip);
        let old = self.havips.get(&n);
        let of_vni = others().filter(|other| other.vni == vip.vni).count();
        let each: Vec<_> = vip.attached.values().collect();
        let clash = |a: &Place, b: &Place| a.0 == b.0 && !a.1.is_disjoint(&b.1);
        let clashes = each.iter().enumerate().any(|(i, a)| each[i + 1..].iter().any(|b| clash(a, b)));
        let new_instance =
            |instance: &u8| old.is_none_or(|old| old.vni != vip.vni || !old.attached.contains_key(instance));
        let crowded = |instance: &u8| {
            let elsewhere =
                others().filter(|o| o.vni == vip.vni && o.attached.contains_key(instance)).count();
            new_instance(instance) && elsewhere + 1 > LIMITS.per_instance as usize
        };
        let grown = vip.attached.len() > old.map_or(0, |old| old.attached.len());
        let fine = self.domains.contains(&vip.vni)
            && each.iter().all(|(_, on)| (1..=2).contains(&on.len()) && on.is_subset(&self.teps))
            && !clashes
            && (old.is_some() || self.havips.len() < LIMITS.total as usize)
            && (old.is_some_and(|old| old.vni == vip.vni) || of_vni < LIMITS.per_vni as usize)
            && !(grown && vip.attached.len() > LIMITS.attachments as usize)
            && !vip.attached.keys().any(crowded);
        // What is so already is asked for nothing.
        if old == Some(&vip) {
            return true;
        }
        if fine {
            self.havips.insert(n, vip);
        }
        fine
    }
}

fn attached() -> impl Strategy<Value = Attached> {
    (1..4_u8, 1..4_u8, prop::collection::btree_set(1..4_u16, 1..3))
}

fn step() -> impl Strategy<Value = Step> {
    let (n, vni, last, tep) = (1..5_u8, 1..3_u32, 1..5_u8, 1..4_u16);
    prop_oneof![
        2 => tep.clone().prop_map(Step::AddTep),
        1 => (tep, prop::bool::weighted(0.3)).prop_map(|(t, force)| Step::RemoveTep(t, force)),
        2 => vni.clone().prop_map(Step::CreateDomain),
        1 => (vni.clone(), prop::bool::weighted(0.3)).prop_map(|(v, force)| Step::RemoveDomain(v, force)),
        6 => (n.clone(), vni.clone(), last.clone()).prop_map(|(n, v, l)| Step::Create(n, v, l)),
        3 => (n.clone(), vni, last.clone(), prop::collection::vec(attached(), 0..3))
            .prop_map(|(n, v, l, attached)| Step::Set(n, v, l, attached)),
        1 => n.clone().prop_map(Step::Remove),
        8 => (n.clone(), attached()).prop_map(|(n, attached)| Step::Attach(n, attached)),
        2 => (n.clone(), 1..4_u8).prop_map(|(n, instance)| Step::Detach(n, instance)),
        2 => (n.clone(), 1..3_u8).prop_map(|(n, last)| Step::BindEip(n, last)),
        1 => n.prop_map(Step::UnbindEip),
    ]
}

fn stored(rig: &Rig) -> Model {
    let mut model = Model::default();
    let mut parts = rig.run(rig.client().snapshot(Default::default())).unwrap();
    while let Some(part) = rig.run(parts.message()).unwrap() {
        let part: proto::SnapshotPart = part;
        let address = |tep: proto::Tep| u16::from_be_bytes([tep.address[2], tep.address[3]]);
        model.teps.extend(part.teps.into_iter().map(address));
        model.domains.extend(part.domains.into_iter().map(|domain| domain.vni));
        for entry in part.havips {
            let HavipEntry { havip, binding } = entry.try_into().unwrap();
            assert!(binding.holder.is_none() && binding.generation > 0);
            let number = |text: &str, prefix: &str| text.strip_prefix(prefix).unwrap().parse::<u8>().unwrap();
            let octet = |ip: std::net::IpAddr| {
                number(&ip.to_string(), &ip.to_string()[..ip.to_string().rfind('.').unwrap() + 1])
            };
            let attached = havip.attachments.iter().map(|attachment| {
                let on = {
                    let last = |octets: [u8; 4]| u16::from_be_bytes([octets[2], octets[3]]);
                    attachment.teps.iter().map(|tep| last(tep.address().octets())).collect()
                };
                (number(attachment.instance.as_str(), "vm"), (attachment.mac.octets()[5], on))
            });
            let vip = Vip {
                vni: havip.vni.get(),
                last: octet(havip.address),
                attached: attached.collect(),
                eip: havip.eip.map(octet),
            };
            model.havips.insert(number(havip.name.as_str(), "h"), vip);
        }
    }
    model
}

fn check(rig: &Rig, model: &Model) {
    assert_eq!(&stored(rig), model, "the store");
    assert_eq!(rig.server().counts().havips, model.havips.len());
    let mut numbers = BTreeSet::new();
    for &vni in &model.domains {
        // One without attachments refuses nobody.
        let of_vni = model.havips.values().filter(|vip| vip.vni == vni && !vip.attached.is_empty());
        let guarded = of_vni.map(|vip| {
            let each = vip.attached.values();
            let announcers =
                each.flat_map(|(mac, on)| on.iter().map(|&tep| (*mac, u8::try_from(tep).unwrap())));
            let announcers: BTreeSet<_> = announcers.collect();
            (ip(vip.last).to_string(), announcers.into_iter().collect::<Vec<_>>())
        });
        let mut guarded: Guarded = guarded.collect();
        guarded.sort();
        assert_eq!(rig.guarded(vni), guarded, "domain {vni}");
        for vip in rig.vips(vni) {
            assert!(numbers.insert((true, vip.id.get())), "a HAVIP's number twice");
            let mut announcers = vip.announcers.iter().map(|announcer| (false, announcer.id.get()));
            assert!(announcers.all(|announcer| numbers.insert(announcer)), "an announcer's number twice");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_batches_do_what_a_plain_model_does_and_survive_restarts(
        lives in prop::collection::vec(prop::collection::vec(prop::collection::vec(step(), 1..4), 1..40), 1..3)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        // So that most of what follows is not refused.
        let base = [Step::AddTep(1), Step::AddTep(2), Step::AddTep(3), Step::CreateDomain(1), Step::CreateDomain(2)];
        for batches in &lives {
            let mut rig = Rig::with_havip_limits(folder.path(), LIMITS);
            check(&rig, &model);
            for steps in std::iter::once(&base.to_vec()).chain(batches) {
                let mut next = model.clone();
                let accepted = steps.iter().all(|step| next.step(step)) && next.is_unique();
                let outcome = rig.try_commit(Batch::new(steps.iter().map(Step::change).collect()));
                prop_assert_eq!(outcome.is_ok(), accepted, "{:?} on {:?}: {:?}", steps, model, outcome);
                if accepted {
                    model = next;
                }
            }
            check(&rig, &model);
            rig.stop();
        }
    }
}
