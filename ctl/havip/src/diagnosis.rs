//! Diagnosis of a HAVIP, in lines for people.

use bcast_domain::{AnnouncerId, RejectReason};

use crate::attachment::Attachment;
use crate::rejected::Known;
use crate::{Damping, Machine, SECOND};

/// Age up to which rejected announcements are shown, nanoseconds.
const RECENT_NS: u64 = 600 * SECOND;

/// One problem of a HAVIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Code of its kind, which never changes: an alert can be built on it.
    pub code: &'static str,
    /// Line for people.
    pub text: String,
}

impl Machine {
    /// One entry for each problem; empty if there is none. `name` gives an announcer's name.
    #[must_use]
    pub fn diagnosis(
        &self,
        now_ns: u64,
        damping: &Damping,
        name: impl Fn(AnnouncerId) -> String,
    ) -> Vec<Diagnosis> {
        let ago = |at_ns: u64| now_ns.saturating_sub(at_ns) / SECOND;
        let mut found = Vec::new();
        let mut add = |code, text| found.push(Diagnosis { code, text });
        if let Some(freeze) = &self.freeze {
            let by = freeze.announcer.map_or_else(
                || "nobody announced it since".to_owned(),
                |(announcer, _)| format!("{} announced it last", name(announcer)),
            );
            let left = freeze.due_ns(damping).saturating_sub(now_ns).div_ceil(SECOND);
            add(
                "frozen",
                format!(
                    "frozen for {} s: it moved too often; {by}; it thaws in {left} s if no other does \
                 until then, or by `havip unfreeze`",
                    ago(freeze.since_ns)
                ),
            );
        }
        if let Some((one, other)) = self.double {
            let (one, other) = (name(one), name(other));
            add(
                "double-master",
                format!(
                    "double master now: {one} and {other} both advertise it; do they hear each other's adverts, and is \
                 their VRRP configuration the same?"
                ),
            );
        }
        if let Some(attachment) = self
            .holder
            .and_then(|holder| self.attachment(holder))
            .filter(|attachment| is_missed(attachment, now_ns))
        {
            let holder = name(attachment.announcer);
            add(
                "holder-silent",
                format!("the holder's last advert came {} s ago ({holder})", ago(attachment.advert_ns)),
            );
        }
        for attachment in self.attachments.iter().filter(|attachment| attachment.last_ns().is_none()) {
            add(
                "never-heard",
                format!(
                    "{} is attached but was never heard in {} s, as is usual of a backup; if it is none: does it run, with \
                 this MAC, and does its hypervisor send broadcast here?",
                    name(attachment.announcer),
                    ago(attachment.since_ns)
                ),
            );
        }
        let rejected = self.rejected.iter().flat_map(|rejected| rejected.known());
        let recent = |known: &Known| now_ns.saturating_sub(known.last.at_ns) <= RECENT_NS;
        for known in rejected.filter(recent) {
            add(rejection_code(known.last.what), rejection_line(&known, ago(known.last.at_ns)));
        }
        found
    }
}

/// True for a holder that advertised, did not resign, and is silent.
fn is_missed(attachment: &Attachment, now_ns: u64) -> bool {
    attachment.master_ns > 0 && !attachment.is_master(now_ns)
}

fn rejection_code(what: RejectReason) -> &'static str {
    match what {
        RejectReason::Unattached => "unattached-announcement",
        RejectReason::Advert => "unattached-advert",
        RejectReason::Unsound => "wrong-mac",
        RejectReason::Hidden => "hidden-discovery",
        RejectReason::Probe => "unattached-probe",
    }
}

fn rejection_line(known: &Known, ago: u64) -> String {
    let mac = known.last.mac.map(|octet| format!("{octet:02x}")).join(":");
    let what = match known.last.what {
        RejectReason::Unattached => "announced",
        RejectReason::Advert => "advertised (VRRP)",
        RejectReason::Unsound => "bound to another MAC address than the sender's",
        RejectReason::Hidden => "announced in fragments or behind extension headers",
        RejectReason::Probe => "probed",
    };
    let advice = match known.last.what {
        RejectReason::Unattached | RejectReason::Advert | RejectReason::Probe => {
            ", which is not attached there"
        }
        RejectReason::Unsound | RejectReason::Hidden => "",
    };
    let (tep, total) = (known.last.tep, known.total);
    // Rejections of a kind are counted together, whoever sent them: do not blame the latest sender for all.
    let among = if total == 1 { String::new() } else { format!(", the last of {total} such from all") };
    format!("{what} by {mac} at {tep}{advice}: refused {ago} s ago{among}")
}
