//! Where each TEP is reached: the kernel's routes and neighbours, turned into the TEP array that workers read.
//!
//! One task, on a thread and runtime of its own so that nothing else can hold it up, owns the array's publisher. It registers
//! TEPs for the control path, asks the kernel for the route to each and for the next hop's MAC address, follows both over
//! netlink, and republishes the array when something changed: at once, but not more often than every [`PUBLISH_EVERY`].
//! Next hops are `managed` neighbours: the kernel keeps asking for them. The task watches the port's and the TAP's links too.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock, mpsc as blocking};
use std::time::{Duration, SystemTime};

use bcast_domain::{ArrayPublisher, Epoch, Tep, TepIndex};
use ctl_server::NextHop;
use futures::StreamExt;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::MacAddr;

use crate::live::Live;
use crate::netlink::{Events, Netlink, is_static, link_is_up, usable_mac};
use crate::teps::TepArray;

/// The TEP array is republished no more often than this.
const PUBLISH_EVERY: Duration = Duration::from_millis(10);
/// Route changes are gathered for so long before all routes are looked up again.
const ROUTES_SETTLE: Duration = Duration::from_millis(50);
/// How often neighbours are read anew in full, in case a notification was lost, and unresolved TEPs are tried again.
const RESYNC_EVERY: Duration = Duration::from_secs(5);
/// Routes that are looked up at a time; between such lots all else gets its turn.
const ROUTES_AT_ONCE: usize = 64;

/// What the task works with.
pub struct Setup {
    /// The kernel, where there is a TAP or an interface to watch.
    pub kernel: Option<(Netlink, Events)>,
    /// Every next hop has this MAC address; without it next hops are the kernel's.
    pub fixed: Option<MacAddr>,
    /// Index of the interface behind the port.
    pub port_index: Option<u32>,
    /// Source of all copies.
    pub port_mac: MacAddr,
    /// Where the array is published.
    pub publisher: ArrayPublisher<TepArray>,
    /// Where workers see whether the port's link is up.
    pub live: Arc<Live>,
    /// Told once when the daemon cannot go on.
    pub fatal: Box<dyn FnOnce(Fatal) + Send>,
}

/// Why the daemon cannot go on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Fatal {
    /// The TAP is gone.
    #[error("the TAP was removed; bcastd makes a new one when it is started again")]
    Tap,
    /// The interface behind the port is gone.
    #[error("the port's network interface was removed; start bcastd again when it is back")]
    Port,
}

enum Message {
    Set { added: Vec<(TepIndex, Tep)>, removed: Vec<TepIndex>, done: blocking::Sender<Epoch> },
    Stop,
}

/// The handle of the task.
#[derive(Clone)]
pub struct NextHops {
    messages: mpsc::UnboundedSender<Message>,
    view: Arc<RwLock<Vec<Option<NextHop>>>>,
}

/// The task has ended, which it does only when the daemon stops.
#[derive(Debug, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Stopping;

impl NextHops {
    /// The handle, and the task to be run.
    pub fn new(setup: Setup) -> (Self, impl Future<Output = ()> + Send) {
        let (messages, incoming) = mpsc::unbounded_channel();
        let view = Arc::new(RwLock::new(Vec::new()));
        let (netlink, events) = setup.kernel.unzip();
        let task = Task {
            netlink,
            fixed: setup.fixed,
            port_index: setup.port_index,
            port_mac: setup.port_mac,
            publisher: setup.publisher,
            live: setup.live,
            fatal: Some(setup.fatal),
            teps: Vec::new(),
            to_route: VecDeque::new(),
            neighbours: HashMap::new(),
            warned: false,
            view: view.clone(),
            changed: false,
            waiting: Vec::new(),
            published: Instant::now(),
        };
        (Self { messages, view }, task.run(incoming, events))
    }

    /// Registers and forgets TEPs; returns when the array that says so is published, with its epoch. Blocks, mostly for up
    /// to [`PUBLISH_EVERY`], so it is not for a thread that runs tasks.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub fn set_teps(&self, added: &[(TepIndex, Tep)], removed: &[TepIndex]) -> Result<Epoch, Stopping> {
        let (done, answer) = blocking::channel();
        let message = Message::Set { added: added.to_vec(), removed: removed.to_vec(), done };
        self.messages.send(message).map_err(|_| Stopping)?;
        answer.recv().map_err(|_| Stopping)
    }

    /// Where frames to a TEP go now.
    pub fn get(&self, index: TepIndex) -> Option<NextHop> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.get(index.index()).copied().flatten()
    }

    /// Ends the task; it removes what the daemon put into the kernel's routing.
    pub fn stop(&self) {
        // It may have ended already.
        let _ended = self.messages.send(Message::Stop);
    }
}

