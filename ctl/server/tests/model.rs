//! Random batches against a plain model, with the store opened again in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use ctl_api::model::{Batch, Change, Target};
use proptest::prelude::*;

/// TEPs with their names, domains with their members, and the limits of those that have one: the plain model.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    teps: BTreeMap<u16, Option<String>>,
    domains: BTreeMap<u32, BTreeSet<u16>>,
    tep_limits: BTreeMap<u16, u64>,
    domain_limits: BTreeMap<u32, u64>,
    /// Within a batch: who took each name, in order. Afterwards nobody shares one.
    owners: BTreeMap<String, Vec<u16>>,
}

/// A change in the model's words; names are `n0` to `n3`.
#[derive(Debug, Clone)]
enum Step {
    Add(u16, Option<u8>),
    Remove(u16, bool),
    RemoveNamed(u8),
    Create(u32),
    RemoveDomain(u32),
    Set(u32, Vec<u16>),
    Join(u32, Vec<u16>),
    Leave(u32, Vec<u16>),
    JoinNamed(u32, u8),
    /// A limit, or the default again.
    Limit(u32, Option<u64>),
    LimitTep(u16, Option<u64>),
}

fn name(n: u8) -> String {
    format!("n{n}")
}

impl Step {
    fn change(&self) -> Change {
        match self {
            Self::Add(t, None) => add(*t),
            Self::Add(t, Some(n)) => add_named(*t, &name(*n)),
            Self::Remove(t, force) => remove(*t, *force),
            Self::RemoveNamed(n) => Change::Delete { target: Target::Tep(named(&name(*n))), force: true },
            Self::Create(vni) => create(*vni),
            Self::RemoveDomain(vni) => remove_domain(*vni),
            Self::Set(vni, teps) => set(*vni, teps),
            Self::Join(vni, teps) => join(*vni, teps),
            Self::Leave(vni, teps) => leave(*vni, teps),
            Self::JoinNamed(vni, n) => {
                Change::Join { vni: (*vni).into(), teps: [named(&name(*n))].into_iter().collect() }
            }
            Self::Limit(vni, own) => limit_domain(*vni, own.map(copies).unwrap_or_default(), true),
            Self::LimitTep(tep, own) => limit_tep_by(by(*tep), own.map(frames).unwrap_or_default(), true),
        }
    }
}

impl Model {
    fn named(&self, n: u8) -> Option<u16> {
        self.owners.get(&name(n)).and_then(|owners| owners.last().copied())
    }

    /// Carries out a batch; `None` where it is refused.
    fn batch(&self, steps: &[Step]) -> Option<Self> {
        let mut next = self.clone();
        for (tep, held) in &self.teps {
            next.owners.extend(held.iter().map(|name| (name.clone(), vec![*tep])));
        }
        let made = steps.iter().all(|step| next.step(step));
        let is_shared = next.owners.values().any(|owners| owners.len() > 1);
        next.owners.clear();
        (made && !is_shared).then_some(next)
    }

    fn rename(&mut self, tep: u16, new: Option<String>) {
        let old = self.teps.get(&tep).cloned().flatten();
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.owners.entry(old).or_default().retain(|other| *other != tep);
        }
        if let Some(new) = new {
            self.owners.entry(new).or_default().push(tep);
        }
    }

    /// False where the step is refused.
    fn step(&mut self, step: &Step) -> bool {
        let registered = |teps: &[u16]| teps.iter().all(|t| self.teps.contains_key(t));
        match step {
            Step::Add(tep, wanted) => {
                let new = wanted.map(name).or_else(|| self.teps.get(tep).cloned().flatten());
                self.rename(*tep, new.clone());
                self.teps.insert(*tep, new);
                true
            }
            Step::Remove(tep, force) => self.remove(*tep, *force),
            Step::RemoveNamed(n) => self.named(*n).is_none_or(|tep| self.remove(tep, true)),
            Step::Create(vni) => {
                self.domains.entry(*vni).or_default();
                true
            }
            Step::RemoveDomain(vni) => {
                self.domains.remove(vni);
                self.domain_limits.remove(vni);
                true
            }
            Step::Set(vni, teps) => {
                let members: BTreeSet<u16> = teps.iter().copied().collect();
                // Each member stands once.
                let is_set = registered(teps) && members.len() == teps.len();
                is_set && {
                    self.domains.insert(*vni, members);
                    true
                }
            }
            Step::Join(vni, teps) => registered(teps) && self.join(*vni, teps),
            Step::JoinNamed(vni, n) => self.named(*n).is_some_and(|tep| self.join(*vni, &[tep])),
            Step::Limit(vni, own) => {
                self.domain_limits.remove(vni);
                self.domain_limits.extend(own.map(|rate| (*vni, rate)));
                self.domains.contains_key(vni)
            }
            Step::LimitTep(tep, own) => {
                self.tep_limits.remove(tep);
                self.tep_limits.extend(own.map(|rate| (*tep, rate)));
                self.teps.contains_key(tep)
            }
            Step::Leave(vni, teps) => {
                if let Some(domain) = self.domains.get_mut(vni) {
                    domain.retain(|tep| !teps.contains(tep));
                }
                true
            }
        }
    }

    fn join(&mut self, vni: u32, teps: &[u16]) -> bool {
        self.domains.get_mut(&vni).is_some_and(|domain| {
            domain.extend(teps);
            true
        })
    }

    fn remove(&mut self, tep: u16, force: bool) -> bool {
        let is_member = self.domains.values().any(|domain| domain.contains(&tep));
        if self.teps.contains_key(&tep) && is_member && !force {
            return false;
        }
        self.tep_limits.remove(&tep);
        self.rename(tep, None);
        if self.teps.remove(&tep).is_some() {
            for domain in self.domains.values_mut() {
                domain.remove(&tep);
            }
        }
        true
    }
}

