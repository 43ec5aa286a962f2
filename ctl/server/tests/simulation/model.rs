//! The plain model: ordered maps, and for each HAVIP the naive machine. Nothing here is the product's.

use std::collections::{BTreeMap, BTreeSet};

use ctl_havip::Damping;

use crate::naive;
use crate::op::Op;
use crate::script::Act;

/// A second of the simulation's clock, nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// HAVIPs freeze after two moves in 20 s, and thaw after 5 s of one announcer, or after 30 s; silent holders are taken over from
/// after 3 s.
pub fn damping() -> Damping {
    Damping::of_seconds(2, 20, 5, 30, 3)
}

/// A TEP's or a domain's name, and its limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    pub name: Option<u8>,
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Domain {
    pub fields: Fields,
    pub members: BTreeSet<u16>,
}

#[derive(Debug, Clone)]
pub struct Vip {
    pub vni: u32,
    /// Instances. Each has its own MAC address and TEP, of the same number.
    pub attached: BTreeSet<u8>,
    pub machine: naive::Model,
}

/// Revision, and number of changes that changed something.
pub type Answer = (u64, u64);

/// HAVIP, and what happened to it.
pub type Told = (u8, String);

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub revision: u64,
    /// The last revision that a request made.
    pub configured: u64,
    pub teps: BTreeMap<u16, Fields>,
    pub domains: BTreeMap<u32, Domain>,
    pub vips: BTreeMap<u8, Vip>,
    /// Request ids: what was asked, and its answer.
    pub ids: BTreeMap<u32, (String, Answer)>,
    /// No HAVIP is decided about before.
    pub paused_until: u64,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    OtherRevision,
    OtherRequest,
    Change,
    Unconfirmed,
}

/// Result of a request.
pub struct Outcome {
    pub next: Model,
    pub answer: Answer,
    pub told: Vec<Told>,
    /// Something is written.
    pub commits: bool,
}

/// Conditions of a request besides the changes.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub id: Option<u32>,
    pub expected: Option<u64>,
    pub dry_run: bool,
}

impl Model {
    /// A request that carries out `make`; `body` is what its id belongs to.
    pub fn request(
        &self,
        asked: &Asked,
        body: &str,
        make: impl FnOnce(&mut Self, &mut Vec<Told>) -> Result<u64, Refused>,
    ) -> Result<Outcome, Refused> {
        let body = format!("{body} {:?}", asked.expected);
        if let Some((first, answer)) = asked.id.and_then(|id| self.ids.get(&id)) {
            let same = Outcome { next: self.clone(), answer: *answer, told: Vec::new(), commits: false };
            return if *first == body { Ok(same) } else { Err(Refused::OtherRequest) };
        }
        let is_expected = |expected| (self.configured..=self.revision).contains(&expected);
        if !asked.expected.is_none_or(is_expected) {
            return Err(Refused::OtherRevision);
        }
        let (mut next, mut told) = (self.clone(), Vec::new());
        let changed = make(&mut next, &mut told)?;
        if asked.dry_run {
            let answer = (self.revision, changed);
            return Ok(Outcome { next: self.clone(), answer, told: Vec::new(), commits: false });
        }
        let differs = !told.is_empty() || !next.is_like(self);
        next.revision += u64::from(differs);
        if differs {
            next.configured = next.revision;
        }
        let answer = (next.revision, changed);
        next.ids.extend(asked.id.map(|id| (id, (body, answer))));
        Ok(Outcome { next, answer, told, commits: differs || asked.id.is_some() })
    }

    /// Carries out a batch, all of it or nothing; returns how many changes changed something.
    pub fn batch(&mut self, ops: &[Op], at: u64, told: &mut Vec<Told>) -> Result<u64, Refused> {
        let mut changed = 0;
        for op in ops {
            let before = self.clone();
            self.op(op, at, told).ok_or(Refused::Change)?;
            changed += u64::from(!self.is_like(&before));
        }
        let names: Vec<u8> = self.teps.values().filter_map(|tep| tep.name).collect();
        let each: BTreeSet<u8> = names.iter().copied().collect();
        if each.len() == names.len() { Ok(changed) } else { Err(Refused::Change) }
    }

