//! Who is master, by the VRRP adverts that pass the node.
//!
//! A normal failover, preemption or resignation has one master at a time: the new one starts after three intervals of
//! silence, or the old one ends with the first advert that it hears. Two masters show as A, B, A: A advertises,
//! within three intervals of its last advert, after B has.

use bcast_domain::SpeakerId;

use crate::seat::Seat;

/// An advert that was under way when the other's first one arrived is no second master: so many parts of an interval
/// are given to the network.
const CROSSING: u64 = 10;

/// Another master than the one in `seats[place]`, which just advertised at `at_ns` and had done so at `previous_ns`.
pub(crate) fn rival(seats: &[Seat], place: usize, previous_ns: u64, at_ns: u64) -> Option<SpeakerId> {
    let own = seats.get(place)?;
    let other = |seat: &&Seat| {
        // Both still advertise after the other began.
        let after = |at_ns: u64, begun_ns: u64| at_ns.saturating_sub(begun_ns) >= own.interval_ns / CROSSING;
        seat.speaker != own.speaker
            && seat.is_master(at_ns)
            && seat.master_ns > previous_ns
            && after(at_ns, seat.run_since_ns)
            && after(seat.master_ns, own.run_since_ns)
    };
    seats.iter().filter(other).max_by_key(|seat| (seat.master_ns, seat.speaker)).map(|seat| seat.speaker)
}

/// The master that advertised last.
pub(crate) fn latest(seats: &[Seat], now_ns: u64) -> Option<&Seat> {
    seats.iter().filter(|seat| seat.is_master(now_ns)).max_by_key(|seat| (seat.master_ns, seat.speaker))
}

/// When `seat` will have advertised alone for three intervals, unless another advertises again.
pub(crate) fn alone_ns(seats: &[Seat], seat: &Seat) -> u64 {
    let after = |other: &Seat| match other.advert_ns {
        0 => 0,
        at_ns => at_ns.saturating_add(3 * seat.interval_ns.max(other.interval_ns)),
    };
    let others = seats.iter().filter(|other| other.speaker != seat.speaker).map(after);
    others.max().unwrap_or(0).max(seat.run_since_ns.saturating_add(3 * seat.interval_ns))
}

/// Whether it still advertises, as far as one can know between two adverts.
pub(crate) fn is_heard(seat: &Seat, now_ns: u64) -> bool {
    now_ns.saturating_sub(seat.master_ns) <= seat.interval_ns + seat.interval_ns / 2
}
