//! The underlay: where each TEP is reached, and whether the port's link is up.
//!
//! ```text
//!  commit thread ──add, remove──▶ Machine ──array──▶ workers
//!                         events ▲   │ actions
//!                                │   ▼
//!                                 Task ◀── answers, notifications ── Kernel
//!                                      ── requests ──▶
//! ```
//!
//! The commit thread registers TEPs and publishes the array itself: it never waits for the kernel. The [`Task`], on a
//! thread and runtime of its own, asks the kernel for the route to each TEP and for the next hop's MAC address, follows both by
//! notifications, and publishes what changed; [`Machine::decide`] says what to do when, without I/O and without a clock. Next hops are `managed` neighbours: the kernel keeps asking for them.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bcast_domain::{Epoch, Tep, TepIndex};
use ctl_node::NextHop;
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::MacAddr;

mod decide;
mod effect;
mod event;
mod gate;
mod hops;
mod ingress_drop;
mod interface;
mod kernel;
mod tap;
mod task;

pub use decide::Machine;
pub use effect::{by_tap, neighbour};
pub use event::{Action, Answer, Event, Fatal, Request};
pub use hops::{Neighbour, Published, Route};
pub use ingress_drop::{IngressDrop, IngressDropError, acknowledgements};
pub use interface::{HostUse, Interfaces};
pub use kernel::{Kernel, KernelError};
pub use tap::SettingError;
pub use task::{Stack, Task};

use gate::Gate;

/// Time without a turn of the task after which it does not answer.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// Array of TEPs that workers read.
pub trait TepTable: Send {
    /// Replaces the array; entry `i` is the TEP of index `i` and the MAC address of its next hop. `gateways` are the next hops that are no
    /// TEPs themselves, once or more. Returns the epoch from which on workers see it.
    fn replace(&mut self, teps: &[Option<(Tep, Option<MacAddr>)>], gateways: &[IpAddr]) -> Epoch;

    /// Frees arrays that no worker uses any more.
    fn reclaim(&mut self);
}

/// TEPs, their next hops, and the array that workers read.
pub struct Underlay {
    inner: Mutex<Inner>,
    /// There is work for the task.
    woken: Notify,
    /// The task has published, or has nothing more to look up.
    settled: Condvar,
    view: RwLock<Vec<Option<NextHop>>>,
    started: Instant,
    /// Milliseconds after `started` of the task's last turn.
    beat_ms: AtomicU64,
    /// The kernel did not answer the task's last request.
    silent: AtomicBool,
    /// All TEPs of the store are registered.
    loaded: AtomicBool,
    /// The kernel was asked for the next hops of all TEPs of the store.
    asked: AtomicBool,
    /// The TAP's state that keeps the node's kernel from the underlay, in one line.
    tap_trouble: Mutex<Option<String>>,
    stopping: AtomicBool,
    /// There is a task: next hops come from the kernel.
    follows_kernel: bool,
}

struct Inner {
    machine: Machine,
    table: Box<dyn TepTable>,
    epoch: Epoch,
    gate: Gate,
}

/// Health of the task that follows next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The task takes turns, and the kernel answers it.
    pub answers: bool,
    /// The kernel was asked for the next hops of all TEPs of the store.
    pub asked: bool,
}

