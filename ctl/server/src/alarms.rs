//! Alarms about forged and refused announcements: told, but part of no revision, so they delay and fail nobody's change.
//!
//! An alarm has the generation of the revision at which it was told. The newest of HAVIPs are kept in memory, for the history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ctl_api::model::{HavipEvent, Name, RefusedAnnouncement, Revision};
use hashbrown::HashMap;
use tokio::sync::broadcast;

/// Most alarms of one HAVIP that are kept.
const ALARMS_OF_ONE: usize = 10;
/// Most alarms of all HAVIPs that are kept.
const ALARMS_OF_ALL: usize = 10_000;
/// Most alarms that wait for a watcher; one that is slower misses the oldest.
const WAITING: usize = 1_024;

/// The newest alarms.
#[derive(Debug, Default)]
pub(crate) struct AlarmHistory {
    /// By age.
    kept: BTreeMap<u64, HavipEvent>,
    /// Numbers of each HAVIP's, ascending.
    by_havip: HashMap<Name, VecDeque<u64>>,
    next: u64,
}

impl AlarmHistory {
    /// Keeps an alarm; the oldest of its HAVIP, or of all, go.
    pub fn add(&mut self, alarm: HavipEvent) {
        let of_one = self.by_havip.entry(alarm.havip.clone()).or_default();
        of_one.push_back(self.next);
        if of_one.len() > ALARMS_OF_ONE
            && let Some(oldest) = of_one.pop_front()
        {
            self.kept.remove(&oldest);
        }
        self.kept.insert(self.next, alarm);
        self.next += 1;
        if self.kept.len() > ALARMS_OF_ALL
            && let Some((_, HavipEvent { havip, .. })) = self.kept.pop_first()
            && let Some(of_one) = self.by_havip.get_mut(&havip)
        {
            of_one.pop_front();
            if of_one.is_empty() {
                self.by_havip.remove(&havip);
            }
        }
    }

    /// Alarms of a HAVIP, the oldest first.
    pub fn of(&self, havip: &Name) -> Vec<HavipEvent> {
        let numbers = self.by_havip.get(havip).into_iter().flatten();
        numbers.filter_map(|number| self.kept.get(number)).cloned().collect()
    }

    /// The HAVIP is gone.
    pub fn forget(&mut self, havip: &Name) {
        for number in self.by_havip.remove(havip).into_iter().flatten() {
            self.kept.remove(&number);
        }
    }
}

/// An alarm.
#[derive(Debug, Clone)]
pub(crate) enum Alarm {
    /// Announcements of a HAVIP were rejected.
    Havip(HavipEvent),
    /// A domain with sticky ARP inspection refused announcements.
    Refused(RefusedAnnouncement),
}

impl Alarm {
    /// Last revision before it.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Havip(event) => event.generation,
            Self::Refused(refused) => refused.generation,
        }
    }

    /// When it happened; Unix time in milliseconds.
    pub fn unix_ms(&self) -> u64 {
        match self {
            Self::Havip(event) => event.unix_ms,
            Self::Refused(refused) => refused.unix_ms,
        }
    }
}

/// The commit thread's way to tell all watchers.
#[derive(Debug, Clone)]
pub(crate) struct AlarmSender(broadcast::Sender<Arc<Alarm>>);

impl Default for AlarmSender {
    fn default() -> Self {
        Self(broadcast::channel(WAITING).0)
    }
}

impl AlarmSender {
    /// Tells those who watch now. Never waits.
    pub fn send(&self, alarm: Alarm) {
        // Nobody watches: nobody is told.
        drop(self.0.send(Arc::new(alarm)));
    }

    /// The alarms from now on.
    pub fn watch(&self) -> Alarms {
        Alarms { told: self.0.subscribe(), waiting: VecDeque::new() }
    }
}

/// The alarms that a watcher has still to be sent, in their order among revisions.
pub(crate) struct Alarms {
    told: broadcast::Receiver<Arc<Alarm>>,
    waiting: VecDeque<Arc<Alarm>>,
}

