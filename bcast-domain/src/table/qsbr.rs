//! Reclamation by quiescent states: when may what readers could see be freed?
//!
//! Time is counted in epochs. A publisher unlinks things, then moves the epoch on: they carry the new number. Each
//! reader has a slot where it reports, once per burst, the epoch it sees, at a moment when it holds no reference.
//! A thing stamped `e` may be freed when every slot shows `e` or more: each reader has since been without
//! references, and knows of the unlinking. A reader that sleeps reports `OFFLINE`, the largest number, which
//! holds nothing back.
//!
//! Some references must outlive a burst: a reader *holds* a list. Then its slot shows two numbers. `seen` is the epoch that
//! it sees: what it finds from now on is no older. `left` is the one that counts for freeing, and stays behind while an
//! older list is held. Holds are counted in two groups, a young one that grows and an old one that only shrinks; when the
//! old one is empty, the young one takes its place. So `left` is two numbers and not a list of them, and it is behind the oldest
//! hold by at most the time that holds last.
//!
//! The races, one by one:
//!
//! * *A reader still holds what was unlinked.* Its slot shows an epoch before `e`, so nothing is freed. When it reports
//!   `e` (`QuiesceReport`) and the publisher reads that (`SeenRead`), all its uses happened before the free. The same for one who waits
//!   (`GraceRead`) and then changes something of his own that readers used.
//! * *A reader reports `e`, then finds the unlinked pointer after all.* It cannot: it read `e` with `QuiesceRead`, the
//!   publisher unlinked before `EpochFence` and wrote `e` after it, so the unlinking is visible to all its later
//!   loads. If another publisher has moved the epoch further, the chain of read-modify-writes carries this on.
//! * *A reader comes online while the publisher looks at the slots.* The reader writes its slot, then `OnlineFence`,
//!   then loads pointers. The publisher unlinks, then `EpochFence`, then reads the slots. Both fences are sequentially
//!   consistent, so one comes first: either the publisher sees the slot taken (with an epoch that may be old: then it
//!   waits), or the reader sees the unlinking.
//! * *A reader goes offline and comes back, and the publisher sees only the second report.* `OnlineReport` is a
//!   release too, so the uses before the nap are ordered before the free as well.
//! * *A reader registers or leaves.* The list of slots is behind a lock that only registration and publishers take. A new
//!   slot starts as `OFFLINE` and comes online like any other; a slot that is removed under the lock is
//!   not read any more, and what its reader did before is ordered by the lock.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam::utils::CachePadded;

use super::sync::{AtomicU64, Mutex, Ordering, Site, fence, lock, order};

/// A moment in the life of a table: what was published before it was taken.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

/// Report of a reader: epochs, or `OFFLINE`. Its own cache line, written by one reader once per burst.
struct ReaderSlot {
    /// It finds what was published before this epoch. Relaxed: nothing is freed or changed by it.
    seen: AtomicU64,
    /// It does not use what was unlinked before this epoch.
    left: AtomicU64,
    /// Holds of either group.
    held: [AtomicU64; 2],
}

const OFFLINE: u64 = u64::MAX;

/// The epoch of a table and the slots of its readers.
pub(super) struct Epochs {
    now: CachePadded<AtomicU64>,
    /// The latest epoch that somebody has waited for all to leave behind. A hint: nothing is freed by it, so it is relaxed.
    awaited: CachePadded<AtomicU64>,
    slots: Mutex<Vec<Arc<CachePadded<ReaderSlot>>>>,
}

impl Epochs {
    pub(super) fn new() -> Self {
        let (now, awaited) = (AtomicU64::new(1), AtomicU64::new(0));
        Self { now: CachePadded::new(now), awaited: CachePadded::new(awaited), slots: Mutex::new(Vec::new()) }
    }

