//! Why a frame, or one copy of it, went no further.

use core::fmt;

/// Declares an enum of reasons whose list, label and number cannot drift apart.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every reason, in the order of the checks; `ALL[r.index()] == r`.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$variant),+];

            /// The value of the metric's label `reason`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// Position in [`Self::ALL`], to index an array of counters.
            #[must_use]
            #[inline]
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why a received frame was dropped: one reason, one counter, `bcast_drops_total{reason=...}`.
    DropReason {
        /// Shorter than an Ethernet header, or an IPv4 ethertype with fewer than 20 bytes after it.
        Runt = "runt",
        /// An overlay frame to the node behind a VLAN tag whose id is not 0.
        OuterVlan = "outer_vlan",
        /// IP version, header length, options, checksum, total length or TTL 0 (RFC 791 section 3.1).
        IpHeader = "ip_header",
        /// More-fragments set, or a fragment offset.
        IpFragment = "ip_fragment",
        /// The source is 0/8, 127/8, multicast, broadcast or one of the node's own addresses (RFC 1122
        /// section 3.2.1.3).
        IpSource = "ip_source",
        /// GRE truncated, of another version, or with the routing or a reserved bit (RFC 2784, RFC 2890).
        GreHeader = "gre_header",
        /// GRE protocol type other than 0x6558, transparent Ethernet bridging.
        GreProtocol = "gre_protocol",
        /// GRE without a key, so without a VNI.
        GreNoKey = "gre_no_key",
        /// The source is not a registered TEP. Found by the caller.
        TepUnknown = "tep_unknown",
        /// BFD to the node (key 0, inner destination 00:23:20:00:00:01), but over the rate of its TEP or of the worker. Found by the
        /// caller, as are the two below.
        BfdRate = "bfd_rate",
        /// The same, but no good BFD frame (RFC 5880 section 6.8.6, RFC 5881 sections 4 and 5).
        BfdMalformed = "bfd_malformed",
        /// The same, but it names another session than its TEP's.
        BfdDiscarded = "bfd_discarded",
        /// There is no such domain. Found by the caller.
        VniUnknown = "vni_unknown",
        /// The source is not a member of that domain. Found by the caller.
        TepNotMember = "tep_not_member",
        /// A GRE checksum is present and wrong.
        GreChecksum = "gre_checksum",
        /// Inner frame shorter than an Ethernet header.
        InnerRunt = "inner_runt",
        /// Inner destination is unicast.
        InnerUnicast = "inner_unicast",
        /// Inner destination is 01:80:c2:00:00:00 to 0f, which bridges never forward (IEEE 802.1Q table 8-1).
        InnerReserved = "inner_reserved",
        /// Inner source MAC is multicast or zero.
        InnerSource = "inner_source",
        /// Broadcast or multicast BFD of a VM: UDP to port 3784, which RFC 5881 sends to one station alone.
        InnerBfd = "inner_bfd",
        /// ARP or neighbour discovery for a virtual IP, from one that may not announce it. Found by the caller.
        GarpSpoof = "garp_spoof",
        /// A VRRP advertisement that lists a virtual IP, from one that may not announce it. Found by the caller.
        VrrpSpoof = "vrrp_spoof",
        /// The source sends more frames than its limit. Found by the caller, as are the five below.
        TepRate = "tep_rate",
        /// The domain's copies, or their bits, would be more than its limit.
        DomainRate = "domain_rate",
        /// The copies of all domains would be more than the node's limit.
        NodeRate = "node_rate",
        /// The domain's copies of ARP and neighbour advertisements would be more than their limit, and the source has had its share.
        ControlRate = "control_rate",
        /// The domain's copies of VRRP and of announcements of virtual IPs would be more than their limit, and the source has had its
        /// share.
        FailoverRate = "failover_rate",
        /// The worker's queue of large fan-outs is full, or the domain's share of it.
        FanoutQueueFull = "fanout_queue_full",
        /// Frame for the node itself, but an ICMP redirect, by which the host would change its routes. Found by the caller.
        PuntRedirect = "punt_redirect",
        /// Frame for the node itself, but from a stranger on the node's link, of which the kernel would make a neighbour entry. Found by the
        /// caller.
        PuntStranger = "punt_stranger",
        /// Frame for the node itself, but over the punt's rate or queue. Found by the caller.
        PuntLimited = "punt_limited",
        /// Frame for the node itself, but there is no TAP. Found by the caller.
        PuntOff = "punt_off",
    }
}

impl DropReason {
    /// True if a limit refuses the frame, which passed all checks.
    #[must_use]
    pub const fn is_limit(self) -> bool {
        use DropReason::{BfdRate, ControlRate, DomainRate, FailoverRate, NodeRate, TepRate};
        matches!(self, BfdRate | TepRate | DomainRate | NodeRate | ControlRate | FailoverRate)
    }
}

reasons! {
    /// Why one copy of an accepted frame was not sent: `bcast_copy_drops_total{reason=...}`.
    CopyDropReason {
        /// The TEP's next hop has no MAC address yet.
        TepUnresolved = "tep_unresolved",
        /// The copy's outer IP packet is longer than the port's MTU.
        MtuExceeded = "mtu_exceeded",
        /// The pool of packet buffers is exhausted.
        NoMbuf = "no_mbuf",
        /// A packet buffer has no room for the copy's outer header, or for the copy.
        NoHeadroom = "no_headroom",
        /// The port's link is down: the copy was not handed to the port.
        LinkDown = "link_down",
        /// The transmit ring stayed full through every retry.
        TxFull = "tx_full",
        /// The fan-out was older than 2 ms, and was stopped, as a pending removal must not wait longer.
        FanoutAborted = "fanout_aborted",
    }
}

/// Outcome for a frame that is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Not an overlay frame to this node: hand it to the kernel.
    Punt,
    /// Free it and count the reason.
    Drop(DropReason),
}

impl From<DropReason> for Rejection {
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}
