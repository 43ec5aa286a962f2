//! Announcements of strangers: remembered for a while, counted, and told without a flood.

use bcast_domain::{RejectReason, Tep};

use crate::{Effect, SECOND};

/// How long a refused announcement can be replayed.
const REMEMBERED_NS: u64 = 10 * SECOND;
/// Most refused announcements of one HAVIP that are remembered; the oldest go first.
const REMEMBERED: usize = 8;
/// One kind of offence at one HAVIP is told at most this often.
const EVERY_NS: u64 = 10 * SECOND;
/// How many offences a node tells in a second, of all its HAVIPs.
const A_SECOND: u64 = 100;

/// The kinds that are told apart.
const KINDS: [RejectReason; 4] =
    [RejectReason::Unattached, RejectReason::Unsound, RejectReason::Advert, RejectReason::Hidden];

/// One refused announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedSender {
    /// Whose, by its MAC; any octets at all.
    pub mac: [u8; 6],
    /// Where it came from.
    pub tep: Tep,
    /// What it was.
    pub what: RejectReason,
    /// It would have moved the address.
    pub claims: bool,
    /// When, nanoseconds.
    pub at_ns: u64,
}

/// How many alarms a node raises: a bucket of 100, filled with 100 a second.
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
        Self { left: A_SECOND, filled_ns: 0 }
    }

    fn take(&mut self, now_ns: u64) -> bool {
        let each = SECOND / A_SECOND;
        let more = now_ns.saturating_sub(self.filled_ns) / each;
        if more > 0 {
            self.left = self.left.saturating_add(more).min(A_SECOND);
            self.filled_ns = self.filled_ns.saturating_add(more.saturating_mul(each));
        }
        let raised = self.left > 0;
        self.left = self.left.saturating_sub(1);
        raised
    }
}

/// What strangers did at one HAVIP.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers {
    /// By [`KINDS`].
    kinds: Kinds,
    remembered: Vec<RejectedSender>,
}

/// Rejected announcements by [`KINDS`].
pub(crate) type Kinds = [Kind; KINDS.len()];

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kind {
    last: Option<RejectedSender>,
    total: u64,
    /// Not told yet.
    untold: u64,
    /// When it may be told again.
    next_ns: u64,
}

/// What is known of one kind of offence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub last: RejectedSender,
    pub total: u64,
}

impl Strangers {
    /// Notes what was refused, to be replayed later if `later`. Only what would be right if its sender were attached can be replayed;
    /// says whether that is so.
    pub fn refused(&mut self, stranger: RejectedSender, later: bool) -> bool {
        let place = KINDS.iter().position(|&what| what == stranger.what);
        if let Some(kind) = place.and_then(|place| self.kinds.get_mut(place)) {
            kind.last = Some(stranger);
            kind.total += 1;
            kind.untold += 1;
        }
        let can_be_replayed = matches!(stranger.what, RejectReason::Unattached | RejectReason::Advert);
        if can_be_replayed && later {
            self.remember(stranger);
        }
        can_be_replayed
    }

    fn remember(&mut self, stranger: RejectedSender) {
        let same = |old: &RejectedSender| (old.mac, old.tep) == (stranger.mac, stranger.tep);
        if let Some(old) = self.remembered.iter_mut().find(|old| same(old)) {
            // A claim is worth more than what follows it, while it is fresh.
            let fresh = stranger.at_ns.saturating_sub(old.at_ns) < REMEMBERED_NS;
            if stranger.claims || !old.claims || !fresh {
                *old = stranger;
            }
            return;
        }
        if self.remembered.len() >= REMEMBERED
            && let Some(oldest) = (0..REMEMBERED).min_by_key(|&n| self.remembered.get(n).map(|old| old.at_ns))
        {
            self.remembered.swap_remove(oldest);
        }
        self.remembered.push(stranger);
    }

    /// Takes out what is fresh and was said by one of whom `is_sought` is true.
    pub fn replay(&mut self, now_ns: u64, mut is_sought: impl FnMut(&RejectedSender) -> bool) {
        self.remembered.retain(|stranger| {
            now_ns.saturating_sub(stranger.at_ns) <= REMEMBERED_NS && !is_sought(stranger)
        });
    }

    /// Tells what is due, as far as the node's alarms allow; what is left over is added up.
    pub fn tell(&mut self, now_ns: u64, alarms: &mut Alarms, told: &mut Vec<Effect>) {
        for (kind, what) in self.kinds.iter_mut().zip(KINDS) {
            let Some(last) = kind.last.filter(|_| kind.untold > 0 && now_ns >= kind.next_ns) else {
                continue;
            };
            kind.next_ns = now_ns.saturating_add(EVERY_NS);
            if alarms.take(now_ns) {
                told.push(Effect::Spoof { what, mac: last.mac, tep: last.tep, count: kind.untold });
                kind.untold = 0;
            }
        }
    }

    /// The kinds, where some of them may be told by now.
    pub fn before_tell(&self, now_ns: u64) -> Option<Kinds> {
        self.due_ns().filter(|&due_ns| due_ns <= now_ns).map(|_| self.kinds)
    }

    /// Takes back what was told.
    pub fn restore(&mut self, kinds: Kinds) {
        self.kinds = kinds;
    }

    /// When something is to be told.
    pub fn due_ns(&self) -> Option<u64> {
        self.kinds.iter().filter(|kind| kind.untold > 0).map(|kind| kind.next_ns).min()
    }

    pub fn known(&self) -> impl Iterator<Item = Known> {
        self.kinds.iter().filter_map(|kind| Some(Known { last: kind.last?, total: kind.total }))
    }
}
