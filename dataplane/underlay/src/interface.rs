//! Network interfaces of the host, as they are at start.

use std::fmt;
use std::net::IpAddr;

use futures::TryStreamExt;
use netlink::{RequestError, Requests};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, LinkUnspec};

use crate::effect::{is_enslaved, link_is_up, name_of};
use crate::kernel::KernelError;

/// Use that the host itself makes of a network interface.
#[derive(Debug, PartialEq, Eq)]
pub enum HostUse {
    /// None.
    Free,
    /// It has an address.
    Address(IpAddr),
    /// The default route leaves by it.
    DefaultRoute,
    /// It belongs to a bridge, a bond or the like.
    Member,
    /// Another interface (a VLAN, a macvlan) stands on it.
    Carries(String),
}

impl fmt::Display for HostUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostUse::Free => f.write_str("not at all"),
            HostUse::Address(address) => write!(f, "it has the address {address}"),
            HostUse::DefaultRoute => f.write_str("its default route leaves there"),
            HostUse::Member => f.write_str("it belongs to a bridge or bond"),
            HostUse::Carries(other) => write!(f, "{other} stands on it"),
        }
    }
}

/// The host's network interfaces.
pub struct Interfaces<'r>(pub &'r Requests);

impl Interfaces<'_> {
    async fn all(&self) -> Result<Vec<LinkMessage>, RequestError> {
        let get = async |handle: Handle| handle.link().get().execute().try_collect().await;
        self.0.run("reading network interfaces", get).await
    }

    async fn link(&self, name: &str) -> Result<LinkMessage, KernelError> {
        let get = async |handle: Handle| {
            // The kernel's answer to a name that is none is an error number.
            Ok(handle.link().get().match_name(name.to_owned()).execute().try_next().await.ok().flatten())
        };
        let found = self.0.run("reading a network interface", get).await?;
        found.ok_or_else(|| KernelError::NoInterface(name.into()))
    }

    /// Use that the host makes of `interface`.
    ///
    /// # Errors
    /// There is no such interface, or the kernel does not say.
    pub async fn host_use(&self, interface: &str) -> Result<HostUse, KernelError> {
        let link = self.link(interface).await?;
        let index = link.header.index;
        if is_enslaved(&link) {
            return Ok(HostUse::Member);
        }
        if let Some(name) = self.all().await?.into_iter().find_map(|link| stacked_on(index, link)) {
            return Ok(HostUse::Carries(name));
        }
        let get = async |handle: Handle| {
            let addresses = handle.address().get().set_link_index_filter(index).execute();
            addresses.try_collect::<Vec<_>>().await
        };
        for address in self.0.run("reading addresses", get).await? {
            // An IPv6 link-local address comes by itself and is nobody's service.
            if address.header.scope == AddressScope::Link && address.header.family == AddressFamily::Inet6 {
                continue;
            }
            for attribute in &address.attributes {
                if let AddressAttribute::Address(address) = attribute {
                    return Ok(HostUse::Address(*address));
                }
            }
        }
        match self.has_default_route(index).await? {
            true => Ok(HostUse::DefaultRoute),
            false => Ok(HostUse::Free),
        }
    }

    async fn has_default_route(&self, index: u32) -> Result<bool, KernelError> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let get = async |handle: Handle| {
                let mut query = RouteMessage::default();
                query.header.address_family = family;
                let mut routes = handle.route().get(query).execute();
                // A full BGP table is not kept.
                while let Some(route) = routes.try_next().await? {
                    let by_it = route.attributes.contains(&RouteAttribute::Oif(index));
                    if by_it && route.header.destination_prefix_length == 0 && route.header.table == 254 {
                        return Ok(true);
                    }
                }
                Ok(false)
            };
            if self.0.run("reading routes", get).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The index of an interface, and whether its link is up.
    ///
    /// # Errors
    /// There is no such interface, or the kernel does not answer.
    pub async fn index(&self, interface: &str) -> Result<(u32, bool), KernelError> {
        let link = self.link(interface).await?;
        Ok((link.header.index, link_is_up(&link)))
    }

    /// The MTU of an interface: bytes of IP packet.
    ///
    /// # Errors
    /// There is no such interface, or the kernel does not answer.
    pub async fn mtu(&self, interface: &str) -> Result<u32, KernelError> {
        let link = self.link(interface).await?;
        let mtu = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        Ok(mtu.unwrap_or(u32::MAX))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refuses.
    pub async fn set_up(&self, interface: &str) -> Result<(), KernelError> {
        let index = self.link(interface).await?.header.index;
        let up = LinkUnspec::new_with_index(index).up().build();
        let set = async |handle: Handle| handle.link().set(up).execute().await;
        Ok(self.0.run("setting the port up", set).await?)
    }
}

/// The name of `link`, where it is a VLAN, a macvlan or the like that stands on the interface `index`.
fn stacked_on(index: u32, link: LinkMessage) -> Option<String> {
    // A veth's other end looks alike, but is none of these kinds.
    let stacked = link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().any(|info| {
            use InfoKind::{IpVlan, IpVtap, MacVlan, MacVtap, Vlan};
            matches!(info, LinkInfo::Kind(Vlan | MacVlan | MacVtap | IpVlan | IpVtap))
        }),
        _ => false,
    });
    if !stacked || !link.attributes.contains(&LinkAttribute::Link(index)) {
        return None;
    }
    name_of(&link).map(str::to_owned)
}
