//! The task that asks the kernel, and follows its notifications.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bcast_domain::Tep;
use futures::future::join_all;
use netlink::{Notice, Notices, RequestError};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::rule::RuleMessage;
use rtnetlink::MulticastGroup;
use tokio::time::Instant;
use wire::MacAddr;

use crate::Underlay;
use crate::effect::{Effect, Tables, Watched, is_static, link_is_up, matching, usable_mac};
use crate::hops::{Route, Stale};
use crate::kernel::{Kernel, is_enslaved, name_of};

/// Changes of routes are gathered for so long before routes are looked up again.
const ROUTES_SETTLE: Duration = Duration::from_millis(50);
/// Time between two reads of links, rules and neighbours in full, in which what is unresolved is tried again.
const RESYNC_EVERY: Duration = Duration::from_secs(5);
/// Time between lost notifications and the read in full that makes up for them; more may be lost until then.
const RESYNC_AFTER_LOSS: Duration = Duration::from_millis(200);
/// Time between two lines of the log about lost notifications.
const SAY_LOST_EVERY: Duration = Duration::from_secs(10);
/// Time for which a kernel that did not answer is left alone.
const SILENCE: Duration = Duration::from_secs(1);
/// Time until next hops are tried again that the kernel refused to resolve.
const RETRY_REFUSED: Duration = Duration::from_millis(500);
/// Time between two turns where nothing happens.
const IDLE_TURN: Duration = Duration::from_millis(250);
/// TEPs beyond which sweeps over all of them are spaced out, and the time between the end of one and the next.
const MANY: usize = 1_024;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Time for the TAP's settings to be read and restored.
const SETTINGS_WITHIN: Duration = Duration::from_secs(2);
/// Questions that are under way at a time.
const AT_ONCE: usize = 64;

/// The kernel's error number for a full neighbour table, ENOBUFS.
const NO_BUFFERS: i32 = -105;
/// For an interface that is down, ENETDOWN.
const NETWORK_DOWN: i32 = -100;

/// The node cannot go on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Fatal {
    /// The TAP is gone.
    #[error("the TAP was removed; bcastd makes a new one when it is started again")]
    Tap,
    /// The interface behind the port is gone.
    #[error("the port's network interface was removed; start bcastd again when it is back")]
    Port,
}

/// The task that asks the kernel, and follows its notifications.
pub struct Task {
    underlay: Arc<Underlay>,
    kernel: Kernel,
    notices: Notices,
    watched: Watched,
    on_link: Box<dyn Fn(bool) + Send>,
    fatal: Option<Box<dyn FnOnce(Fatal) + Send>>,
    /// When routes that were marked are looked up; `None`: none were marked, or they are being looked up.
    settle_at: Option<Instant>,
    /// Routes of many TEPs that are to be marked, and when; and when such were marked last.
    sweep: Option<Stale>,
    sweep_at: Option<Instant>,
    swept: Option<Instant>,
    /// When routing rules are read; and those that can match the node's packets, as they were read last.
    rules_at: Option<Instant>,
    rules: Option<Vec<RuleMessage>>,
    /// When links, rules and neighbours are read in full.
    resync_at: Instant,
    /// Routes are to be looked up anew with the next read in full.
    lost: bool,
    /// When the log told of lost notifications.
    said_lost: Option<Instant>,
    /// Next hops that the kernel refused to resolve, while the TAP was down for one, and when they are tried again.
    refused: Vec<IpAddr>,
    retry_at: Option<Instant>,
    /// The kernel is left alone until then.
    silent_until: Option<Instant>,
    /// The kernel's error numbers for which the log says that it keeps no neighbour for some next hop.
    warned: HashSet<Option<i32>>,
}

impl Task {
    /// Multicast groups whose notifications matter.
    const GROUPS: [MulticastGroup; 8] = [
        MulticastGroup::Link,
        MulticastGroup::Neigh,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv4Rule,
        MulticastGroup::Ipv4Netconf,
        MulticastGroup::Ipv6Netconf,
        MulticastGroup::Nexthop,
    ];

