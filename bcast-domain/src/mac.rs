//! The MAC address of a virtual machine's interface.

use std::{fmt, str::FromStr};

/// The MAC address of one interface.
///
/// # Legal values
/// Unicast (the lowest bit of the first byte is clear, IEEE 802-2014, section 8) and not zero. Text is six pairs of hexadecimal digits
/// with `:` or `-` between them; it is shown in lower case with `:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address with these bytes.
    ///
    /// # Errors
    /// An address that no single interface can have.
    pub const fn new(octets: [u8; 6]) -> Result<Self, MacError> {
        match octets {
            [0, 0, 0, 0, 0, 0] => Err(MacError::Zero),
            [first, ..] if first & 1 != 0 => Err(MacError::Multicast(Octets(octets))),
            _ => Ok(Self(octets)),
        }
    }

    /// Its bytes, as they stand in a frame.
    #[inline]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Octets(self.0).fmt(f)
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let octets = parse(text).ok_or_else(|| MacError::NotAMac(text.to_owned()))?;
        Self::new(octets)
    }
}

/// Six pairs of digits, with one and the same sign between them.
fn parse(text: &str) -> Option<[u8; 6]> {
    let sign = if text.contains('-') { '-' } else { ':' };
    let mut octets = [0; 6];
    let mut pairs = text.split(sign);
    for octet in &mut octets {
        // `from_str_radix` takes a sign; a pair of digits has none.
        let pair =
            pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(octets)
}

/// The bytes of any MAC address, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Octets(pub [u8; 6]);

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What cannot be a [`Mac`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Text that is no MAC address.
    #[error("{0:?} is not a MAC address: write it like 52:54:00:00:00:01")]
    NotAMac(String),
    /// A group address, broadcast included.
    #[error("{0} is a multicast MAC address: give the one of the instance's own interface")]
    Multicast(Octets),
    /// All bytes are zero.
    #[error("00:00:00:00:00:00 is no interface's MAC address: give the one of the instance's own interface")]
    Zero,
}