impl Alarms {
    /// Returns once there may be a new one.
    pub async fn wait(&mut self) {
        match self.told.recv().await {
            Ok(alarm) => self.put(alarm),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Takes in those that were told by now: all of the revisions before one that is visible.
    pub fn take(&mut self) {
        loop {
            match self.told.try_recv() {
                Ok(alarm) => self.put(alarm),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return,
            }
        }
    }

    fn put(&mut self, alarm: Arc<Alarm>) {
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(alarm);
    }

    /// The next one that was told before revision `next` committed.
    pub fn before(&mut self, next: Revision) -> Option<Arc<Alarm>> {
        self.waiting.front().filter(|alarm| alarm.generation() < next.get())?;
        self.waiting.pop_front()
    }

    /// Leaves out those from before a revision that is sent as a whole state.
    pub fn forget_before(&mut self, revision: Revision) {
        self.take();
        self.waiting.retain(|alarm| alarm.generation() >= revision.get());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ctl_api::model::{Havip, HavipEntry, HavipEventKind, Place};

    use super::*;

    fn alarm(havip: &str, generation: u64) -> HavipEvent {
        let place = Place {
            vni: 1.into(),
            subnet: "10.0.0.0/24".parse().unwrap(),
            address: "10.0.0.1".parse().unwrap(),
        };
        let havip = Havip::new(havip.parse().unwrap(), place);
        let entry = HavipEntry { havip, binding: ctl_api::model::Binding::unbound(0) };
        HavipEvent { generation, ..HavipEvent::of(&entry, HavipEventKind::Spoof, 0) }
    }

    fn kept(alarms: &AlarmHistory, havip: &str) -> Vec<u64> {
        alarms.of(&havip.parse().unwrap()).iter().map(|alarm| alarm.generation).collect()
    }

    #[test]
    fn the_newest_alarms_are_kept_of_each_havip_and_of_all() {
        let mut alarms = AlarmHistory::default();
        (0..25).for_each(|n| alarms.add(alarm("a", n)));
        alarms.add(alarm("b", 25));
        assert_eq!(kept(&alarms, "a"), Vec::from_iter(15..25));
        assert_eq!(kept(&alarms, "b"), [25]);
        for n in 0..ALARMS_OF_ALL as u64 - 2 {
            alarms.add(alarm(&format!("c{n}"), n));
        }
        assert_eq!((kept(&alarms, "a"), kept(&alarms, "b")), (vec![24], vec![25]), "the oldest of all went");
        alarms.forget(&"b".parse().unwrap());
        assert_eq!(kept(&alarms, "b"), Vec::<u64>::new());
        alarms.add(alarm("d", 7));
        alarms.add(alarm("d", 8));
        assert_eq!((kept(&alarms, "a"), kept(&alarms, "d")), (vec![], vec![7, 8]));
        assert_eq!(alarms.kept.len(), ALARMS_OF_ALL);
        assert_eq!(alarms.kept.len(), alarms.by_havip.values().map(VecDeque::len).sum::<usize>());
    }

    #[test]
    fn a_watcher_gets_alarms_in_order_with_revisions_and_one_that_is_slow_the_newest() {
        let sender = AlarmSender::default();
        sender.send(Alarm::Havip(alarm("a", 1)));
        let mut alarms = sender.watch();
        [2, 2, 3].into_iter().for_each(|generation| sender.send(Alarm::Havip(alarm("a", generation))));
        alarms.take();
        let next = |alarms: &mut Alarms, n| alarms.before(Revision::new(n)).map(|alarm| alarm.generation());
        assert_eq!(
            [2, 3, 3, 3, 4, 4].map(|n| next(&mut alarms, n)),
            [None, Some(2), Some(2), None, Some(3), None]
        );
        (0..3_000).for_each(|n| sender.send(Alarm::Havip(alarm("a", n))));
        alarms.forget_before(Revision::new(2_990));
        assert_eq!(alarms.waiting.len(), 10);
        (0..3_000).for_each(|n| sender.send(Alarm::Havip(alarm("a", n))));
        alarms.take();
        assert_eq!(alarms.waiting.len(), WAITING);
        assert_eq!(alarms.waiting.back().unwrap().generation(), 2_999);
    }
}
