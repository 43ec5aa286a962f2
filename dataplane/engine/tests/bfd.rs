//! BFD sessions of a worker with hypervisors, which are sessions of the crate `bfd` at the other end of the port's cable.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod frames;
#[path = "common/parties.rs"]
mod parties;

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;

use ::bfd::{Addresses, Config, Diagnostic, Frame, Packet, Role, Session, State, Template};
use common::{FakeRig, NEXT_HOP, NODE, Options, PORT_MAC, index, settings, tep};
use engine::runtime::RuntimeSettings;
use engine::sessions::{BFD_MAC, BfdSessions, Heard, NodeState, SessionStatus};
use engine::teps::TepArray;
use frames::{at, broadcast};
use parties::parties;
use wire::{DropReason, MacAddr};

const MILLISECOND: u64 = 1_000_000;
const CONCATENATED: Diagnostic = Diagnostic::CONCATENATED_PATH_DOWN;

/// Open vSwitch with `bfd:enable=true bfd:min_tx=50 bfd:min_rx=50`, on the hypervisor with this number.
struct Hypervisor {
    number: usize,
    session: Session,
    template: Template,
    /// Packets that came from the node, and when, nanoseconds.
    heard: Vec<(u64, Packet)>,
}

impl Hypervisor {
    fn new(number: usize, now_ns: u64) -> Self {
        let local_discriminator = NonZeroU32::new(0x7000_0000 + u32::try_from(number).unwrap()).unwrap();
        let config =
            Config { role: Role::Active, required_min_rx_us: 50_000, ..Config::passive(local_discriminator) };
        let addresses = Addresses {
            destination_mac: BFD_MAC,
            source_mac: MacAddr([2, 0, 0, 0, 8, 8]),
            destination: [169, 254, 1, 0].into(),
            source: [169, 254, 1, 1].into(),
            source_port: 49_152,
        };
        let session = Session::new(config, now_ns).unwrap();
        Self { number, session, template: Template::new(&addresses), heard: Vec::new() }
    }

    /// A packet as it is on the underlay.
    fn overlay(&self, packet: &Packet) -> Vec<u8> {
        let parties = parties(self.number);
        parties.overlay_from(parties.tep, 0, &self.template.frame(packet))
    }
}

/// A worker and hypervisors whose time goes on together.
struct Cloud {
    rig: FakeRig,
    hypervisors: Vec<Hypervisor>,
}

impl Cloud {
    fn new(count: usize) -> Self {
        Self::on(FakeRig::new(Options { teps: count.max(2), ..Options::default() }), count)
    }

    fn on(rig: FakeRig, count: usize) -> Self {
        let now = rig.worker.clock.now.load(Relaxed);
        Self { rig, hypervisors: (0..count).map(|number| Hypervisor::new(number, now)).collect() }
    }

    fn now(&self) -> u64 {
        self.rig.worker.clock.now.load(Relaxed)
    }

    /// Lets so many milliseconds pass for those who speak.
    fn pass(&mut self, milliseconds: u64, node_runs: bool, hypervisors_run: bool) {
        for _ in 0..milliseconds {
            self.rig.worker.clock.now.fetch_add(MILLISECOND, Relaxed);
            let now = self.now();
            for hypervisor in self.hypervisors.iter_mut().filter(|_| hypervisors_run) {
                while hypervisor.session.deadline_ns() <= now {
                    if let Some(packet) = hypervisor.session.tick(now).send {
                        self.rig.receive(hypervisor.overlay(&packet));
                    }
                }
            }
            if node_runs {
                self.rig.settle();
            }
            let sent = self.rig.sent().into_iter();
            for frame in sent.filter(|frame| frame[at::GRE + 4..at::INNER] == [0; 4]) {
                let (number, packet) = from_node(&frame);
                let hypervisor = &mut self.hypervisors[number];
                hypervisor.session.receive(&packet, now).unwrap();
                hypervisor.heard.push((now, packet));
            }
        }
    }

    fn run(&mut self, milliseconds: u64) {
        self.pass(milliseconds, true, true);
    }