    /// Stamps what was unlinked or published so far by the caller.
    fn advance(&self) -> Epoch {
        // The other half of both pairs of this fence is in `Presence`: `quiesce` and `come_online`.
        fence(Site::EpochFence);
        // Read-modify-write, as there are two publishers. Relaxed: the fence before it is its release.
        Epoch(self.now.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The epoch that every online reader has seen.
    fn oldest(&self) -> Epoch {
        let slots = lock(&self.slots);
        Epoch(slots.iter().map(|slot| slot.left.load(order(Site::SeenRead))).min().unwrap_or(OFFLINE))
    }

    /// Readers that may use what was unlinked before `epoch`.
    fn behind(&self, epoch: Epoch) -> usize {
        lock(&self.slots).iter().filter(|slot| slot.left.load(order(Site::GraceRead)) < epoch.0).count()
    }

    /// Readers that may not find yet what was published before `epoch`.
    fn unaware(&self, epoch: Epoch) -> usize {
        lock(&self.slots).iter().filter(|slot| slot.seen.load(Ordering::Relaxed) < epoch.0).count()
    }
}

/// A slot that is looked at. It is given up when the reader and all that it holds are gone.
struct Registration {
    epochs: Arc<Epochs>,
    slot: Arc<CachePadded<ReaderSlot>>,
}

impl Registration {
    fn new(epochs: &Arc<Epochs>) -> Self {
        let offline = || AtomicU64::new(OFFLINE);
        let held = [AtomicU64::new(0), AtomicU64::new(0)];
        let slot = Arc::new(CachePadded::new(ReaderSlot { seen: offline(), left: offline(), held }));
        lock(&epochs.slots).push(Arc::clone(&slot));
        Self { epochs: Arc::clone(epochs), slot }
    }

    fn held(&self, group: usize) -> u64 {
        self.slot.held[group].load(order(Site::HeldRead))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.epochs.slots).retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

/// Keeps what its reader found in one section from being freed, until it is dropped, by any thread.
pub(super) struct Hold {
    registration: Arc<Registration>,
    group: usize,
    /// The epoch that the slot shows while this lives, or an earlier one: that of its group.
    since: u64,
}

impl Hold {
    /// True if a thread waits, or has waited, for the end of this hold.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.registration.epochs.awaited.load(Ordering::Relaxed) > self.since
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.registration.slot.held[self.group].fetch_sub(1, order(Site::HoldEnd));
    }
}

/// A reader's place among the readers: online, but while it says that it is not.
pub(super) struct Presence {
    registration: Arc<Registration>,
    /// The epoch of this section.
    now: Cell<u64>,
    /// The group that new holds join, and epochs that no hold of it, and none of the other, is older than.
    young: Cell<usize>,
    young_since: Cell<u64>,
    old_since: Cell<u64>,
    /// Says that the slot shows `OFFLINE`. An [`Offline`] that is dropped comes back at once; one that is leaked
    /// (`mem::forget` is safe) must not make later lookups unprotected, so they ask. One byte in their own cache line.
    away: Cell<bool>,
}

impl Presence {
    pub(super) fn new(epochs: &Arc<Epochs>) -> Self {
        let presence = Self {
            registration: Arc::new(Registration::new(epochs)),
            now: Cell::new(0),
            young: Cell::new(0),
            young_since: Cell::new(0),
            old_since: Cell::new(0),
            away: Cell::new(true),
        };
        presence.come_online();
        presence
    }

    /// Before any pointer is loaded.
    #[inline(always)]
    pub(super) fn assure(&self) {
        if self.away.get() {
            self.come_online();
        }
    }

    /// The caller holds no reference but by a [`Hold`]: `&mut self` is the proof, as each other borrows the reader. If an
    /// `Offline` was leaked, the slot shows an epoch from here on and the reader is still `away`: the next use comes online in
    /// full.
    #[inline(always)]
    pub(super) fn quiesce(&mut self) {
        let now = self.registration.epochs.now.load(order(Site::QuiesceRead));
        let left = self.begin(now).unwrap_or(now);
        self.registration.slot.seen.store(now, Ordering::Relaxed);
        self.registration.slot.left.store(left, order(Site::QuiesceReport));
    }

    /// Begins a section at epoch `now`, and returns an epoch that nothing held is older than, if anything is held.
    #[inline(always)]
    fn begin(&self, now: u64) -> Option<u64> {
        self.now.set(now);
        let young = self.young.get();
        if self.registration.held(1 - young) > 0 {
            return Some(self.old_since.get());
        }
        let since = self.young_since.replace(now);
        if self.registration.held(young) == 0 {
            return None;
        }
        // The young become the old. Those that follow begin with this section.
        self.young.set(1 - young);
        self.old_since.set(since);
        Some(since)
    }

    /// Keeps what this section finds. The caller is online.
    pub(super) fn hold(&self) -> Hold {
        let group = self.young.get();
        // Relaxed: this thread itself reads it before it reports.
        self.registration.slot.held[group].fetch_add(1, Ordering::Relaxed);
        Hold { registration: Arc::clone(&self.registration), group, since: self.young_since.get() }
    }

    /// True if a thread waits for the end of a hold.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        let left = self.registration.slot.left.load(Ordering::Relaxed);
        self.registration.epochs.awaited.load(Ordering::Relaxed) > left
    }

    pub(super) fn go_offline(&mut self) -> Offline<'_> {
        // What is held stays so. If a hold ends meanwhile, that is noticed when the reader is back.
        let left = self.begin(self.now.get()).unwrap_or(OFFLINE);
        self.registration.slot.seen.store(OFFLINE, Ordering::Relaxed);
        self.registration.slot.left.store(left, order(Site::OfflineReport));
        self.away.set(true);
        Offline { presence: self }
    }

    #[cold]
    fn come_online(&self) {
        // Relaxed: if this is the new epoch, the fence below is the acquire that belongs to it.
        let now = self.registration.epochs.now.load(Ordering::Relaxed);
        let left = self.begin(now).unwrap_or(now);
        self.registration.slot.seen.store(now, Ordering::Relaxed);
        self.registration.slot.left.store(left, order(Site::OnlineReport));
        // The other half is `EpochFence` in `Epochs::advance`.
        fence(Site::OnlineFence);
        self.away.set(false);
    }
}