    /// A desired state in place of this one; its HAVIPs keep their holders where those stay attached.
    pub fn apply(
        &mut self,
        desired: &Self,
        confirmed: bool,
        dry_run: bool,
        at: u64,
        told: &mut Vec<Told>,
    ) -> Result<u64, Refused> {
        let before = self.clone();
        let memberships = |model: &Self| -> BTreeSet<(u32, u16)> {
            let each = model.domains.iter();
            each.flat_map(|(&vni, domain)| domain.members.iter().map(move |&tep| (vni, tep))).collect()
        };
        let (old, new) = (memberships(&before), memberships(desired));
        let gone = before.vips.keys().filter(|vip| !desired.vips.contains_key(vip)).count();
        let many = |gone: usize, of: usize| gone * 5 > of;
        if !confirmed
            && !dry_run
            && (many(old.difference(&new).count(), old.len()) || many(gone, before.vips.len()))
        {
            return Err(Refused::Unconfirmed);
        }
        for vip in before.vips.keys().filter(|vip| !desired.vips.contains_key(vip)) {
            self.remove_vip(*vip, told);
        }
        for (name, vip) in &before.vips {
            let Some(wanted) = desired.vips.get(name) else { continue };
            for &instance in vip.attached.difference(&wanted.attached) {
                self.detach(*name, instance, at, told);
            }
            for &instance in wanted.attached.difference(&vip.attached) {
                self.attach(*name, instance, at);
            }
        }
        (self.teps, self.domains) = (desired.teps.clone(), desired.domains.clone());
        let teps = differences(&before.teps, &self.teps, |one, other| one == other);
        let domains = differences(&before.domains, &self.domains, |one, other| one == other);
        let vips = differences(&before.vips, &self.vips, |one, other| one.attached == other.attached);
        Ok(teps + domains + vips)
    }

    /// Time passes, and HAVIPs are looked at. Returns what happens, and the models of those it happens to as they were.
    pub fn look(&mut self, now: u64) -> (Vec<Told>, BTreeMap<u8, naive::Model>) {
        let (mut told, mut before) = (Vec::new(), BTreeMap::new());
        if now < self.paused_until {
            return (told, before);
        }
        for (&name, vip) in &mut self.vips {
            let old = vip.machine.clone();
            vip.machine.step(now);
            let new: Vec<&String> = vip.machine.story.iter().skip(old.story.len()).collect();
            if !new.is_empty() {
                let kind = |line: &&String| {
                    let words = line.split_once(' ').unwrap().1;
                    let end = if words.starts_with("conflict ended") { "conflict-ended" } else { words };
                    end.split([' ', ',']).next().unwrap().to_owned()
                };
                told.extend(new.iter().map(|line| (name, kind(line))));
                before.insert(name, old);
            }
        }
        (told, before)
    }

    /// State that is known after a restart.
    pub fn restart(&mut self, now: u64) {
        self.paused_until = 0;
        for vip in self.vips.values_mut() {
            vip.machine = vip.machine.restarted(now);
        }
    }

    /// State that changes make is the same; but for revision and request ids.
    pub fn is_like(&self, other: &Self) -> bool {
        let vip = |vip: &Vip| (vip.vni, vip.attached.clone(), vip.machine.holder, vip.machine.is_frozen());
        let vips = |model: &Self| model.vips.iter().map(|(&name, one)| (name, vip(one))).collect::<Vec<_>>();
        (&self.teps, &self.domains) == (&other.teps, &other.domains) && vips(self) == vips(other)
    }