    fn status(&self, number: usize) -> SessionStatus {
        self.rig.bfd.session(index(number), tep(number).address()).expect("there is a session")
    }

    fn all(&self, state: State) -> bool {
        (0..self.hypervisors.len()).all(|number| self.status(number).local == state)
            && self.hypervisors.iter().all(|hypervisor| hypervisor.session.state() == state)
    }

    /// Brings all sessions up.
    fn up(count: usize) -> Self {
        let mut cloud = Self::new(count);
        cloud.run(3_000);
        assert!(cloud.all(State::Up), "{:?}", cloud.status(0));
        cloud
    }

    fn check(mut self) {
        self.rig.settle();
        self.rig.no_buffer_is_missing();
    }
}

/// Number of the hypervisor that a frame of the node goes to, and its packet. All of the frame is checked.
fn from_node(frame: &[u8]) -> (usize, Packet) {
    assert_eq!(frame[..12], [NEXT_HOP.0, PORT_MAC.0].concat());
    assert_eq!(frame[at::IP + 1], 0xc0, "the outer TOS is network control");
    assert_eq!(frame[at::IP + 12..at::IP + 16], NODE.octets());
    assert_eq!(frame[at::GRE..at::INNER], [0x20, 0, 0x65, 0x58, 0, 0, 0, 0], "key 0 is there");
    let to: [u8; 4] = frame[at::IP + 16..at::GRE].try_into().unwrap();
    let number = (0..).find(|&number| tep(number).address().octets() == to).unwrap();
    let inner = Frame::parse(&frame[at::INNER..]).unwrap();
    assert_eq!(inner.source_mac, PORT_MAC);
    assert_eq!(
        [inner.source, inner.destination],
        [[169, 254, 1, 0].into(), [169, 254, 1, 1].into()] as [std::net::Ipv4Addr; 2]
    );
    (number, inner.packet)
}

#[test]
fn sessions_come_up_and_the_node_sends_at_its_interval_and_is_sent_to_each_second() {
    let mut cloud = Cloud::up(3);
    let before: Vec<_> = cloud.hypervisors.iter().map(|hypervisor| hypervisor.heard.len()).collect();
    let punted = cloud.rig.cells.totals.punted.get();
    cloud.run(10_000);
    for (hypervisor, before) in cloud.hypervisors.iter().zip(before) {
        let heard = &hypervisor.heard[before..];
        let gaps: Vec<_> = heard.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        // 75 to 100 % of 50 ms, and up to a millisecond of the test's clock.
        assert!(gaps.iter().all(|gap| (36 * MILLISECOND..=52 * MILLISECOND).contains(gap)), "{gaps:?}");
        assert!((200..=270).contains(&heard.len()), "{}", heard.len());
        let last = heard.last().unwrap().1;
        assert_eq!((last.state, last.diagnostic, last.detect_mult), (State::Up, Diagnostic::NONE, 3));
        assert_eq!((last.desired_min_tx_us, last.required_min_rx_us), (50_000, 1_000_000));
    }
    let status = cloud.status(1);
    assert_eq!((status.local, status.remote, status.flaps), (State::Up, State::Up, 0));
    assert_eq!((status.transmit_interval_us, status.detection_time_us), (50_000, 3_000_000));
    let received = cloud.rig.cells.totals.punted.get() - punted;
    assert!((30..=45).contains(&received), "three hypervisors in ten seconds: {received}");
    assert_eq!(cloud.rig.bfd.sessions().count(), 3);
    cloud.check();
}

#[test]
fn a_worker_that_hangs_is_noticed_within_three_intervals_and_its_sessions_come_up_again() {
    let mut cloud = Cloud::up(2);
    // The last packet is 50 ms old at most.
    cloud.pass(98, false, true);
    assert!(cloud.hypervisors.iter().all(|hypervisor| hypervisor.session.state() == State::Up));
    cloud.pass(53, false, true);
    for hypervisor in &cloud.hypervisors {
        assert_eq!(hypervisor.session.state(), State::Down);
        assert_eq!(hypervisor.session.diagnostic(), Diagnostic::DETECTION_TIME_EXPIRED);
    }
    cloud.run(4_000);
    assert!(cloud.all(State::Up));
    assert_eq!(cloud.status(0).flaps, 1);
    cloud.check();
}

