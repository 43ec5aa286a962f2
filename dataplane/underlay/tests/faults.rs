//! A kernel that loses notifications, answers late and in any order, refuses and hangs: afterwards the next hops are the kernel's
//! all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bcast_domain::Tep;
use netlink::{Notice, RequestError};
use proptest::prelude::*;
use underlay::{Action, Answer, Event, Machine, Neighbour, Published, Request, Route};
use wire::MacAddr;

mod common;
use common::{NODE, PORT, TAP, links, refused, rules, unanswered};

/// TEPs, next hops and MAC addresses of the simulated network: few, so that they meet often.
const TEPS: u8 = 6;
const HOPS: u8 = 4;

/// One thing that happens. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The commit thread adds a TEP; one that is there is added anew.
    Add(u8),
    /// The commit thread removes a TEP.
    Remove(u8),
    /// The route to a TEP leads elsewhere; hop 0: there is none. The notification may be lost.
    Route { tep: u8, hop: u8, lost: bool },
    /// A neighbour's MAC address changes. The notification may be lost.
    Mac { hop: u8, mac: u8, lost: bool },
    /// A neighbour entry is removed. The notification may be lost.
    Flush { hop: u8, lost: bool },
    /// The kernel carries out one of the requests under way; its answer is of this moment, whenever it comes.
    Serve(u8),
    /// The kernel refuses one (EPERM, ENOENT, EBUSY, ENOBUFS, ENETDOWN), or says nothing.
    Refuse { request: u8, code: u8 },
    /// One of the answers comes.
    Answer(u8),
    /// Time passes (10 ms); where nothing is under way, notifications are heard, or else a tick is due.
    Turn(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (byte, lost) = (any::<u8>, any::<bool>);
    prop_oneof![
        3 => byte().prop_map(Step::Add),
        1 => byte().prop_map(Step::Remove),
        3 => (byte(), byte(), lost()).prop_map(|(tep, hop, lost)| Step::Route { tep, hop, lost }),
        2 => (byte(), byte(), lost()).prop_map(|(hop, mac, lost)| Step::Mac { hop, mac, lost }),
        1 => (byte(), lost()).prop_map(|(hop, lost)| Step::Flush { hop, lost }),
        6 => byte().prop_map(Step::Serve),
        1 => (byte(), byte()).prop_map(|(request, code)| Step::Refuse { request, code }),
        6 => byte().prop_map(Step::Answer),
        6 => byte().prop_map(Step::Turn),
    ]
}

/// The kernel, and the daemon's view of it.
struct World {
    machine: Machine,
    now: Instant,
    registered: HashMap<u8, Tep>,
    routes: HashMap<u8, u8>,
    /// MAC address of each host that could be a next hop.
    hosts: HashMap<u8, u8>,
    /// Entries of the kernel's neighbour table that it keeps at the daemon's request.
    kept: HashSet<IpAddr>,
    /// Requests that the kernel has not carried out.
    requests: Vec<Request>,
    /// Answers on the way.
    answers: Vec<(Request, Result<Answer, RequestError>)>,
    /// Notifications on the way.
    notices: Vec<Notice>,
}

fn tep(number: u8) -> (bcast_domain::TepIndex, Tep) {
    common::tep(number % TEPS)
}

fn hop(number: u8) -> IpAddr {
    common::hop(number % HOPS)
}

fn mac(number: u8) -> MacAddr {
    common::mac(number % 3 + 1)
}

fn take<T>(from: &mut Vec<T>, number: u8) -> Option<T> {
    let place = usize::from(number).checked_rem(from.len())?;
    Some(from.remove(place))
}

impl World {
    fn new() -> Self {
        let (mut machine, now) = (Machine::new(None), Instant::now());
        machine.follow(now, TAP, Some(PORT), Some(NODE));
        Self {
            machine,
            now,
            registered: HashMap::new(),
            routes: HashMap::new(),
            hosts: HashMap::new(),
            kept: HashSet::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            notices: Vec::new(),
        }
    }

    fn route(&self, tep: Tep) -> Option<Route> {
        let hop_number = self.routes.get(&(tep.address().octets()[3] - 1)).copied().filter(|hop| *hop > 0)?;
        Some(Route { hop: hop(hop_number), by_object: false })
    }

    /// The MAC address that the kernel's entry has: a host answers where it is asked.
    fn entry(&self, address: IpAddr) -> Option<MacAddr> {
        let IpAddr::V4(address) = address else { return None };
        self.hosts.get(&address.octets()[3]).map(|&number| mac(number))
    }

    fn tell(&mut self, notice: Notice, lost: bool) {
        self.notices.push(if lost { Notice::Lost } else { notice });
    }

