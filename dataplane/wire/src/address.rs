//! The set of the node's own IPv4 addresses.

use core::fmt;
use core::net::Ipv4Addr;

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

    /// True if `address` is one of the node's.
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
