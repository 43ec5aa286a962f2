//! The names of things: virtual networks, tunnel endpoints, and the dense numbers that stand for them.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::limits::{LimitError, MAX_TEPS};

/// Virtual network identifier: the key of the GRE header, RFC 2890 section 2.1.
///
/// # Legal values
/// Every `u32`. Text is decimal (`5001`) or hexadecimal (`0x1389`); it is shown in decimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Vni(u32);

impl Vni {
    /// The identifier with this number.
    #[inline]
    pub const fn new(key: u32) -> Self {
        Self(key)
    }

    /// The identifier as a number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl From<u32> for Vni {
    #[inline]
    fn from(key: u32) -> Self {
        Self(key)
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Vni {
    type Err = VniError;

    fn from_str(text: &str) -> Result<Self, VniError> {
        let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => (hex, 16),
            None => (text, 10),
        };
        // `from_str_radix` takes a sign; an identifier has none.
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return Err(VniError::NotANumber(text.to_owned()));
        }
        u32::from_str_radix(digits, radix).map(Self).map_err(|_| VniError::TooLarge(text.to_owned()))
    }
}

/// Text that is no [`Vni`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VniError {
    /// Neither decimal nor hexadecimal digits.
    #[error("{0:?} is not a VNI: write it in decimal (5001) or hexadecimal (0x1389)")]
    NotANumber(String),
    /// More than 32 bits.
    #[error("VNI {0} is out of range: it has 32 bits, so the largest is {max} (0xffffffff)", max = u32::MAX)]
    TooLarge(String),
}

/// Tunnel endpoint: a hypervisor or gateway, known by its underlay address.
///
/// # Legal values
/// IPv4 addresses that one host can have: not 0.0.0.0/8, 127.0.0.0/8, multicast, 240.0.0.0/4 or broadcast
/// (RFC 1122 section 3.2.1.3, RFC 1112 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Tep(Ipv4Addr);

impl Tep {
    /// The endpoint at this address.
    ///
    /// # Errors
    /// An address that no single host can have; the error says of which kind it is.
    pub fn new(address: Ipv4Addr) -> Result<Self, TepError> {
        match address.octets()[0] {
            0 => Err(TepError::ThisNetwork(address)),
            127 => Err(TepError::Loopback(address)),
            224..=239 => Err(TepError::Multicast(address)),
            240..=255 if address.is_broadcast() => Err(TepError::Broadcast),
            240..=255 => Err(TepError::Reserved(address)),
            _ => Ok(Self(address)),
        }
    }

    /// The underlay address.
    #[inline]
    pub const fn address(self) -> Ipv4Addr {
        self.0
    }
}

impl fmt::Display for Tep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<Ipv4Addr> for Tep {
    type Error = TepError;

    fn try_from(address: Ipv4Addr) -> Result<Self, TepError> {
        Self::new(address)
    }
}

impl FromStr for Tep {
    type Err = TepError;

    fn from_str(text: &str) -> Result<Self, TepError> {
        match (text.parse::<Ipv4Addr>(), text.parse::<Ipv6Addr>()) {
            (Ok(address), _) => Self::new(address),
            (_, Ok(address)) => Err(TepError::Ipv6(address)),
            _ => Err(TepError::NotAnAddress(text.to_owned())),
        }
    }
}

/// Error of a value that is not a legal [`Tep`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TepError {
    /// Text that is no address at all.
    #[error("{0:?} is not an IPv4 address: write the tunnel endpoint like 198.18.0.1")]
    NotAnAddress(String),
    /// An address of the other family.
    #[error("{0} is an IPv6 address: a tunnel endpoint is known by its IPv4 address on the underlay")]
    Ipv6(Ipv6Addr),
    /// 0.0.0.0/8.
    #[error("{0} is in 0.0.0.0/8, which names no host: give the endpoint's own underlay address")]
    ThisNetwork(Ipv4Addr),
    /// 127.0.0.0/8.
    #[error("{0} is a loopback address: give the endpoint's own underlay address")]
    Loopback(Ipv4Addr),
    /// 224.0.0.0/4.
    #[error("{0} is a multicast address: a tunnel endpoint is one host")]
    Multicast(Ipv4Addr),
    /// 240.0.0.0/4 but for broadcast.
    #[error("{0} is in 240.0.0.0/4, which is reserved: give the endpoint's own underlay address")]
    Reserved(Ipv4Addr),
    /// 255.255.255.255.
    #[error("255.255.255.255 is the broadcast address: a tunnel endpoint is one host")]
    Broadcast,
}

/// Index of a [`Tep`] in the array of all TEPs. Member lists consist of these.
///
/// # Legal values
/// 0 to 65,535: below [`MAX_TEPS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct TepIndex(u32);

impl TepIndex {
    /// The index with this number.
    ///
    /// # Errors
    /// [`LimitError::TepIndex`] at or over [`MAX_TEPS`].
    pub const fn new(index: u32) -> Result<Self, LimitError> {
        if (index as usize) < MAX_TEPS { Ok(Self(index)) } else { Err(LimitError::TepIndex(index)) }
    }

    /// The index as a number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The index as it is used on a slice.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl TryFrom<u32> for TepIndex {
    type Error = LimitError;

    fn try_from(index: u32) -> Result<Self, LimitError> {
        Self::new(index)
    }
}

impl From<u16> for TepIndex {
    fn from(index: u16) -> Self {
        Self(u32::from(index))
    }
}

impl fmt::Display for TepIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The dense number of a live domain: a place in an array of per-domain counters.
///
/// A domain keeps its number as long as it lives. The number of a removed domain is given to another only
/// when every reader has left the removed one behind, so nobody counts for the old under the number of the new.
///
/// # Legal values
/// Below [`MAX_DOMAINS`](crate::limits::MAX_DOMAINS). Only a table makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DomainId(pub(crate) u32);

impl DomainId {
    /// The number itself.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as it is used on a slice.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
