//! MAC addresses: of any kind, and of one interface.

use std::{fmt, str::FromStr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet address, in wire order.
///
/// # Legal values
///
/// All. `00:00:00:00:00:00` is no station's address ([`Self::is_zero`]).
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// `00:00:00:00:00:00`.
    pub const ZERO: Self = Self([0; 6]);

    /// The address as a number below 2^48; its first byte is the highest.
    #[must_use]
    #[inline]
    pub const fn to_bits(self) -> u64 {
        let Self([a, b, c, d, e, f]) = self;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address that the lower 48 bits of a number hold, as [`Self::to_bits`] has them.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Group bit set: multicast or broadcast (IEEE 802 section 8.2).
    #[must_use]
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// `00:00:00:00:00:00`.
    #[must_use]
    #[inline]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// 01:80:c2:00:00:00 to 0f: BPDU, PAUSE, LACP, LLDP; no bridge forwards them (IEEE 802.1Q table 8-1).
    #[must_use]
    #[inline]
    pub const fn is_link_local_reserved(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0x00, 0x00, 0x00..=0x0f])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a MAC address: write six hexadecimal bytes, as in 02:00:00:00:00:01")]
pub struct MacAddrError(pub String);

impl FromStr for MacAddr {
    type Err = MacAddrError;

    /// Reads twelve hexadecimal digits, in either case: in six groups with `:` or `-` between all of them, in three with
    /// `.`, or in one.
    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let refused = || MacAddrError(text.to_owned());
        let separator = text.chars().find(|sign| !sign.is_ascii_hexdigit());
        // Digits in each group but the last.
        let group = match separator {
            None => 12,
            Some('.') => 4,
            Some(':' | '-') => 2,
            Some(_) => return Err(refused()),
        };
        let groups: Vec<&str> = separator.map_or_else(|| vec![text], |sign| text.split(sign).collect());
        let is_group = |text: &&str| text.len() == group && text.bytes().all(|b| b.is_ascii_hexdigit());
        if groups.len() != 12 / group || !groups.iter().all(is_group) {
            return Err(refused());
        }
        u64::from_str_radix(&groups.concat(), 16).map(Self::from_bits).map_err(|_| refused())
    }
}

/// The MAC address of an instance: of one interface, or a multicast address that a cluster's interfaces share (Linux'
/// CLUSTERIP, Windows NLB).
///
/// # Legal values
/// All but zero and broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Mac(MacAddr);

impl Mac {
    /// The address with these bytes.
    ///
    /// # Errors
    /// An address that no instance can have.
    pub const fn new(octets: [u8; 6]) -> Result<Self, MacError> {
        match MacAddr(octets) {
            MacAddr([0, 0, 0, 0, 0, 0]) => Err(MacError::Zero),
            MacAddr([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => Err(MacError::Broadcast),
            mac => Ok(Self(mac)),
        }
    }

    /// Octets in wire order.
    #[inline]
    pub const fn octets(self) -> [u8; 6] {
        self.0.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let MacAddr(octets) = text.parse().map_err(|_| MacError::NotAMac(text.to_owned()))?;
        Self::new(octets)
    }
}

/// Error of a value that is not a legal [`Mac`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Text that is no MAC address.
    #[error("{0:?} is not a MAC address: write it like 52:54:00:00:00:01")]
    NotAMac(String),
    /// All bits are one.
    #[error(
        "ff:ff:ff:ff:ff:ff is every interface's MAC address: give the one of the instance's own interface"
    )]
    Broadcast,
    /// All bytes are zero.
    #[error("00:00:00:00:00:00 is no interface's MAC address: give the one of the instance's own interface")]
    Zero,
}