#[test]
fn a_silent_hypervisor_is_down_after_three_seconds_and_is_sent_nothing_more() {
    let mut cloud = Cloud::up(2);
    cloud.pass(2_000, true, false);
    assert_eq!(cloud.status(0).local, State::Up);
    cloud.pass(1_100, true, false);
    let status = cloud.status(0);
    assert_eq!((status.local, status.diagnostic), (State::Down, Diagnostic::DETECTION_TIME_EXPIRED));
    assert_eq!(status.flaps, 1);
    let heard = cloud.hypervisors[0].heard.len();
    cloud.pass(10_000, true, false);
    assert_eq!(cloud.hypervisors[0].heard.len(), heard, "a passive side answers only");
    cloud.check();
}

/// A forged packet that would take a session down: state AdminDown, without a discriminator.
fn forged(destination: [u8; 6]) -> Vec<u8> {
    let mut inner = frames::bfd(destination, 0);
    inner[43] = 0;
    inner
}

#[test]
fn no_frame_of_a_vm_changes_a_session() {
    let mut cloud = Cloud::up(2);
    cloud.rig.domain(5001, 2);
    let before = (cloud.status(0), cloud.status(1));
    let (attacker, victim) = (parties(1), parties(0));
    // In its own network: to the tunnel's address, to all, to a group; behind a tag.
    for destination in [BFD_MAC.0, [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
        for vni in [5001, 5002, 1 << 24, u32::MAX] {
            cloud.rig.receive(attacker.overlay_from(attacker.tep, vni, &forged(destination)));
            cloud.rig.receive(victim.overlay_from(victim.tep, vni, &forged(destination)));
        }
    }
    // By somebody who is no TEP.
    cloud.rig.receive(attacker.overlay_from([198, 18, 77, 77].into(), 0, &forged(BFD_MAC.0)));
    // With key 0, as a hypervisor without rules would send it.
    cloud.rig.receive(victim.overlay_from(victim.tep, 0, &forged([0xff; 6])));
    let totals = cloud.rig.settle();
    assert_eq!(totals.accepted, 0, "none reaches another hypervisor");
    let refused: u64 = totals.drops.iter().map(|(_, count)| count).sum();
    assert_eq!(refused, 26, "{totals:?}");
    assert_eq!((cloud.status(0), cloud.status(1)), before);
    cloud.run(500);
    assert_eq!((cloud.status(0), cloud.status(1)), before);
    cloud.check();
}

#[test]
fn a_domain_with_vni_0_of_an_older_store_serves_nobody_and_bfd_goes_on() {
    let mut cloud = Cloud::up(2);
    cloud.rig.domain(0, 2);
    let before = cloud.status(0);
    cloud.rig.receive(parties(1).overlay_from(parties(1).tep, 0, &broadcast(1, 60)));
    let totals = cloud.rig.settle();
    assert_eq!((totals.accepted, totals.drops), (0, vec![(DropReason::VniUnknown, 1)]));
    cloud.run(3_000);
    assert_eq!(cloud.status(0), before);
    cloud.check();
}

#[test]
fn broadcast_bfd_is_replicated_if_the_configuration_allows_it() {
    let settings = RuntimeSettings { allow_inner_bfd: true, ..settings() };
    let mut cloud = Cloud::on(FakeRig::new(Options { settings, teps: 2, ..Options::default() }), 2);
    cloud.run(3_000);
    cloud.rig.domain(5001, 2);
    let before = cloud.status(0);
    let inner = forged([0xff; 6]);
    cloud.rig.receive(parties(1).overlay(&inner));
    let totals = cloud.rig.settle();
    assert_eq!((totals.accepted, totals.drops), (1, vec![]));
    let copies: Vec<_> = cloud.rig.sent().into_iter().filter(|frame| frame[at::INNER..] == inner).collect();
    assert_eq!(copies.len(), 1);
    assert_eq!(
        copies[0][at::GRE + 4..at::INNER],
        5001_u32.to_be_bytes(),
        "a hypervisor that looks at the key ignores it"
    );
    assert_eq!(cloud.status(0), before, "and the node's own sessions need key 0");
    cloud.check();
}

#[test]
fn a_flood_of_one_tep_costs_no_other_session_and_no_overlay_frame() {
    let mut cloud = Cloud::up(2);
    cloud.rig.domain(5001, 2);
    let flood = parties(0);
    let accepted = cloud.rig.cells.totals.rx_accepted.get();
    for second in 0..5 {
        for _ in 0..5_000 {
            cloud.rig.receive(flood.overlay_from(flood.tep, 0, &frames::bfd(BFD_MAC.0, 0xdead)));
        }
        cloud.rig.receive(parties(1).overlay(&broadcast(second, 60)));
        cloud.run(1_000);
        assert_eq!(cloud.status(1).local, State::Up);
    }
    let drops = |reason: DropReason| cloud.rig.cells.totals.drops[reason.index()].get();
    let (over, wrong) = (drops(DropReason::BfdRate), drops(DropReason::BfdDiscarded));
    assert!(over > 24_800 && wrong < 100 && over + wrong >= 25_000, "{over} {wrong}");
    assert_eq!(cloud.status(1).flaps, 0);
    assert_eq!(cloud.rig.cells.totals.rx_accepted.get() - accepted, 5);
    cloud.check();
}

#[test]
fn a_node_that_leaves_says_so_at_once_in_each_session_and_no_session_goes_down() {
    let mut cloud = Cloud::up(500);
    for (state, diagnostic) in [(NodeState::Leaving, CONCATENATED), (NodeState::Serving, Diagnostic::NONE)] {
        cloud.rig.bfd.set_state(state);
        // A sweep of 500 sessions, and as many frames, in a handful of turns.
        (0..20).for_each(|_| _ = cloud.rig.poll());
        cloud.rig.worker.clock.now.fetch_add(MILLISECOND, Relaxed);
        (0..20).for_each(|_| _ = cloud.rig.poll());
        cloud.pass(1, false, true);
        for hypervisor in &cloud.hypervisors {
            let last = hypervisor.heard.last().unwrap().1;
            assert_eq!((last.state, last.diagnostic), (State::Up, diagnostic), "{}", hypervisor.number);
        }
        cloud.run(3_000);
        assert!(cloud.all(State::Up));
        assert_eq!(cloud.status(499).diagnostic, diagnostic);
    }
    assert!((0..500).all(|number| cloud.status(number).flaps == 0));
    cloud.check();
}

#[test]
fn a_node_that_is_held_back_stays_down_and_comes_up_when_it_is_released() {
    let mut cloud = Cloud::new(2);
    cloud.rig.bfd.set_state(NodeState::HeldBack);
    cloud.run(10_000);
    let status = cloud.status(0);
    assert_eq!((status.local, status.remote, status.diagnostic), (State::Down, State::Init, CONCATENATED));
    assert!(cloud.hypervisors.iter().all(|hypervisor| !hypervisor.heard.is_empty()), "it answers");
    assert!(
        cloud
            .hypervisors
            .iter()
            .flat_map(|hypervisor| &hypervisor.heard)
            .all(|(_, p)| p.state == State::Down)
    );
    cloud.rig.bfd.set_state(NodeState::Serving);
    cloud.run(3_000);
    assert!(cloud.all(State::Up));
    // Up again is held back again: at once, and it is seen.
    cloud.rig.bfd.set_state(NodeState::HeldBack);
    cloud.run(2);
    assert!(cloud.hypervisors.iter().all(|hypervisor| hypervisor.session.state() == State::Down));
    cloud.check();
}

#[test]
fn the_session_of_a_removed_tep_goes_and_its_index_serves_another() {
    let mut cloud = Cloud::up(2);
    let array = |first: Option<usize>| {
        let entry = |number: usize| Some((tep(number), Some(NEXT_HOP)));
        TepArray::build(PORT_MAC, &[first.and_then(entry), entry(1)])
    };
    cloud.rig.array.replace(array(None));
    let heard = cloud.hypervisors[0].heard.len();
    cloud.run(1_000);
    assert_eq!(cloud.hypervisors[0].heard.len(), heard, "nothing is sent to it any more");
    assert_eq!(cloud.rig.bfd.session(index(0), tep(0).address()), None);
    assert!(cloud.rig.cells.totals.drops[DropReason::TepUnknown.index()].get() > 0);
    // Index 0 is another TEP's now, before the sweep has looked: first silent, then it speaks.
    cloud.rig.array.replace(array(Some(0)));
    cloud.run(4_000);
    assert_eq!(cloud.status(0).local, State::Up);
    cloud.rig.array.replace(array(Some(2)));
    let other = parties(2);
    cloud.rig.receive(other.overlay_from(other.tep, 0, &frames::bfd(BFD_MAC.0, 0)));
    cloud.rig.settle();
    assert_eq!(cloud.rig.bfd.session(index(0), tep(0).address()), None);
    let status = cloud.rig.bfd.session(index(0), other.tep).unwrap();
    assert_eq!((status.local, status.flaps), (State::Init, 0));
    for frame in cloud.rig.sent() {
        assert_eq!(from_node(&frame).0, 2);
    }
    assert_eq!(cloud.rig.bfd.sessions().count(), 2);
    cloud.check();
}

#[test]
fn packets_that_another_worker_receives_reach_the_session_of_the_one_that_has_it() {
    let mut cloud = Cloud::up(2);
    let now = cloud.now();
    let mut other = BfdSessions::new(cloud.rig.bfd.clone(), 1, now);
    for _ in 0..10 {
        cloud.pass(1_000, true, false);
        // The hypervisor's own packets now come to the second worker.
        let now = cloud.now();
        let hypervisor = &mut cloud.hypervisors[0];
        let packet = hypervisor.session.tick(now).send.expect("a packet a second");
        let inner = hypervisor.template.frame(&packet);
        let heard = Heard { tep: (index(0), tep(0).address()), node: NODE, inner: &inner };
        assert_eq!(other.receive(heard, now), Ok(()));
    }
    assert!(other.is_empty());
    assert_eq!((cloud.status(0).local, cloud.status(0).flaps), (State::Up, 0));
    assert_eq!(cloud.status(1).local, State::Down, "of it nobody heard");
    // What the owner does not take is refused, and costs no memory.
    cloud.rig.settle();
    let inner = frames::bfd(BFD_MAC.0, 0);
    let heard =
        |number: usize| Heard { tep: (index(number), tep(number).address()), node: NODE, inner: &inner };
    let results: Vec<_> =
        (0..2_000).map(|n| other.receive(heard(0), cloud.now() + n * 100 * MILLISECOND)).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1_024);
    cloud.check();
}

