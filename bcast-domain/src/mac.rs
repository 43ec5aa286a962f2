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

    /// Reads six two-digit bytes, in either case, with `:` or `-` between all of them.
    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let refused = || MacAddrError(text.to_owned());
        let sign = if text.contains('-') { '-' } else { ':' };
        let (mut bytes, mut pairs) = ([0; 6], text.split(sign));
        for byte in &mut bytes {
            // `from_str_radix` takes a sign; a pair of digits has none.
            let pair =
                pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair.ok_or_else(refused)?, 16).map_err(|_| refused())?;
        }
        if pairs.next().is_some() { Err(refused()) } else { Ok(Self(bytes)) }
    }
}

/// The MAC address of one interface.
///
/// # Legal values
/// Unicast (the lowest bit of the first byte is clear, IEEE 802-2014, section 8) and not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Mac(MacAddr);

impl Mac {
    /// The address with these bytes.
    ///
    /// # Errors
    /// An address that no single interface can have.
    pub const fn new(octets: [u8; 6]) -> Result<Self, MacError> {
        match MacAddr(octets) {
            MacAddr([0, 0, 0, 0, 0, 0]) => Err(MacError::Zero),
            mac if mac.is_multicast() => Err(MacError::Multicast(mac)),
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
    /// A group address, broadcast included.
    #[error("{0} is a multicast MAC address: give the one of the instance's own interface")]
    Multicast(MacAddr),
    /// All bytes are zero.
    #[error("00:00:00:00:00:00 is no interface's MAC address: give the one of the instance's own interface")]
    Zero,
}
