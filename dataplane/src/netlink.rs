//! What the daemon asks of the kernel's network stack, by rtnetlink: the TAP's addresses and routes, next hops, and what the
//! host itself does on the port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::SocketAddr;
use rtnetlink::{Handle, IpVersion, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use wire::MacAddr;

use crate::config::InterfaceAddress;

/// Notifications of changed links, neighbours and routes.
pub type Events = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// The number of the routing table that holds the way to `underlay.gateway` is this and the TAP's index.
const FIRST_TABLE: u32 = 9_117_000;
/// The kernel's main routing table.
const MAIN_TABLE: u32 = 254;
/// Priorities of the two rules for what comes from the node's addresses: first the main table without its default route, then
/// the daemon's own table.
const RULES: [u32; 2] = [9116, 9117];

/// The TAP does not forward, and finds out within about ten seconds that a next hop has another MAC address without having
/// announced it: a neighbour is in doubt after at most 1.5 x 3 s, tried a second later, asked thrice at its old address, a
/// second each, and then by broadcast, without having been unresolved.
const TAP_SYSCTLS: [(&str, &str); 6] = [
    ("ipv4/conf/TAP/forwarding", "0"),
    ("ipv6/conf/TAP/forwarding", "0"),
    ("ipv4/neigh/TAP/base_reachable_time_ms", "3000"),
    ("ipv4/neigh/TAP/interval_probe_time_ms", "1000"),
    ("ipv4/neigh/TAP/delay_first_probe_time", "1"),
    ("ipv4/neigh/TAP/mcast_resolicit", "3"),
];

/// The kernel's error number for what is there already, EEXIST.
const EXISTS: i32 = -17;

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(std::io::Error),
    /// There is no such interface.
    #[error("there is no network interface \"{0}\" here; see `ip link`")]
    NoInterface(String),
    /// A request failed.
    #[error("{what} failed: {error}; it takes the capability CAP_NET_ADMIN")]
    Request {
        /// What was asked.
        what: &'static str,
        /// The kernel's answer.
        error: rtnetlink::Error,
    },
}