    /// `None`: it cannot be.
    fn op(&mut self, op: &Op, at: u64, told: &mut Vec<Told>) -> Option<()> {
        match op {
            Op::AddTep(tep, name) => {
                let fields = self.teps.entry(*tep).or_default();
                fields.name = name.or(fields.name);
            }
            Op::RemoveTep(tep, force) => self.remove_tep(*tep, *force, at, told)?,
            Op::LimitTep(tep, limit) => self.teps.get_mut(tep)?.limit = *limit,
            Op::Create(vni) => drop(self.domains.entry(*vni).or_default()),
            Op::RemoveDomain(vni, force) => {
                let of_domain: Vec<u8> =
                    self.vips.iter().filter(|(_, vip)| vip.vni == *vni).map(|(name, _)| *name).collect();
                if !of_domain.is_empty() && !force {
                    return None;
                }
                of_domain.into_iter().for_each(|name| self.remove_vip(name, told));
                self.domains.remove(vni);
            }
            Op::LimitDomain(vni, limit) => self.domains.get_mut(vni)?.fields.limit = *limit,
            Op::Members(vni, teps) => {
                teps.iter().all(|tep| self.teps.contains_key(tep)).then_some(())?;
                self.domains.entry(*vni).or_default().members.clone_from(teps);
            }
            Op::Join(vni, teps) => {
                teps.iter().all(|tep| self.teps.contains_key(tep)).then_some(())?;
                self.domains.get_mut(vni)?.members.extend(teps);
            }
            Op::JoinNamed(vni, name) => {
                let (&tep, _) = self.teps.iter().find(|(_, fields)| fields.name == Some(*name))?;
                self.domains.get_mut(vni)?.members.insert(tep);
            }
            Op::Leave(vni, teps) => {
                if let Some(domain) = self.domains.get_mut(vni) {
                    domain.members.retain(|tep| !teps.contains(tep));
                }
            }
            Op::CreateVip(name, vni) => match self.vips.get(name) {
                Some(vip) => (vip.vni == *vni).then_some(())?,
                None => {
                    self.domains.get(vni)?;
                    let machine = naive::Model::new(&[], damping());
                    self.vips.insert(*name, Vip { vni: *vni, attached: BTreeSet::new(), machine });
                }
            },
            Op::RemoveVip(name) => self.remove_vip(*name, told),
            Op::Attach(name, instance) => {
                (self.vips.contains_key(name) && self.teps.contains_key(&u16::from(*instance)))
                    .then_some(())?;
                self.attach(*name, *instance, at);
            }
            Op::Detach(name, instance) => self.detach(*name, *instance, at, told),
            Op::Unfreeze(name) => {
                let vip = self.vips.get_mut(name)?;
                if vip.machine.is_frozen() {
                    vip.machine.act(Act::Unfreeze, at);
                    told.push((*name, "thawed".to_owned()));
                }
            }
        }
        Some(())
    }

    fn remove_tep(&mut self, tep: u16, force: bool, at: u64, told: &mut Vec<Told>) -> Option<()> {
        let Ok(instance) = u8::try_from(tep) else { return Some(()) };
        if !self.teps.contains_key(&tep) {
            return Some(());
        }
        let used = self.domains.values().any(|domain| domain.members.contains(&tep))
            || self.vips.values().any(|vip| vip.attached.contains(&instance));
        (force || !used).then_some(())?;
        for domain in self.domains.values_mut() {
            domain.members.remove(&tep);
        }
        let names: Vec<u8> = self.vips.keys().copied().collect();
        names.into_iter().for_each(|name| self.detach(name, instance, at, told));
        self.teps.remove(&tep);
        Some(())
    }

    fn remove_vip(&mut self, name: u8, told: &mut Vec<Told>) {
        if self.vips.remove(&name).is_some() {
            told.push((name, "removed".to_owned()));
        }
    }

    fn attach(&mut self, name: u8, instance: u8, at: u64) {
        if let Some(vip) = self.vips.get_mut(&name) {
            vip.attached.insert(instance);
            vip.machine.act(Act::Attach(instance.into()), at);
        }
    }

    fn detach(&mut self, name: u8, instance: u8, at: u64, told: &mut Vec<Told>) {
        let Some(vip) = self.vips.get_mut(&name) else { return };
        if vip.attached.remove(&instance) {
            let held = vip.machine.holder == Some(instance.into());
            vip.machine.act(Act::Detach(instance.into()), at);
            told.extend(held.then(|| (name, "unbound".to_owned())));
        }
    }
}

fn differences<K: Ord, V>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>, same: impl Fn(&V, &V) -> bool) -> u64 {
    let gone = old.keys().filter(|key| !new.contains_key(key)).count();
    let other = new.iter().filter(|(key, value)| old.get(key).is_none_or(|old| !same(old, value))).count();
    (gone + other) as u64
}