/// While this lives the reader counts as gone, and holds nothing back. Dropping it brings the reader online again.
#[must_use = "the reader is online again as soon as this is dropped"]
pub struct Offline<'r> {
    presence: &'r mut Presence,
}

impl Drop for Offline<'_> {
    fn drop(&mut self) {
        self.presence.come_online();
    }
}

/// Tells whether every online reader has seen what was published before an [`Epoch`].
#[derive(Clone)]
pub struct Grace {
    epochs: Arc<Epochs>,
}

/// Readers that did not report in time. They may be using what was unlinked long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{readers} readers have not reported within {waited:?}: they still use the state from before the change"
)]
pub struct Laggards {
    /// Number of readers that have not reported.
    pub readers: usize,
    /// Time waited.
    pub waited: Duration,
}

impl Grace {
    pub(super) fn new(epochs: &Arc<Epochs>) -> Self {
        Self { epochs: Arc::clone(epochs) }
    }

    /// True when no online reader uses, holds, or will ever again find, what was replaced before `epoch`; each
    /// finds what was published instead.
    pub fn passed(&self, epoch: Epoch) -> bool {
        self.epochs.behind(epoch) == 0
    }

    /// Blocks the calling thread until [`passed`](Self::passed), asking again after 20 us to 1 ms. Whoever holds a list can tell
    /// ([`HeldList::is_awaited`](crate::HeldList::is_awaited)).
    ///
    /// # Errors
    /// [`Laggards`] when some reader has not reported after `timeout`.
    pub fn wait(&self, epoch: Epoch, timeout: Duration) -> Result<(), Laggards> {
        self.epochs.awaited.fetch_max(epoch.0, Ordering::Relaxed);
        wait_for(|| self.epochs.behind(epoch), timeout)
    }

    /// Blocks the calling thread until every online reader finds what was published before `epoch`. Some may still use, by
    /// what they hold, what it replaced.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_seen(&self, epoch: Epoch, timeout: Duration) -> Result<(), Laggards> {
        wait_for(|| self.epochs.unaware(epoch), timeout)
    }
}

fn wait_for(laggards: impl Fn() -> usize, timeout: Duration) -> Result<(), Laggards> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(20);
    loop {
        let readers = laggards();
        if readers == 0 {
            return Ok(());
        }
        let waited = start.elapsed();
        let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return Err(Laggards { readers, waited });
        };
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(1));
    }
}

/// Unlinked memory of one publisher that is not freed yet, oldest first.
pub(super) struct Limbo<T> {
    epochs: Arc<Epochs>,
    unlinked: VecDeque<T>,
    /// Stamped parts of `unlinked`, oldest first: their epoch, and how many they are.
    stamped: VecDeque<(Epoch, usize)>,
    /// Number of entries at the end of `unlinked` without a stamp.
    unstamped: usize,
    last: Epoch,
    /// Something was published since `last`.
    changed: bool,
}

impl<T> Limbo<T> {
    pub(super) fn new(epochs: &Arc<Epochs>) -> Self {
        Self {
            epochs: Arc::clone(epochs),
            unlinked: VecDeque::new(),
            stamped: VecDeque::new(),
            unstamped: 0,
            last: Epoch(0),
            changed: false,
        }
    }

    /// Something was published that replaced nothing.
    pub(super) fn published(&mut self) {
        self.changed = true;
    }

    /// No pointer that a reader may load leads to `thing` any more.
    pub(super) fn retire(&mut self, thing: T) {
        self.unlinked.push_back(thing);
        self.unstamped += 1;
        self.changed = true;
    }

    /// The epoch of all that was published so far. Costs a fence and a locked add if there is news, else nothing.
    pub(super) fn stamp(&mut self) -> Epoch {
        if self.changed {
            self.last = self.epochs.advance();
            self.changed = false;
            if self.unstamped > 0 {
                self.stamped.push_back((self.last, self.unstamped));
                self.unstamped = 0;
            }
        }
        self.last
    }

    /// Hands over, to be freed, what every online reader has left behind. Returns how many that were.
    pub(super) fn reclaim(&mut self, mut free: impl FnMut(T)) -> usize {
        if self.unlinked.is_empty() {
            return 0;
        }
        self.stamp();
        let oldest = self.epochs.oldest();
        let mut freed = 0;
        while let Some(&(epoch, count)) = self.stamped.front()
            && epoch <= oldest
        {
            self.stamped.pop_front();
            self.unlinked.drain(..count).for_each(&mut free);
            freed += count;
        }
        freed
    }

    pub(super) fn len(&self) -> usize {
        self.unlinked.len()
    }

    /// All that is left, for one who will keep it until the last reader is gone.
    pub(super) fn take_rest(&mut self) -> impl Iterator<Item = T> {
        self.stamped.clear();
        self.unstamped = 0;
        self.unlinked.drain(..)
    }
}
