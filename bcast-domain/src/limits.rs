//! The limits of a table, and the error that names which of them a value broke.

use crate::{TepIndex, Vni};

/// Domains that live at one time; also the bound of [`DomainId`](crate::DomainId).
pub const MAX_DOMAINS: usize = 1_048_576;
/// Tunnel endpoints; also the bound of [`TepIndex`].
pub const MAX_TEPS: usize = 65_536;
/// Members of one domain.
pub const MAX_MEMBERS: usize = 16_384;
/// Memberships of all domains together.
pub const MAX_MEMBERSHIPS: usize = 33_554_432;
/// Virtual IPs; also the bound of [`VipId`](crate::VipId).
pub const MAX_VIPS: usize = 131_072;
/// Announcers of all virtual IPs together; also the bound of [`AnnouncerId`](crate::AnnouncerId).
pub const MAX_ANNOUNCERS: usize = 1_048_576;
/// Addresses that a MAC address at a TEP has at most in a strict domain.
pub const MAX_LEARNED_OF_MAC: u64 = 64;
/// Addresses that a TEP has at most in a strict domain.
pub const MAX_LEARNED_OF_TEP: u64 = 4096;
/// Subnets that are stated for a domain.
pub const MAX_SUBNETS: usize = 64;
/// Distributed gateways of a domain.
pub const MAX_GATEWAYS: usize = 64;

/// A change that the table refuses. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// One domain more than [`MAX_DOMAINS`].
    #[error("domain {vni} would be one more than the {MAX_DOMAINS} that a node can hold: remove one first")]
    Domains {
        /// The domain that was to be created.
        vni: Vni,
    },
    /// Every dense number is live, or was a moment ago.
    #[error(
        "domain {vni} gets no number yet: the last removed domains are still in use by a worker; \
         reclaim and try again"
    )]
    DomainIdsInGrace {
        /// The domain that was to be created.
        vni: Vni,
    },
    /// More members than [`MAX_MEMBERS`].
    #[error("domain {vni} would have {count} members, over the limit of {MAX_MEMBERS}: split it")]
    Members {
        /// The domain that was to be set.
        vni: Vni,
        /// Members that were given.
        count: usize,
    },
    /// More memberships than [`MAX_MEMBERSHIPS`].
    #[error(
        "with domain {vni} there would be {count} memberships, over the limit of {MAX_MEMBERSHIPS} in all: \
         remove some first"
    )]
    Memberships {
        /// The domain that was to be set.
        vni: Vni,
        /// Memberships of all domains if it had been set.
        count: usize,
    },
    /// A member was given twice.
    #[error("domain {vni} lists the member with index {member} twice: list it once")]
    DuplicateMember {
        /// The domain that was to be set.
        vni: Vni,
        /// The member that stands there twice.
        member: TepIndex,
    },
    /// An index at or over [`MAX_TEPS`].
    #[error("TEP index {0} is not below {MAX_TEPS}, the number of tunnel endpoints that a node can hold")]
    TepIndex(u32),
    /// A number at or over [`MAX_VIPS`].
    #[error("virtual IP number {0} is not below {MAX_VIPS}, the number of virtual IPs that a node can hold")]
    VipId(u32),
    /// A number at or over [`MAX_ANNOUNCERS`].
    #[error(
        "announcer number {0} is not below {MAX_ANNOUNCERS}, the number of announcers that a node can hold"
    )]
    AnnouncerId(u32),
}