impl Underlay {
    /// No TEPs. `fixed`: the MAC address of every next hop. `table`: where TEPs are published. `follows_kernel`: a [`Task`] will run.
    pub fn new(fixed: Option<MacAddr>, table: Box<dyn TepTable>, follows_kernel: bool) -> Arc<Self> {
        let inner =
            Inner { machine: Machine::new(fixed), table, epoch: Epoch::default(), gate: Gate::default() };
        Arc::new(Self {
            inner: Mutex::new(inner),
            woken: Notify::new(),
            settled: Condvar::new(),
            view: RwLock::default(),
            started: Instant::now(),
            beat_ms: AtomicU64::new(0),
            silent: AtomicBool::new(false),
            loaded: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            tap_trouble: Mutex::default(),
            stopping: AtomicBool::new(false),
            follows_kernel,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers and removes TEPs, and publishes the array; returns its epoch. Waits for the gate, some 10 ms at most, and
    /// never for the kernel.
    pub fn set_teps(&self, added: &[(TepIndex, Tep)], removed: &[TepIndex]) -> Epoch {
        let mut inner = self.lock();
        inner.machine.set_teps(added, removed);
        self.woken.notify_one();
        loop {
            let wait = inner.gate.wait(Instant::now().into_std());
            if wait.is_zero() {
                return self.publish(&mut inner);
            }
            drop(inner);
            std::thread::sleep(wait);
            inner = self.lock();
        }
    }

    /// Follows the kernel from now on, with a [`Task`]; see [`Machine::follow`].
    pub fn follow(&self, tap: u32, port: Option<u32>, node: Option<Ipv4Addr>) {
        self.lock().machine.follow(Instant::now().into_std(), tap, port, node);
    }

    /// Waits until the routes of all TEPs were looked up and workers can see them, at most for `patience`; not at all where
    /// the kernel does not answer. Returns the epoch of the last publication.
    pub fn settle(&self, patience: Duration) -> Epoch {
        let inner = self.lock();
        let unsettled = |inner: &mut Inner| {
            let settled = inner.machine.hops.is_settled() && !inner.machine.hops.is_changed();
            self.follows_kernel && !settled && self.health().answers && !self.stopping.load(Relaxed)
        };
        match self.settled.wait_timeout_while(inner, patience, unsettled) {
            Ok((inner, _)) => inner.epoch,
            Err(poisoned) => poisoned.into_inner().0.epoch,
        }
    }

    /// Next hop of frames to a TEP.
    pub fn get(&self, index: TepIndex) -> Option<NextHop> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.get(index.index()).copied().flatten()
    }

    /// Number of registered TEPs without a known next hop.
    pub fn unresolved(&self) -> usize {
        self.registered().1
    }

    /// Number of registered TEPs, and of those without a known next hop.
    pub fn registered(&self) -> (usize, usize) {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let count =
            |count: (usize, usize), hop: &NextHop| (count.0 + 1, count.1 + usize::from(hop.mac.is_none()));
        view.iter().flatten().fold((0, 0), count)
    }

    /// All TEPs of the store are registered.
    pub fn loaded(&self) {
        self.loaded.store(true, Relaxed);
        self.woken.notify_one();
    }

    /// Health of the task.
    pub fn health(&self) -> Health {
        let beat = self.started + Duration::from_millis(self.beat_ms.load(Relaxed));
        let answers = !self.silent.load(Relaxed) && beat.elapsed() < SILENT_AFTER;
        Health {
            answers: answers || !self.follows_kernel,
            asked: self.asked.load(Relaxed) || !self.follows_kernel,
        }
    }

    /// The TAP is as the node needs it.
    ///
    /// # Errors
    /// Why not, in one line.
    pub fn tap(&self) -> Result<(), String> {
        let trouble = self.tap_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone().map_or(Ok(()), Err)
    }

    /// Keeps what is wrong with the TAP, and says so once.
    fn set_tap_trouble(&self, trouble: Option<String>) {
        let mut kept = self.tap_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_ref().filter(|&trouble| Some(trouble) != kept.as_ref()) {
            tracing::error!("{trouble}");
        }
        *kept = trouble;
    }

    /// Ends the task; it removes what the daemon put into the kernel's routing.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.woken.notify_one();
        self.settled.notify_all();
    }

    /// Publishes the array as it is now.
    fn publish(&self, inner: &mut Inner) -> Epoch {
        let published = inner.machine.publish();
        self.show(&published);
        let teps: Vec<_> =
            published.iter().map(|tep| tep.map(|Published { tep, mac, .. }| (tep, mac))).collect();
        let by_gateway = |tep: &Published| tep.gateway.filter(|&hop| hop != IpAddr::from(tep.tep.address()));
        let gateways: Vec<IpAddr> = published.iter().flatten().filter_map(by_gateway).collect();
        inner.epoch = inner.table.replace(&teps, &gateways);
        inner.gate.pass(Instant::now().into_std());
        self.settled.notify_all();
        inner.epoch
    }

    /// Brings the view of `bcastctl tep show` up to date.
    fn show(&self, published: &[Option<Published>]) {
        let now = SystemTime::now();
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        view.resize(published.len(), None);
        for (shown, published) in view.iter_mut().zip(published) {
            let new = published.map(|Published { gateway, mac, .. }| NextHop {
                gateway,
                mac: mac.map(|mac| mac.0),
                since: now,
            });
            let place = |hop: &Option<NextHop>| hop.map(|hop| (hop.gateway, hop.mac));
            if place(shown) != place(&new) {
                *shown = new;
            }
        }
    }

    /// Publishes the array where that is due. Returns when the task is to take its next turn.
    fn publish_if_due(&self) -> std::time::Instant {
        let (mut inner, now) = (self.lock(), Instant::now().into_std());
        let wait = inner.gate.wait(now);
        if inner.machine.hops.is_changed() && wait.is_zero() {
            self.publish(&mut inner);
        }
        let wake_at = inner.machine.wake_at(now);
        if inner.machine.hops.is_changed() { wake_at.min(now + wait) } else { wake_at }
    }

    /// Wakes those who wait for the routes of new TEPs, where there is nothing more to wait for.
    fn wake_settled(&self) {
        if self.lock().machine.hops.is_settled() {
            if self.loaded.load(Relaxed) {
                self.asked.store(true, Relaxed);
            }
            self.settled.notify_all();
        }
    }

    /// The task took a turn.
    fn beat(&self) {
        let elapsed = self.started.elapsed().as_millis();
        self.beat_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Relaxed);
    }
}