    /// Hears notifications, on the current runtime and in the network namespace of this thread. To be called before the state
    /// is read that they change.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn listen() -> io::Result<Notices> {
        Notices::open(&Self::GROUPS)
    }

    /// The task, to be [run](Self::run). `port_index`: the interface behind the port. `on_link` is told
    /// whether the port's link is up. `fatal` is told once that the daemon
    /// cannot go on.
    pub fn new(
        underlay: Arc<Underlay>,
        (kernel, notices): (Kernel, Notices),
        port_index: Option<u32>,
        on_link: Box<dyn Fn(bool) + Send>,
        fatal: Box<dyn FnOnce(Fatal) + Send>,
    ) -> Self {
        let watched = Watched { tap: kernel.tap_index(), port: port_index, tables: Tables::Any };
        Self {
            underlay,
            kernel,
            notices,
            watched,
            on_link,
            fatal: Some(fatal),
            settle_at: None,
            sweep: None,
            sweep_at: None,
            swept: None,
            rules_at: None,
            rules: None,
            resync_at: Instant::now(),
            lost: false,
            said_lost: None,
            refused: Vec::new(),
            retry_at: None,
            silent_until: None,
            warned: HashSet::new(),
        }
    }

    /// Runs until [`Underlay::stop`].
    pub async fn run(mut self) {
        while !self.underlay.stopping.load(Relaxed) {
            self.underlay.beat();
            // Not by a timer alone: where there is always something else to do, none would ever be due.
            self.publish();
            let publish_in = self.publish_in();
            let works = self.silent_until.is_none_or(|until| until <= Instant::now()) && self.has_work();
            let now = Instant::now();
            tokio::select! {
                biased;
                () = tokio::time::sleep(publish_in.unwrap_or_default()), if publish_in.is_some() => self.publish(),
                notice = self.notices.next() => self.hear(notice).await,
                () = tokio::time::sleep_until(self.settle_at.unwrap_or(now)), if self.settle_at.is_some() => {
                    self.settle_at = None;
                }
                () = tokio::time::sleep_until(self.retry_at.unwrap_or(now)), if self.retry_at.is_some() => {
                    self.retry_at = None;
                    let hops = &mut self.underlay.lock().hops;
                    self.refused.drain(..).for_each(|hop| hops.ask_again(hop));
                }
                () = tokio::time::sleep_until(self.sweep_at.unwrap_or(now)), if self.sweep_at.is_some() => self.sweep(),
                () = tokio::time::sleep_until(self.rules_at.unwrap_or(now)), if self.rules_at.is_some() => {
                    self.rules_at = None;
                    let done = self.follow_rules().await;
                    self.note(done);
                }
                () = tokio::time::sleep_until(self.resync_at) => {
                    let done = self.resync().await;
                    self.note(done);
                }
                () = std::future::ready(()), if works => {
                    let done = self.work().await;
                    self.note(done);
                    self.settled();
                }
                () = self.underlay.woken.notified() => self.settled(),
                () = tokio::time::sleep(IDLE_TURN) => {}
            }
        }
        if !self.underlay.silent.load(Relaxed) {
            self.kernel.remove_rules().await;
        }
    }

    /// Time until the array is to be published; `None`: nothing changed.
    fn publish_in(&self) -> Option<Duration> {
        let inner = self.underlay.lock();
        inner.hops.is_changed().then(|| inner.gate.wait(std::time::Instant::now()))
    }

    fn publish(&self) {
        let mut inner = self.underlay.lock();
        // The commit thread may have published meanwhile.
        if inner.hops.is_changed() && inner.gate.wait(std::time::Instant::now()).is_zero() {
            self.underlay.publish(&mut inner);
        }
    }

    fn has_work(&self) -> bool {
        let inner = self.underlay.lock();
        inner.hops.has_work() || (self.settle_at.is_none() && inner.hops.has_stale())
    }

    /// Those who wait for the routes of new TEPs are woken where there is nothing more to wait for.
    fn settled(&self) {
        let inner = self.underlay.lock();
        if inner.hops.is_settled() {
            if self.underlay.loaded.load(Relaxed) {
                self.underlay.asked.store(true, Relaxed);
            }
            self.underlay.settled.notify_all();
        }
    }

    /// Keeps in mind whether the kernel answers.
    fn note(&mut self, done: Result<(), RequestError>) {
        let error = done.err();
        let silent = error.as_ref().is_some_and(RequestError::is_silence);
        self.silent_until = silent.then(|| Instant::now() + SILENCE);
        if self.underlay.silent.swap(silent, Relaxed) != silent {
            match silent {
                true => {
                    tracing::error!(error = error.map(tracing::field::display), "the kernel does not answer")
                }
                false => tracing::info!("the kernel answers again"),
            }
        } else if let Some(error) = error.filter(|_| !silent) {
            tracing::warn!(%error, "a request to the kernel failed; it is tried again");
        }
    }

    async fn hear(&mut self, notice: io::Result<Notice>) {
        let effect = match notice {
            Ok(notice) => self.watched.effect(&notice),
            Err(error) => {
                tracing::error!(%error, "the socket for notifications failed; another is opened");
                tokio::time::sleep(RESYNC_AFTER_LOSS).await;
                match Self::listen() {
                    Ok(notices) => self.notices = notices,
                    Err(error) => tracing::error!(%error, "there is no socket for notifications"),
                }
                Some(Effect::Resync)
            }
        };
        if let Some(effect) = effect {
            self.apply(effect);
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::PortLink(up) => (self.on_link)(up),
            // The gateway's route, and what else the TAP lacks, comes back with the read in full.
            Effect::TapLink | Effect::AddressRemoved => {
                self.resync_within(ROUTES_SETTLE);
                self.mark(Stale::All);
            }
            Effect::Setting => self.resync_within(RESYNC_AFTER_LOSS),
            Effect::PortGone => self.give_up(Fatal::Port),
            Effect::TapGone => self.give_up(Fatal::Tap),
            Effect::Resolved(hop, mac) => self.underlay.lock().hops.resolved(hop, mac),
            Effect::Vanished(hop) => self.underlay.lock().hops.vanished(hop),
            Effect::Routes(stale) => self.mark(stale),
            Effect::Rules => _ = self.rules_at.get_or_insert(Instant::now() + ROUTES_SETTLE),
            Effect::Resync => {
                let now = Instant::now();
                if self.said_lost.is_none_or(|said| now - said >= SAY_LOST_EVERY) {
                    self.said_lost = Some(now);
                    tracing::warn!(
                        "netlink notifications were lost; links, neighbours and routes are read anew"
                    );
                }
                self.lost = true;
                self.resync_within(RESYNC_AFTER_LOSS);
            }
        }
    }

    fn resync_within(&mut self, time: Duration) {
        self.resync_at = self.resync_at.min(Instant::now() + time);
    }

    fn give_up(&mut self, why: Fatal) {
        if let Some(fatal) = self.fatal.take() {
            fatal(why);
        }
    }

    /// Marks routes, which are looked up once no more of the same is to be expected. A sweep over many TEPs waits until the
    /// last one is over, and a while: else, where causes follow one another, sweeps would be all that is done.
    fn mark(&mut self, stale: Stale) {
        let Stale::Prefix(..) = stale else {
            let wanted = match self.sweep.take() {
                Some(Stale::All) => Stale::All,
                _ => stale,
            };
            self.sweep = Some(wanted);
            let pause = match self.underlay.lock().hops.teps() {
                0..=MANY => ROUTES_SETTLE,
                _ => SWEEP_EVERY,
            };
            let earliest = self.swept.map_or(Instant::now(), |swept| swept + pause);
            self.sweep_at.get_or_insert(earliest.max(Instant::now() + ROUTES_SETTLE));
            return;
        };
        let mut inner = self.underlay.lock();
        let had_stale = inner.hops.has_stale();
        inner.hops.mark(stale);
        let has_stale = inner.hops.has_stale();
        drop(inner);
        if has_stale && !had_stale {
            self.settle_at = Some(Instant::now() + ROUTES_SETTLE);
        }
    }

    /// Marks the routes of the sweep that waits, unless an earlier one is under way.
    fn sweep(&mut self) {
        let mut inner = self.underlay.lock();
        if inner.hops.has_stale() && inner.hops.teps() > MANY {
            self.sweep_at = Some(Instant::now() + SWEEP_EVERY);
            return;
        }
        self.sweep_at = None;
        if let Some(stale) = self.sweep.take() {
            inner.hops.mark(stale);
            self.swept = Some(Instant::now());
        }
    }

    /// Reads the routing rules, and puts back the daemon's own.
    async fn follow_rules(&mut self) -> Result<(), RequestError> {
        let rules = self.kernel.rules().await?;
        let missing = self.kernel.restore_rules(&rules).await?;
        if missing > 0 {
            tracing::warn!(missing, "routing rules of the daemon had been removed; they are back");
        }
        self.watched.tables = Tables::of(&rules);
        let Some(node) = self.kernel.node() else { return Ok(()) };
        let rules = matching(rules, node);
        if missing > 0 || self.rules.as_ref() != Some(&rules) {
            self.rules = Some(rules);
            self.mark(Stale::All);
        }
        Ok(())
    }

    /// Gives the TAP back what others took: its addresses, its settings, up.
    async fn follow_tap(&mut self, tap: &LinkMessage) -> Result<(), RequestError> {
        let missing = self.kernel.restore_tap(tap).await?;
        if !missing.is_empty() {
            let missing = missing.join(", ");
            tracing::warn!(missing, "the TAP had lost what the node needs; it is back");
            self.mark(Stale::All);
        }
        let name = name_of(tap).unwrap_or_default().to_owned();
        let settings = tokio::task::spawn_blocking(move || crate::tap::configure(&name));
        let trouble = match tokio::time::timeout(SETTINGS_WITHIN, settings).await {
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(_) if is_enslaved(tap) => {
                Some("the TAP belongs to a bridge or bond, so the node's kernel gets no frames; take it out (`ip link set TAP nomaster`)".into())
            }
            Ok(_) => None,
            Err(_) => Some("the TAP's settings cannot be read: /proc/sys/net does not answer".into()),
        };
        self.underlay.set_tap_trouble(trouble);
        Ok(())
    }

    /// Reads links, rules and neighbours in full, and tries again what is unresolved.
    async fn resync(&mut self) -> Result<(), RequestError> {
        self.resync_at = Instant::now() + RESYNC_EVERY;
        let links = self.kernel.links().await?;
        let link = |index: u32| links.iter().find(|link| link.header.index == index);
        match self.watched.port.map(link) {
            Some(None) => self.give_up(Fatal::Port),
            Some(Some(link)) => (self.on_link)(link_is_up(link)),
            None => {}
        }
        if self.watched.tap == 0 {
            self.lost = false;
            return Ok(());
        }
        match link(self.watched.tap) {
            Some(tap) => self.follow_tap(tap).await?,
            None => self.give_up(Fatal::Tap),
        }
        self.follow_rules().await?;
        // Now that the TAP is as it has to be.
        self.kernel.restore_gateway().await?;
        let neighbours = self.kernel.neighbours().await?;
        let mut inner = self.underlay.lock();
        inner.hops.neighbours(&neighbours);
        inner.hops.mark_unresolved();
        inner.table.reclaim();
        let next_hops = inner.hops.len();
        drop(inner);
        if std::mem::take(&mut self.lost) {
            self.mark(Stale::All);
        }
        if self.warned.is_empty() {
            // Reading a file may block.
            tokio::task::spawn_blocking(move || warn_if_many(next_hops));
        }
        Ok(())
    }

    /// Asks the kernel some of what there is to ask.
    async fn work(&mut self) -> Result<(), RequestError> {
        let teps = self.underlay.lock().hops.take(AT_ONCE, self.settle_at.is_some());
        let (kernel, mut result) = (&self.kernel, Ok(()));
        let lookups = teps.into_iter().map(async |tep: Tep| (tep, kernel.route(tep.address()).await));
        let found: Vec<(Tep, Result<Option<Route>, RequestError>)> = join_all(lookups).await;
        let (to_ask, to_forget) = {
            let mut inner = self.underlay.lock();
            for (tep, route) in found {
                match route {
                    Ok(route) => inner.hops.routed(tep, route),
                    Err(error) => {
                        inner.hops.put_back(tep);
                        result = Err(error);
                    }
                }
            }
            (inner.hops.take_to_ask(AT_ONCE), inner.hops.take_to_forget(AT_ONCE))
        };
        let asked = join_all(to_ask.into_iter().map(async |hop| (hop, ask(kernel, hop).await))).await;
        let forgotten = join_all(to_forget.into_iter().map(|hop| kernel.forget_neighbour(hop))).await;
        let mut inner = self.underlay.lock();
        let mut refused: Option<(IpAddr, RequestError)> = None;
        for (hop, answer) in asked {
            match answer {
                Ok(Answer { mac, asked }) => {
                    if asked {
                        inner.hops.asked(hop);
                    }
                    inner.hops.resolved(hop, mac);
                }
                Err(error) if error.is_silence() => {
                    inner.hops.ask_again(hop);
                    result = Err(error);
                }
                Err(error) => {
                    let error = refused.insert((hop, error)).1.code();
                    // A full table is tried again with the next read in full.
                    if error != Some(NO_BUFFERS) {
                        self.refused.push(hop);
                    }
                }
            }
        }
        let next_hops = inner.hops.len();
        drop(inner);
        if !self.refused.is_empty() {
            self.retry_at.get_or_insert(Instant::now() + RETRY_REFUSED);
        }
        if let Some((hop, error)) = refused {
            self.warn_of_refusal(hop, next_hops, &error);
        }
        forgotten.into_iter().fold(result, Result::and)
    }

    fn warn_of_refusal(&mut self, next_hop: IpAddr, next_hops: usize, error: &RequestError) {
        // Once for each cause.
        if error.code() == Some(NETWORK_DOWN) || !self.warned.insert(error.code()) {
            return;
        }
        match error.code() {
            Some(NO_BUFFERS) => tracing::warn!(
                %next_hop, next_hops, %error,
                "the kernel keeps no neighbour for this next hop; raise net.ipv4.neigh.default.gc_thresh3"
            ),
            _ => tracing::warn!(
                %next_hop, next_hops, %error,
                "the kernel keeps no neighbour for this next hop; it takes a kernel from 5.16 on, and an IPv6 next hop IPv6 on the TAP"
            ),
        }
    }
}