/// A registered TEP and the next hop that its route names.
struct Entry {
    tep: Tep,
    via: Option<Ipv4Addr>,
}

/// A next hop.
#[derive(Default)]
struct Neighbour {
    mac: Option<MacAddr>,
    /// How many TEPs are reached by it.
    teps: usize,
    /// Whether the kernel's entry is there at our wish. An operator's own (`ip neigh add ... lladdr`) is left alone.
    asked: bool,
}

struct Task {
    netlink: Option<Netlink>,
    fixed: Option<MacAddr>,
    port_index: Option<u32>,
    port_mac: MacAddr,
    publisher: ArrayPublisher<TepArray>,
    live: Arc<Live>,
    fatal: Option<Box<dyn FnOnce(Fatal) + Send>>,
    /// By index.
    teps: Vec<Option<Entry>>,
    /// Indices whose routes are to be looked up.
    to_route: VecDeque<usize>,
    neighbours: HashMap<Ipv4Addr, Neighbour>,
    /// Whether it was said that the kernel's neighbour table is too small.
    warned: bool,
    view: Arc<RwLock<Vec<Option<NextHop>>>>,
    changed: bool,
    /// Who is answered at the next publication.
    waiting: Vec<blocking::Sender<Epoch>>,
    published: Instant,
}

