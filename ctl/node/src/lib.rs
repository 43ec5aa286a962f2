//! The data plane, as the control path sees it: one trait, and the types of its methods.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use bcast_domain::{
    AnnouncementBoard, DomainId, DomainLimit, Epoch, Rejected, StrictRefusal, Tep, TepIndex, TepLimit,
    VlanTags, Vni,
};
use thiserror::Error;

/// The data plane, as the control path sees it.
pub trait Node: Send + Sync + 'static {
    /// True if this TEP can be one of this node's.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    fn tep_allowed(&self, tep: Tep) -> Result<(), TepRefusal>;

    /// Puts TEPs into the array that member lists point into, and takes others out. Returns once the new array is
    /// published, after 10 ms at most: it does not wait for next hops. Called by the commit thread alone, with the
    /// state locked.
    fn set_teps(&self, added: &[(TepIndex, Tep)], removed: &[TepIndex]) -> Epoch;

    /// Waits until the next hops of the TEPs that were put into the array were looked up and published, at most for
    /// `patience`. Returns the epoch of the last publication.
    fn next_hops_settled(&self, patience: Duration) -> Epoch;

    /// Gives a domain's number these rates, at once for what workers receive from now on. Until it is called, a number
    /// has the node's own rates; it keeps what it was given when it goes to another domain. Called by the commit
    /// thread alone.
    fn set_domain_limit(&self, domain: DomainId, limit: DomainLimit);

    /// The same for a TEP's index.
    fn set_tep_limit(&self, tep: TepIndex, limit: TepLimit);

    /// Next hop of a TEP.
    fn next_hop(&self, tep: TepIndex) -> NextHop;

    /// Frames that a TEP sent and copies to it that were dropped.
    fn tep_drops(&self, tep: TepIndex) -> Drops;

    /// ICMP errors about copies to a TEP, by type.
    fn tep_icmp_errors(&self, tep: TepIndex) -> Vec<(&'static str, u64)>;

    /// BFD session with a TEP; `None`: it has not spoken BFD.
    fn bfd_session(&self, index: TepIndex, tep: Tep) -> Option<BfdSession>;

    /// State of the node as BFD tells it to hypervisors, with its reasons and the sessions.
    fn standing(&self) -> Standing;

    /// Has hypervisors use another node, or ends that, at once. Returns what it was before.
    fn set_drained(&self, drained: bool) -> bool;

    /// One domain's counters since the daemon started.
    fn domain_counters(&self, domain: DomainId) -> DomainCounters;

    /// Frames of a domain and copies of them that were dropped since the daemon started.
    fn domain_drops(&self, domain: DomainId) -> Drops;

    /// Last offenders of one reason to drop frames, or of all, the latest of each reason first. `None`: there is no such reason.
    fn offenders(&self, reason: Option<&str>) -> Option<Vec<DropOffender>>;

    /// True if copies carry the address of the hypervisor that sent the frame, in place of the node's.
    fn keeps_origin(&self) -> bool;

    /// The node's counters.
    fn stats(&self) -> NodeStats;

    /// Longest time that copies stay in a TX ring after every worker has left the lists that they were made from.
    fn drain_time(&self) -> Duration;

    /// Latest announcements of virtual IPs. Drained and read by the commit thread only.
    fn board(&self) -> &AnnouncementBoard;

    /// The oldest announcement that was refused and not taken yet. Taken by the commit thread alone.
    fn take_rejected(&self) -> Option<Rejected>;

    /// The oldest announcement that a strict domain refused and that was not taken yet. Taken by the commit thread alone.
    fn take_refused(&self) -> Option<StrictRefusal>;

    /// Present time: by the clock of the workers' stamps, by the steady clock, and as Unix time.
    fn now(&self) -> Moment;

    /// Announces an address by a worker as if its holder had just done so: to all members but the holder's own TEP.
    /// Nothing of it is heard. False if too many wait already: try again later.
    fn announce(&self, holding: &Holding) -> bool;
}

/// One moment, by three clocks. Nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The clock that workers stamp announcements by; it began before the daemon started.
    pub worker_ns: u64,
    /// A clock that nobody sets, at the rate of real time; above 0.
    pub steady_ns: u64,
    /// Unix time.
    pub unix_ns: u64,
}

/// Holder of an address, and its TEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Domain of the address.
    pub vni: Vni,
    /// The address itself.
    pub address: IpAddr,
    /// The MAC address that it is bound to: its holder's, or the virtual one of a VRRP router.
    pub mac: [u8; 6],
    /// The holder's TEP.
    pub tep: Tep,
    /// VLAN tags that the holder's announcements had.
    pub tags: VlanTags,
}

/// Why a TEP cannot be one of this node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TepRefusal {
    /// It is the node itself.
    #[error("TEP {0} is this node's own address; a TEP is a hypervisor")]
    OwnAddress(Tep),
    /// It is the broadcast or network address of the node's own subnet.
    #[error("TEP {tep} is no host's address in the underlay {network}/{prefix_length}")]
    NotAHost {
        /// The TEP.
        tep: Tep,
        /// The subnet's address.
        network: Ipv4Addr,
        /// Prefix length, bits.
        prefix_length: u8,
    },
}

