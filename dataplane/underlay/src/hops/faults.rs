//! A kernel that loses notifications, answers late and refuses requests: afterwards the next hops are the kernel's all the same.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

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
    /// The task asks for routes; the kernel refuses some (bits).
    Lookup { most: u8, refused: u8 },
    /// The answers to the questions about routes come.
    Answer,
    /// The task has next hops resolved, and lets go of others; the kernel refuses some (bits).
    Ask { refused: u8 },
    /// All is read in full.
    Resync,
}

fn step() -> impl Strategy<Value = Step> {
    let (byte, lost) = (any::<u8>, any::<bool>);
    prop_oneof![
        3 => byte().prop_map(Step::Add),
        1 => byte().prop_map(Step::Remove),
        3 => (byte(), byte(), lost()).prop_map(|(tep, hop, lost)| Step::Route { tep, hop, lost }),
        2 => (byte(), byte(), lost()).prop_map(|(hop, mac, lost)| Step::Mac { hop, mac, lost }),
        1 => (byte(), lost()).prop_map(|(hop, lost)| Step::Flush { hop, lost }),
        4 => (byte(), byte()).prop_map(|(most, refused)| Step::Lookup { most, refused }),
        3 => Just(Step::Answer),
        4 => byte().prop_map(|refused| Step::Ask { refused }),
        1 => Just(Step::Resync),
    ]
}

/// The kernel, and the daemon's view of it.
#[derive(Default)]
struct World {
    hops: Hops,
    registered: HashMap<u8, Tep>,
    routes: HashMap<u8, u8>,
    /// MAC address of each host that could be a next hop.
    hosts: HashMap<u8, u8>,
    /// Entries of the kernel's neighbour table that it keeps at the daemon's request.
    kept: HashSet<IpAddr>,
    /// Answers on the way.
    answers: Vec<(Tep, Result<Option<Route>, ()>)>,
    /// Notifications were lost, which the socket reports.
    lost: bool,
}

fn tep(number: u8) -> (TepIndex, Tep) {
    let number = number % TEPS;
    let address = Tep::new(Ipv4Addr::new(198, 18, 0, number + 1)).expect("a TEP's address");
    (TepIndex::from(u16::from(number)), address)
}

fn hop(number: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, 1, number % HOPS).into()
}

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number % 3 + 1])
}

impl World {
    fn route(&self, tep: Tep) -> Option<Route> {
        let hop_number = self.routes.get(&(tep.address().octets()[3] - 1)).copied().filter(|hop| *hop > 0)?;
        Some(Route { hop: hop(hop_number), by_object: false })
    }

    /// The MAC address that the kernel's entry has: a host answers where it is asked.
    fn entry(&self, address: IpAddr) -> Option<MacAddr> {
        let IpAddr::V4(address) = address else { return None };
        self.hosts.get(&address.octets()[3]).map(|&number| mac(number))
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Add(number) => {
                let (index, address) = tep(number);
                self.registered.insert(number % TEPS, address);
                self.hops.add(index, address);
            }
            Step::Remove(number) => {
                self.registered.remove(&(number % TEPS));
                self.hops.remove(tep(number).0);
            }
            Step::Route { tep: number, hop, lost } => {
                self.routes.insert(number % TEPS, hop % HOPS);
                self.lost |= lost;
                if !lost {
                    self.hops.mark(Stale::Prefix(tep(number).1.address(), 32));
                }
            }
            Step::Mac { hop: number, mac: new, lost } => {
                self.hosts.insert(number % HOPS, new);
                // The kernel tells of entries that it has.
                if self.kept.contains(&hop(number)) {
                    self.lost |= lost;
                    if !lost {
                        self.hops.resolved(hop(number), Some(mac(new)));
                    }
                }
            }
            Step::Flush { hop: number, lost } => {
                if self.kept.remove(&hop(number)) {
                    self.lost |= lost;
                    if !lost {
                        self.hops.vanished(hop(number));
                    }
                }
            }
            Step::Lookup { most, refused } => {
                for (place, tep) in
                    self.hops.take(usize::from(most % 4), most & 4 != 0).into_iter().enumerate()
                {
                    // The answer is the kernel's at this moment, whenever it comes.
                    let answer = if refused >> place & 1 == 1 { Err(()) } else { Ok(self.route(tep)) };
                    self.answers.push((tep, answer));
                }
            }
            Step::Answer => {
                for (tep, answer) in std::mem::take(&mut self.answers) {
                    match answer {
                        Ok(route) => self.hops.routed(tep, route),
                        Err(()) => self.hops.put_back(tep),
                    }
                }
            }
            Step::Ask { refused } => {
                for (place, address) in self.hops.take_to_ask(8).into_iter().enumerate() {
                    if refused >> place & 1 == 1 {
                        continue;
                    }
                    self.kept.insert(address);
                    self.hops.asked(address);
                    self.hops.resolved(address, self.entry(address));
                }
                for address in self.hops.take_to_forget(8) {
                    self.kept.remove(&address);
                }
            }
            Step::Resync => {
                let all = self
                    .kept
                    .iter()
                    .map(|&address| (address, Neighbour { mac: self.entry(address), is_kept: true }));
                let all = all.collect();
                self.hops.neighbours(&all);
                self.hops.mark_unresolved();
                if std::mem::take(&mut self.lost) {
                    self.hops.mark(Stale::All);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_read_in_full_next_hops_are_the_kernels_whatever_it_lost_delayed_or_refused(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::default();
        for step in steps {
            world.act(step);
        }
        world.act(Step::Answer);
        world.act(Step::Resync);
        for _ in 0..2 * TEPS {
            world.act(Step::Lookup { most: 3, refused: 0 });
            world.act(Step::Answer);
            world.act(Step::Ask { refused: 0 });
        }
        prop_assert!(world.hops.is_settled() && !world.hops.has_work() && !world.hops.has_stale());

        let published = world.hops.publish();
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
        // The kernel keeps an entry for each next hop in use, and for no other.
        prop_assert_eq!(world.kept, used);
        prop_assert_eq!(world.hops.len(), world.registered.values().filter_map(|&tep| world.routes
            .get(&(tep.address().octets()[3] - 1)).filter(|hop| **hop > 0)).collect::<HashSet<_>>().len());
    }
}
