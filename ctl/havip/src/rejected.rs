//! Rejected announcements of one HAVIP: kept for replay, counted, and reported at a bounded rate.

use bcast_domain::{AnnouncerId, RejectReason, Tep, VlanTags};

use crate::{Effect, SECOND};

/// Age up to which a rejected announcement can be replayed, nanoseconds.
const REPLAY_NS: u64 = 10 * SECOND;
/// Limit of rejected announcements that are kept for one HAVIP. Each TEP's newest stays the longest: see
/// [`RejectedSenders::forget_one`].
const REPLAY_LIMIT: usize = 64;
/// Senders of one kind that a diagnosis can fall back to, once the latest is attached.
const SHOWN: usize = 4;
/// Shortest time between two reports of one kind at one HAVIP, nanoseconds.
const REPORT_INTERVAL_NS: u64 = 10 * SECOND;
/// Reports a second of a node, for all its HAVIPs.
const REPORTS_PER_SECOND: u64 = 100;

/// Kinds that are counted apart.
const KINDS: [RejectReason; 6] = [
    RejectReason::Unattached,
    RejectReason::Unsound,
    RejectReason::Advert,
    RejectReason::Hidden,
    RejectReason::Probe,
    RejectReason::Cut { any: false },
];

/// A rejected announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedSender {
    /// MAC address of the sender; any octets.
    pub mac: [u8; 6],
    /// MAC address to which it binds the address.
    pub bound: [u8; 6],
    /// TEP of the sender.
    pub tep: Tep,
    /// Reason of the rejection.
    pub reason: RejectReason,
    /// It would have moved the address.
    pub claims: bool,
    /// VLAN tags of its frame.
    pub tags: VlanTags,
    /// Receive time, nanoseconds.
    pub at_ns: u64,
}

/// A replayed announcement: what the node announces on its sender's behalf must be like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Announcer that its sender is by now.
    pub announcer: AnnouncerId,
    /// MAC address to which the announcer's latest replayed claim bound the address; `None`: it claimed nothing.
    pub claimed_mac: Option<[u8; 6]>,
}

/// Rate limit of a node's reports: a bucket of 100, filled with 100 a second.
#[derive(Clone, Debug)]
pub struct Alarms {
    left: u64,
    filled_ns: u64,
}

impl Default for Alarms {
    fn default() -> Self {
        Self::new()
    }
}

impl Alarms {
    /// A full bucket.
    #[must_use]
    pub const fn new() -> Self {
        Self { left: REPORTS_PER_SECOND, filled_ns: 0 }
    }

    /// Takes a report out of the bucket at this time, nanoseconds; false if there is none.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let each = SECOND / REPORTS_PER_SECOND;
        let more = now_ns.saturating_sub(self.filled_ns) / each;
        if more > 0 {
            self.left = self.left.saturating_add(more).min(REPORTS_PER_SECOND);
            self.filled_ns = self.filled_ns.saturating_add(more.saturating_mul(each));
        }
        let raised = self.left > 0;
        self.left = self.left.saturating_sub(1);
        raised
    }
}

/// Rejected announcements at one HAVIP.
#[derive(Clone, Debug, Default)]
pub(crate) struct RejectedSenders {
    /// Counts in the order of [`KINDS`].
    kinds: Kinds,
    remembered: Vec<RejectedSender>,
}

/// Rejected announcements by [`KINDS`].
pub(crate) type Kinds = [Kind; KINDS.len()];

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kind {
    last: Option<RejectedSender>,
    total: u64,
    /// Count since the last report.
    unreported: u64,
    /// Earliest time of the next report.
    next_ns: u64,
    /// The latest senders that are not attached since, in any order.
    shown: [Option<RejectedSender>; SHOWN],
}

impl Kind {
    fn show(&mut self, sender: RejectedSender) {
        let age = |old: &Option<RejectedSender>| match old {
            Some(old) if (old.mac, old.tep) == (sender.mac, sender.tep) => (0, 0),
            None => (1, 0),
            Some(old) => (2, old.at_ns),
        };
        if let Some(place) = self.shown.iter_mut().min_by_key(|old| age(old)) {
            *place = Some(sender);
        }
    }
}

/// True if it matters for this reason whether the sender is attached.
const fn is_of_strangers(reason: RejectReason) -> bool {
    match reason {
        RejectReason::Unattached
        | RejectReason::Advert
        | RejectReason::Probe
        | RejectReason::Unsound
        | RejectReason::Arrival => true,
        RejectReason::Hidden | RejectReason::Cut { .. } => false,
    }
}

/// Count of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Latest sender that is not attached since.
    pub last: RejectedSender,
    pub total: u64,
}