/// Next hop of a TEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The next hop's address: a gateway, or the TEP itself where it is on the link; `None`: there is no route.
    pub gateway: Option<IpAddr>,
    /// MAC address; `None`: unresolved.
    pub mac: Option<[u8; 6]>,
    /// Time since which both hold.
    pub since: SystemTime,
}

/// State of a BFD session (RFC 5880 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BfdState {
    /// Held down by its operator.
    AdminDown,
    /// No contact.
    Down,
    /// The peer is heard, and does not know that yet.
    Init,
    /// Both hear each other.
    Up,
}

/// BFD session with a TEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BfdSession {
    /// State of the node's side.
    pub local: BfdState,
    /// State that the TEP said last.
    pub remote: BfdState,
    /// Diagnostic that the node says.
    pub diagnostic: u8,
    /// Diagnostic that the TEP said last.
    pub remote_diagnostic: u8,
    /// Unix time since which the node's side is in its state, nanoseconds.
    pub since_unix_ns: u64,
    /// Interval between the node's packets before jitter, microseconds.
    pub transmit_interval_us: u32,
    /// Time without a packet after which the TEP is lost, microseconds; 0: not known.
    pub detection_time_us: u32,
    /// Times that the session left Up.
    pub flaps: u64,
}

/// State of the node as BFD tells it to hypervisors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Hypervisors may use it.
    Serving,
    /// They are to use another one.
    Leaving,
    /// It has just started, and does not serve yet.
    HeldBack,
}

/// The same with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What BFD tells.
    pub state: NodeState,
    /// Names of the reasons.
    pub reasons: Vec<&'static str>,
    /// Rest of the time after the start.
    pub held_back_for: Duration,
    /// Number of BFD sessions by state, all states.
    pub sessions: Vec<(&'static str, u64)>,
}

/// A domain's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DomainCounters {
    /// Accepted frames.
    pub frames: u64,
    /// Copies sent.
    pub copies: u64,
    /// Bytes of inner frames in the copies sent.
    pub bytes: u64,
    /// Copies dropped.
    pub drops: u64,
    /// Frames dropped.
    pub frame_drops: u64,
}

impl DomainCounters {
    /// Counts since `base`.
    #[must_use]
    pub fn since(self, base: Self) -> Self {
        Self {
            frames: self.frames.saturating_sub(base.frames),
            copies: self.copies.saturating_sub(base.copies),
            bytes: self.bytes.saturating_sub(base.bytes),
            drops: self.drops.saturating_sub(base.drops),
            frame_drops: self.frame_drops.saturating_sub(base.frame_drops),
        }
    }
}

/// Drops of a TEP or a domain by reason; of frames only reasons with any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drops {
    /// Frames, by reason.
    pub frames: Vec<(&'static str, u64)>,
    /// Copies, by reason.
    pub copies: Vec<(&'static str, u64)>,
}

impl Drops {
    /// Drops since `base`; only reasons with any.
    #[must_use]
    pub fn since(&self, base: &Self) -> Self {
        let of = |counts: &[(&'static str, u64)], base: &[(&'static str, u64)]| {
            let before =
                |reason| base.iter().find(|(other, _)| *other == reason).map_or(0, |(_, count)| *count);
            let since = counts.iter().map(|&(reason, count)| (reason, count.saturating_sub(before(reason))));
            since.filter(|(_, count)| *count > 0).collect()
        };
        Self { frames: of(&self.frames, &base.frames), copies: of(&self.copies, &base.copies) }
    }
}

/// Sender of frames that were dropped for one reason: a source address with a VNI, as far as the frames named them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropOffender {
    /// Reason of the drops.
    pub reason: &'static str,
    /// Source address: a TEP's, or another.
    pub source: Option<Ipv4Addr>,
    /// Network of the frames.
    pub vni: Option<Vni>,
    /// Source and destination MAC address of the latest frame.
    pub macs: Option<[[u8; 6]; 2]>,
    /// True if these are of the outer frame, as there was no inner one.
    pub outer: bool,
    /// Frames dropped since it is among the last offenders.
    pub count: u64,
    /// Unix time of the latest, nanoseconds.
    pub unix_ns: u64,
}

/// The node's counters, each list in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeStats {
    /// Counters by their Prometheus names.
    pub counters: Vec<(String, u64)>,
    /// Dropped frames, by reason.
    pub drops: Vec<(&'static str, u64)>,
    /// Dropped copies, by reason.
    pub copy_drops: Vec<(&'static str, u64)>,
    /// The port's own counters.
    pub port: Vec<(String, u64)>,
    /// The last host that had an address of the node's.
    pub address_conflict: Option<AddressConflict>,
}

/// Another host that claims an address of the node's by ARP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressConflict {
    /// The node's address.
    pub address: Ipv4Addr,
    /// The host's MAC address, as its ARP says.
    pub mac: [u8; 6],
    /// Such frames of all hosts since the daemon started.
    pub frames: u64,
    /// Time of the last one.
    pub last: SystemTime,
}
