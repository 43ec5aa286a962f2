//! One node's control path, its clients and all that befalls it, step by step beside the plain model.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bcast_domain::{AnnouncementKind, RejectReason, Rejected, TepIndex, VlanTags};
use ctl_api::client::RefusalKind;
use ctl_api::model::{Batch, Conditions, Revision};
use ctl_api::proto;
use ctl_api::{Client, ClientError};
use ctl_store::EmbeddedStore;
use fastrand::Rng;
use tempfile::TempDir;
use tonic::Streaming;

use crate::model::{Answer, Asked, Model, Outcome, Refused, SECOND, Told, damping};
use crate::op::{self, Op};
use crate::receivers::{self, Receiver};
use crate::rig::{self, Rig, failing::FaultyStore, havip};
use crate::script::Act;
use crate::seen::Seen;
use crate::store::{Disk, DiskFaults, Fate};
use crate::trace::Trace;

mod checks;

use checks::vip_of;

const CLIENTS: usize = 3;

/// A client that follows all changes, with what it knows by them.
#[derive(Default)]
struct Watcher {
    stream: Option<Streaming<proto::WatchEvent>>,
    /// The last revision that it saw.
    at: u64,
    seen: Seen,
    told: BTreeMap<u8, Vec<String>>,
}

pub struct World {
    trace: Trace,
    rng: Rng,
    rig: Option<Rig>,
    clients: Vec<Client>,
    disk: Arc<Mutex<Disk>>,
    model: Model,
    now: u64,
    /// Events of each HAVIP, as the model has them; without refused announcements.
    told: BTreeMap<u8, Vec<String>>,
    /// HAVIPs that were forged.
    forged: BTreeMap<u8, u64>,
    watchers: Vec<Watcher>,
    receivers: Vec<Receiver>,
    /// Requests with an id, to be repeated.
    asked: Vec<(Asked, Vec<Op>)>,
    ids: u32,
    folder: TempDir,
}

fn folder() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

impl World {
    pub fn new(seed: u64) -> Self {
        let folder = folder();
        let secret = "whsec_c2VjcmV0IGVub3VnaCBmb3IgYW55Ym9keSBhdCBhbGw=\n";
        std::fs::write(folder.path().join("secret"), secret).unwrap();
        let mut world = Self {
            trace: Trace { seed, step: 0, last: VecDeque::new(), all: String::new() },
            rng: Rng::with_seed(seed),
            rig: None,
            clients: Vec::new(),
            disk: Arc::default(),
            model: Model::default(),
            now: SECOND,
            told: BTreeMap::new(),
            forged: BTreeMap::new(),
            watchers: (0..2).map(|_| Watcher::default()).collect(),
            receivers: (0..2).map(|n| Receiver::start(seed ^ n)).collect(),
            asked: Vec::new(),
            ids: 0,
            folder,
        };
        world.start();
        world
    }

