//! Reports of announcements that domains with sticky ARP inspection refused: rate-limited, with a count.
//!
//! There is one for the log, by domain and reason, and one for watchers and webhooks, by address too.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

use bcast_domain::{MacAddr, StrictReason, StrictRefusal, TepIndex, Vni};
use ctl_api::model::{RefusalReason, RefusedAnnouncement, Revision};
use ctl_havip::{Alarms, SECOND};
use ctl_node::Moment;
use hashbrown::HashMap;

/// Nanoseconds between two lines in the log for one domain and reason, as between reports of a HAVIP's rejected announcements.
const LOG_EVERY_NS: u64 = 10 * SECOND;
/// Nanoseconds between two events of one address and reason.
const EVENT_EVERY_NS: u64 = 60 * SECOND;
/// Kinds that are told apart; refusals of further ones are counted with none.
const KINDS: usize = 4096;
/// Addresses of a domain and reason that are told apart; refusals of further ones are counted together.
const ADDRESSES: usize = 64;
/// Lines in the log in one turn; the rest is added up.
const LINES: usize = 16;

/// Kind of refusals: of this domain, for this reason, of this address; `None`: of any address that is not told apart.
type Key = (Vni, StrictReason, Option<IpAddr>);

/// Refusals of one kind.
struct Kind {
    last: StrictRefusal,
    unreported: u64,
}

/// Report: the latest refusal, how many there were since the report before, and whether they are of several addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    last: StrictRefusal,
    count: u64,
    is_of_several: bool,
}

/// Refusals by kind, each with one place in the order of reports.
struct Tally {
    every_ns: u64,
    /// Addresses of a domain and reason that are told apart.
    addresses: usize,
    kinds: HashMap<Key, Kind>,
    /// Time of each kind's next report.
    due: BinaryHeap<Reverse<(u64, Key)>>,
    /// Number of addresses among the kinds, by domain and reason.
    told_apart: HashMap<(Vni, StrictReason), usize>,
}

impl Tally {
    fn new(every_ns: u64, addresses: usize) -> Self {
        let (kinds, due, told_apart) = (HashMap::new(), BinaryHeap::new(), HashMap::new());
        Self { every_ns, addresses, kinds, due, told_apart }
    }

    /// Counts a refusal. The first one of a kind is due at once.
    fn add(&mut self, refusal: StrictRefusal, now_ns: u64) {
        let StrictRefusal { vni, reason, address, .. } = refusal;
        let has_room = self.told_apart.get(&(vni, reason)).copied().unwrap_or(0) < self.addresses;
        let mut key = (vni, reason, Some(address));
        if !self.kinds.contains_key(&key) && !has_room {
            key.2 = None;
        }
        if let Some(kind) = self.kinds.get_mut(&key) {
            (kind.last, kind.unreported) = (refusal, kind.unreported + 1);
        } else if self.kinds.len() < KINDS {
            self.kinds.insert(key, Kind { last: refusal, unreported: 1 });
            self.due.push(Reverse((now_ns, key)));
            if key.2.is_some() {
                *self.told_apart.entry((vni, reason)).or_default() += 1;
            }
        }
    }

    /// Takes a report that is due. A kind with no new refusal since its last report is forgotten.
    fn take(&mut self, now_ns: u64) -> Option<Report> {
        loop {
            let Reverse((at_ns, key)) = *self.due.peek()?;
            if at_ns > now_ns {
                return None;
            }
            self.due.pop();
            if let Some(kind) = self.kinds.get_mut(&key).filter(|kind| kind.unreported > 0) {
                self.due.push(Reverse((now_ns.saturating_add(self.every_ns), key)));
                let (last, count) = (kind.last, std::mem::take(&mut kind.unreported));
                return Some(Report { last, count, is_of_several: key.2.is_none() });
            }
            self.forget(key);
        }
    }

    fn forget(&mut self, key: Key) {
        self.kinds.remove(&key);
        if key.2.is_some()
            && let Some(addresses) = self.told_apart.get_mut(&(key.0, key.1))
        {
            *addresses -= 1;
            if *addresses == 0 {
                self.told_apart.remove(&(key.0, key.1));
            }
        }
    }

    /// True if a report is due, or a kind can be forgotten.
    fn is_due(&self, now_ns: u64) -> bool {
        self.due.peek().is_some_and(|due| due.0.0 <= now_ns)
    }
}

/// Refusals that are to be reported.
pub(crate) struct Refusals {
    log: Tally,
    events: Tally,
    /// Rate limit of the events of all domains.
    rate: Alarms,
}

impl Default for Refusals {
    fn default() -> Self {
        let (log, events) = (Tally::new(LOG_EVERY_NS, 0), Tally::new(EVENT_EVERY_NS, ADDRESSES));
        Self { log, events, rate: Alarms::new() }
    }
}

impl Refusals {
    /// Counts a refusal.
    pub fn add(&mut self, refusal: StrictRefusal, now_ns: u64) {
        self.log.add(refusal, now_ns);
        self.events.add(refusal, now_ns);
    }