impl RejectedSenders {
    /// Records a rejected announcement, and keeps it for replay if `later`: if its sender is not attached by now. True if it
    /// can be replayed: if only its sender was wrong. It came so many times.
    pub fn refused(&mut self, sender: RejectedSender, later: bool, times: u64) -> bool {
        let index = KINDS.iter().position(|&reason| reason == sender.reason);
        if let Some(kind) = index.and_then(|index| self.kinds.get_mut(index)) {
            kind.last = Some(sender);
            kind.total += times;
            kind.unreported += times;
            if later || !is_of_strangers(sender.reason) {
                kind.show(sender);
            }
        }
        let can_be_replayed =
            matches!(sender.reason, RejectReason::Unattached | RejectReason::Advert | RejectReason::Arrival);
        if can_be_replayed && later {
            self.remember(sender);
        }
        can_be_replayed
    }

    fn remember(&mut self, sender: RejectedSender) {
        let arrives = |of: &RejectedSender| of.reason == RejectReason::Arrival;
        let same = |old: &RejectedSender| {
            (old.mac, old.tep, arrives(old)) == (sender.mac, sender.tep, arrives(&sender))
        };
        if let Some(old) = self.remembered.iter_mut().find(|old| same(old)) {
            // A fresh claim is worth more than a later announcement of another kind.
            let fresh = sender.at_ns.saturating_sub(old.at_ns) < REPLAY_NS;
            if sender.claims || !old.claims || !fresh {
                *old = sender;
            }
            return;
        }
        if self.remembered.len() >= REPLAY_LIMIT {
            self.forget_one(sender.tep);
        }
        self.remembered.push(sender);
    }

    /// Removes an announcement to make room for one from this TEP: the oldest of this TEP; if it has none, the oldest of the TEP
    /// that has most. So whatever one TEP's senders forge, they do not push out another TEP's newest.
    fn forget_one(&mut self, tep: Tep) {
        let count = |tep: Tep| self.remembered.iter().filter(|old| old.tep == tep).count();
        let has_some = count(tep) > 0;
        let places = self.remembered.iter().enumerate().filter(|(_, old)| !has_some || old.tep == tep);
        let most = |old: &RejectedSender| if has_some { 0 } else { count(old.tep) };
        let oldest = places.max_by_key(|(_, old)| (most(old), std::cmp::Reverse(old.at_ns)));
        if let Some(place) = oldest.map(|(place, _)| place) {
            self.remembered.swap_remove(place);
        }
    }

    /// Shows no sender any more that is attached by now.
    pub fn attached(&mut self, mut is_attached: impl FnMut(&RejectedSender) -> bool) {
        for shown in self.kinds.iter_mut().flat_map(|kind| &mut kind.shown) {
            shown.take_if(|sender| is_of_strangers(sender.reason) && is_attached(sender));
        }
    }

    /// Removes announcements that are fresh and match, for replay.
    pub fn replay(&mut self, now_ns: u64, mut is_sought: impl FnMut(&RejectedSender) -> bool) {
        self.remembered
            .retain(|sender| now_ns.saturating_sub(sender.at_ns) <= REPLAY_NS && !is_sought(sender));
    }

    /// Reports the kinds that are due, as far as the node's rate limit allows; the rest is added up.
    pub fn report(&mut self, now_ns: u64, alarms: &mut Alarms, effects: &mut Vec<Effect>) {
        for (kind, reason) in self.kinds.iter_mut().zip(KINDS) {
            let Some(last) = kind.last.filter(|_| kind.unreported > 0 && now_ns >= kind.next_ns) else {
                continue;
            };
            kind.next_ns = now_ns.saturating_add(REPORT_INTERVAL_NS);
            if alarms.take(now_ns) {
                effects.push(Effect::Spoof { reason, mac: last.mac, tep: last.tep, count: kind.unreported });
                kind.unreported = 0;
            }
        }
    }

    /// Copy of the kinds, if a report is due.
    pub fn before_report(&self, now_ns: u64) -> Option<Kinds> {
        self.due_ns().filter(|&due_ns| due_ns <= now_ns).map(|_| self.kinds)
    }

    /// Undoes reports.
    pub fn restore(&mut self, kinds: Kinds) {
        self.kinds = kinds;
    }

    /// Time of the next report.
    pub fn due_ns(&self) -> Option<u64> {
        self.kinds.iter().filter(|kind| kind.unreported > 0).map(|kind| kind.next_ns).min()
    }

    pub fn known(&self) -> impl Iterator<Item = Known> {
        self.kinds.iter().filter_map(|kind| {
            let last = kind.shown.iter().flatten().max_by_key(|sender| sender.at_ns)?;
            Some(Known { last: *last, total: kind.total })
        })
    }
}