fn failed(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> NetlinkError {
    move |error| NetlinkError::Request { what, error }
}

/// What the host itself does on a network interface.
#[derive(Debug, PartialEq, Eq)]
pub enum HostUse {
    /// Nothing.
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

/// A netlink connection of the daemon's.
#[derive(Clone)]
pub struct Netlink {
    handle: Handle,
    /// Index of the TAP; 0: there is none yet.
    tap_index: u32,
    /// The node's addresses; packets are routed by the first.
    addresses: Vec<InterfaceAddress>,
    gateway: Option<Ipv4Addr>,
}

impl Netlink {
    /// Opens a connection on the current runtime.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn open() -> Result<(Self, Events), NetlinkError> {
        let groups = [MulticastGroup::Link, MulticastGroup::Neigh, MulticastGroup::Ipv4Route];
        let (connection, handle, events) =
            rtnetlink::new_multicast_connection(&groups).map_err(NetlinkError::Socket)?;
        tokio::spawn(connection);
        Ok((Self { handle, tap_index: 0, addresses: Vec::new(), gateway: None }, events))
    }

    /// Index of the TAP.
    pub fn tap_index(&self) -> u32 {
        self.tap_index
    }

    async fn link(&self, name: &str) -> Result<LinkMessage, NetlinkError> {
        let mut links = self.handle.link().get().match_name(name.to_owned()).execute();
        links.try_next().await.ok().flatten().ok_or_else(|| NetlinkError::NoInterface(name.into()))
    }

    /// What the host does on `interface`.
    ///
    /// # Errors
    /// There is no such interface, or the kernel does not say.
    pub async fn host_use(&self, interface: &str) -> Result<HostUse, NetlinkError> {
        let link = self.link(interface).await?;
        let index = link.header.index;
        if link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::Controller(_))) {
            return Ok(HostUse::Member);
        }
        if let Some(name) = self.stands_on(index).await? {
            return Ok(HostUse::Carries(name));
        }
        let mut addresses = self.handle.address().get().set_link_index_filter(index).execute();
        while let Some(address) = addresses.try_next().await.map_err(failed("reading addresses"))? {
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
        for version in [IpVersion::V4, IpVersion::V6] {
            let mut query = RouteMessage::default();
            query.header.address_family = match version {
                IpVersion::V4 => AddressFamily::Inet,
                IpVersion::V6 => AddressFamily::Inet6,
            };
            let mut routes = self.handle.route().get(query).execute();
            while let Some(route) = routes.try_next().await.map_err(failed("reading routes"))? {
                let by_it = route.attributes.contains(&RouteAttribute::Oif(index));
                if by_it && route.header.destination_prefix_length == 0 && route.header.table == 254 {
                    return Ok(HostUse::DefaultRoute);
                }
            }
        }
        Ok(HostUse::Free)
    }

    /// The name of a VLAN, macvlan or the like that stands on an interface.
    async fn stands_on(&self, index: u32) -> Result<Option<String>, NetlinkError> {
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(failed("reading interfaces"))? {
            // A veth's other end looks alike, but is none of these kinds.
            let stacked = link.attributes.iter().any(|attribute| match attribute {
                LinkAttribute::LinkInfo(infos) => infos.iter().any(|info| {
                    use InfoKind::{IpVlan, IpVtap, MacVlan, MacVtap, Vlan};
                    matches!(info, LinkInfo::Kind(Vlan | MacVlan | MacVtap | IpVlan | IpVtap))
                }),
                _ => false,
            });
            if stacked && link.attributes.contains(&LinkAttribute::Link(index)) {
                return Ok(link.attributes.into_iter().find_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name),
                    _ => None,
                }));
            }
        }
        Ok(None)
    }

    /// The index of an interface, and whether its link is up.
    ///
    /// # Errors
    /// There is no such interface.
    pub async fn index(&self, interface: &str) -> Result<(u32, bool), NetlinkError> {
        let link = self.link(interface).await?;
        Ok((link.header.index, link_is_up(&link)))
    }

    /// The MTU of an interface: bytes of IP packet.
    ///
    /// # Errors
    /// There is no such interface.
    pub async fn mtu(&self, interface: &str) -> Result<u32, NetlinkError> {
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
    pub async fn set_up(&self, interface: &str) -> Result<(), NetlinkError> {
        let index = self.link(interface).await?.header.index;
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(up).execute().await.map_err(failed("setting the port up"))
    }

    /// Makes the TAP the node's network interface: MAC, MTU, addresses, up, and the way to the gateway.
    ///
    /// # Errors
    /// The kernel refuses one of these.
    pub async fn configure_tap(
        &mut self,
        tap: &str,
        mac: MacAddr,
        mtu: u16,
        addresses: &[InterfaceAddress],
        gateway: Option<Ipv4Addr>,
    ) -> Result<(), NetlinkError> {
        self.tap_index = self.link(tap).await?.header.index;
        (self.addresses, self.gateway) = (addresses.to_vec(), gateway);
        let link = LinkUnspec::new_with_index(self.tap_index).address(mac.0.to_vec()).mtu(mtu.into());
        let request = self.handle.link().set(link.build());
        request.execute().await.map_err(failed("setting the TAP's MAC address and MTU"))?;
        for link in addresses {
            let add = self.handle.address().add(self.tap_index, link.address.into(), link.prefix);
            add.execute().await.map_err(failed("giving the TAP its address"))?;
        }
        for (key, value) in TAP_SYSCTLS {
            let path = format!("/proc/sys/net/{}", key.replace("TAP", tap));
            if let Err(error) = std::fs::write(&path, value) {
                tracing::warn!(path, value, %error, "a setting of the TAP could not be made");
            }
        }
        let up = LinkUnspec::new_with_index(self.tap_index).up().build();
        self.handle.link().set(up).execute().await.map_err(failed("setting the TAP up"))?;
        self.remove_rules().await;
        if gateway.is_some() {
            self.route_to_gateway().await.map_err(failed("adding the route to underlay.gateway"))?;
            self.add_rules().await?;
        }
        Ok(())
    }

    fn table(&self) -> u32 {
        FIRST_TABLE.wrapping_add(self.tap_index)
    }

    /// Puts the route to `underlay.gateway` where it is missing: the kernel removes it when the TAP goes down.
    pub async fn restore_gateway(&self) {
        if let Err(error) = self.route_to_gateway().await {
            tracing::debug!(%error, "the route to underlay.gateway cannot be there now");
        }
    }

    async fn route_to_gateway(&self) -> Result<(), rtnetlink::Error> {
        let Some(gateway) = self.gateway else { return Ok(()) };
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(self.tap_index);
        let route = route.table_id(self.table()).build();
        match self.handle.route().add(route).execute().await {
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == EXISTS => Ok(()),
            done => done,
        }
    }

    /// What comes from the node's addresses goes by the main table's routes but its default route, and else to the gateway.
    async fn add_rules(&self) -> Result<(), NetlinkError> {
        for link in &self.addresses {
            for (priority, table) in RULES.into_iter().zip([MAIN_TABLE, self.table()]) {
                let mut rule = self
                    .handle
                    .rule()
                    .add()
                    .v4()
                    .source_prefix(link.address, 32)
                    .table_id(table)
                    .priority(priority)
                    .action(RuleAction::ToTable);
                if table == MAIN_TABLE {
                    rule.message_mut().attributes.push(RuleAttribute::SuppressPrefixLen(0));
                }
                let added = rule.replace().execute().await;
                added.map_err(failed("adding the routing rule for the node's addresses"))?;
            }
        }
        Ok(())
    }

    /// Removes the routing rules for the node's addresses, also those of a daemon that was killed. Routes go with the TAP.
    pub async fn remove_rules(&self) {
        let mut rules = self.handle.rule().get(IpVersion::V4).execute();
        let mut ours: Vec<RuleMessage> = Vec::new();
        while let Ok(Some(rule)) = rules.try_next().await {
            let priority = |a: &RuleAttribute| matches!(a, RuleAttribute::Priority(p) if RULES.contains(p));
            let source = |a: &RuleAttribute| match a {
                RuleAttribute::Source(IpAddr::V4(from)) => {
                    self.addresses.iter().any(|link| link.address == *from)
                }
                _ => false,
            };
            if rule.attributes.iter().any(priority) && rule.attributes.iter().any(source) {
                ours.push(rule);
            }
        }
        for rule in ours {
            if let Err(error) = self.handle.rule().del(rule).execute().await {
                tracing::warn!(%error, "a routing rule of the daemon's could not be removed");
            }
        }
    }

    /// The next hop of the route to `address` by the TAP: the gateway, or the address itself where it is on-link.
    pub async fn next_hop(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let query = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, 32)
            .source_prefix(self.addresses.first()?.address, 32)
            .build();
        let route = self.handle.route().get(query).execute().try_next().await.ok()??;
        // By another interface, or by way of an IPv6 gateway: there is no such next hop here.
        let foreign = |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Via(_));
        if !route.attributes.contains(&RouteAttribute::Oif(self.tap_index))
            || route.attributes.iter().any(foreign)
        {
            return None;
        }
        let gateway = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => Some(*gateway),
            _ => None,
        });
        Some(gateway.unwrap_or(address))
    }

    /// Asks the kernel to resolve a next hop now, and to keep it resolved.
    ///
    /// # Errors
    /// The kernel's neighbour table is full, or the kernel knows no `managed` neighbours (before 5.16).
    pub async fn ask_for_neighbour(&self, hop: Ipv4Addr) -> Result<(), rtnetlink::Error> {
        let mut request = self
            .handle
            .neighbours()
            .add(self.tap_index, hop.into())
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        let managed = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
        request.message_mut().attributes.push(managed);
        request.execute().await
    }

    /// Lets the kernel forget a next hop. It may have done so already.
    pub async fn forget_neighbour(&self, hop: Ipv4Addr) {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = self.tap_index;
        message.attributes.push(NeighbourAttribute::Destination(hop.into()));
        if let Err(error) = self.handle.neighbours().del(message).execute().await {
            tracing::debug!(next_hop = %hop, %error, "the kernel had no such neighbour");
        }
    }

    /// One neighbour.
    pub async fn neighbour(&self, hop: Ipv4Addr) -> Option<NeighbourMessage> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = self.tap_index;
        message.attributes.push(NeighbourAttribute::Destination(hop.into()));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut answers = self.handle.clone().request(request).ok()?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(found)) = answer.payload {
                return Some(found);
            }
        }
        None
    }

    /// All of the TAP's IPv4 neighbours.
    pub async fn neighbours(&self) -> Vec<NeighbourMessage> {
        let request = self.handle.neighbours().get().set_address_family(AddressFamily::Inet);
        let all: Vec<NeighbourMessage> = request.execute().try_collect().await.unwrap_or_default();
        all.into_iter().filter(|message| message.header.ifindex == self.tap_index).collect()
    }
}

/// Whether an interface is up and has a carrier.
pub fn link_is_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
}

/// Whether an entry is the operator's, which the kernel never asks about.
pub fn is_static(message: &NeighbourMessage) -> bool {
    matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp)
}

/// The MAC address of a neighbour in a state in which it may be used; STALE ones may.
pub fn usable_mac(message: &NeighbourMessage) -> Option<MacAddr> {
    match message.header.state {
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Permanent
        | NeighbourState::Noarp => message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => Some(MacAddr(bytes.as_slice().try_into().ok()?)),
            _ => None,
        }),
        _ => None,
    }
}