fn step() -> impl Strategy<Value = Step> {
    let (tep, vni) = (1..8_u16, 1..6_u32);
    let teps = || prop::collection::vec(1..8_u16, 0..4);
    prop_oneof![
        4 => (tep.clone(), prop::option::of(0..4_u8)).prop_map(|(t, n)| Step::Add(t, n)),
        1 => (tep.clone(), any::<bool>()).prop_map(|(t, force)| Step::Remove(t, force)),
        1 => (0..4_u8).prop_map(Step::RemoveNamed),
        2 => vni.clone().prop_map(Step::Create),
        1 => vni.clone().prop_map(Step::RemoveDomain),
        2 => (vni.clone(), teps()).prop_map(|(v, t)| Step::Set(v, t)),
        3 => (vni.clone(), teps()).prop_map(|(v, t)| Step::Join(v, t)),
        2 => (vni.clone(), teps()).prop_map(|(v, t)| Step::Leave(v, t)),
        1 => (vni.clone(), 0..4_u8).prop_map(|(v, n)| Step::JoinNamed(v, n)),
        2 => (vni, prop::option::of(1..3_u64)).prop_map(|(v, own)| Step::Limit(v, own)),
        2 => (tep, prop::option::of(1..3_u64)).prop_map(|(t, own)| Step::LimitTep(t, own)),
    ]
}

fn check(rig: &Rig, model: &Model) {
    let mut stream = rig.run(rig.client().snapshot(Default::default())).unwrap();
    let mut stored = Model::default();
    while let Some(part) = rig.run(stream.message()).unwrap() {
        let last = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
        for tep in part.teps {
            let tep_last = last(&tep.address);
            stored.teps.insert(tep_last, tep.name);
            stored.tep_limits.extend(tep.limit.map(|limit| (tep_last, limit.frames.unwrap())));
        }
        let members = |domain: &ctl_api::proto::Domain| {
            domain.members.as_ref().unwrap().ipv4.chunks(4).map(last).collect()
        };
        let limits =
            part.domains.iter().filter_map(|domain| Some((domain.vni, domain.limit?.copies.unwrap())));
        stored.domain_limits.extend(limits);
        stored.domains.extend(part.domains.iter().map(|domain| (domain.vni, members(domain))));
    }
    assert_eq!(&stored, model, "the store");
    for vni in 1..6 {
        let expected = model.domains.get(&vni).map(|teps| teps.iter().map(|&t| address(t)).collect());
        assert_eq!(rig.members(vni), expected, "the table, domain {vni}");
        let limit = model.domain_limits.get(&vni).map(|&own| copies(own)).unwrap_or_default();
        assert_eq!(rig.domain_limit(vni), expected.map(|_| limit), "the limit of domain {vni}");
    }
    let members = model.domains.values().map(BTreeSet::len).sum::<usize>();
    let counts = rig.server().counts();
    assert_eq!(
        (counts.teps, counts.domains, counts.members),
        (model.teps.len(), model.domains.len(), members)
    );
    for &tep in model.teps.keys() {
        let domains = model.domains.values().filter(|domain| domain.contains(&tep)).count() as u64;
        let limit = model.tep_limits.get(&tep).map(|&own| frames(own)).unwrap_or_default();
        assert_eq!(rig.tep_limit(tep), Some(limit), "the limit of TEP {tep}");
        assert_eq!(rig.run(rig.client().tep(by(tep))).unwrap().domains, domains, "TEP {tep}");
    }
}

/// Commits a batch; it is accepted, and makes a revision, just where the model says so.
fn commit(rig: &Rig, model: &mut Model, steps: &[Step]) {
    let next = model.batch(steps);
    let accepted = next.is_some();
    let before = rig.server().revision();
    let outcome = rig.try_commit(Batch::new(steps.iter().map(Step::change).collect()));
    assert_eq!(outcome.is_ok(), accepted, "{steps:?} on {model:?}: {outcome:?}");
    let changed = next.as_ref().is_some_and(|next| next != model);
    assert_eq!(rig.server().revision().get(), before.get() + u64::from(changed), "{steps:?}");
    if let Some(next) = next {
        *model = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_batches_do_what_a_plain_model_does_and_survive_restarts(
        lives in prop::collection::vec(prop::collection::vec(prop::collection::vec(step(), 1..12), 1..8), 1..4)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        for batches in &lives {
            let mut rig = Rig::new(folder.path());
            check(&rig, &model);
            for steps in batches {
                commit(&rig, &mut model, steps);
            }
            check(&rig, &model);
            rig.stop();
        }
    }
}
