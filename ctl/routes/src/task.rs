//! The task that makes the kernel's tables what the plan says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ctl_api::model::{Event, Name};
use futures::{StreamExt, stream};
use netlink::Notices;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::RoutesConfig;
use crate::kernel::{AT_ONCE, Kernel};
use crate::mailbox::Mailbox;
use crate::plan::Plan;
use crate::route::{Hop, Key, OnLink, Why};

/// Interval of full reads of the tables: the kernel removes routes without a notification when a link goes down,
/// and other programs may.
const RESYNC_EVERY: Duration = Duration::from_secs(10);
/// After a link or an address changed, more of the same is waited for.
const LINKS_SETTLE: Duration = Duration::from_millis(50);
/// The first wait after an error; each further one is twice as long, up to [`RESYNC_EVERY`].
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Time for which a route must have been impossible before it is reported: a link may just be coming up.
const REPORT_AFTER: Duration = Duration::from_secs(1);
/// Limit of reports that wait for the receiver; further ones are sent later.
const REPORTS: usize = 1_024;

/// There is no route for a virtual IP, though there should be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The HAVIP.
    pub havip: Name,
    /// The generation of the binding that has no route.
    pub generation: u64,
    /// The route: its address is the HAVIP's or its EIP.
    pub route: Key,
    /// Why, and what to do.
    pub why: Why,
}

/// Counters of the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Routes that are in the kernel.
    pub routes: u64,
    /// Routes that cannot be, for want of a next hop.
    pub unusable: u64,
    /// Routes that the kernel refused, or did not give back; they are tried again.
    pub failing: u64,
    /// Routes made, moved or removed so far.
    pub written: u64,
}

/// The handle of the task. When the last one is dropped, the task ends.
pub struct Routes {
    mailbox: Arc<Mailbox>,
    figures: watch::Receiver<Figures>,
}

impl Routes {
    /// The handle, the reports of routes that cannot be installed, and the task to be run. It works in the network namespace of the
    /// thread that calls this, within a runtime.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn new(
        config: RoutesConfig,
    ) -> io::Result<(Self, mpsc::Receiver<Unusable>, impl Future<Output = ()> + Send)> {
        let (kernel, notices) = Kernel::open(&config)?;
        let mailbox = Arc::new(Mailbox::default());
        let (sender, reports) = mpsc::channel(REPORTS);
        let (show, figures) = watch::channel(Figures::default());
        let task = Task {
            kernel,
            plan: Plan::new(config),
            on_link: OnLink::new(),
            installed: HashMap::new(),
            failing: 0,
            retry: RETRY_FIRST,
            written: 0,
            unreported: BTreeMap::new(),
            reported: HashMap::new(),
            reports: sender,
            show,
        };
        Ok((Self { mailbox: mailbox.clone(), figures }, reports, task.run(mailbox, notices)))
    }

    /// Takes what was committed, in its order; does not wait for the kernel.
    ///
    /// The first call tells the whole state, even if there is nothing in it: until then nothing is touched, and after it what is
    /// not part of it is removed.
    pub fn apply<'e>(&self, events: impl IntoIterator<Item = &'e Event>) {
        self.mailbox.put(events);
    }

    /// Counters of the task.
    #[must_use]
    pub fn figures(&self) -> Figures {
        *self.figures.borrow()
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.mailbox.stop();
    }
}

struct Task {
    kernel: Kernel,
    plan: Plan,
    on_link: OnLink,
    /// Routes in the kernel, as far as known.
    installed: HashMap<Key, Option<Hop>>,
    failing: u64,
    retry: Duration,
    written: u64,
    /// Routes that cannot be installed, and the time of their report.
    unreported: BTreeMap<Key, Instant>,
    /// Reported HAVIPs: generation of the binding, and reason.
    reported: HashMap<Key, (u64, Why)>,
    reports: mpsc::Sender<Unusable>,
    show: watch::Sender<Figures>,
}

impl Task {
    async fn run(mut self, mailbox: Arc<Mailbox>, mut notices: Notices) {
        let mut loaded = false;
        let mut due = Instant::now() + RESYNC_EVERY;
        loop {
            let report_due = self.unreported.values().min().copied().unwrap_or(due);
            tokio::select! {
                () = mailbox.arrived() => {
                    let news = mailbox.take();
                    if news.stop {
                        return;
                    }
                    for (tep, gateways) in news.teps {
                        self.plan.set_tep(tep, gateways);
                    }
                    for (name, havip) in news.havips {
                        self.plan.set_havip(name, havip);
                    }
                    if news.loaded && !loaded {
                        loaded = true;
                        due = Instant::now() + self.resync().await;
                    } else if !self.follow().await {
                        due = due.min(Instant::now() + self.retry);
                    }
                }
                // All that matters is looked up, whatever changed.
                notice = notices.next() => {
                    due = due.min(Instant::now() + LINKS_SETTLE);
                    if let Err(error) = notice {
                        tracing::error!(%error, "the socket for notifications failed; another is opened");
                        sleep(LINKS_SETTLE).await;
                        match Kernel::listen() {
                            Ok(again) => notices = again,
                            Err(error) => tracing::error!(%error, "there is no socket for notifications"),
                        }
                    }
                }
                () = sleep_until(due) => {
                    due = Instant::now() + if loaded { self.resync().await } else { RESYNC_EVERY };
                }
                () = sleep_until(report_due), if !self.unreported.is_empty() => self.report(),
            }
            self.show();
        }
    }

