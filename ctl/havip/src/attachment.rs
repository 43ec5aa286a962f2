//! An announcer's attachment at a machine, with its latest announcements.

use bcast_domain::{AnnouncerId, LastAnnounced};

use crate::tags::Tags;

/// Nanoseconds of a hundredth of a second, the unit of VRRP intervals (RFC 9568 section 5.2.7).
const CENTISECOND: u64 = 10_000_000;
/// Longest interval that is believed, hundredths of a second: what VRRPv3 can state (RFC 9568 section 5.2.7). VRRPv2 can state
/// 255 s; one forged advert of that would hold up decisions for minutes.
const LONGEST_INTERVAL_CS: u16 = 4095;
/// Time, nanoseconds, after which any master is silent: three of the longest intervals.
pub(crate) const LONGEST_SILENCE: u64 = 3 * LONGEST_INTERVAL_CS as u64 * CENTISECOND;
/// Interval that stands for 0, which no advert may state: a second, VRRP's default.
const DEFAULT_INTERVAL: u64 = 100 * CENTISECOND;

/// State of one announcer of a HAVIP. Times in nanoseconds of the node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) announcer: AnnouncerId,
    /// Number of its instance; the same instance at another TEP has the same.
    pub(crate) instance: u32,
    /// Time of attaching. Earlier announcements are ignored: they may be of another announcer with the same id.
    pub(crate) since_ns: u64,
    pub(crate) claim_ns: u64,
    pub(crate) use_ns: u64,
    /// Latest word about the address: a claim, a use, or an advert as a master.
    pub(crate) word_ns: u64,
    /// First of its words since the holder's latest.
    pub(crate) unanswered_ns: u64,
    /// Latest arrival of its instance at its TEP.
    pub(crate) arrival_ns: u64,
    /// Latest frame about other addresses.
    pub(crate) presence_ns: u64,
    /// Latest advert of any priority.
    pub(crate) advert_ns: u64,
    /// Latest advert as a master; 0: none, or it resigned afterwards.
    pub(crate) master_ns: u64,
    /// Start of its current run as a master: adverts without a gap of three intervals.
    pub(crate) run_since_ns: u64,
    /// Advertisement interval, as stated in its adverts.
    pub(crate) interval_ns: u64,
    /// VLAN tags of its announcements.
    pub(crate) tags: Tags,
}

/// Times of an announcer's new announcements; `None`: no new one of that kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub claim_ns: Option<u64>,
    pub use_ns: Option<u64>,
    pub advert_ns: Option<u64>,
    /// Interval in the advert, hundredths of a second.
    pub interval_cs: u16,
    /// Priority in the advert.
    pub priority: u8,
}

impl News {
    /// Times of the new words; see [`Attachment::word_ns`].
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        [self.claim_ns, self.use_ns, self.master_ns()].into_iter().flatten()
    }

    /// Time of the new advert, unless it resigns.
    pub(crate) fn master_ns(&self) -> Option<u64> {
        self.advert_ns.filter(|_| self.priority > 0)
    }
}

/// True if both announcers are one instance, at one or two of its TEPs.
pub(crate) fn same_instance(attachments: &[Attachment], one: AnnouncerId, other: AnnouncerId) -> bool {
    let instance = |announcer: AnnouncerId| {
        attachments.iter().find(|attachment| attachment.announcer == announcer).map(|found| found.instance)
    };
    one == other || instance(one).is_some() && instance(one) == instance(other)
}

impl Attachment {
    /// Attachment of an announcer since this time.
    pub(crate) fn new((announcer, instance): (AnnouncerId, u32), since_ns: u64) -> Self {
        Self {
            announcer,
            instance,
            since_ns,
            claim_ns: 0,
            use_ns: 0,
            word_ns: 0,
            unanswered_ns: 0,
            arrival_ns: 0,
            presence_ns: 0,
            advert_ns: 0,
            master_ns: 0,
            run_since_ns: 0,
            interval_ns: DEFAULT_INTERVAL,
            tags: Tags::default(),
        }
    }

    /// Time of its last announcement, of this address or another.
    pub(crate) fn announced_ns(&self) -> Option<u64> {
        let times = [self.word_ns, self.advert_ns, self.arrival_ns, self.presence_ns];
        times.into_iter().max().filter(|&at| at > 0)
    }

    /// Time of the latest evidence that its instance is at its TEP, and has the address or takes it along.
    pub(crate) fn here_ns(&self) -> u64 {
        self.word_ns.max(self.arrival_ns)
    }

    /// Records when it arrived, when it was heard about other addresses, and the VLAN tags of all it said.
    pub(crate) fn notice(&mut self, last: &LastAnnounced) {
        let newer = |known: u64, at_ns: u64| if at_ns >= self.since_ns { known.max(at_ns) } else { known };
        self.arrival_ns = newer(self.arrival_ns, last.arrival_ns);
        self.presence_ns = newer(self.presence_ns, last.presence_ns);
        self.tags.hear(last, self.since_ns);
    }

    /// Records the latest announcements; returns the new ones.
    pub(crate) fn record(&mut self, last: &LastAnnounced) -> News {
        let since = self.since_ns;
        let newer = |known: &mut u64, at: u64| {
            let is_new = at > *known && at >= since;
            if is_new {
                *known = at;
            }
            is_new.then_some(at)
        };
        News {
            claim_ns: newer(&mut self.claim_ns, last.claim_ns),
            use_ns: newer(&mut self.use_ns, last.use_ns),
            advert_ns: newer(&mut self.advert_ns, last.advert_ns),
            interval_cs: last.interval_cs.min(LONGEST_INTERVAL_CS),
            priority: last.priority,
        }
    }

    /// Records an advert; returns the time of the previous one if both are in one run.
    pub(crate) fn advert(&mut self, at_ns: u64, interval_cs: u16, priority: u8) -> Option<u64> {
        self.interval_ns = match interval_cs {
            0 => DEFAULT_INTERVAL,
            cs => u64::from(cs) * CENTISECOND,
        };
        if priority == 0 {
            (self.master_ns, self.run_since_ns) = (0, 0);
            return None;
        }
        let previous = Some(self.master_ns).filter(|_| self.is_master(at_ns));
        if previous.is_none() {
            self.run_since_ns = at_ns;
        }
        self.master_ns = at_ns;
        previous
    }

    /// True if it advertised within its last three intervals and did not resign.
    pub(crate) fn is_master(&self, now_ns: u64) -> bool {
        self.master_ns > 0 && now_ns < self.silent_ns()
    }

    /// Time at which it counts as silent, unless it advertises again.
    pub(crate) fn silent_ns(&self) -> u64 {
        self.master_ns.saturating_add(3 * self.interval_ns)
    }
}