    fn decide(&mut self, event: Event) {
        for action in self.machine.decide(self.now, event) {
            match action {
                Action::Ask(request) => self.requests.push(request),
                Action::GiveUp(fatal) => panic!("it gave up: {fatal}"),
                _ => {}
            }
        }
    }

    fn serve(&mut self, request: &Request) -> Answer {
        match *request {
            Request::Links => Answer::Links(links()),
            Request::Tap(_) => Answer::Tap { missing: Vec::new(), trouble: None },
            Request::Rules => Answer::Rules { rules: rules(), missing: 0 },
            Request::Gateway => Answer::Done,
            Request::Neighbours => Answer::Neighbours(
                self.kept
                    .iter()
                    .map(|&address| (address, Neighbour { mac: self.entry(address), is_kept: true }))
                    .collect(),
            ),
            Request::Route(tep) => Answer::Route(self.route(tep)),
            Request::Resolve(address) => {
                self.kept.insert(address);
                Answer::Resolved { mac: self.entry(address), asked: true }
            }
            Request::Forget(address) => {
                self.kept.remove(&address);
                Answer::Done
            }
        }
    }

    /// All requests under way are carried out and answered, and those that follow from the answers.
    fn finish(&mut self) {
        while !self.requests.is_empty() || !self.answers.is_empty() {
            self.act(Step::Serve(0));
            self.act(Step::Answer(0));
        }
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Add(number) => {
                self.registered.insert(number % TEPS, tep(number).1);
                self.machine.set_teps(&[tep(number)], &[]);
            }
            Step::Remove(number) => {
                self.registered.remove(&(number % TEPS));
                self.machine.set_teps(&[], &[tep(number).0]);
            }
            Step::Route { tep: number, hop, lost } => {
                self.routes.insert(number % TEPS, hop % HOPS);
                self.tell(common::route_changed(tep(number).1), lost);
            }
            Step::Mac { hop: number, mac: new, lost } => {
                self.hosts.insert(number % HOPS, new);
                // The kernel tells of entries that it has.
                if self.kept.contains(&hop(number)) {
                    self.tell(common::neighbour_changed(hop(number), Some(mac(new))), lost);
                }
            }
            Step::Flush { hop: number, lost } => {
                if self.kept.remove(&hop(number)) {
                    self.tell(common::neighbour_changed(hop(number), None), lost);
                }
            }
            Step::Serve(number) => {
                if let Some(request) = take(&mut self.requests, number) {
                    let answer = self.serve(&request);
                    self.answers.push((request, Ok(answer)));
                }
            }
            Step::Refuse { request, code } => {
                if let Some(request) = take(&mut self.requests, request) {
                    let error = match code % 6 {
                        0 => unanswered(),
                        code => refused([-1, -2, -16, -105, -100][usize::from(code - 1)]),
                    };
                    self.answers.push((request, Err(error)));
                }
            }
            Step::Answer(number) => {
                if let Some((request, answer)) = take(&mut self.answers, number) {
                    self.decide(Event::Answered(request, answer));
                }
            }
            Step::Turn(passed) => {
                self.now += Duration::from_millis(10 * u64::from(passed));
                if !self.requests.is_empty() || !self.answers.is_empty() {
                    return;
                }
                for notice in std::mem::take(&mut self.notices) {
                    self.decide(Event::Notice(notice));
                }
                if self.machine.wake_at(self.now) <= self.now {
                    self.decide(Event::Tick);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_read_in_full_next_hops_are_the_kernels_whatever_it_lost_delayed_or_refused(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new();
        for step in steps {
            world.act(step);
        }
        world.finish();
        // Long enough for reads in full; then, where one has just begun, until what follows from it is done.
        for turn in 0..60 {
            if turn >= 40 && world.machine.at_rest().is_some() {
                break;
            }
            world.act(Step::Turn(if turn < 40 { 60 } else { 1 }));
            world.finish();
        }
        let at_rest = world.machine.at_rest();
        prop_assert!(at_rest.is_some(), "there is work left");

        let published = world.machine.publish();
        let mut used = HashSet::new();
        for number in 0..TEPS {
            let found = published.get(usize::from(number)).copied().flatten();
            let wanted = world.registered.get(&number).map(|&tep| {
                let gateway = world.route(tep).map(|route| route.hop);
                used.extend(gateway);
                Published { tep, gateway, mac: gateway.and_then(|hop| world.entry(hop)) }
            });
            prop_assert_eq!(found, wanted);
        }
        prop_assert_eq!(at_rest, Some(used.len()));
        // The kernel keeps an entry for each next hop in use, and for no other.
        prop_assert_eq!(world.kept, used);
    }
}
