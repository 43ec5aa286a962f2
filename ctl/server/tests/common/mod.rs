//! A control path over a store in a temporary folder, with a data plane of one thread that only looks at the table.
#![allow(dead_code)]

pub mod failing;
pub mod havip;
pub mod log;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use bcast_domain::{
    AnnouncementBoard, ArrayPublisher, DomainId, DomainLimit, Epoch, Rate, Readers, Rejected, StrictRefusal,
    Tep, TepIndex, TepLimit, Vni, table,
};
use ctl_api::Client;
use ctl_api::model::{
    Batch, Change, Conditions, DomainFields, Existing, Field, SetResource, Target, TepFields, TepRef, TepSet,
};
use ctl_api::proto;
use ctl_node::{
    AddressConflict, BfdSession, BfdState, DomainCounters, DropOffender, Drops, Holding, Moment, NextHop,
    Node, NodeState, NodeStats, Standing, TepRefusal,
};
use ctl_server::{CommitHook, Server, ServerConfig, Versions};
use ctl_store::{EmbeddedStore, Store};
use tokio::runtime::{Handle, Runtime};

/// The TEP array: by index, `None` where there is no TEP.
pub type Array = Vec<Option<Tep>>;

/// The node's own address in all tests.
pub const OWN: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);

/// A data plane that publishes the TEP array, and counts what a test tells it to.
pub struct TestNode {
    array: Mutex<ArrayPublisher<Array>>,
    pub drain: Mutex<Duration>,
    pub drained: AtomicBool,
    pub frames: Mutex<BTreeMap<u32, u64>>,
    /// Values of each number and index that are not the default.
    pub domain_limits: Mutex<BTreeMap<u32, DomainLimit>>,
    pub tep_limits: Mutex<BTreeMap<usize, TepLimit>>,
    /// Announcements that a test lets the node see, and refuse; and its time.
    pub board: AnnouncementBoard,
    pub refused: Mutex<VecDeque<Rejected>>,
    pub strict_refused: Mutex<VecDeque<StrictRefusal>>,
    pub now_ns: AtomicU64,
    /// Readings of all its clocks, where a test sets them; else they follow `now_ns` and the system's time.
    pub moment: Mutex<Option<Moment>>,
    /// While a test holds it, statistics and the array of TEPs hang.
    pub gate: Mutex<()>,
    /// Calls that came to the gate.
    pub at_gate: AtomicU64,
    /// Announcements that it was asked to send.
    pub announced: Mutex<Vec<Holding>>,
    /// Stops the commit thread where it reads the clock.
    pub stop: Stop,
    /// Count of calls that took all refused announcements: one in each check of HAVIPs.
    pub looks: AtomicU64,
}

/// A place where the commit thread can be stopped.
#[derive(Default)]
pub struct Stop {
    /// Signals to stop, and that the thread has stopped.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Stop {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        while state.0 {
            state.1 = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.1 = false;
    }

    /// Returns once the commit thread has stopped, for a minute at most.
    pub fn close(&self) {
        let mut state = self.state.lock().unwrap();
        *state = (true, false);
        let patience = Duration::from_secs(60);
        let waited = self.changed.wait_timeout_while(state, patience, |state| !state.1);
        assert!(waited.unwrap().0.1, "the commit thread does not read the clock");
    }

    pub fn open(&self) {
        self.state.lock().unwrap().0 = false;
        self.changed.notify_all();
    }
}

/// Notes what a place was given, which must be something new.
fn give<K: Ord, V: Default + PartialEq>(limits: &Mutex<BTreeMap<K, V>>, at: K, limit: V) {
    let mut limits = limits.lock().unwrap();
    let before = limits.remove(&at).unwrap_or_default();
    assert!(before != limit, "a limit is given twice");
    if limit != V::default() {
        limits.insert(at, limit);
    }
}

impl TestNode {
    fn pass_gate(&self) {
        self.at_gate.fetch_add(1, Ordering::Relaxed);
        drop(self.gate.lock().unwrap());
    }

    /// Number of calls that came to the gate.
    pub fn waits_at_gate(&self) -> u64 {
        self.at_gate.load(Ordering::Relaxed)
    }
}

impl Node for TestNode {
    fn tep_allowed(&self, tep: Tep) -> Result<(), TepRefusal> {
        if tep.address() == OWN { Err(TepRefusal::OwnAddress(tep)) } else { Ok(()) }
    }

    fn set_teps(&self, added: &[(TepIndex, Tep)], removed: &[TepIndex]) -> Epoch {
        self.pass_gate();
        let mut publisher = self.array.lock().unwrap();
        publisher.reclaim();
        let mut array = publisher.get().clone();
        for &(index, tep) in added {
            array.resize(array.len().max(index.index() + 1), None);
            assert_eq!(array[index.index()].replace(tep), None, "an index in use is given away");
        }
        for index in removed {
            assert!(array[index.index()].take().is_some(), "an index that is free is freed");
        }
        publisher.replace(array)
    }

