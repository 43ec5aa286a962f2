//! Comparison of the node with the model: records, tables, queries, watches, and receivers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ctl_api::model::{Event, HavipEventKind, Revision};
use ctl_api::proto::{self, watch_event::Kind};

use super::{Watcher, World};
use crate::model::Vip;
use crate::rig::{self, havip};
use crate::seen::Seen;

impl World {
    /// Revisions are dense, and those that the model does not know are of HAVIPs alone. No alarm is in any.
    pub(super) fn check_records(&mut self) {
        let disk = self.disk.lock().unwrap();
        let known = usize::try_from(self.model.revision).unwrap();
        for (at, record) in disk.records.iter().enumerate().skip(known.saturating_sub(1)) {
            assert_eq!(record.revision.get(), at as u64 + 1, "revisions are dense");
            assert!(
                at < known || record.events.iter().all(|event| vip_of(event).is_some()),
                "nobody asked for {record:?}"
            );
            let is_alarm = |event: &Event| match event {
                Event::HavipEvent(event) => event.kind == HavipEventKind::Spoof,
                _ => false,
            };
            assert!(!record.events.iter().any(is_alarm), "an alarm in {record:?}");
        }
        assert!(disk.records.len() >= known, "an answered revision is not durable");
        self.model.revision = disk.records.len() as u64;
    }

    /// Workers find what the model says: members, limits, and who may announce what.
    pub(super) fn check_tables(&mut self) {
        let rig = self.rig();
        assert_eq!(rig.server().revision().get(), self.model.revision, "the published revision");
        for vni in 1..=5 {
            let domain = self.model.domains.get(&vni);
            let members = domain.map(|domain| domain.members.iter().copied().collect::<Vec<u16>>());
            assert_eq!(rig.members(vni), members.and_then(|all| rig::addresses(&all)), "members of {vni}");
            let Some(domain) = domain else { continue };
            let limit = domain.fields.limit.map(rig::copies).unwrap_or_default();
            assert_eq!(rig.domain_limit(vni), Some(limit), "the limit of {vni}");
            let is_guarded = |vip: &Vip| vip.vni == vni && !vip.attached.is_empty();
            let of_domain = self.model.vips.iter().filter(|(_, vip)| is_guarded(vip));
            let guarded = of_domain.map(|(&name, vip)| {
                let announcers = vip.attached.iter().map(|&instance| (instance, instance)).collect();
                (havip::ip(name).to_string(), announcers)
            });
            assert_eq!(rig.guarded(vni), guarded.collect::<Vec<_>>(), "HAVIPs of {vni}");
        }
        for tep in 1..=6 {
            let limit = self.model.teps.get(&tep);
            let limit = limit.map(|tep| tep.limit.map(rig::frames).unwrap_or_default());
            assert_eq!(rig.tep_limit(tep), limit, "TEP {tep}");
        }
    }

    /// Clients read what the model says: by a snapshot, and page by page.
    pub(super) fn check_all(&mut self) {
        let expected = Seen::of(&self.model);
        let mut client = self.clients[0].clone();
        let (rig, mut seen) = (self.rig(), Seen::default());
        let mut parts = rig.run(client.snapshot(Default::default())).unwrap();
        while let Some(part) = rig.run(parts.message()).unwrap() {
            part.teps.into_iter().for_each(|tep| seen.tep(tep));
            part.domains.into_iter().for_each(|domain| seen.domain(domain));
            part.havips.into_iter().for_each(|entry| seen.havip(entry));
        }
        assert_eq!(seen, expected, "a snapshot");
        let mut seen = Seen::default();
        let teps = proto::ListTepsRequest { page_size: 2, ..Default::default() };
        rig.run(client.teps(teps)).unwrap().into_iter().for_each(|tep| seen.tep(tep));
        assert_eq!(seen.teps, expected.teps, "pages");
    }