    /// Makes so many steps (a change of a batch, an announcement, a time that passes, a reading, a failure are one
    /// each), then checks all; returns what was done.
    pub fn run(mut self, steps: u64) -> String {
        while self.trace.step < steps {
            self.trace.step += 1;
            self.step();
        }
        self.check_all();
        self.check_watchers();
        self.check_receivers();
        std::mem::take(&mut self.trace.all)
    }

    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..46 => self.commit(),
            46..53 => self.repeat(),
            53..60 => self.apply(),
            60..76 => self.listen(),
            76..86 => self.pass_time(),
            86..91 => self.check_watchers(),
            91..93 => self.drop_watcher(),
            93..97 => self.check_all(),
            97 => self.crash("stopped"),
            _ => self.pass_time(),
        }
        self.check_tables();
    }

    fn rig(&self) -> &Rig {
        self.rig.as_ref().unwrap()
    }

    fn start(&mut self) {
        let store = EmbeddedStore::open(&self.folder.path().join("domains.redb")).unwrap();
        let store = FaultyStore { store, faults: DiskFaults(Arc::clone(&self.disk)) };
        let secret = self.folder.path().join("secret");
        let names = ["ra", "rb"];
        let endpoints =
            self.receivers.iter().zip(names).map(|(receiver, name)| receiver.endpoint(name, &secret));
        let endpoints = endpoints.collect();
        let mut rig = Rig::start_at(self.folder.path(), store, self.now, |config| {
            config.damping = damping();
            config.confirm_timeout = Duration::from_secs(60);
            config.exporters.webhooks = endpoints;
            config.exporters.policy = receivers::policy();
            config.exporters.source = "/simulation".to_owned();
        });
        rig.worker.end();
        self.clients = (0..CLIENTS).map(|_| rig.client()).collect();
        self.rig = Some(rig);
    }

    /// The process ends, by a crash of which the store knows or by SIGTERM, and starts anew.
    fn crash(&mut self, why: &str) {
        self.trace.say(format!("{why}, and started anew"));
        self.clients.clear();
        self.watchers.iter_mut().for_each(|watcher| watcher.stream = None);
        let mut rig = self.rig.take().unwrap();
        rig.stop();
        drop(rig);
        (self.disk.lock().unwrap().dead, self.disk.lock().unwrap().fate) = (false, None);
        self.model.restart(self.now);
        self.start();
        self.look(None);
        self.check_all();
    }

    fn asked(&mut self) -> Asked {
        let id = (self.rng.u8(0..4) == 0).then(|| {
            self.ids += 1;
            self.ids
        });
        let near = (self.model.revision + 1).saturating_sub(self.rng.u64(0..4));
        Asked { id, expected: (self.rng.u8(0..8) == 0).then_some(near), dry_run: self.rng.u8(0..12) == 0 }
    }

    fn fate(&mut self) -> Option<Fate> {
        (self.rng.u8(0..12) == 0).then(|| Fate::ALL[self.rng.usize(0..Fate::ALL.len())])
    }

    fn commit(&mut self) {
        let (asked, ops) = (self.asked(), op::batch(&mut self.rng));
        if asked.id.is_some() {
            self.asked.push((asked.clone(), ops.clone()));
        }
        self.send(&asked, &ops);
    }

    /// A request comes once more, or another one with its id.
    fn repeat(&mut self) {
        let Some(at) = self.rng.usize(0..8).checked_rem(self.asked.len().min(8)) else { return };
        let (asked, mut ops) = self.asked[self.asked.len() - 1 - at].clone();
        if self.rng.u8(0..3) == 0 {
            ops.push(Op::Create(1));
        }
        self.send(&asked, &ops);
    }

    fn send(&mut self, asked: &Asked, ops: &[Op]) {
        let at = self.now;
        let expected =
            self.model.request(asked, &format!("{ops:?}"), |model, told| model.batch(ops, at, told));
        let fate = self.arm(&expected);
        self.trace.step += ops.len().saturating_sub(1) as u64;
        self.trace.say(format!("{asked:?} {ops:?} {fate:?}"));
        let conditions = conditions(asked);
        let batch = Batch { changes: ops.iter().map(Op::change).collect(), conditions };
        let client = self.rng.usize(0..CLIENTS);
        let (rig, client) = (self.rig.as_ref().unwrap(), &mut self.clients[client]);
        let reply = rig.run(client.commit(batch)).map(|reply| (reply.revision, reply.changed));
        self.settle_request(expected, fate, reply);
    }

    /// Chooses what becomes of the commit, where one follows.
    fn arm(&mut self, expected: &Result<Outcome, Refused>) -> Option<Fate> {
        let fate = self.fate().filter(|_| expected.as_ref().is_ok_and(|outcome| outcome.commits));
        self.disk.lock().unwrap().fate = fate;
        fate
    }

    /// The answer is what the model says, and what is durable is all of the request or nothing.
    fn settle_request(
        &mut self,
        expected: Result<Outcome, Refused>,
        fate: Option<Fate>,
        reply: Result<Answer, ClientError>,
    ) {
        let outcome = match (expected, reply) {
            (Ok(outcome), reply) => {
                match (fate, &reply) {
                    (None, Ok(answer)) => {
                        assert_eq!(*answer, outcome.answer, "revision, and changes that changed")
                    }
                    (
                        Some(_),
                        Err(ClientError::Refused {
                            kind:
                                RefusalKind::Unavailable | RefusalKind::Unconfirmed(_) | RefusalKind::Other(_),
                            ..
                        }),
                    ) => {}
                    _ => panic!("with {fate:?} the answer is {reply:?}"),
                }
                outcome
            }
            (Err(refused), Err(ClientError::Refused { kind, message, .. })) => {
                assert!(is_why(kind, refused), "{refused:?}: {message}");
                return;
            }
            (Err(refused), reply) => panic!("{refused:?} was expected: {reply:?}"),
        };
        assert_eq!(self.disk.lock().unwrap().fate, None, "nothing was committed");
        let changed = !outcome.told.is_empty() || outcome.next.revision != self.model.revision;
        if fate.is_none_or(Fate::is_durable) {
            self.model = outcome.next;
            self.tell(outcome.told);
        }
        if fate.is_some_and(Fate::is_crash) {
            return self.crash("crashed");
        }
        if matches!(fate, Some(Fate::Lost | Fate::Kept)) {
            self.pass_commit_thread();
        }
        if changed {
            self.look(None);
        }
    }

    /// Returns once the commit thread is done with all that it was told before.
    fn pass_commit_thread(&mut self) {
        let conditions = Conditions { dry_run: true, ..Conditions::default() };
        let batch = Batch { changes: vec![Op::Create(1).change()], conditions };
        let (rig, client) = (self.rig.as_ref().unwrap(), &mut self.clients[0]);
        rig.run(client.commit(batch)).unwrap();
    }

    fn tell(&mut self, told: Vec<Told>) {
        for (vip, kind) in told {
            self.told.entry(vip).or_default().push(kind);
        }
    }

    fn apply(&mut self) {
        let (asked, at) = (Asked { id: None, ..self.asked() }, self.now);
        let desired = op::desired(&mut self.rng, &self.model);
        let confirmed = self.rng.bool();
        let expected = self
            .model
            .request(&asked, "", |model, told| model.apply(&desired, confirmed, asked.dry_run, at, told));
        let fate = self.arm(&expected);
        self.trace.say(format!("apply {asked:?} {confirmed} {:?} {fate:?}", Seen::of(&desired)));
        let options = proto::ApplyOptions {
            prune: true,
            dry_run: asked.dry_run,
            expected_revision: asked.expected,
            confirm_removals: confirmed.then_some(proto::Removals { memberships: 1_000, havips: 1_000 }),
            ..proto::ApplyOptions::default()
        };
        let client = self.rng.usize(0..CLIENTS);
        let (rig, client) = (self.rig.as_ref().unwrap(), &mut self.clients[client]);
        let reply = rig.run(client.apply(options, op::resources(&desired).into_iter(), |_| {}));
        let reply = reply.map(|(_, summary)| summary.reply.unwrap());
        self.settle_request(expected, fate, reply.map(|reply| (reply.revision, reply.changed)));
    }

    /// Workers hear announcements, and refuse forged ones; time passes.
    fn listen(&mut self) {
        if self.model.vips.is_empty() || self.now < self.model.paused_until {
            return self.pass_time();
        }
        let mut said: Vec<(u8, u8, bool)> = Vec::new();
        for _ in 0..self.rng.usize(1..6) {
            let vips: Vec<u8> = self.model.vips.keys().copied().collect();
            let vip = vips[self.rng.usize(0..vips.len())];
            let attached: Vec<u8> = self.model.vips[&vip].attached.iter().copied().collect();
            if let Some(at) = self.rng.usize(0..6).checked_rem(attached.len()) {
                let one = (vip, attached[at], self.rng.u8(0..4) > 0);
                said.extend((!said.contains(&one)).then_some(one));
            }
        }
        // A HAVIP that was forged is looked at for long: then it is not known what a commit is about that fails.
        let is_forged = self.trace.seed % 2 == 1;
        let forged = (is_forged && self.rng.u8(0..10) == 0).then(|| self.rng.u8(1..=6));
        let fate = self.fate().filter(|fate| !is_forged && *fate != Fate::Kept);
        self.trace.step += said.len() as u64;
        self.trace.say(format!("said {said:?}, forged {forged:?} {fate:?}"));
        self.rig().node.stop.close();
        self.disk.lock().unwrap().fate = fate;
        for (vip, instance, claims) in said {
            self.now += 1_000;
            let what = if claims { AnnouncementKind::Claim { mac: [0; 6] } } else { AnnouncementKind::Use };
            let seen = self.vip(vip);
            let is = |one: &&bcast_domain::Announcer| one.mac == havip::mac(instance);
            let announcer = seen.announcers.iter().find(is).expect("who is attached may announce").id;
            self.rig().node.board.note(seen.id, announcer, what, VlanTags::NONE, self.now);
            let act = if claims { Act::Claim } else { Act::Use }(instance.into());
            let now = self.now;
            self.model.vips.get_mut(&vip).unwrap().machine.act(act, now);
        }
        if let Some(tep) = forged {
            self.forge(tep);
        }
        // The thread may have stopped in the middle of a look: so little time passes that it makes no difference.
        self.look_after(1_000, fate);
    }

    /// One that is attached nowhere claims the first HAVIP that is guarded.
    fn forge(&mut self, tep: u8) {
        let guarded = self.model.vips.iter().find(|(_, vip)| !vip.attached.is_empty());
        let Some((&vip, _)) = guarded else { return };
        let array = self.rig().readers.reader().array().clone();
        let Some(at) = array.iter().position(|one| *one == Some(rig::tep(tep.into()))) else { return };
        let tep = TepIndex::new(u32::try_from(at).unwrap()).unwrap();
        self.now += 1_000;
        let (mac, at_ns) = (havip::mac(99).octets(), self.now);
        let reason = RejectReason::Unattached;
        let (id, tags, claims) = (self.vip(vip).id, VlanTags::NONE, true);
        let refused = Rejected { vip: id, mac, bound: mac, tep, reason, claims, tags, at_ns };
        self.rig().node.refused.lock().unwrap().push_back(refused);
        *self.forged.entry(vip).or_default() += 1;
    }

    fn drop_watcher(&mut self) {
        let at = self.rng.usize(0..self.watchers.len());
        self.watchers[at].stream = None;
        self.trace.say(format!("watcher {at} is dropped"));
    }

    fn vip(&self, vip: u8) -> bcast_domain::Vip {
        let vips = self.rig().vips(self.model.vips[&vip].vni);
        vips.into_iter().find(|seen| seen.address == havip::ip(vip)).expect("workers know the HAVIP")
    }

    fn time(&mut self) -> u64 {
        match self.rng.u8(0..10) {
            0..6 => self.rng.u64(1..200) * 1_000_000,
            6..9 => self.rng.u64(1..6) * SECOND,
            _ => self.rng.u64(6..40) * SECOND,
        }
    }

    fn pass_time(&mut self) {
        let time = self.time();
        self.trace.say(format!("{} ms pass", time / 1_000_000));
        if self.model.vips.is_empty() {
            self.now += time;
            self.rig().node.now_ns.store(self.now, Ordering::Relaxed);
            return;
        }
        self.look_after(time, None);
    }

    fn look_after(&mut self, time: u64, fate: Option<Fate>) {
        self.now += time;
        self.rig().node.now_ns.store(self.now, Ordering::Relaxed);
        self.rig().node.stop.open();
        self.look(fate);
    }

    /// Waits until the commit thread has looked at all HAVIPs as they are now, and the model does the same.
    fn look(&mut self, fate: Option<Fate>) {
        let now = self.now;
        if self.model.vips.is_empty() || now < self.model.paused_until {
            self.disk.lock().unwrap().fate = None;
            return self.check_records();
        }
        let from = self.rig().node.looks.load(Ordering::Relaxed);
        let failed = || fate.is_some() && self.disk.lock().unwrap().fate.is_none();
        let begun = Instant::now();
        while self.rig().node.looks.load(Ordering::Relaxed) < from + 3 && !failed() {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody looks at HAVIPs");
            std::thread::sleep(Duration::from_micros(200));
        }
        let failed = failed();
        let (told, before) = self.model.look(now);
        if !told.is_empty() {
            self.trace.say(format!(
                "{told:?}{}",
                if failed { ", not durable before a crash, if at all" } else { "" }
            ));
        }
        if !failed {
            self.disk.lock().unwrap().fate = None;
            self.tell(told);
            return self.check_records();
        }
        let fate = fate.unwrap();
        if fate == Fate::CrashAfter {
            self.tell(told);
        } else {
            let failed = std::mem::take(&mut self.disk.lock().unwrap().failed);
            let events = failed.into_iter().flat_map(|record| record.events);
            let names: Vec<u8> = events.filter_map(|event| vip_of(&event)).collect();
            assert!(told.iter().all(|(vip, _)| names.contains(vip)), "decided: {told:?}, failed: {names:?}");
            for (vip, machine) in before.into_iter().filter(|(vip, _)| names.contains(vip)) {
                self.model.vips.get_mut(&vip).unwrap().machine = machine;
            }
            self.model.paused_until = now + SECOND;
        }
        if fate.is_crash() {
            self.check_records();
            return self.crash("crashed");
        }
        // What was decided is taken back before this is answered.
        self.pass_commit_thread();
    }
}

fn conditions(asked: &Asked) -> Conditions {
    Conditions {
        request_id: asked.id.map(|id| format!("r-{id}").parse().unwrap()),
        expected: asked.expected.map(Revision::new),
        dry_run: asked.dry_run,
        confirmed: proto::Removals { memberships: u64::MAX, havips: u64::MAX },
        ..Conditions::default()
    }
}

fn is_why(kind: RefusalKind, refused: Refused) -> bool {
    match refused {
        Refused::OtherRevision => kind == RefusalKind::Conflict,
        Refused::OtherRequest => kind == RefusalKind::Exists,
        Refused::Unconfirmed => kind == RefusalKind::Precondition,
        Refused::Change => {
            matches!(kind, RefusalKind::NotFound | RefusalKind::Exists | RefusalKind::Precondition)
        }
    }
}
