//! The kernel's routing tables, by rtnetlink.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::TryStreamExt;
use netlink::{Notices, RequestError, Requests};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};

use crate::config::RoutesConfig;
use crate::route::{Hop, Key};

/// Requests that are under way at a time.
pub const AT_ONCE: usize = 64;

/// The kernel's error numbers for "there is no such route" (ESRCH), "table" and "interface" (ENOENT, ENODEV).
const GONE: [i32; 3] = [-3, -2, -19];
/// Errors of a lookup without a route: EACCES, EINVAL (prohibited, blackhole), ENETUNREACH, EHOSTUNREACH.
const NO_WAY: [i32; 5] = [-13, -22, -101, -113, -19];

/// Time that the kernel has for one request: it reads all of its routes to tell the daemon's.
const DEADLINE: Duration = Duration::from_secs(10);

/// A connection to the kernel of the namespace in which it was opened.
pub struct Kernel {
    requests: Requests,
    protocol: RouteProtocol,
    /// True: routes are replaced; false: removed and added.
    replace: bool,
}

impl Kernel {
    /// Opens it on the current runtime.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn open(config: &RoutesConfig) -> io::Result<(Self, Notices)> {
        let notices = Self::listen()?;
        // Strict: the kernel picks the daemon's routes out of all of them.
        let requests = Requests::open(true)?.with_deadline(DEADLINE);
        let protocol = RouteProtocol::from(config.protocol());
        Ok((Self { requests, protocol, replace: config.replace() }, notices))
    }

    /// Hears notifications of changed links and addresses, on the current runtime.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn listen() -> io::Result<Notices> {
        Notices::open(&[MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr])
    }

    /// The interface by which an address is reached without a router, as packets from this host would.
    ///
    /// # Errors
    /// The kernel does not say.
    pub async fn on_link(&self, address: IpAddr) -> Result<Option<u32>, RequestError> {
        let mut query = RouteMessage::default();
        let (family, bits) = family(address);
        query.header.address_family = family;
        query.header.destination_prefix_length = bits;
        query.attributes.push(RouteAttribute::Destination(address.into()));
        let get = async |handle: Handle| handle.route().get(query).execute().try_next().await;
        let found = match self.requests.run("looking up the route to a next hop", get).await {
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
    pub async fn installed(&self) -> Result<HashMap<Key, Option<Hop>>, RequestError> {
        let mut found = HashMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut query = RouteMessage::default();
            query.header.address_family = family;
            query.header.protocol = self.protocol;
            let get = async |handle: Handle| {
                let mut routes = handle.route().get(query).execute();
                let mut ours = Vec::new();
                while let Some(route) = routes.try_next().await? {
                    ours.extend(self.read(&route));
                }
                Ok(ours)
            };
            for (key, hop) in self.requests.run("reading routes", get).await? {
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
    pub async fn put(&self, key: Key, hop: Hop, moves: bool) -> Result<(), RequestError> {
        let mut route = self.message(key);
        route.attributes.push(RouteAttribute::Gateway(hop.gateway.into()));
        route.attributes.push(RouteAttribute::Oif(hop.interface));
        let add = async |handle: Handle| handle.route().add(route).replace().execute().await;
        let put = self.requests.run("writing a route", add);
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
    pub async fn remove(&self, key: Key) -> Result<(), RequestError> {
        let mut route = self.message(key);
        // Whatever scope and kind it has.
        (route.header.scope, route.header.kind) = (RouteScope::NoWhere, RouteType::Unspec);
        let del = async |handle: Handle| handle.route().del(route).execute().await;
        match self.requests.run("removing a route", del).await {
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

fn is_one_of(error: &RequestError, codes: &[i32]) -> bool {
    error.code().is_some_and(|code| codes.contains(&code))
}
