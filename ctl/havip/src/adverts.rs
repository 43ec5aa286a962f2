//! Master election as seen in the VRRP adverts that pass the node.
//!
//! A normal failover, preemption or resignation has one master at a time: the new one starts after three intervals of
//! silence, or the old one ends with the first advert that it hears. Two masters show as A, B, A: A advertises,
//! within three intervals of its last advert, after B has. A and B are two instances: adverts of one at two of its TEPs are a move.

use bcast_domain::AnnouncerId;

use crate::attachment::Attachment;

/// Part of an interval that is allowed for network delay: an advert that was under way when the other's first
/// advert arrived is no second master.
const CROSSING: u64 = 10;

/// Another master than `attachments[index]`, which advertised at `at_ns`, and before that at `previous_ns`.
pub(crate) fn rival(
    attachments: &[Attachment],
    index: usize,
    previous_ns: u64,
    at_ns: u64,
) -> Option<AnnouncerId> {
    let own = attachments.get(index)?;
    let other = |attachment: &&Attachment| {
        // Both still advertise after the other began.
        let after = |at_ns: u64, begun_ns: u64| at_ns.saturating_sub(begun_ns) >= own.interval_ns / CROSSING;
        attachment.instance != own.instance
            && attachment.is_master(at_ns)
            && attachment.master_ns > previous_ns
            && after(at_ns, attachment.run_since_ns)
            && after(attachment.master_ns, own.run_since_ns)
    };
    attachments
        .iter()
        .filter(other)
        .max_by_key(|attachment| (attachment.master_ns, attachment.announcer))
        .map(|attachment| attachment.announcer)
}

/// Master with the latest advert.
pub(crate) fn latest(attachments: &[Attachment], now_ns: u64) -> Option<&Attachment> {
    attachments
        .iter()
        .filter(|attachment| attachment.is_master(now_ns))
        .max_by_key(|attachment| (attachment.master_ns, attachment.announcer))
}

/// Time, nanoseconds, at which the instance of `attachment` has been the only advertiser for three intervals.
pub(crate) fn alone_ns(attachments: &[Attachment], attachment: &Attachment) -> u64 {
    let after = |other: &Attachment| match other.advert_ns {
        0 => 0,
        at_ns => at_ns.saturating_add(3 * attachment.interval_ns.max(other.interval_ns)),
    };
    let others = attachments.iter().filter(|other| other.instance != attachment.instance).map(after);
    others.max().unwrap_or(0).max(attachment.run_since_ns.saturating_add(3 * attachment.interval_ns))
}

/// True between two adverts of a master, until its next one is overdue.
pub(crate) fn is_current(attachment: &Attachment, now_ns: u64) -> bool {
    now_ns.saturating_sub(attachment.master_ns) <= attachment.interval_ns + attachment.interval_ns / 2
}
