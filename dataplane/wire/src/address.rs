//! MAC addresses, and the set of the node's own IPv4 addresses.

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

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

    /// Reads six two-digit bytes with colons between them, in either case.
    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let refused = || MacAddrError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(refused)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(refused());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() { Err(refused()) } else { Ok(Self(bytes)) }
    }
}

/// The node's own IPv4 addresses, one to eight of them.
///
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NodeAddresses {
    bits: [u32; Self::MAX],
    len: usize,
}

/// A list that cannot be the node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeAddressesError {
    /// There was no address at all.
    #[error("the node has no address: give at least one")]
    Empty,
    /// There were more than [`NodeAddresses::MAX`]; the number that was given.
    #[error("{0} addresses are too many: a node has at most {max}", max = NodeAddresses::MAX)]
    TooMany(usize),
}

impl NodeAddresses {
    /// The most addresses that a node can have.
    pub const MAX: usize = 8;

    /// Takes the addresses in their order; the first is the node's own.
    ///
    /// # Errors
    ///
    /// [`NodeAddressesError`] when there are none, or more than [`Self::MAX`].
    pub fn new(addresses: &[Ipv4Addr]) -> Result<Self, NodeAddressesError> {
        let first = addresses.first().ok_or(NodeAddressesError::Empty)?;
        if addresses.len() > Self::MAX {
            return Err(NodeAddressesError::TooMany(addresses.len()));
        }
        let mut bits = [first.to_bits(); Self::MAX];
        for (slot, address) in bits.iter_mut().zip(addresses) {
            *slot = address.to_bits();
        }
        Ok(Self { bits, len: addresses.len() })
    }

    /// Whether `address` is one of the node's.
    #[must_use]
    #[inline]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        // The first is nearly all that there is, and what nearly all is sent to.
        let (wanted, [first, others @ ..]) = (address.to_bits(), &self.bits);
        *first == wanted || (self.len > 1 && others.contains(&wanted))
    }

    /// The node's own address: the source of what the node itself sends.
    #[must_use]
    #[inline]
    pub const fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.bits[0])
    }

    /// The addresses in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.bits.iter().take(self.len).copied().map(Ipv4Addr::from_bits)
    }
}

impl fmt::Debug for NodeAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