    fn next_hops_settled(&self, _: Duration) -> Epoch {
        Epoch::default()
    }

    fn set_domain_limit(&self, domain: DomainId, limit: DomainLimit) {
        give(&self.domain_limits, domain.get(), limit);
    }

    fn set_tep_limit(&self, tep: TepIndex, limit: TepLimit) {
        give(&self.tep_limits, tep.index(), limit);
    }

    fn next_hop(&self, _: TepIndex) -> NextHop {
        NextHop {
            gateway: Some(Ipv4Addr::new(198, 18, 0, 254).into()),
            mac: Some([2, 0, 0, 0, 0, 0xfe]),
            since: SystemTime::UNIX_EPOCH + Duration::from_millis(1234),
        }
    }

    fn tep_icmp_errors(&self, _: TepIndex) -> Vec<(&'static str, u64)> {
        vec![("unreachable", 2)]
    }

    /// The first TEP alone speaks BFD.
    fn bfd_session(&self, index: TepIndex, _: Tep) -> Option<BfdSession> {
        (index.index() == 0).then_some(BfdSession {
            local: BfdState::Up,
            remote: BfdState::Init,
            diagnostic: 6,
            remote_diagnostic: 1,
            since_unix_ns: 1_234_567_890,
            transmit_interval_us: 50_000,
            detection_time_us: 3_000_000,
            flaps: 4,
        })
    }

    fn standing(&self) -> Standing {
        let drained = self.drained.load(Ordering::Relaxed);
        Standing {
            state: if drained { NodeState::Leaving } else { NodeState::HeldBack },
            reasons: if drained { vec!["drained"] } else { vec!["hold_back"] },
            held_back_for: Duration::from_millis(if drained { 0 } else { 2_500 }),
            sessions: vec![("down", 0), ("up", 1)],
        }
    }

    fn set_drained(&self, drained: bool) -> bool {
        self.drained.swap(drained, Ordering::Relaxed)
    }

    fn tep_drops(&self, _: TepIndex) -> Drops {
        Drops { frames: vec![("tep_rate", 2)], copies: vec![("tep_unresolved", 3)] }
    }

    fn domain_counters(&self, domain: DomainId) -> DomainCounters {
        let frames = self.frames.lock().unwrap().get(&domain.get()).copied().unwrap_or(0);
        DomainCounters { frames, copies: 2 * frames, bytes: 120 * frames, drops: 0, frame_drops: frames }
    }

    /// As many frames for one reason as were accepted.
    fn domain_drops(&self, domain: DomainId) -> Drops {
        let frames = self.frames.lock().unwrap().get(&domain.get()).copied().unwrap_or(0);
        Drops { frames: vec![("inner_unicast", frames)], copies: vec![("tx_full", 0)] }
    }

    fn offenders(&self, reason: Option<&str>) -> Option<Vec<DropOffender>> {
        let offender = |reason, last| DropOffender {
            reason,
            source: Some(Ipv4Addr::new(198, 18, 0, last)),
            vni: Some(1.into()),
            macs: Some([[2, 0, 0, 0, 0, 7], [0xff; 6]]),
            outer: false,
            count: last.into(),
            unix_ns: 1_234_000_000,
        };
        let all = [offender("tep_unknown", 9), offender("tep_rate", 2), offender("tep_rate", 1)];
        let wanted = |found: &DropOffender| reason.is_none_or(|reason| found.reason == reason);
        let known = ["tep_unknown", "tep_rate", "runt"];
        let is_known = reason.is_none_or(|reason| known.contains(&reason));
        is_known.then(|| all.into_iter().filter(wanted).collect())
    }

    fn keeps_origin(&self) -> bool {
        true
    }

    fn stats(&self) -> NodeStats {
        self.pass_gate();
        let address_conflict = Some(AddressConflict {
            address: Ipv4Addr::new(198, 18, 0, 254),
            mac: [2, 0, 0, 0, 0, 0x99],
            frames: 20,
            last: SystemTime::UNIX_EPOCH,
        });
        let counters = vec![("bcast_punted_total".to_owned(), 7)];
        NodeStats { counters, address_conflict, ..NodeStats::default() }
    }

    fn drain_time(&self) -> Duration {
        *self.drain.lock().unwrap()
    }

    fn board(&self) -> &AnnouncementBoard {
        &self.board
    }

    fn take_rejected(&self) -> Option<Rejected> {
        let next = self.refused.lock().unwrap().pop_front();
        self.looks.fetch_add(u64::from(next.is_none()), Ordering::Relaxed);
        next
    }

    fn take_refused(&self) -> Option<StrictRefusal> {
        self.strict_refused.lock().unwrap().pop_front()
    }

