//! Addresses: bytes of messages, subnets of HAVIPs, and addresses that one host can have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use bcast_domain::{Mac, Tep};
use ipnet::IpNet;
use thiserror::Error;

use super::ModelError;

/// An IP address out of bytes in network order.
///
/// # Errors
///
/// [`ModelError::AddressLength`].
pub fn ip(bytes: &[u8]) -> Result<IpAddr, ModelError> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| v6()).map_err(|_| ModelError::AddressLength(bytes.len()))
}

/// The bytes of an address in network order.
#[must_use]
pub fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A TEP's address out of bytes.
///
/// # Errors
///
/// Bytes that are no address, an IPv6 address, or one that no TEP can have.
pub fn tep(bytes: &[u8]) -> Result<Tep, ModelError> {
    if bytes.is_empty() {
        return Err(ModelError::Missing("TEP's address"));
    }
    match ip(bytes)? {
        IpAddr::V4(v4) => Ok(Tep::new(v4)?),
        IpAddr::V6(v6) => Err(ModelError::Ipv6Tep(v6)),
    }
}

/// The bytes of a TEP's address.
pub(super) fn tep_bytes(tep: Tep) -> Vec<u8> {
    tep.address().octets().to_vec()
}

/// Six bytes of any MAC address.
pub(super) fn octets(bytes: &[u8]) -> Result<[u8; 6], ModelError> {
    bytes.try_into().map_err(|_| ModelError::MacLength(bytes.len()))
}

/// An instance's MAC address out of bytes.
///
/// # Errors
///
/// Not six bytes, or no MAC address of one interface.
pub fn mac(bytes: &[u8]) -> Result<Mac, ModelError> {
    Ok(Mac::new(octets(bytes)?)?)
}

/// A network of a tenant: an address whose host bits are zero, and the length of its prefix.
///
/// # Legal values
///
/// IPv4 with a prefix of 0 to 32 bits, IPv6 with 0 to 128. Text is `10.0.0.0/24`, `fd00:1::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet(IpNet);

/// Why a text is not a [`Subnet`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum SubnetError {
    /// No address, `/` and number.
    #[error("{0:?} is not a subnet; write it like 10.0.0.0/24")]
    NotASubnet(String),
    /// A prefix longer than an address.
    #[error("the prefix of {address}/{prefix_len} is too long; at most {max} bits", max = if .address.is_ipv4() { 32 } else { 128 })]
    TooLong { address: IpAddr, prefix_len: u32 },
    /// An address inside the subnet, where the subnet's own belongs.
    #[error("{address}/{len} has bits set behind its prefix; the subnet is {subnet}", len = .subnet.prefix_len())]
    HostBits { address: IpAddr, subnet: Subnet },
}

impl Subnet {
    /// The subnet at this address.
    ///
    /// # Errors
    ///
    /// A prefix that is too long, or bits that are set behind it.
    pub fn new(address: IpAddr, prefix_len: u32) -> Result<Self, SubnetError> {
        let net = u8::try_from(prefix_len).ok().and_then(|length| IpNet::new(address, length).ok());
        let subnet = Self(net.ok_or(SubnetError::TooLong { address, prefix_len })?.trunc());
        if subnet.address() == address { Ok(subnet) } else { Err(SubnetError::HostBits { address, subnet }) }
    }

    /// Lowest address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0.network()
    }

    /// Bits of the prefix.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        self.0.prefix_len()
    }

    /// True if the address is of this subnet and of its family.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// True if a host can have this address of the subnet: not that of the subnet itself (in IPv6 it is any router's,
    /// RFC 4291 section 2.6.1) nor in IPv4 the broadcast address. Where a subnet has two addresses or one, hosts have
    /// them (RFC 3021, RFC 6164).
    #[must_use]
    pub fn is_host(self, address: IpAddr) -> bool {
        let is_reserved = address == self.0.network() || (address.is_ipv4() && address == self.0.broadcast());
        self.contains(address) && !(is_reserved && self.prefix_len() + 1 < self.0.max_prefix_len())
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
        let length: u8 = length.parse().map_err(|_| not())?;
        Self::new(address.parse().map_err(|_| not())?, length.into())
    }
}

/// The addresses of a packed list.
pub(super) fn packed(bytes: &[u8]) -> Result<Vec<Tep>, ModelError> {
    let (addresses, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(ModelError::TepsLength(bytes.len()));
    }
    addresses.iter().map(|&octets| Ok(Tep::new(Ipv4Addr::from(octets))?)).collect()
}

/// An address that no single host can have, though one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is the address of no single host; give a unicast address")]
pub struct NotUnicast(pub IpAddr);

/// The address, if one host can have it: neither multicast, loopback, broadcast nor unspecified.
///
/// # Errors
///
/// The address is one of those.
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
