//! The atomics of the table: those of the standard library, or loom's; and every ordering by its name.
//!
//! No ordering is written in the code that uses it. Each is a [`Site`] with a name, so that the models can weaken
//! one at a time and show which of them notices.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU64, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU64, Ordering},
};

/// Declares the sites: name, ordering, and what it is for, which the docs of each partner repeat.
macro_rules! sites {
    ($($(#[$doc:meta])* $site:ident = $ordering:ident;)*) => {
        /// One place where memory is ordered. Everything that is not listed is `Relaxed` and can be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Site { $($(#[$doc])* $site,)* }

        impl Site {
            const fn strength(self) -> Ordering {
                match self { $(Self::$site => Ordering::$ordering,)* }
            }
        }

        /// Every site with its ordering, for the check that weakens each in turn.
        #[cfg(loom)]
        pub const SITES: &[(&str, &str)] = &[$((stringify!($site), stringify!($ordering)),)*];
    };
}

sites! {
    /// Publisher stores a list into its slot. Pairs with `ListRead`: who gets the pointer sees the members.
    ListPublish = Release;
    /// Reader loads a list from its slot. Pairs with `ListPublish`.
    ListRead = Acquire;
    /// Publisher stores a new slot array. Pairs with `SlotsRead`: who gets it sees every entry that was moved.
    SlotsPublish = Release;
    /// Reader loads the slot array. Pairs with `SlotsPublish`.
    SlotsRead = Acquire;
    /// Publisher stores a new array of endpoints. Pairs with `ArrayRead`: who gets it sees what is in it.
    ArrayPublish = Release;
    /// Reader loads the array of endpoints. Pairs with `ArrayPublish`.
    ArrayRead = Acquire;
    /// Publisher, after it unlinked and before it moves the epoch on and looks at the readers. Two pairs.
    /// As a release with `QuiesceRead`: who sees the new epoch sees the unlinking. As a full fence with
    /// `OnlineFence`: of a publisher that unlinks and a reader that comes online, at least one sees the other.
    EpochFence = SeqCst;
    /// Reader loads the epoch at a quiescent point. Pairs with `EpochFence`.
    QuiesceRead = Acquire;
    /// Reader reports the epoch that it has seen. Pairs with `SeenRead` and `GraceRead`: its last use comes before the free.
    QuiesceReport = Release;
    /// Reader reports that it is gone. Pairs with `SeenRead` and `GraceRead`, like `QuiesceReport`.
    OfflineReport = Release;
    /// Reader reports that it is back. Pairs with `SeenRead` and `GraceRead`: this report covers up the one of `OfflineReport`,
    /// and who reads only the later one must learn of the uses before the earlier all the same.
    OnlineReport = Release;
    /// Reader, after it reported that it is back and before it loads a pointer. Pairs with `EpochFence`.
    OnlineFence = SeqCst;
    /// A hold ends, on whichever thread. Pairs with `HeldRead`: the uses of what was held come before the reader's report, and
    /// that before the free.
    HoldEnd = Release;
    /// Reader looks, before it reports, whether anything is held. Pairs with `HoldEnd`.
    HeldRead = Acquire;
    /// Publisher looks at what readers have reported. Pairs with `QuiesceReport`, `OfflineReport` and `OnlineReport`.
    SeenRead = Acquire;
    /// The same by one who waits for grace, and then changes what readers used.
    GraceRead = Acquire;
    /// Worker marks what it has noted. Pairs with `BoardDrain`: who takes the mark reads what was noted before it, or something newer.
    BoardNote = Release;
    /// Control side takes the marks. Pairs with `BoardNote`.
    BoardDrain = Acquire;
    /// Writer of a row stores a word. Pairs with `RowWordRead`: who reads the word sees that a write is in progress, or over.
    RowWord = Release;
    /// Reader of a row loads a word. Pairs with `RowWord`.
    RowWordRead = Acquire;
    /// Writer of a row has stored all words. Pairs with `RowStart`: who begins there reads these words or newer ones.
    RowEnd = Release;
    /// Reader of a row begins. Pairs with `RowEnd`.
    RowStart = Acquire;
}

/// The ordering of an access.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn order(site: Site) -> Ordering {
    site.strength()
}

/// A fence.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn fence(site: Site) {
    std::sync::atomic::fence(site.strength());
}

#[cfg(loom)]
pub use model::live_allocations;
#[cfg(loom)]
pub(crate) use model::{fence, order};

/// Under loom: weakened sites, and allocations whose life is watched.
#[cfg(loom)]
mod model {
    use std::{cell::Cell, env, sync::OnceLock};

    use super::{Ordering, SITES, Site};

    /// `NAME` makes an access relaxed and leaves a fence out; `NAME:AcqRel` makes a fence an acquire-release one.
    fn weakened(site: Site) -> Option<Option<Ordering>> {
        static WEAKEN: OnceLock<String> = OnceLock::new();
        let weaken = WEAKEN.get_or_init(|| env::var("BCAST_WEAKEN").unwrap_or_default());
        let (name, to) = weaken.split_once(':').unwrap_or((weaken, ""));
        assert!(name.is_empty() || SITES.iter().any(|(site, _)| *site == name), "no site is named {name}");
        (name == format!("{site:?}")).then(|| (to == "AcqRel").then_some(Ordering::AcqRel))
    }

    pub(crate) fn order(site: Site) -> Ordering {
        if weakened(site).is_some() { Ordering::Relaxed } else { site.strength() }
    }

    pub(crate) fn fence(site: Site) {
        match weakened(site) {
            None => loom::sync::atomic::fence(site.strength()),
            Some(Some(weaker)) => loom::sync::atomic::fence(weaker),
            Some(None) => {}
        }
    }

    thread_local! { static LIVE: Cell<usize> = const { Cell::new(0) } }

    /// Allocations that this model has made and not freed. Loom runs all threads of a model on one real thread.
    pub fn live_allocations() -> usize {
        LIVE.get()
    }

    /// Watches one allocation: its making, its uses and its end must be ordered, and no use may follow the end.
    pub(crate) struct Life(loom::cell::UnsafeCell<bool>);

    impl Life {
        pub(crate) fn begin() -> Self {
            LIVE.set(LIVE.get() + 1);
            Self(loom::cell::UnsafeCell::new(true))
        }

        pub(crate) fn used(&self) {
            // SAFETY: loom has just checked that no write runs beside this read.
            self.0.with(|alive| assert!(unsafe { *alive }, "used after it was freed"));
        }

        pub(crate) fn end(&self) {
            // SAFETY: loom has just checked that no other access runs beside this write.
            let was = self.0.with_mut(|alive| unsafe { std::mem::replace(&mut *alive, false) });
            assert!(was, "freed twice");
            LIVE.set(LIVE.get() - 1);
        }
    }
}

#[cfg(loom)]
pub(crate) use model::Life;

/// Watches one allocation under loom; else it is nothing.
#[cfg(not(loom))]
pub(crate) struct Life;

#[cfg(not(loom))]
impl Life {
    #[inline(always)]
    pub(crate) const fn begin() -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) const fn used(&self) {}

    #[inline(always)]
    pub(crate) const fn end(&self) {}
}

/// Locks, also after a holder panicked: what these locks guard is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