    fn now(&self) -> Moment {
        self.stop.pass();
        let now_ns = self.now_ns.load(Ordering::Relaxed);
        let unix_ns = havip::now_ms() * 1_000_000;
        let simulated = Moment { worker_ns: now_ns, steady_ns: now_ns, unix_ns };
        self.moment.lock().unwrap().unwrap_or(simulated)
    }

    fn announce(&self, holding: &Holding) -> bool {
        self.announced.lock().unwrap().push(*holding);
        true
    }
}

/// A thread that reports as a worker does, unless it is stuck.
pub struct Worker {
    stuck: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(readers: &Readers<Array>) -> Self {
        let mut reader = readers.reader();
        let (stuck, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_stuck, is_stopped) = (Arc::clone(&stuck), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !is_stopped.load(Ordering::Relaxed) {
                if !is_stuck.load(Ordering::Relaxed) {
                    reader.quiesce();
                }
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        Self { stuck, stop, thread: Some(thread) }
    }

    /// No worker is there any more.
    pub fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }

    pub fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// The control path and all that it needs.
pub struct Rig {
    pub server: Option<Server>,
    pub node: Arc<TestNode>,
    pub worker: Worker,
    pub readers: Readers<Array>,
    pub observed: Arc<AtomicU64>,
    pub socket: PathBuf,
    pub runtime: Runtime,
}

impl Rig {
    /// A fresh one in this folder, over the store that is there.
    pub fn new(folder: &std::path::Path) -> Self {
        Self::with_store(folder, EmbeddedStore::open(&folder.join("domains.redb")).unwrap())
    }

    /// A fresh one with these listeners.
    pub fn listening(folder: &std::path::Path, listeners: Vec<Box<dyn CommitHook>>) -> Self {
        let store = EmbeddedStore::open(&folder.join("domains.redb")).unwrap();
        Self::start(folder, store, |config| config.listeners = listeners)
    }

    pub fn with_store(folder: &std::path::Path, store: impl Store) -> Self {
        Self::start(folder, store, |_| {})
    }

    pub fn start(folder: &std::path::Path, store: impl Store, set: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_at(folder, store, 1, set)
    }

    /// A fresh one whose clock shows this.
    pub fn start_at(
        folder: &std::path::Path,
        store: impl Store,
        now_ns: u64,
        set: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (publisher, array, readers) = table(Array::new());
        let node = Arc::new(TestNode {
            array: Mutex::new(array),
            drain: Mutex::new(Duration::ZERO),
            drained: AtomicBool::new(false),
            frames: Mutex::default(),
            domain_limits: Mutex::default(),
            tep_limits: Mutex::default(),
            board: AnnouncementBoard::new(),
            refused: Mutex::default(),
            strict_refused: Mutex::default(),
            now_ns: AtomicU64::new(now_ns),
            moment: Mutex::default(),
            gate: Mutex::default(),
            at_gate: AtomicU64::new(0),
            announced: Mutex::default(),
            stop: Stop::default(),
            looks: AtomicU64::new(0),
        });
        let worker = Worker::start(&readers);
        let socket = folder.join("api.sock");
        let observed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&observed);
        let mut config = config(&socket, runtime.handle().clone());
        config.observer = Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        set(&mut config);
        let control: Arc<dyn Node> = Arc::clone(&node) as Arc<dyn Node>;
        let server = Server::start(config, store, publisher, readers.grace(), control).unwrap();
        Self { server: Some(server), node, worker, readers, observed, socket, runtime }
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn client(&self) -> Client {
        self.run(Client::connect(&self.socket)).unwrap()
    }

    /// Commits changes that must be accepted.
    pub fn commit(&self, changes: Vec<Change>) -> proto::CommitReply {
        self.run(self.client().commit(Batch::new(changes))).unwrap()
    }

    /// Commits a batch; the refusal's kind and text where it is refused.
    pub fn try_commit(
        &self,
        batch: Batch,
    ) -> Result<proto::CommitReply, (ctl_api::client::RefusalKind, String)> {
        self.run(self.client().commit(batch)).map_err(refused)
    }

    /// Members that a worker finds.
    pub fn members(&self, vni: u32) -> Option<BTreeSet<Ipv4Addr>> {
        let reader = self.readers.reader();
        let list = reader.lookup(Vni::from(vni))?;
        let address =
            |index: &TepIndex| reader.array()[index.index()].expect("a member is in the array").address();
        Some(list.members().iter().map(address).collect())
    }

    /// The limit that the data plane has for a domain.
    pub fn domain_limit(&self, vni: u32) -> Option<DomainLimit> {
        let number = self.readers.reader().lookup(Vni::from(vni))?.domain().get();
        Some(self.node.domain_limits.lock().unwrap().get(&number).copied().unwrap_or_default())
    }

    /// The limit that the data plane has for a TEP.
    pub fn tep_limit(&self, last: u16) -> Option<TepLimit> {
        let index = self.readers.reader().array().iter().position(|at| *at == Some(tep(last)))?;
        Some(self.node.tep_limits.lock().unwrap().get(&index).copied().unwrap_or_default())
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub fn stop(&mut self) {
        self.server.take().unwrap().shutdown();
    }
}

pub fn config(socket: &std::path::Path, runtime: Handle) -> ServerConfig {
    let versions = Versions { daemon: "0.1.0".to_owned(), commit: String::new(), dpdk: "none".to_owned() };
    ServerConfig::new(socket.to_owned(), runtime, versions)
}

pub fn refused(error: ctl_api::ClientError) -> (ctl_api::client::RefusalKind, String) {
    match error {
        ctl_api::ClientError::Refused { kind, message, .. } => (kind, message),
        other => panic!("refused otherwise: {other}"),
    }
}

pub fn address(last: u16) -> Ipv4Addr {
    let [high, low] = last.to_be_bytes();
    Ipv4Addr::new(198, 18, high, low)
}

pub fn tep(last: u16) -> Tep {
    Tep::new(address(last)).unwrap()
}

pub fn by(last: u16) -> TepRef {
    TepRef::Address(tep(last))
}

pub fn named(name: &str) -> TepRef {
    TepRef::Name(name.parse().unwrap())
}

/// The text of an address.
pub fn text(bytes: &[u8]) -> String {
    ctl_api::model::ip(bytes).unwrap().to_string()
}

pub fn teps(teps: &[u16]) -> TepSet {
    teps.iter().map(|&tep| by(tep)).collect()
}

pub fn add(last: u16) -> Change {
    Change::tep(tep(last), None)
}

pub fn add_named(last: u16, name: &str) -> Change {
    Change::tep(tep(last), Some(name.parse().unwrap()))
}

pub fn remove(last: u16, force: bool) -> Change {
    Change::Delete { target: Target::Tep(by(last)), force }
}

pub fn create(vni: u32) -> Change {
    Change::domain(Vni::from(vni), None)
}

pub fn remove_domain(vni: u32) -> Change {
    Change::delete(Target::Domain(Vni::from(vni)))
}

pub fn set(vni: u32, members: &[u16]) -> Change {
    Change::members(Vni::from(vni), teps(members))
}

pub fn join(vni: u32, members: &[u16]) -> Change {
    Change::Join { vni: Vni::from(vni), teps: teps(members) }
}

pub fn leave(vni: u32, members: &[u16]) -> Change {
    Change::Leave { vni: Vni::from(vni), teps: teps(members) }
}

/// The batch under conditions.
pub fn with(batch: Batch, conditions: Conditions) -> Batch {
    Batch { conditions, ..batch }
}

pub fn dry_run(mut batch: Batch) -> Batch {
    batch.conditions.dry_run = true;
    batch
}

pub fn rate(per_second: u64) -> Option<Rate> {
    Some(Rate::new(per_second).unwrap())
}

pub fn copies(per_second: u64) -> DomainLimit {
    DomainLimit { copies: rate(per_second), ..DomainLimit::default() }
}

pub fn frames(per_second: u64) -> TepLimit {
    TepLimit { frames: rate(per_second) }
}

/// A given rate; else with `reset` the default.
fn field(rate: Option<Rate>, reset: bool) -> Field<Rate> {
    match rate {
        Some(rate) => Field::Value(rate),
        None if reset => Field::Clear,
        None => Field::Absent,
    }
}

/// The rates that are given; with `reset` the others are the default again.
pub fn limit_domain(vni: u32, limit: DomainLimit, reset: bool) -> Change {
    let [copies, bits, control] = [limit.copies, limit.bits, limit.control].map(|rate| field(rate, reset));
    let fields = DomainFields { copies, bits, control, ..DomainFields::default() };
    SetResource::Domain(Vni::from(vni), fields).set_if(Existing::Required)
}

pub fn limit_tep_by(tep: TepRef, limit: TepLimit, reset: bool) -> Change {
    let fields = TepFields { frames: field(limit.frames, reset), ..TepFields::default() };
    SetResource::Tep(tep, fields).set_if(Existing::Required)
}

pub fn limit(vni: u32, limit: DomainLimit) -> Change {
    limit_domain(vni, limit, false)
}

pub fn limit_tep(last: u16, limit: TepLimit) -> Change {
    limit_tep_by(by(last), limit, false)
}

pub fn addresses(teps: &[u16]) -> Option<BTreeSet<Ipv4Addr>> {
    Some(teps.iter().map(|&t| address(t)).collect())
}

/// Waits until a condition is met; that it never is fails the test.
pub fn until(condition: &str, mut is_met: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_met() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {condition}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
