//! Diagnosis of a HAVIP, in lines for people.

use bcast_domain::{AnnouncerId, RejectReason};

use crate::attachment::{Attachment, LONGEST_SILENCE};
use crate::damping::Freeze;
use crate::refresh::Stopped;
use crate::rejected::Known;
use crate::{Damping, Machine, SECOND};

/// Age up to which rejected announcements are shown, nanoseconds.
const RECENT_NS: u64 = 600 * SECOND;
/// Time that attached instances have to be heard for the first time: several intervals of common elections.
const FIRST_HEARD_NS: u64 = 10 * SECOND;

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
        NOT_HEARD_SINCE_RESTART = "not-heard-since-restart";
        VLAN_UNKNOWN = "vlan-unknown";
        REFRESH_STOPPED = "refresh-stopped";
        TEP_NOT_MEMBER = "tep-not-member";
        UNATTACHED_ANNOUNCEMENT = "unattached-announcement";
        UNATTACHED_ADVERT = "unattached-advert";
        UNATTACHED_PROBE = "unattached-probe";
        WRONG_MAC = "wrong-mac";
        HIDDEN_DISCOVERY = "hidden-discovery";
        CUT_FRAGMENT = "cut-fragment";
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

/// Problem of a HAVIP.
enum Problem<'m> {
    Frozen(Freeze),
    DoubleMaster(AnnouncerId, AnnouncerId),
    HolderSilent(&'m Attachment),
    /// No attached instance was heard since this time.
    NeverHeard(u64),
    /// The holder is known from the store, and its instance was not heard since this time.
    Unheard(&'m Attachment, u64),
    /// The holder, of which no VLAN tags are known.
    VlanUnknown(AnnouncerId),
    RefreshStopped(u64, Stopped),
    Rejected(Known),
}

impl Problem<'_> {
    fn code(&self) -> &'static str {
        match self {
            Self::Frozen(_) => codes::FROZEN,
            Self::DoubleMaster(..) => codes::DOUBLE_MASTER,
            Self::HolderSilent(_) => codes::HOLDER_SILENT,
            Self::NeverHeard(_) => codes::NEVER_HEARD,
            Self::Unheard(..) => codes::NOT_HEARD_SINCE_RESTART,
            Self::VlanUnknown(_) => codes::VLAN_UNKNOWN,
            Self::RefreshStopped(..) => codes::REFRESH_STOPPED,
            Self::Rejected(known) => rejection_code(known.last.reason),
        }
    }

    fn text(&self, now_ns: u64, damping: &Damping, name: impl Fn(AnnouncerId) -> String) -> String {
        let ago = |at_ns: u64| now_ns.saturating_sub(at_ns) / SECOND;
        match self {
            Self::Frozen(freeze) => {
                let by = freeze.announcer.map_or_else(
                    || "nobody announced it since".to_owned(),
                    |(announcer, _)| format!("{} announced it last", name(announcer)),
                );
                let left = freeze.due_ns(damping).saturating_sub(now_ns).div_ceil(SECOND);
                let since = ago(freeze.since_ns);
                format!(
                    "frozen for {since} s: it moved too often; {by}; it thaws in {left} s if no other does until then, \
                     sooner where its election has settled, or by `havip unfreeze`"
                )
            }
            Self::DoubleMaster(one, other) => {
                let (one, other) = (name(*one), name(*other));
                format!(
                    "double master now: {one} and {other} both advertise it; do they hear each other's adverts, and is \
                     their VRRP configuration the same?"
                )
            }
            Self::HolderSilent(attachment) => {
                let (holder, since) = (name(attachment.announcer), ago(attachment.advert_ns));
                format!("the holder's last advert came {since} s ago ({holder})")
            }
            Self::NeverHeard(since_ns) => {
                let since = ago(*since_ns);
                format!(
                    "no attached instance was heard in {since} s: do they run, with these MACs, and do their hypervisors \
                     send broadcast here?"
                )
            }
            Self::Unheard(attachment, since_ns) => {
                let (holder, since) = (name(attachment.announcer), ago(*since_ns));
                format!(
                    "the holder was not heard since the restart of the node, or since it was attached, {since} s ago \
                     ({holder}); does it run?"
                )
            }
            Self::VlanUnknown(holder) => {
                let holder = name(*holder);
                format!(
                    "the node does not announce it on the holder's behalf: {holder} sends frames with VLAN tags, and did not \
                     announce this address with two tags at most, so its VLAN is not known; have it announce the address"
                )
            }
            Self::RefreshStopped(since_ns, why) => refresh_line(ago(*since_ns), *why, ago),
            Self::Rejected(known) => rejection_line(known, ago(known.last.at_ns)),
        }
    }
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
        let diagnosis = |problem: Problem<'_>| Diagnosis {
            code: problem.code(),
            text: problem.text(now_ns, damping, &name),
        };
        self.problems(now_ns).map(diagnosis).collect()
    }

    /// Codes of the same problems, each once.
    pub fn codes(&self, now_ns: u64) -> impl Iterator<Item = &'static str> {
        self.problems(now_ns).map(|problem| problem.code())
    }

    fn problems(&self, now_ns: u64) -> impl Iterator<Item = Problem<'_>> {
        let holder = self.holder.and_then(|holder| self.attachment(holder));
        let attached_ns = self.attachments.iter().map(|attachment| attachment.since_ns).min();
        let is_due = |since_ns: u64| now_ns.saturating_sub(since_ns) >= FIRST_HEARD_NS;
        let unheard_ns = LONGEST_SILENCE.max(self.options.refresh_ns.unwrap_or(0).saturating_mul(3));
        let is_unheard = |holder: &&Attachment| {
            self.instance_heard_ns(holder).is_none() && now_ns.saturating_sub(self.held_since_ns) > unheard_ns
        };
        let is_heard = || self.attachments.iter().any(|attachment| attachment.announced_ns().is_some());
        let of_holder = [
            self.freeze.map(Problem::Frozen),
            self.double.map(|(one, other)| Problem::DoubleMaster(one, other)),
            holder.filter(|holder| is_missed(holder, now_ns)).map(Problem::HolderSilent),
            attached_ns
                .filter(|&since_ns| holder.is_none() && is_due(since_ns) && !is_heard())
                .map(Problem::NeverHeard),
            holder.filter(is_unheard).map(|holder| Problem::Unheard(holder, self.held_since_ns)),
            self.holder.filter(|_| self.tags().is_none()).map(Problem::VlanUnknown),
            self.refresh_stopped.map(|(since_ns, why)| Problem::RefreshStopped(since_ns, why)),
        ];
        let rejected = self.rejected.iter().flat_map(|rejected| rejected.known());
        let recent = rejected.filter(move |known| now_ns.saturating_sub(known.last.at_ns) <= RECENT_NS);
        of_holder.into_iter().flatten().chain(recent.map(Problem::Rejected))
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
        RejectReason::Cut { .. } => codes::CUT_FRAGMENT,
        RejectReason::Arrival => codes::UNATTACHED_ANNOUNCEMENT,
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
        RejectReason::Cut { .. } => "possibly named, in a first fragment that ends before what it names,",
        RejectReason::Arrival => "arrived",
    };
    let advice = match known.last.reason {
        RejectReason::Unattached | RejectReason::Advert | RejectReason::Probe | RejectReason::Arrival => {
            ", which is not attached there"
        }
        RejectReason::Unsound | RejectReason::Hidden | RejectReason::Cut { .. } => "",
    };
    let (tep, total) = (known.last.tep, known.total);
    // Rejections of a kind are counted together, whoever sent them: do not blame the latest sender for all.
    let among = if total == 1 { String::new() } else { format!(", the last of {total} such from all") };
    format!("{act} by {mac} at {tep}{advice}: refused {ago} s ago{among}")
}