    /// True if a line of the log or an event is due.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.log.is_due(now_ns) || self.events.is_due(now_ns)
    }

    /// Writes the lines that are due to the log.
    pub fn log(&mut self, now_ns: u64, tep: impl Fn(TepIndex) -> Option<bcast_domain::Tep>) {
        for _ in 0..LINES {
            let Some(Report { last, count, .. }) = self.log.take(now_ns) else { return };
            let StrictRefusal { vni, address, mac, reason, .. } = last;
            let (mac, tep) = (MacAddr(mac), tep(last.tep).map(|tep| tep.to_string()));
            let reason = RefusalReason::from(reason).text();
            tracing::warn!(%vni, %address, %mac, tep, count, reason, "announcements were refused");
        }
    }

    /// Takes the events that are due, as far as the rate limit allows; the rest waits, and is added up.
    pub fn events(
        &mut self,
        now: Moment,
        revision: Revision,
        tep: impl Fn(TepIndex) -> Option<bcast_domain::Tep>,
    ) -> Vec<RefusedAnnouncement> {
        let mut events = Vec::new();
        while self.events.is_due(now.steady_ns) && self.rate.take(now.steady_ns) {
            let Some(Report { last, count, is_of_several }) = self.events.take(now.steady_ns) else { break };
            events.push(RefusedAnnouncement {
                vni: last.vni,
                address: last.address,
                mac: last.mac,
                tep: tep(last.tep),
                reason: last.reason.into(),
                count,
                several_addresses: is_of_several,
                generation: revision.get(),
                unix_ms: now.unix_ns / 1_000_000,
            });
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(vni: u32, last: u8) -> StrictRefusal {
        StrictRefusal {
            vni: vni.into(),
            address: [10, 0, 0, last].into(),
            mac: [2, 0, 0, 0, 0, 1],
            tep: 1_u16.into(),
            reason: StrictReason::OtherOwner,
        }
    }

    fn taken(tally: &mut Tally, now_ns: u64) -> Vec<Report> {
        std::iter::from_fn(|| tally.take(now_ns)).collect()
    }

    #[test]
    fn a_domain_reports_a_reason_at_once_and_then_every_ten_seconds_with_a_count() {
        let report = |last, count| Report { last, count, is_of_several: true };
        let (mut tally, now) = (Tally::new(LOG_EVERY_NS, 0), SECOND);
        assert_eq!(taken(&mut tally, now), []);
        tally.add(refusal(5001, 1), now);
        assert_eq!(taken(&mut tally, now), [report(refusal(5001, 1), 1)]);
        for last in 2..=9 {
            tally.add(refusal(5001, last), now);
        }
        tally.add(StrictRefusal { reason: StrictReason::OverBound, ..refusal(5001, 7) }, now);
        assert_eq!(taken(&mut tally, now).len(), 1, "another reason reports for itself");
        assert_eq!(taken(&mut tally, now + LOG_EVERY_NS), [report(refusal(5001, 9), 8)]);
        // Nothing more came, so nothing is kept.
        assert_eq!(taken(&mut tally, now + 3 * LOG_EVERY_NS), []);
        assert_eq!((tally.kinds.len(), tally.due.len()), (0, 0));
        (0..5000).for_each(|vni| tally.add(refusal(vni, 1), now));
        assert_eq!((tally.kinds.len(), taken(&mut tally, now).len()), (KINDS, KINDS));
    }

    #[test]
    fn sixty_four_addresses_of_a_domain_report_for_themselves_and_the_others_together() {
        let (mut tally, now) = (Tally::new(EVENT_EVERY_NS, ADDRESSES), SECOND);
        (0..200).for_each(|last| tally.add(refusal(5001, last), now));
        tally.add(refusal(5002, 1), now);
        let reports = taken(&mut tally, now);
        let several: Vec<_> = reports.iter().filter(|report| report.is_of_several).collect();
        assert_eq!((reports.len(), several.len(), several[0].count), (ADDRESSES + 2, 1, 136));
        assert_eq!(several[0].last.address, refusal(5001, 199).address, "the latest");
        // Addresses for another reason have room of their own.
        tally.add(StrictRefusal { reason: StrictReason::OutsideSubnets, ..refusal(5001, 250) }, now);
        assert!(!taken(&mut tally, now)[0].is_of_several);
        // An address that is told apart stays so, and makes room a minute after its last refusal.
        tally.add(refusal(5001, 3), now + 1);
        let reports = taken(&mut tally, now + EVENT_EVERY_NS);
        assert_eq!(reports, [Report { last: refusal(5001, 3), count: 1, is_of_several: false }]);
        tally.add(refusal(5001, 199), now + EVENT_EVERY_NS);
        assert!(!taken(&mut tally, now + EVENT_EVERY_NS)[0].is_of_several);
        assert_eq!(taken(&mut tally, now + 3 * EVENT_EVERY_NS), []);
        assert_eq!((tally.kinds.len(), tally.due.len(), tally.told_apart.len()), (0, 0, 0));
    }

    #[test]
    fn a_flood_over_many_domains_makes_a_hundred_events_a_second_and_loses_no_count() {
        let mut refusals = Refusals::default();
        let moment = |ns| Moment { worker_ns: ns, steady_ns: ns, unix_ns: ns };
        for round in 0..10 {
            (0..1000).for_each(|vni| refusals.add(refusal(vni, 1), SECOND + round));
        }
        let mut counts = Vec::new();
        for second in 1..=11 {
            let events = refusals.events(moment(second * SECOND), Revision::new(7), |_| None);
            assert!(events.len() <= 101, "{} in a second", events.len());
            counts.extend(events.iter().map(|event| event.count));
        }
        assert_eq!((counts.len(), counts.iter().sum::<u64>()), (1000, 10_000));
    }
}
