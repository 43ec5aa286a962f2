//! VLAN tags of what the node announces on a holder's behalf.
//!
//! They are those of the latest claim or use of the address by the holder's instance, at whichever of its TEPs. They are
//! stored with the binding, so a restart of the node keeps them. An advert counts only while no claim or use is known,
//! and only for the addresses that it lists: it may go through another VLAN than they are in. Reverse ARP and
//! announcements of other addresses say nothing. Where nothing is known of an instance that sends tagged frames, its
//! address may be in any VLAN.

use bcast_domain::{HeardTags, LastAnnounced, RejectReason, VlanTags};

use crate::attachment::Attachment;
use crate::{Decisions, Machine, RejectedSender, SECOND};

/// Shortest time between two changes of the stored tags alone, nanoseconds. A holder may change its VLAN with each frame.
const STORE_INTERVAL_NS: u64 = 10 * SECOND;

/// Tags in one announcer's announcements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Tags {
    /// Time and tags of the announcer's latest claim or use; nanoseconds.
    used: Option<(u64, VlanTags)>,
    /// Time and tags of its latest advert that lists the address; nanoseconds.
    advertised: Option<(u64, VlanTags)>,
    /// True if the announcer sent tagged frames about other addresses.
    elsewhere: bool,
}

impl Tags {
    /// Records the tags of the latest announcements; those of before `since_ns` do not count.
    pub(crate) fn hear(&mut self, last: &LastAnnounced, since_ns: u64) {
        let fresh = |at_ns: u64| (at_ns > 0 && at_ns >= since_ns).then_some(at_ns);
        match last.tags {
            HeardTags::None => {}
            HeardTags::Elsewhere => {
                let at_ns = last.presence_ns.max(last.arrival_ns).max(last.advert_ns);
                self.elsewhere |= fresh(at_ns).is_some();
            }
            HeardTags::Advert(tags) => self.advertise(fresh(last.advert_ns), tags),
            HeardTags::Used(tags) => self.use_with(fresh(last.claim_ns.max(last.use_ns)), tags),
        }
    }

    /// Records the tags of a refused announcement that counts by now.
    pub(crate) fn replay(&mut self, sender: &RejectedSender) {
        match sender.reason {
            RejectReason::Unattached => self.use_with(Some(sender.at_ns), sender.tags),
            RejectReason::Advert => self.advertise(Some(sender.at_ns), sender.tags),
            _ => {}
        }
    }

    fn use_with(&mut self, at_ns: Option<u64>, tags: VlanTags) {
        if let Some(at_ns) = at_ns.filter(|&at_ns| self.used.is_none_or(|(known_ns, _)| known_ns <= at_ns)) {
            self.used = Some((at_ns, tags));
        }
    }

    fn advertise(&mut self, at_ns: Option<u64>, tags: VlanTags) {
        if let Some(at_ns) =
            at_ns.filter(|&at_ns| self.advertised.is_none_or(|(known_ns, _)| known_ns <= at_ns))
        {
            self.advertised = Some((at_ns, tags));
        }
    }
}

impl Machine {
    /// Takes over the tags that are stored with the binding. Call it after [`Machine::new`] and [`Machine::follow`].
    pub fn recall(&mut self, stored: Option<VlanTags>) {
        self.stored_tags = self.holder.zip(stored);
    }

    /// VLAN tags for announcements on the holder's behalf. `None`: there is no holder, or they are not known, so an
    /// announcement could reach another VLAN.
    #[must_use]
    pub fn tags(&self) -> Option<VlanTags> {
        self.holder?;
        let advertised =
            || self.of_holder().filter_map(|own| own.tags.advertised).max_by_key(|&(at_ns, _)| at_ns);
        let untagged = || self.of_holder().all(|own| !own.tags.elsewhere).then_some(VlanTags::NONE);
        let known = self.known_tags().or_else(|| advertised().map(|(_, tags)| tags)).or_else(untagged);
        known.filter(|&tags| tags != VlanTags::TOO_MANY)
    }

    /// Tags of the latest claim or use of the holder's instance, or those that are stored of it.
    pub(crate) fn known_tags(&self) -> Option<VlanTags> {
        let used = self.of_holder().filter_map(|own| own.tags.used).max_by_key(|&(at_ns, _)| at_ns);
        used.map(|(_, tags)| tags).or_else(|| self.recalled_tags())
    }

    /// Stored tags, if they are those of the holder's instance.
    fn recalled_tags(&self) -> Option<VlanTags> {
        let (stored_of, tags) = self.stored_tags?;
        self.of_holder().any(|own| own.announcer == stored_of).then_some(tags)
    }

    /// Attachments of the holder's instance.
    fn of_holder(&self) -> impl Iterator<Item = &Attachment> {
        let instance = self.holder.and_then(|holder| self.attachment(holder)).map(|holder| holder.instance);
        self.attachments.iter().filter(move |own| Some(own.instance) == instance)
    }

    /// Has the tags stored with a binding that changes; or by themselves, if they have changed and it is time.
    pub(crate) fn store_tags(&mut self, now_ns: u64, decisions: &mut Decisions) {
        let is_due = self.tags_due_ns().is_some_and(|due_ns| now_ns >= due_ns);
        if decisions.change.is_some() || is_due {
            decisions.tags = self.known_tags();
            self.stored_tags = self.holder.zip(decisions.tags);
            self.tags_stored_ns = now_ns;
        }
    }

    /// Time at which changed tags are stored. The first of a holder are stored at once.
    pub(crate) fn tags_due_ns(&self) -> Option<u64> {
        let (known, stored) = (self.known_tags(), self.recalled_tags());
        let later_ns = || self.tags_stored_ns.saturating_add(STORE_INTERVAL_NS);
        (known != stored).then(|| stored.map_or(0, |_| later_ns()))
    }
}
