//! Times of announcements, from the workers' stamps.
//!
//! Workers stamp what they hear with the processor's time stamp counter, since it costs them nothing. Its rate is known to some parts
//! in a million at best, and can change when a virtual machine moves to another host. So an age by that clock is wrong by more, the
//! older it is: 0.2 % of a day are three minutes. Therefore a stamp is translated when the commit thread takes it, a millisecond
//! later, and the outcome is kept:
//!
//! ```text
//! workers' clock   ──a──────────t────b──▶     a, b: moments at which all three clocks were read
//! steady clock     ──a──────────t────b──▶     t: between two moments, by proportion; so no rate has to be known
//! Unix time        ──a──────────t────b──▶     t: the steady time, and what Unix time was ahead of it in the nearer moment
//! ```
//!
//! Machines and all that counts an age go by the steady clock, which is the kernel's. Unix time is for showing alone: setting the
//! wall clock afterwards changes no time that was shown.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use bcast_domain::{AnnouncerId, LastAnnounced};
use ctl_node::Moment;

use crate::havips::NamedAnnouncer;

/// Shortest distance of moments that are kept, nanoseconds; but for the last two, which are always kept.
const SPACING_NS: u64 = 10_000_000;
/// Moments that are kept: more than a second of them.
const MOMENTS: usize = 256;
/// Over a shorter time than this, nanoseconds, no rate is measured.
const MEASURABLE_NS: u64 = 1_000_000;

/// A workers' clock that is this much behind itself, nanoseconds, was set back: the virtual machine is on another host, and nothing
/// is known of the new count. By less, the counters of two cores differ.
const SET_BACK_NS: u64 = 1_000_000;

/// Unix time in milliseconds.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The present Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    unix_ms(SystemTime::now())
}

/// Known readings of the three clocks.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// The oldest first; the workers' clock grows from each to the next.
    moments: VecDeque<Moment>,
}

/// A worker's stamp, and when that was. All 0: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    worker_ns: u64,
    /// Time by the steady clock.
    pub steady_ns: u64,
    /// Unix time in milliseconds.
    pub unix_ms: u64,
}

/// Times of an announcer's latest announcements, of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AnnouncedAt {
    pub claim: Stamp,
    /// Latest ordinary ARP or neighbour discovery.
    pub usage: Stamp,
    pub advert: Stamp,
    pub arrival: Stamp,
    pub presence: Stamp,
}

/// Times of the latest announcements at one HAVIP, by announcer; without announcers that were silent.
#[derive(Debug, Default)]
pub(crate) struct AnnouncerTimes(Vec<(AnnouncerId, AnnouncedAt)>);

impl Clock {
    /// Takes note of a moment, which is now.
    pub fn mark(&mut self, now: Moment) {
        let back_ns = self.moments.back().map_or(0, |last| last.worker_ns.saturating_sub(now.worker_ns));
        if back_ns >= SET_BACK_NS {
            self.moments.clear();
        } else if back_ns > 0 {
            return;
        }
        let from_end =
            |back: usize| self.moments.len().checked_sub(back).and_then(|place| self.moments.get(place));
        if let (Some(before), Some(last)) = (from_end(3), from_end(1))
            && last.worker_ns - before.worker_ns < SPACING_NS
        {
            // The one between them is not needed to be as close together as that.
            self.moments.remove(self.moments.len() - 2);
        }
        if self.moments.back().is_some_and(|last| last.worker_ns == now.worker_ns) {
            self.moments.pop_back();
        }
        if self.moments.len() == MOMENTS {
            self.moments.pop_front();
        }
        self.moments.push_back(now);
    }

    /// Time of a worker's stamp. It should not be much later than the last mark.
    pub fn stamp(&self, worker_ns: u64) -> Stamp {
        if worker_ns == 0 {
            return Stamp::default();
        }
        let stamp =
            |at: Moment| Stamp { worker_ns, steady_ns: at.steady_ns, unix_ms: at.unix_ns / 1_000_000 };
        self.moment(worker_ns).map(stamp).unwrap_or_default()
    }

