//! A bound on the connections of a server, under which a new one is let in at the cost of one that does nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Time for an evicted connection to end.
const EVICTION: Duration = Duration::from_secs(1);

/// Activity of a connection; the lowest is evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// It has sent no whole request yet, or has taken the answers to all.
    Idle,
    /// An answer is being taken.
    Answering,
    /// An answer is being made.
    Working,
}

/// The connections of one server.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    /// Highest activity at which a connection may be evicted.
    evictable: Activity,
    places: Arc<Semaphore>,
    open: Mutex<Open>,
    evicted: AtomicU64,
    refused: AtomicU64,
}

/// Numbers of connections: open, and since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Open now.
    pub open: u64,
    /// Closed since the start, to let another one in.
    pub evicted: u64,
    /// Closed since the start as soon as they came, because all others were at work.
    pub refused: u64,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    activity: Activity,
    since: Instant,
    evicted: Arc<Notify>,
}

impl Connections {
    /// At most `most` connections; to let another one in, one is closed that does no more than `evictable`.
    #[must_use]
    pub fn new(most: usize, evictable: Activity) -> Arc<Self> {
        Arc::new(Self {
            most,
            evictable,
            places: Arc::new(Semaphore::new(most)),
            open: Mutex::default(),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// A place for one more connection. Where all are taken, the connection that has been idle for longest is closed;
    /// where none may be, there is no place.
    pub async fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) if self.evict() => {
                let place = timeout(EVICTION, Arc::clone(&self.places).acquire_owned()).await;
                place.ok().and_then(Result::ok)
            }
            Err(_) => None,
        };
        let Some(place) = place else {
            self.refused.fetch_add(1, Relaxed);
            return None;
        };
        let evicted = Arc::new(Notify::new());
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        let entry = Entry { activity: Activity::Idle, since: Instant::now(), evicted: Arc::clone(&evicted) };
        open.by_number.insert(number, entry);
        drop(open);
        Some(Admitted { connections: Arc::clone(self), number, evicted, _place: place })
    }

    /// Closes the connection that is least at work, and of those the one that has been so for longest.
    pub fn evict(&self) -> bool {
        let mut open = self.open();
        let evictable = open.by_number.iter().filter(|(_, entry)| entry.activity <= self.evictable);
        let Some((&number, _)) = evictable.min_by_key(|(_, entry)| (entry.activity, entry.since)) else {
            return false;
        };
        if let Some(entry) = open.by_number.remove(&number) {
            entry.evicted.notify_one();
            self.evicted.fetch_add(1, Relaxed);
        }
        true
    }

    /// True if a further connection may open.
    pub(crate) fn has_room(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Numbers of connections: open, and since the start.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            open: self.most.saturating_sub(self.places.available_permits()) as u64,
            evicted: self.evicted.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place, given back with it.
#[derive(Debug)]
pub struct Admitted {
    connections: Arc<Connections>,
    number: u64,
    evicted: Arc<Notify>,
    _place: OwnedSemaphorePermit,
}

impl Admitted {
    /// Takes note of what the connection does from now on.
    pub fn set(&self, activity: Activity) {
        if let Some(entry) = self.connections.open().by_number.get_mut(&self.number) {
            (entry.activity, entry.since) = (activity, Instant::now());
        }
    }

    /// Waits until the connection has to make room for another one.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.open().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_connection_takes_the_place_of_the_one_that_is_idle_for_longest() {
        let connections = Connections::new(3, Activity::Answering);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(Arc::new(connections.admit().await.unwrap()));
        }
        // The first is the oldest and answers, the second was idle before the third.
        held[0].set(Activity::Answering);
        held[2].set(Activity::Idle);
        let second = held.remove(1);
        let gone = tokio::spawn(async move { second.evicted().await });
        let fourth = connections.admit().await.unwrap();
        gone.await.unwrap();
        fourth.set(Activity::Working);
        held[1].set(Activity::Working);
        // Now the one that answers is least at work.
        let first = held.remove(0);
        let gone = tokio::spawn(async move { first.evicted().await });
        let fifth = connections.admit().await.unwrap();
        gone.await.unwrap();
        fifth.set(Activity::Working);
        assert!(connections.admit().await.is_none(), "all are at work");
        assert_eq!(connections.figures(), Figures { open: 3, evicted: 2, refused: 1 });
        drop((held, fourth, fifth));
        assert_eq!(connections.figures().open, 0);
    }
}
