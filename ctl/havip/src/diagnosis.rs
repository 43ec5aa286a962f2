//! Diagnosis of a HAVIP, in lines for people.

use bcast_domain::{AnnouncerId, RejectReason};

use crate::attachment::Attachment;
use crate::refresh::Stopped;
use crate::rejected::Known;
use crate::{Damping, Machine, SECOND};

/// Age up to which rejected announcements are shown, nanoseconds.
const RECENT_NS: u64 = 600 * SECOND;

/// Codes of diagnoses.
pub mod codes {
    macro_rules! codes {
        ($($name:ident = $code:literal;)*) => {
            $(
                #[doc = concat!("Code `", $code, "`; docs/havip.md has its meaning.")]
                pub const $name: &str = $code;
            )*
            /// All codes.
            pub const ALL: &[&str] = &[$($code),*];
        };
    }
    codes! {
        FROZEN = "frozen";
        DOUBLE_MASTER = "double-master";
        HOLDER_SILENT = "holder-silent";
        NEVER_HEARD = "never-heard";
        REFRESH_STOPPED = "refresh-stopped";
        TEP_NOT_MEMBER = "tep-not-member";
        UNATTACHED_ANNOUNCEMENT = "unattached-announcement";
        UNATTACHED_ADVERT = "unattached-advert";
        UNATTACHED_PROBE = "unattached-probe";
        WRONG_MAC = "wrong-mac";
        HIDDEN_DISCOVERY = "hidden-discovery";
    }
}

/// One problem of a HAVIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Code of its kind, one of [`codes`]. It never changes: an alert can be built on it.
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
                codes::FROZEN,
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
                codes::DOUBLE_MASTER,
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
                codes::HOLDER_SILENT,
                format!("the holder's last advert came {} s ago ({holder})", ago(attachment.advert_ns)),
            );
        }
        if let Some(since_ns) = self.attachments.iter().map(|attachment| attachment.since_ns).min()
            && self.attachments.iter().all(|attachment| attachment.announced_ns().is_none())
        {
            let since = ago(since_ns);
            add(
                codes::NEVER_HEARD,
                format!(
                    "no attached instance was heard in {since} s: do they run, with these MACs, and do their hypervisors \
                     send broadcast here?"
                ),
            );
        }
        if let Some((since_ns, why)) = self.refresh_stopped {
            add(codes::REFRESH_STOPPED, refresh_line(ago(since_ns), why, ago));
        }
        let rejected = self.rejected.iter().flat_map(|rejected| rejected.known());
        let recent = |known: &Known| now_ns.saturating_sub(known.last.at_ns) <= RECENT_NS;
        for known in rejected.filter(recent) {
            add(rejection_code(known.last.reason), rejection_line(&known, ago(known.last.at_ns)));
        }
        found
    }
}

fn refresh_line(since: u64, why: Stopped, ago: impl Fn(u64) -> u64) -> String {
    let why = match why {
        Stopped::Silent(Some(at_ns)) => format!("its instance was heard last {} s ago", ago(at_ns)),
        Stopped::Silent(None) => "its instance was not heard since the node started".to_owned(),
        Stopped::Frozen => "the address is frozen".to_owned(),
        Stopped::Conflict => "two instances advertise the address".to_owned(),
    };
    format!("for {since} s the node has not announced it on the holder's behalf (--refresh): {why}")
}

/// True for a holder that advertised, did not resign, and is silent.
fn is_missed(attachment: &Attachment, now_ns: u64) -> bool {
    attachment.master_ns > 0 && !attachment.is_master(now_ns)
}

fn rejection_code(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Unattached => codes::UNATTACHED_ANNOUNCEMENT,
        RejectReason::Advert => codes::UNATTACHED_ADVERT,
        RejectReason::Unsound => codes::WRONG_MAC,
        RejectReason::Hidden => codes::HIDDEN_DISCOVERY,
        RejectReason::Probe => codes::UNATTACHED_PROBE,
    }
}

fn rejection_line(known: &Known, ago: u64) -> String {
    let mac = known.last.mac.map(|octet| format!("{octet:02x}")).join(":");
    let act = match known.last.reason {
        RejectReason::Unattached => "announced",
        RejectReason::Advert => "advertised (VRRP)",
        RejectReason::Unsound => "bound to another MAC address than the sender's",
        RejectReason::Hidden => "announced in fragments or behind extension headers",
        RejectReason::Probe => "probed",
    };
    let advice = match known.last.reason {
        RejectReason::Unattached | RejectReason::Advert | RejectReason::Probe => {
            ", which is not attached there"
        }
        RejectReason::Unsound | RejectReason::Hidden => "",
    };
    let (tep, total) = (known.last.tep, known.total);
    // Rejections of a kind are counted together, whoever sent them: do not blame the latest sender for all.
    let among = if total == 1 { String::new() } else { format!(", the last of {total} such from all") };
    format!("{act} by {mac} at {tep}{advice}: refused {ago} s ago{among}")
}
