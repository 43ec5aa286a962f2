//! Periodic announcements on the holder's behalf.

use bcast_domain::{AnnouncerId, LastAnnounced};
use ctl_api::model::HavipState;

use crate::{Decisions, Machine};

/// Number of phases over which the periodic announcements of a node's HAVIPs are spread.
const SPREAD: u64 = 64;

/// Reason for which periodic announcements are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The holder's instance was not heard for three periods; the time at which it was heard last.
    Silent(Option<u64>),
    /// The address is frozen: the holder may be another.
    Frozen,
    /// Two advertise the address.
    Conflict,
}

impl Machine {
    /// Records arrivals, and what was heard of announcers about other addresses, apart from a step: nothing is decided about it.
    pub fn notice(&mut self, latest: &[(AnnouncerId, LastAnnounced)]) {
        for attachment in &mut self.attachments {
            let last = latest.iter().find(|(announcer, _)| *announcer == attachment.announcer);
            if let Some((_, last)) = last {
                attachment.notice(last);
            }
        }
    }

    /// Schedules the next periodic announcement.
    pub(crate) fn schedule_refresh(&mut self, now_ns: u64, spread: u64) {
        if let Some(refresh_ns) = self.options.refresh_ns {
            let less = refresh_ns / SPREAD * (spread % SPREAD);
            self.refresh_at_ns = now_ns.saturating_add(refresh_ns - less);
        }
    }

    /// Announces the address if that is due, and its holder's instance was heard within three periods.
    pub(crate) fn refresh(&mut self, now_ns: u64, decisions: &mut Decisions) {
        let Some(refresh_ns) = self.options.refresh_ns else { return };
        if now_ns < self.refresh_at_ns {
            return;
        }
        self.schedule_refresh(now_ns, 0);
        let Some(holder) = self.holder.and_then(|holder| self.attachment(holder)) else { return };
        let recent_ns = refresh_ns.max(holder.interval_ns).saturating_mul(3);
        let announced_ns = self.instance_heard_ns(holder);
        let is_within = |at_ns: u64| now_ns.saturating_sub(at_ns) <= recent_ns;
        let is_recent = announced_ns.is_some_and(is_within);
        let stopped = match self.state() {
            HavipState::Frozen => Some(Stopped::Frozen),
            HavipState::Conflict => Some(Stopped::Conflict),
            _ => (!is_recent).then_some(Stopped::Silent(announced_ns)),
        };
        let since_ns = self.refresh_stopped.map_or(now_ns, |(since_ns, _)| since_ns);
        // A holder that is known from the store has as long to be heard for the first time: until then that is no problem.
        let is_awaited = stopped == Some(Stopped::Silent(None)) && is_within(self.held_since_ns);
        self.refresh_stopped = stopped.filter(|_| !is_awaited).map(|why| (since_ns, why));
        decisions.reannounce |= stopped.is_none();
    }
}