    /// Carries out what just changed. Says whether the kernel did all of it.
    async fn follow(&mut self) -> bool {
        let unknown = self.plan.asks(false).into_iter().filter(|address| !self.on_link.contains_key(address));
        let (found, failed) = self.look_up(unknown.collect()).await;
        self.on_link.extend(found);
        let touched = self.plan.settle(&self.on_link);
        let failures = self.write(touched).await;
        failures + failed == 0
    }

    /// Asks for everything anew, and puts right what is not as it shall be. Returns when to do so again.
    async fn resync(&mut self) -> Duration {
        let (found, failed) = self.look_up(self.plan.asks(true).into_iter().collect()).await;
        if found != self.on_link {
            self.on_link = found;
            self.plan.links_changed();
        }
        self.plan.settle(&self.on_link);
        let mut failures = failed;
        match self.kernel.installed().await {
            Ok(installed) => {
                self.installed = installed;
                let wanted = self.plan.iter().map(|(key, _)| *key);
                let keys = self.installed.keys().copied().chain(wanted).collect::<BTreeSet<_>>();
                failures += self.write(keys).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the kernel's routes cannot be read; they are tried again");
                failures += 1;
            }
        }
        self.failing = failures;
        if failures == 0 {
            self.retry = RETRY_FIRST;
            return RESYNC_EVERY;
        }
        let wait = self.retry;
        self.retry = (wait * 2).min(RESYNC_EVERY);
        wait
    }

    /// The interfaces of those addresses that are on-link, and of how many the kernel did not say; those stay as they were known.
    async fn look_up(&self, addresses: Vec<IpAddr>) -> (OnLink, u64) {
        let lookups =
            stream::iter(addresses).map(async |address| (address, self.kernel.on_link(address).await));
        let answers: Vec<_> = lookups.buffer_unordered(AT_ONCE).collect().await;
        let mut failed = 0;
        let found = answers.into_iter().filter_map(|(address, answer)| match answer {
            Ok(interface) => Some((address, interface)),
            Err(error) => {
                // One line for all: a kernel that does not answer fails thousands.
                if failed == 0 {
                    tracing::warn!(%address, %error, "the kernel does not say whether an address is on-link");
                }
                failed += 1;
                self.on_link.get(&address).map(|&interface| (address, interface))
            }
        });
        (found.collect(), failed)
    }

    /// Makes the routes at these places what they shall be. Returns how many the kernel refused.
    async fn write(&mut self, keys: impl IntoIterator<Item = Key>) -> u64 {
        let mut changes = Vec::new();
        for key in keys {
            let wanted = self.plan.get(&key).map(|wanted| (wanted.generation, wanted.hop));
            let (hop, trouble) = match wanted {
                Some((_, Ok(hop))) => (Some(hop), None),
                Some((generation, Err(why))) => (None, Some((generation, why))),
                None => (None, None),
            };
            self.note(key, trouble);
            let there = self.installed.get(&key);
            let right = match hop {
                Some(hop) => there == Some(&Some(hop)),
                None => there.is_none(),
            };
            if !right {
                changes.push((key, hop, there.is_some()));
            }
        }
        let kernel = &self.kernel;
        let writes = stream::iter(changes).map(async |(key, hop, moves)| {
            let done = match hop {
                Some(hop) => kernel.put(key, hop, moves).await,
                None => kernel.remove(key).await,
            };
            (key, hop, done)
        });
        let done: Vec<_> = writes.buffer_unordered(AT_ONCE).collect().await;
        let mut refused = 0;
        for (key, hop, done) in done {
            match (done, hop) {
                (Ok(()), Some(hop)) => _ = self.installed.insert(key, Some(hop)),
                (Ok(()), None) => _ = self.installed.remove(&key),
                (Err(error), hop) => {
                    // One line for all: a link that is down refuses thousands.
                    if refused == 0 {
                        tracing::warn!(route = %key, %error, "the kernel refuses a route; it is tried again");
                    }
                    refused += 1;
                    // What is there leads to where it was: none at all is better.
                    if hop.is_some()
                        && self.installed.contains_key(&key)
                        && self.kernel.remove(key).await.is_ok()
                    {
                        self.installed.remove(&key);
                    }
                    continue;
                }
            }
            self.written += 1;
        }
        self.failing += refused;
        refused
    }

    /// Keeps in mind that a route cannot be, or can.
    fn note(&mut self, key: Key, trouble: Option<(u64, Why)>) {
        match trouble {
            None => {
                self.unreported.remove(&key);
                self.reported.remove(&key);
            }
            Some(trouble) if self.reported.get(&key) == Some(&trouble) => {}
            Some(_) => _ = self.unreported.entry(key).or_insert_with(|| Instant::now() + REPORT_AFTER),
        }
    }

    /// Reports routes that could not be installed for longer than [`REPORT_AFTER`].
    fn report(&mut self) {
        let now = Instant::now();
        for (key, due) in std::mem::take(&mut self.unreported) {
            let Some(wanted) = self.plan.get(&key) else { continue };
            let Err(why) = wanted.hop else { continue };
            let report =
                Unusable { havip: wanted.havip.clone(), generation: wanted.generation, route: key, why };
            if due > now || self.reports.try_send(report).is_err() {
                self.unreported.insert(key, due.max(now + LINKS_SETTLE));
                continue;
            }
            self.reported.insert(key, (wanted.generation, why));
        }
    }

    fn show(&self) {
        let reported = self.reported.keys().filter(|key| !self.unreported.contains_key(key));
        let unusable = reported.count() + self.unreported.len();
        let figures = Figures {
            routes: self.installed.len() as u64,
            unusable: unusable as u64,
            failing: self.failing,
            written: self.written,
        };
        self.show.send_if_modified(|shown| std::mem::replace(shown, figures) != figures);
    }
}
