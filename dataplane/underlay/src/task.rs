//! The task that carries out the decisions on next hops: it makes the requests, and takes in notifications.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use netlink::{Notice, RequestError};
use tokio::time::Instant;

use crate::Underlay;
use crate::decide::RESYNC_AFTER_LOSS;
use crate::event::{Action, Answer, Event, Fatal, Request};

/// The kernel's network stack as the task uses it. [`Kernel`](crate::Kernel) is the host's.
pub trait Stack {
    /// Makes a request.
    ///
    /// # Errors
    /// The kernel refuses, or does not answer by the request's deadline.
    fn ask(&self, request: &Request) -> impl Future<Output = Result<Answer, RequestError>>;

    /// Waits for the next notification. Dropping the future loses none.
    ///
    /// # Errors
    /// The socket failed.
    fn notice(&mut self) -> impl Future<Output = io::Result<Notice>>;

    /// Opens the socket for notifications anew.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    fn reopen(&mut self) -> io::Result<()>;

    /// Removes what the daemon put into the kernel's routing.
    fn clear(&self) -> impl Future<Output = ()>;
}

/// The task that asks the kernel, and follows its notifications.
pub struct Task<S> {
    underlay: Arc<Underlay>,
    stack: S,
    on_link: Box<dyn Fn(bool) + Send>,
    fatal: Option<Box<dyn FnOnce(Fatal) + Send>>,
}

impl<S: Stack> Task<S> {
    /// The task, to be [run](Self::run). `on_link` is told whether the port's link is up. `fatal` is told once that the daemon
    /// cannot go on.
    pub fn new(
        underlay: Arc<Underlay>,
        stack: S,
        on_link: Box<dyn Fn(bool) + Send>,
        fatal: Box<dyn FnOnce(Fatal) + Send>,
    ) -> Self {
        Self { underlay, stack, on_link, fatal: Some(fatal) }
    }

    /// Runs until [`Underlay::stop`].
    pub async fn run(mut self) {
        while !self.underlay.stopping.load(Relaxed) {
            self.underlay.beat();
            // Not by a timer alone: where there is always something else to do, none would ever be due.
            let wake_at = self.underlay.publish_if_due();
            let event = tokio::select! {
                biased;
                notice = self.stack.notice() => Event::Notice(self.or_reopen(notice).await),
                () = tokio::time::sleep_until(wake_at.into()) => Event::Tick,
                () = self.underlay.woken.notified() => Event::Tick,
            };
            self.carry_out(event).await;
            self.underlay.wake_settled();
        }
        if !self.underlay.silent.load(Relaxed) {
            self.stack.clear().await;
        }
    }

    /// Notification; after an error of the socket another is opened, and notifications were lost.
    async fn or_reopen(&mut self, notice: io::Result<Notice>) -> Notice {
        match notice {
            Ok(notice) => notice,
            Err(error) => {
                tracing::error!(%error, "the socket for notifications failed; another is opened");
                tokio::time::sleep(RESYNC_AFTER_LOSS).await;
                if let Err(error) = self.stack.reopen() {
                    tracing::error!(%error, "there is no socket for notifications");
                }
                Notice::Lost
            }
        }
    }

    /// Takes in an event, and does all that follows from it. Notifications wait meanwhile: they may be newer than answers.
    async fn carry_out(&mut self, event: Event) {
        let Self { underlay, stack, on_link, fatal } = self;
        let decide = |event| underlay.lock().machine.decide(Instant::now().into_std(), event);
        let mut under_way = FuturesUnordered::new();
        let mut actions = decide(event);
        loop {
            for action in actions {
                match action {
                    Action::Ask(request) => under_way.push(async {
                        let answer = stack.ask(&request).await;
                        Event::Answered(request, answer)
                    }),
                    Action::PortLink(up) => on_link(up),
                    Action::TapTrouble(trouble) => underlay.set_tap_trouble(trouble),
                    Action::Silent(silent) => underlay.silent.store(silent, Relaxed),
                    Action::CheckLimit(next_hops) => {
                        underlay.lock().table.reclaim();
                        // Reading a file may block.
                        tokio::task::spawn_blocking(move || warn_if_many(next_hops));
                    }
                    Action::GiveUp(why) => {
                        if let Some(fatal) = fatal.take() {
                            fatal(why);
                        }
                    }
                }
            }
            let Some(answered) = under_way.next().await else { return };
            actions = decide(answered);
        }
    }
}

/// Warns where the kernel's neighbour table, which is bounded over all network namespaces, is nearly full.
fn warn_if_many(next_hops: usize) {
    const LIMIT: &str = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";
    let limit: Option<usize> = std::fs::read_to_string(LIMIT).ok().and_then(|text| text.trim().parse().ok());
    if limit.is_some_and(|limit| next_hops >= limit / 10 * 8) {
        static LOGGED: std::sync::Once = std::sync::Once::new();
        LOGGED.call_once(|| {
            tracing::warn!(next_hops, limit, "the kernel's neighbour table is nearly full; raise {LIMIT}");
        });
    }
}