    fn moment(&self, worker_ns: u64) -> Option<Moment> {
        let after = self.moments.partition_point(|moment| moment.worker_ns < worker_ns);
        let (first, last) = (self.moments.front()?, self.moments.back()?);
        let earlier = after.checked_sub(1).and_then(|place| self.moments.get(place)).unwrap_or(first);
        let later = self.moments.get(after).unwrap_or(last);
        // Before the first moment, or behind the last one: by the rate that all of them show.
        let (from, to) = if earlier == later { (first, last) } else { (earlier, later) };
        let distance = worker_ns.abs_diff(earlier.worker_ns);
        let steady =
            by_rate(distance, to.worker_ns - from.worker_ns, to.steady_ns.saturating_sub(from.steady_ns));
        let steady_ns = match worker_ns < earlier.worker_ns {
            true => earlier.steady_ns.saturating_sub(steady).max(1),
            false => earlier.steady_ns.saturating_add(steady),
        };
        let is_nearer = distance < later.worker_ns.abs_diff(worker_ns);
        let nearer = if is_nearer { earlier } else { later };
        let unix_ns = match nearer.steady_ns.checked_sub(steady_ns) {
            Some(before) => nearer.unix_ns.saturating_sub(before),
            None => nearer.unix_ns.saturating_add(steady_ns - nearer.steady_ns),
        };
        Some(Moment { worker_ns, steady_ns, unix_ns })
    }
}

/// Reading of the steady clock for this time of the workers' clock, where `steady` passed for `worker` of those.
fn by_rate(time: u64, worker: u64, steady: u64) -> u64 {
    if worker < MEASURABLE_NS && time > worker {
        return time;
    }
    let scaled = (u128::from(time) * u128::from(steady)).checked_div(u128::from(worker));
    scaled.map_or(time, |scaled| u64::try_from(scaled).unwrap_or(u64::MAX))
}

impl Stamp {
    /// Follows a worker's stamp. One that is known stays what it was found to be.
    fn follow(&mut self, worker_ns: u64, clock: &Clock) -> u64 {
        if self.worker_ns != worker_ns {
            *self = clock.stamp(worker_ns);
        }
        self.steady_ns
    }
}

impl AnnouncerTimes {
    /// Announcements of an announcer by the steady clock, and their known times. `last` is by the workers' clock.
    pub fn follow(
        &mut self,
        announcer: AnnouncerId,
        last: LastAnnounced,
        clock: &Clock,
    ) -> (LastAnnounced, AnnouncedAt) {
        let place = match self.0.iter().position(|(known, _)| *known == announcer) {
            Some(place) => place,
            None if [last.claim_ns, last.use_ns, last.advert_ns, last.arrival_ns, last.presence_ns]
                == [0; 5] =>
            {
                return (last, AnnouncedAt::default());
            }
            None => {
                self.0.push((announcer, AnnouncedAt::default()));
                self.0.len() - 1
            }
        };
        let Some((_, times)) = self.0.get_mut(place) else { return (last, AnnouncedAt::default()) };
        let steady = LastAnnounced {
            claim_ns: times.claim.follow(last.claim_ns, clock),
            use_ns: times.usage.follow(last.use_ns, clock),
            advert_ns: times.advert.follow(last.advert_ns, clock),
            arrival_ns: times.arrival.follow(last.arrival_ns, clock),
            presence_ns: times.presence.follow(last.presence_ns, clock),
            ..last
        };
        (steady, *times)
    }

    /// Forgets all announcers but these.
    pub fn retain(&mut self, announcers: &[NamedAnnouncer]) {
        self.0.retain(|(announcer, _)| announcers.iter().any(|named| named.id == *announcer));
    }
}

#[cfg(test)]
mod tests;
