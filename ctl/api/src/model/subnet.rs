//! Addresses of tenants' networks: the subnet of a virtual IP, and what can be an address at all.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A network of a tenant: an address whose host bits are zero, and the length of its prefix.
///
/// # Legal values
///
/// IPv4 with a prefix of 0 to 32 bits, IPv6 with 0 to 128. Text is `10.0.0.0/24`, `fd00:1::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    address: IpAddr,
    prefix_len: u8,
}

/// Why a text is not a [`Subnet`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubnetError {
    /// No address, `/` and number.
    #[error("{0:?} is not a subnet; write it like 10.0.0.0/24")]
    NotASubnet(String),
    /// A prefix longer than an address.
    #[error("the prefix of {address}/{prefix_len} is too long; at most {max} bits", max = bits(*.address))]
    TooLong {
        /// The address.
        address: IpAddr,
        /// Bits of the prefix.
        prefix_len: u8,
    },
    /// An address inside the subnet, where the subnet's own belongs.
    #[error("{address}/{prefix_len} has bits set behind its prefix; the subnet is {subnet}")]
    HostBits {
        /// The address that was given.
        address: IpAddr,
        /// Bits of the prefix.
        prefix_len: u8,
        /// What was meant, most likely.
        subnet: Subnet,
    },
}

/// Bits of an address of this family.
const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with all bits behind the prefix zero, and with all of them one.
fn bounds(address: IpAddr, prefix_len: u8) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            let (first, last) = (v4.to_bits() & !host, v4.to_bits() | host);
            (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(last).into())
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            let (first, last) = (v6.to_bits() & !host, v6.to_bits() | host);
            (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(last).into())
        }
    }
}

impl Subnet {
    /// The subnet at this address.
    ///
    /// # Errors
    ///
    /// A prefix that is too long, or bits that are set behind it.
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<Self, SubnetError> {
        if prefix_len > bits(address) {
            return Err(SubnetError::TooLong { address, prefix_len });
        }
        let (first, _) = bounds(address, prefix_len);
        let subnet = Self { address: first, prefix_len };
        if first == address { Ok(subnet) } else { Err(SubnetError::HostBits { address, prefix_len, subnet }) }
    }

    /// Its lowest address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Bits of its prefix.
    #[must_use]
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// Whether the address is of this subnet and of its family.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && bounds(address, self.prefix_len).0 == self.address
    }

    /// Whether a host can have this address of the subnet: not that of the subnet itself (in IPv6 it is any router's,
    /// RFC 4291 section 2.6.1) nor in IPv4 the broadcast address. Where a subnet has two addresses or one, hosts have
    /// them (RFC 3021, RFC 6164).
    #[must_use]
    pub fn is_host(self, address: IpAddr) -> bool {
        let (first, last) = bounds(self.address, self.prefix_len);
        let reserved = self.prefix_len + 1 < bits(self.address)
            && (address == first || (address == last && address.is_ipv4()));
        self.contains(address) && !reserved
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let not = || SubnetError::NotASubnet(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(not)?;
        // Integers may have a sign; a length has none.
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(not());
        }
        Self::new(address.parse().map_err(|_| not())?, length.parse().map_err(|_| not())?)
    }
}

/// An address that no single host can have, though one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is the address of no single host; give a unicast address")]
pub struct NotUnicast(pub IpAddr);

/// The address, if one host can have it: neither multicast, loopback, broadcast nor unspecified.
///
/// # Errors
///
/// It is one of those.
pub fn unicast(address: IpAddr) -> Result<IpAddr, NotUnicast> {
    let refused = match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_broadcast() || v4.is_loopback() || v4.is_multicast(),
        IpAddr::V6(v6) => {
            v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.to_ipv4_mapped().is_some()
        }
    };
    if refused { Err(NotUnicast(address)) } else { Ok(address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_has_no_bits_behind_its_prefix_and_says_which_was_meant() {
        for text in ["10.0.0.0/24", "0.0.0.0/0", "10.0.0.7/32", "fd00:1::/64", "::/0", "fd00::1/128"] {
            assert_eq!(text.parse::<Subnet>().unwrap().to_string(), text);
        }
        for (text, words) in [
            ("", "\"\" is not a subnet; write it like 10.0.0.0/24"),
            ("10.0.0.0", "is not a subnet"),
            ("10.0.0/24", "is not a subnet"),
            ("10.0.0.0/", "is not a subnet"),
            ("10.0.0.0/+8", "is not a subnet"),
            ("10.0.0.0/256", "is not a subnet"),
            ("10.0.0.0/33", "the prefix of 10.0.0.0/33 is too long; at most 32 bits"),
            ("fd00::/129", "the prefix of fd00::/129 is too long; at most 128 bits"),
            ("10.0.0.7/24", "10.0.0.7/24 has bits set behind its prefix; the subnet is 10.0.0.0/24"),
            ("fd00::1/64", "the subnet is fd00::/64"),
        ] {
            let error = text.parse::<Subnet>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_is_a_hosts_inside_the_subnet_but_for_the_reserved_ones() {
        for (subnet, address, contains, is_host) in [
            ("10.0.0.0/24", "10.0.0.1", true, true),
            ("10.0.0.0/24", "10.0.0.254", true, true),
            ("10.0.0.0/24", "10.0.0.0", true, false),
            ("10.0.0.0/24", "10.0.0.255", true, false),
            ("10.0.0.0/24", "10.0.1.0", false, false),
            ("10.0.0.0/24", "fd00::1", false, false),
            ("10.0.0.0/30", "10.0.0.3", true, false),
            ("10.0.0.0/31", "10.0.0.0", true, true),
            ("10.0.0.0/31", "10.0.0.1", true, true),
            ("10.0.0.7/32", "10.0.0.7", true, true),
            ("0.0.0.0/0", "10.0.0.0", true, true),
            ("fd00::/64", "fd00::", true, false),
            ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", true, true),
            ("fd00::/64", "fd00:0:0:1::1", false, false),
            ("fd00::/127", "fd00::", true, true),
            ("::/0", "10.0.0.1", false, false),
        ] {
            let subnet: Subnet = subnet.parse().unwrap();
            let address = ip(address);
            assert_eq!(
                (subnet.contains(address), subnet.is_host(address)),
                (contains, is_host),
                "{address} in {subnet}"
            );
        }
    }

    #[test]
    fn one_host_has_a_unicast_address() {
        for text in ["10.0.0.1", "203.0.113.7", "fd00::1", "fe80::1", "2001:db8::1"] {
            assert_eq!(unicast(ip(text)), Ok(ip(text)));
        }
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.18",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::12",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(unicast(ip(text)), Err(NotUnicast(ip(text))));
        }
    }
}