    /// Each watcher sees each revision once and in order, and by it what the model says.
    pub(super) fn check_watchers(&mut self) {
        let expected = Seen::of(&self.model);
        let mut watchers = std::mem::take(&mut self.watchers);
        for watcher in &mut watchers {
            self.catch_up(watcher);
            assert_eq!(watcher.seen, expected, "a watcher's state");
            for (vip, told) in &watcher.told {
                let but_spoofs: Vec<&String> = told.iter().filter(|kind| *kind != "spoof").collect();
                assert_eq!(
                    but_spoofs,
                    self.told.get(vip).into_iter().flatten().collect::<Vec<_>>(),
                    "HAVIP {vip}"
                );
                let spoofs = (told.len() - but_spoofs.len()) as u64;
                assert!(spoofs <= self.forged.get(vip).copied().unwrap_or(0), "HAVIP {vip}: {spoofs} spoofs");
            }
            assert!(self.told.iter().all(|(vip, all)| all.is_empty() || watcher.told.contains_key(vip)));
        }
        self.watchers = watchers;
    }

    fn catch_up(&mut self, watcher: &mut Watcher) {
        let rig = self.rig.as_ref().unwrap();
        let from = Revision::new(watcher.at + 1);
        if watcher.stream.is_none() {
            let stream = rig.run(self.clients[1].watch(Some(from), Default::default()));
            watcher.stream = Some(stream.unwrap());
        }
        let stream = watcher.stream.as_mut().unwrap();
        while watcher.at < self.model.revision {
            let next = async { tokio::time::timeout(Duration::from_secs(60), stream.message()).await };
            let event = rig.run(next).expect("an event comes").unwrap().expect("a watch does not end");
            if let Some(Kind::HavipEvent(alarm)) = &event.kind
                && alarm.kind == proto::HavipEventKind::Spoof as i32
            {
                // Part of no revision: it comes after the one at which it was told.
                assert_eq!(event.revision, watcher.at, "alarms in order with revisions");
                let vip = alarm.havip.trim_start_matches('h').parse().unwrap();
                watcher.told.entry(vip).or_default().push("spoof".to_owned());
                continue;
            }
            assert_eq!(event.revision, watcher.at + 1, "revisions in order");
            match event.kind.unwrap() {
                Kind::Committed(_) => watcher.at += 1,
                kind => {
                    if let Some((vip, kind)) = watcher.seen.follow(kind) {
                        watcher.told.entry(vip).or_default().push(kind);
                    }
                }
            }
        }
    }

    /// Each receiver has each event, in the order of its HAVIP, and none that was not.
    pub(super) fn check_receivers(&mut self) {
        let mut expected: BTreeMap<u8, Vec<(String, String)>> = BTreeMap::new();
        for record in &self.disk.lock().unwrap().records {
            let events = record.events.iter().filter_map(|event| match event {
                Event::HavipEvent(event) => Some(event),
                _ => None,
            });
            for (index, event) in events.enumerate() {
                let vip = event.havip.as_str().trim_start_matches('h').parse().unwrap();
                let id = format!("{}-{index}", record.revision);
                expected.entry(vip).or_default().push((id, event.kind.as_str().to_owned()));
            }
        }
        let count: usize = expected.values().map(Vec::len).sum();
        let begun = Instant::now();
        for receiver in &self.receivers {
            while receiver.len() < count {
                assert!(begun.elapsed() < Duration::from_secs(60), "{} of {count} events", receiver.len());
                std::thread::sleep(Duration::from_millis(2));
            }
            assert_eq!(receiver.accepted(), expected, "what a receiver accepted");
            for (vip, alarms) in receiver.alarms() {
                assert!(
                    alarms <= self.forged.get(&vip).copied().unwrap_or(0),
                    "HAVIP {vip}: {alarms} alarms"
                );
            }
        }
    }
}

/// HAVIP that an event is about.
pub(super) fn vip_of(event: &Event) -> Option<u8> {
    let name = match event {
        Event::HavipSet(entry) => &entry.havip.name,
        Event::HavipEvent(event) => &event.havip,
        _ => return None,
    };
    name.as_str().trim_start_matches('h').parse().ok()
}