/// Answer of the kernel on a next hop.
struct Answer {
    mac: Option<MacAddr>,
    /// The kernel keeps an entry at the daemon's request.
    asked: bool,
}

/// Has the kernel resolve a next hop and keep it so, unless the operator has said where it is.
async fn ask(kernel: &Kernel, hop: IpAddr) -> Result<Answer, RequestError> {
    let present = kernel.neighbour(hop).await?;
    // An entry that was there before brings no notification.
    let mac = present.as_ref().and_then(usable_mac);
    if present.as_ref().is_some_and(is_static) {
        return Ok(Answer { mac, asked: false });
    }
    kernel.ask_for_neighbour(hop).await?;
    Ok(Answer { mac, asked: true })
}

/// Warns where the kernel's neighbour table, which is bounded over all network namespaces, is nearly full.
fn warn_if_many(next_hops: usize) {
    const LIMIT: &str = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";
    let limit: Option<usize> = std::fs::read_to_string(LIMIT).ok().and_then(|text| text.trim().parse().ok());
    if limit.is_some_and(|limit| next_hops >= limit / 10 * 8) {
        static SAID: std::sync::Once = std::sync::Once::new();
        SAID.call_once(|| {
            tracing::warn!(next_hops, limit, "the kernel's neighbour table is nearly full; raise {LIMIT}");
        });
    }
}
