//! Where each TEP is reached: the kernel's routes and neighbours, turned into the TEP array that workers read.
//!
//! One task owns the array's publisher. It registers TEPs for the control path, asks the kernel for the route to each and for
//! the next hop's MAC address, follows both over netlink, and republishes the array when something changed: at once, but not
//! more often than every [`PUBLISH_EVERY`]. Next hops are `managed` neighbours: the kernel keeps asking for them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock, mpsc as blocking};
use std::time::{Duration, SystemTime};

use bcast_domain::{ArrayPublisher, Epoch, Tep, TepIndex};
use ctl_server::NextHop;
use futures::StreamExt;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::MacAddr;

use crate::netlink::{Events, Netlink};
use crate::teps::TepArray;

/// The TEP array is republished no more often than this.
const PUBLISH_EVERY: Duration = Duration::from_millis(10);
/// Route changes are gathered for so long before all routes are looked up again.
const ROUTES_SETTLE: Duration = Duration::from_millis(50);
/// How often neighbours are read anew in full, in case a notification was lost, and unresolved ones are asked for again.
const RESYNC_EVERY: Duration = Duration::from_secs(5);

/// How next hops are found.
pub enum Source {
    /// From the kernel, through the TAP.
    Kernel(Netlink, Events),
    /// Every next hop has this MAC address.
    Fixed(MacAddr),
}

/// What the control path asks of the task.
struct Request {
    added: Vec<(TepIndex, Tep)>,
    removed: Vec<TepIndex>,
    done: blocking::Sender<Epoch>,
}

/// The handle of the task. When the last one is dropped, the task ends.
#[derive(Clone)]
pub struct NextHops {
    requests: mpsc::UnboundedSender<Request>,
    view: Arc<RwLock<Vec<Option<NextHop>>>>,
}

/// The task that follows next hops has ended, which it does only when the daemon stops.
#[derive(Debug, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Stopping;

impl NextHops {
    /// Starts the task on the current runtime.
    pub fn start(source: Source, port_mac: MacAddr, publisher: ArrayPublisher<TepArray>) -> Self {
        let (requests, incoming) = mpsc::unbounded_channel();
        let view = Arc::new(RwLock::new(Vec::new()));
        let (netlink, events, fixed) = match source {
            Source::Kernel(netlink, events) => (Some(netlink), Some(events), None),
            Source::Fixed(mac) => (None, None, Some(mac)),
        };
        let task = Task {
            netlink,
            fixed,
            port_mac,
            publisher,
            teps: Vec::new(),
            neighbours: HashMap::new(),
            view: view.clone(),
            changed: false,
            waiting: Vec::new(),
            published: Instant::now() - PUBLISH_EVERY,
        };
        tokio::spawn(task.run(incoming, events));
        Self { requests, view }
    }

    /// Registers and forgets TEPs; returns when the array that says so is published, with its epoch. Blocks up to
    /// [`PUBLISH_EVERY`], so it is not for a thread that runs tasks.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub fn set_teps(&self, added: &[(TepIndex, Tep)], removed: &[TepIndex]) -> Result<Epoch, Stopping> {
        let (done, answer) = blocking::channel();
        let request = Request { added: added.to_vec(), removed: removed.to_vec(), done };
        self.requests.send(request).map_err(|_| Stopping)?;
        answer.recv().map_err(|_| Stopping)
    }

    /// Where frames to a TEP go now.
    pub fn get(&self, index: TepIndex) -> Option<NextHop> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.get(index.index()).cloned().flatten()
    }
}

/// A registered TEP and the next hop that its route names.
struct Entry {
    tep: Tep,
    via: Option<Ipv4Addr>,
}

/// A next hop.
struct Neighbour {
    mac: Option<MacAddr>,
    /// How many TEPs are reached by it.
    teps: usize,
}

struct Task {
    netlink: Option<Netlink>,
    fixed: Option<MacAddr>,
    port_mac: MacAddr,
    publisher: ArrayPublisher<TepArray>,
    /// By index.
    teps: Vec<Option<Entry>>,
    neighbours: HashMap<Ipv4Addr, Neighbour>,
    view: Arc<RwLock<Vec<Option<NextHop>>>>,
    changed: bool,
    /// Who is answered at the next publication.
    waiting: Vec<blocking::Sender<Epoch>>,
    published: Instant,
}

