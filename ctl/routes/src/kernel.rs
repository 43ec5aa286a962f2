//! The kernel's routing tables, by rtnetlink.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};

use crate::config::RoutesConfig;
use crate::route::{Hop, Key};

/// Requests that are under way at a time.
pub const AT_ONCE: usize = 64;

/// The kernel's error numbers for "there is no such route" (ESRCH), "table" and "interface" (ENOENT, ENODEV).
const GONE: [i32; 3] = [-3, -2, -19];
/// Those with which a lookup says that there is no way: EACCES, EINVAL (prohibited, blackhole), ENETUNREACH, EHOSTUNREACH.
const NO_WAY: [i32; 5] = [-13, -22, -101, -113, -19];

/// Notifications of changed links and addresses.
pub type Events = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr)>;

/// A connection to the kernel of the namespace in which it was opened.
#[derive(Clone)]
pub struct Kernel {
    handle: Handle,
    protocol: RouteProtocol,
    /// Whether routes are replaced; else they are removed and added.
    replace: bool,
}

impl Kernel {
    /// Opens it on the current runtime.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn open(config: &RoutesConfig) -> io::Result<(Self, Events)> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (listening, _, events) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(listening);
        // Strict: the kernel, not we, picks our routes out of all of them.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        tokio::spawn(connection);
        let protocol = RouteProtocol::from(config.protocol());
        Ok((Self { handle, protocol, replace: config.replace() }, events))
    }

    /// The interface by which an address is reached without a router, as packets from this host would.
    ///
    /// # Errors
    /// The kernel does not say.
    pub async fn on_link(&self, address: IpAddr) -> Result<Option<u32>, rtnetlink::Error> {
        let mut query = RouteMessage::default();
        let (family, bits) = family(address);
        query.header.address_family = family;
        query.header.destination_prefix_length = bits;
        query.attributes.push(RouteAttribute::Destination(address.into()));
        let found = match self.handle.route().get(query).execute().try_next().await {
            Ok(found) => found,
            Err(error) if is_one_of(&error, &NO_WAY) => None,
            Err(error) => return Err(error),
        };
        Ok(found.filter(|route| route.header.kind == RouteType::Unicast).and_then(|route| {
            let mut interface = None;
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_) => {
                        return None;
                    }
                    RouteAttribute::Oif(index) => interface = Some(*index),
                    _ => {}
                }
            }
            interface
        }))
    }

    /// All host routes that are marked as the daemon's, in whatever table but the host's own: an earlier configuration may have
    /// had others. A route that is not of our making has no hop.
    ///
    /// # Errors
    /// The kernel does not say.
    pub async fn installed(&self) -> Result<HashMap<Key, Option<Hop>>, rtnetlink::Error> {
        let mut found = HashMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut query = RouteMessage::default();
            query.header.address_family = family;
            query.header.protocol = self.protocol;
            let mut routes = self.handle.route().get(query).execute();
            while let Some(route) = routes.try_next().await? {
                let Some((key, hop)) = self.read(&route) else { continue };
                found.entry(key).and_modify(|hop| *hop = None).or_insert(hop);
            }
        }
        Ok(found)
    }

    fn read(&self, route: &RouteMessage) -> Option<(Key, Option<Hop>)> {
        let (mut table, mut address) = (u32::from(route.header.table), None);
        let (mut gateway, mut interface, mut simple) = (None, None, true);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Destination(RouteAddress::Inet(v4)) => address = Some(IpAddr::from(*v4)),
                RouteAttribute::Destination(RouteAddress::Inet6(v6)) => address = Some(IpAddr::from(*v6)),
                RouteAttribute::Gateway(RouteAddress::Inet(v4)) => gateway = Some(IpAddr::from(*v4)),
                RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => gateway = Some(IpAddr::from(*v6)),
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::MultiPath(_) | RouteAttribute::Via(_) | RouteAttribute::NhId(_) => {
                    simple = false
                }
                _ => {}
            }
        }
        let address =
            address.filter(|&address| family(address).1 == route.header.destination_prefix_length)?;
        let ours = route.header.protocol == self.protocol && !RoutesConfig::is_hosts(table);
        let hop = gateway.zip(interface).map(|(gateway, interface)| Hop { gateway, interface });
        let hop = hop.filter(|_| simple && route.header.kind == RouteType::Unicast);
        ours.then_some((Key { table, address }, hop))
    }

    /// Makes the route lead there, whether there is one (`moves`) or not: in one step, so that there is no moment without it,
    /// unless that is not wanted.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn put(&self, key: Key, hop: Hop, moves: bool) -> Result<(), rtnetlink::Error> {
        let mut route = self.message(key);
        route.attributes.push(RouteAttribute::Gateway(hop.gateway.into()));
        route.attributes.push(RouteAttribute::Oif(hop.interface));
        let put = self.handle.route().add(route).replace().execute();
        if moves && !self.replace {
            // Both requests are sent before either is waited for: who listens sees the two as one change.
            let (removed, put) = futures::join!(self.remove(key), put);
            return removed.and(put);
        }
        put.await
    }

    /// Removes the route, if it is there and the daemon's.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn remove(&self, key: Key) -> Result<(), rtnetlink::Error> {
        let mut route = self.message(key);
        // Whatever scope and kind it has.
        (route.header.scope, route.header.kind) = (RouteScope::NoWhere, RouteType::Unspec);
        match self.handle.route().del(route).execute().await {
            Err(error) if is_one_of(&error, &GONE) => Ok(()),
            done => done,
        }
    }

    fn message(&self, key: Key) -> RouteMessage {
        let (_, bits) = family(key.address);
        match key.address {
            IpAddr::V4(v4) => {
                let builder = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, bits);
                builder.table_id(key.table).protocol(self.protocol).build()
            }
            IpAddr::V6(v6) => {
                let builder = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, bits);
                builder.table_id(key.table).protocol(self.protocol).build()
            }
        }
    }
}

/// The family of an address, and the bits of a host's prefix.
fn family(address: IpAddr) -> (AddressFamily, u8) {
    match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}

fn is_one_of(error: &rtnetlink::Error, codes: &[i32]) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if codes.contains(&message.raw_code()))
}

/// What was told by an event makes no difference: all that matters is looked up.
pub async fn next(events: &mut Events) -> Option<()> {
    events.next().await.map(drop)
}