impl Task {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>, mut events: Option<Events>) {
        let mut resync = tokio::time::interval(RESYNC_EVERY);
        let mut settled: Option<Instant> = None;
        loop {
            let publish_at = self.published + PUBLISH_EVERY;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(publish_at), if self.changed => self.publish(),
                message = messages.recv() => match message {
                    Some(Message::Set { added, removed, done }) => self.register(added, removed, done).await,
                    Some(Message::Stop) | None => break,
                },
                Some(event) = next(&mut events) => if self.take_in(event) {
                    settled.get_or_insert(Instant::now() + ROUTES_SETTLE);
                },
                () = tokio::time::sleep_until(settled.unwrap_or(publish_at)), if settled.is_some() => {
                    settled = None;
                    self.refresh().await;
                    self.to_route = (0..self.teps.len()).collect();
                }
                _ = resync.tick() => {
                    self.publisher.reclaim();
                    self.refresh().await;
                    self.retry_unresolved().await;
                }
                () = std::future::ready(()), if !self.to_route.is_empty() => self.route_some().await,
            }
        }
        if let Some(netlink) = &self.netlink {
            netlink.remove_rules().await;
        }
    }

    /// Takes a notification in; says whether routes may have changed.
    fn take_in(&mut self, event: NetlinkPayload<RouteNetlinkMessage>) -> bool {
        match event {
            NetlinkPayload::InnerMessage(message) => match message {
                RouteNetlinkMessage::NewNeighbour(neighbour) => self.follow(&neighbour, false),
                RouteNetlinkMessage::DelNeighbour(neighbour) => self.follow(&neighbour, true),
                RouteNetlinkMessage::NewLink(link) => return self.follow_link(&link, false),
                RouteNetlinkMessage::DelLink(link) => return self.follow_link(&link, true),
                RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => return true,
                _ => {}
            },
            NetlinkPayload::Overrun(_) => {
                tracing::warn!("netlink notifications were lost; neighbours and routes are read anew");
                return true;
            }
            _ => {}
        }
        false
    }

    /// The TAP's link came up: its routes were flushed. The port's: workers are told. Either is gone: that is the end.
    fn follow_link(&mut self, link: &LinkMessage, gone: bool) -> bool {
        let is_tap = self.netlink.as_ref().is_some_and(|netlink| netlink.tap_index() == link.header.index);
        let is_port = self.port_index == Some(link.header.index);
        if gone && (is_tap || is_port) {
            if let Some(fatal) = self.fatal.take() {
                fatal(if is_tap { Fatal::Tap } else { Fatal::Port });
            }
        } else if is_port {
            let up = link_is_up(link);
            if self.live.set_link_up(up) != up {
                tracing::warn!(up, "the port's link changed");
            }
        }
        is_tap
    }

    /// Takes a request in; its answer comes with the next publication.
    async fn register(
        &mut self,
        added: Vec<(TepIndex, Tep)>,
        removed: Vec<TepIndex>,
        done: blocking::Sender<Epoch>,
    ) {
        for index in removed {
            let entry = self.teps.get_mut(index.index()).and_then(Option::take);
            self.release(entry.and_then(|entry| entry.via)).await;
        }
        let many = added.len() > ROUTES_AT_ONCE;
        for (index, tep) in added {
            let place = index.index();
            if self.teps.len() <= place {
                self.teps.resize_with(place + 1, || None);
            }
            self.teps[place] = Some(Entry { tep, via: None });
            self.to_route.push_back(place);
        }
        self.changed = true;
        self.waiting.push(done);
        // A few routes are looked up before the publication, so that a TEP behind a known gateway is resolved from its
        // first moment; many are not waited for.
        if !many {
            self.route_some().await;
        }
        if self.published.elapsed() >= PUBLISH_EVERY {
            self.publish();
        }
    }

    /// Looks some routes up, and asks for the next hops that are new.
    async fn route_some(&mut self) {
        let lot = self.to_route.len().min(ROUTES_AT_ONCE);
        let lot: Vec<usize> = self.to_route.drain(..lot).collect();
        let Some(netlink) = self.netlink.clone().filter(|_| self.fixed.is_none()) else { return };
        for place in lot {
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
                let known = self.neighbours.entry(hop).or_default();
                known.teps += 1;
                if known.teps == 1 {
                    self.ask_for(hop, &netlink).await;
                }
            }
            self.release(old).await;
        }
    }

    /// One TEP less is reached by `hop`; the last one takes along the kernel's entry that we asked for.
    async fn release(&mut self, hop: Option<Ipv4Addr>) {
        let Some(hop) = hop else { return };
        let Some(neighbour) = self.neighbours.get_mut(&hop) else { return };
        neighbour.teps -= 1;
        if neighbour.teps > 0 {
            return;
        }
        let asked = neighbour.asked;
        self.neighbours.remove(&hop);
        if let Some(netlink) = self.netlink.as_ref().filter(|_| asked) {
            netlink.forget_neighbour(hop).await;
        }
    }

    /// Has the kernel resolve a next hop and keep it so, unless the operator has said where it is.
    async fn ask_for(&mut self, hop: Ipv4Addr, netlink: &Netlink) {
        let present = netlink.neighbour(hop).await;
        if present.as_ref().is_some_and(is_static) {
            return self.set_mac(hop, present.as_ref().and_then(usable_mac));
        }
        match netlink.ask_for_neighbour(hop).await {
            Ok(()) => {
                if let Some(neighbour) = self.neighbours.get_mut(&hop) {
                    neighbour.asked = true;
                }
            }
            Err(error) if !self.warned => {
                self.warned = true;
                tracing::warn!(
                    next_hop = %hop, next_hops = self.neighbours.len(), %error,
                    "the kernel keeps no neighbour for this next hop; raise net.ipv4.neigh.default.gc_thresh3"
                );
            }
            Err(_) => {}
        }
        self.warn_if_many();
        // An entry that was there before brings no notification.
        self.set_mac(hop, present.as_ref().and_then(usable_mac));
    }

    /// The kernel's neighbour table is bounded, and counts the neighbours of all network namespaces.
    fn warn_if_many(&mut self) {
        const LIMIT: &str = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";
        let limit: Option<usize> =
            std::fs::read_to_string(LIMIT).ok().and_then(|text| text.trim().parse().ok());
        let next_hops = self.neighbours.len();
        if !self.warned && limit.is_some_and(|limit| next_hops >= limit / 10 * 8) {
            self.warned = true;
            tracing::warn!(next_hops, limit, "the kernel's neighbour table is nearly full; raise {LIMIT}");
        }
    }

    /// Reads neighbours anew, and puts back the gateway's route, which goes when the TAP's link goes down.
    async fn refresh(&mut self) {
        let Some(netlink) = self.netlink.clone() else { return };
        netlink.restore_gateway().await;
        for message in netlink.neighbours().await {
            self.follow(&message, false);
        }
    }

    async fn retry_unresolved(&mut self) {
        let Some(netlink) = self.netlink.clone() else { return };
        let unresolved = self.neighbours.iter().filter(|(_, n)| n.mac.is_none()).map(|(&hop, _)| hop);
        for hop in unresolved.collect::<Vec<_>>() {
            self.ask_for(hop, &netlink).await;
        }
        let unrouted =
            self.teps.iter().enumerate().filter(|(_, e)| e.as_ref().is_some_and(|e| e.via.is_none()));
        self.to_route.extend(unrouted.map(|(place, _)| place));
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
            let shown = mac.map_or_else(|| "unresolved".to_owned(), |mac| mac.to_string());
            tracing::info!(next_hop = %hop, mac = shown, "next hop changed");
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
            let place = |hop: &Option<NextHop>| hop.map(|hop| (hop.gateway, hop.mac));
            if place(shown) != place(&new) {
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