impl Task {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>, mut events: Option<Events>) {
        let mut resync = tokio::time::interval(RESYNC_EVERY);
        let mut routes_settled: Option<Instant> = None;
        loop {
            let publish_at = self.published + PUBLISH_EVERY;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(publish_at), if self.changed => self.publish(),
                request = requests.recv() => match request {
                    Some(request) => self.register(request).await,
                    None => return,
                },
                Some(event) = next(&mut events) => match event {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
                        self.follow(&message, false);
                    }
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message)) => {
                        self.follow(&message, true);
                    }
                    NetlinkPayload::InnerMessage(
                        RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_),
                    ) => { routes_settled.get_or_insert(Instant::now() + ROUTES_SETTLE); }
                    NetlinkPayload::Overrun(_) => {
                        tracing::warn!("netlink notifications were lost; reading neighbours and routes anew");
                        routes_settled = Some(Instant::now());
                        self.read_neighbours().await;
                    }
                    _ => {}
                },
                () = tokio::time::sleep_until(routes_settled.unwrap_or(publish_at)), if routes_settled.is_some() => {
                    routes_settled = None;
                    self.reroute(0..self.teps.len()).await;
                }
                _ = resync.tick() => {
                    self.publisher.reclaim();
                    self.read_neighbours().await;
                    self.probe_unresolved().await;
                }
            }
        }
    }

    /// Takes a request in; its answer comes with the next publication.
    async fn register(&mut self, request: Request) {
        for index in request.removed {
            let entry = self.teps.get_mut(index.index()).and_then(Option::take);
            self.release(entry.and_then(|entry| entry.via)).await;
        }
        let mut places = Vec::with_capacity(request.added.len());
        for (index, tep) in request.added {
            let place = index.index();
            if self.teps.len() <= place {
                self.teps.resize_with(place + 1, || None);
            }
            self.teps[place] = Some(Entry { tep, via: None });
            places.push(place);
        }
        self.changed = true;
        self.waiting.push(request.done);
        // A few routes are looked up before the publication, so that a TEP behind a known gateway is resolved from its
        // first moment; many are not waited for.
        if places.len() > 64 {
            self.publish();
        }
        self.reroute(places).await;
        if self.published.elapsed() >= PUBLISH_EVERY {
            self.publish();
        }
    }

    /// Looks the routes of these TEPs up, and asks for the next hops that are new.
    async fn reroute(&mut self, places: impl IntoIterator<Item = usize>) {
        let Some(netlink) = self.netlink.clone() else {
            self.changed = true;
            return;
        };
        for place in places {
            let Some(Some(entry)) = self.teps.get(place) else { continue };
            let (old, new) = (entry.via, netlink.next_hop(entry.tep.address()).await);
            if old == new {
                continue;
            }
            if let Some(Some(entry)) = self.teps.get_mut(place) {
                entry.via = new;
            }
            self.changed = true;
            if let Some(hop) = new {
                let known = self.neighbours.entry(hop).or_insert(Neighbour { mac: None, teps: 0 });
                known.teps += 1;
                if known.teps == 1 {
                    self.warn_if_many();
                    self.ask_for(hop, &netlink).await;
                }
            }
            self.release(old).await;
        }
    }

    /// One TEP less is reached by `hop`; the last one takes the kernel's entry along.
    async fn release(&mut self, hop: Option<Ipv4Addr>) {
        let Some(hop) = hop else { return };
        let Some(neighbour) = self.neighbours.get_mut(&hop) else { return };
        neighbour.teps -= 1;
        if neighbour.teps == 0 {
            self.neighbours.remove(&hop);
            if let Some(netlink) = &self.netlink {
                netlink.forget_neighbour(hop).await;
            }
        }
    }

    async fn ask_for(&mut self, hop: Ipv4Addr, netlink: &Netlink) {
        match netlink.ask_for_neighbour(hop).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(
                next_hop = %hop, next_hops = self.neighbours.len(), %error,
                "the kernel keeps no neighbour for this next hop; see net.ipv4.neigh.default.gc_thresh3"
            ),
        }
        // An entry may have been there before, and then no notification comes.
        if let Some(mac) = netlink.neighbour(hop).await {
            self.set_mac(hop, Some(mac));
        }
    }

    /// The kernel's neighbour table is bounded, and counts the neighbours of all network namespaces.
    fn warn_if_many(&self) {
        const LIMIT: &str = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";
        let limit: Option<usize> =
            std::fs::read_to_string(LIMIT).ok().and_then(|text| text.trim().parse().ok());
        let count = self.neighbours.len();
        if limit.is_some_and(|limit| count == limit / 10 * 8) {
            tracing::warn!(
                next_hops = count,
                limit,
                "the kernel's neighbour table is nearly full; raise {LIMIT}"
            );
        }
    }

    async fn probe_unresolved(&mut self) {
        let Some(netlink) = self.netlink.clone() else { return };
        let unresolved = self.neighbours.iter().filter(|(_, n)| n.mac.is_none()).map(|(&hop, _)| hop);
        for hop in unresolved.collect::<Vec<_>>() {
            self.ask_for(hop, &netlink).await;
        }
    }

    async fn read_neighbours(&mut self) {
        let Some(netlink) = self.netlink.clone() else { return };
        for message in netlink.neighbours().await {
            self.follow(&message, false);
        }
    }

    /// Takes a neighbour's new state in.
    fn follow(&mut self, message: &NeighbourMessage, gone: bool) {
        if self.netlink.as_ref().is_none_or(|netlink| netlink.tap_index() != message.header.ifindex) {
            return;
        }
        let hop = message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
            _ => None,
        });
        if let Some(hop) = hop {
            self.set_mac(hop, if gone { None } else { usable_mac(message) });
        }
    }

    fn set_mac(&mut self, hop: Ipv4Addr, mac: Option<MacAddr>) {
        if let Some(neighbour) = self.neighbours.get_mut(&hop)
            && neighbour.mac != mac
        {
            tracing::info!(next_hop = %hop, mac = ?mac, "next hop changed");
            neighbour.mac = mac;
            self.changed = true;
        }
    }

    fn mac_of(&self, entry: &Entry) -> Option<MacAddr> {
        self.fixed.or_else(|| self.neighbours.get(&entry.via?)?.mac)
    }

    /// Publishes the array as it is now, and answers those who wait for it.
    fn publish(&mut self) {
        let resolved: Vec<_> =
            self.teps.iter().map(|entry| entry.as_ref().map(|e| (e.tep, self.mac_of(e)))).collect();
        self.show(&resolved);
        self.publisher.reclaim();
        let epoch = self.publisher.replace(TepArray::build(self.port_mac, &resolved));
        for waiting in self.waiting.drain(..) {
            // Nobody waits any more where the daemon stops.
            let _stopping = waiting.send(epoch);
        }
        self.changed = false;
        self.published = Instant::now();
    }

    /// Brings what `bcastctl tep show` sees up to date.
    fn show(&self, resolved: &[Option<(Tep, Option<MacAddr>)>]) {
        let now = SystemTime::now();
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        view.resize(resolved.len(), None);
        for ((shown, entry), resolved) in view.iter_mut().zip(&self.teps).zip(resolved) {
            let new = entry.as_ref().zip(resolved.as_ref()).map(|(entry, (_, mac))| {
                let gateway = if self.fixed.is_some() { Some(entry.tep.address()) } else { entry.via };
                NextHop { gateway, mac: mac.map(|mac| mac.0), since: now }
            });
            let same = match (&*shown, &new) {
                (Some(old), Some(new)) => old.gateway == new.gateway && old.mac == new.mac,
                (None, None) => true,
                _ => false,
            };
            if !same {
                *shown = new;
            }
        }
    }
}

/// The next notification; pending for ever where there is no netlink.
async fn next(events: &mut Option<Events>) -> Option<NetlinkPayload<RouteNetlinkMessage>> {
    match events {
        Some(events) => events.next().await.map(|(message, _)| message.payload),
        None => std::future::pending().await,
    }
}

/// The MAC address of a neighbour in a state in which it may be used; STALE ones may.
pub fn usable_mac(message: &NeighbourMessage) -> Option<MacAddr> {
    match message.header.state {
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Permanent
        | NeighbourState::Noarp => message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => Some(MacAddr(bytes.as_slice().try_into().ok()?)),
            _ => None,
        }),
        _ => None,
    }
}