#[test]
fn sessions_go_on_when_the_clock_goes_back() {
    let mut cloud = Cloud::up(2);
    cloud.rig.worker.clock.now.fetch_sub(1_000_000 * MILLISECOND, Relaxed);
    let before = cloud.rig.cells.totals.tx_bfd.get();
    for _ in 0..1_000 {
        cloud.rig.worker.clock.now.fetch_add(MILLISECOND, Relaxed);
        cloud.rig.settle();
    }
    let sent = cloud.rig.cells.totals.tx_bfd.get() - before;
    assert!((38..=56).contains(&sent), "two sessions in a second: {sent}");
    cloud.check();
}

#[test]
fn what_cannot_be_sent_is_counted_and_no_session_of_the_node_depends_on_it() {
    let mut cloud = Cloud::up(2);
    cloud.rig.config.set_link_up(false);
    let (sent, dropped) = (cloud.rig.cells.totals.tx_bfd.get(), cloud.rig.cells.totals.tx_bfd_drops.get());
    cloud.run(1_000);
    assert_eq!(cloud.rig.cells.totals.tx_bfd.get(), sent, "a port whose link is down is given nothing");
    assert!(cloud.rig.cells.totals.tx_bfd_drops.get() > dropped + 5);
    assert!(cloud.hypervisors.iter().all(|hypervisor| hypervisor.session.state() == State::Down));
    cloud.rig.config.set_link_up(true);
    cloud.run(4_000);
    assert!(cloud.all(State::Up));
    cloud.check();
}
