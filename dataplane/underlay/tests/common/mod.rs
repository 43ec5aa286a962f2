//! Messages and answers of a simulated kernel.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroI32;
use std::sync::Arc;

use bcast_domain::{ArrayPublisher, Epoch, Tep, TepIndex};
use netlink::{Change, DEADLINE, Notice, RequestError};
use netlink_packet_core::ErrorMessage;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::rule::RuleMessage;
use underlay::{TepTable, Underlay};
use wire::MacAddr;

type Array = Vec<Option<(Tep, Option<MacAddr>)>>;

/// TEPs as they were published last.
struct Table(ArrayPublisher<Array>);

impl TepTable for Table {
    fn replace(&mut self, teps: &[Option<(Tep, Option<MacAddr>)>], _: &[IpAddr]) -> Epoch {
        self.0.replace(teps.to_vec())
    }

    fn reclaim(&mut self) {
        self.0.reclaim();
    }
}

/// An underlay without TEPs.
pub fn underlay(follows_kernel: bool) -> Arc<Underlay> {
    let (_domains, publisher, _readers) = bcast_domain::table_with_capacity(Array::new(), 16);
    Underlay::new(None, Box::new(Table(publisher)), follows_kernel)
}

pub const TAP: u32 = 7;
pub const PORT: u32 = 8;
pub const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);

pub fn tep(number: u8) -> (TepIndex, Tep) {
    let address = Tep::new(Ipv4Addr::new(198, 18, 0, number + 1)).expect("a TEP's address");
    (TepIndex::from(u16::from(number)), address)
}

pub fn hop(number: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, 1, number).into()
}

pub fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

/// Links of the TAP and of the port, both up.
pub fn links() -> Vec<LinkMessage> {
    [TAP, PORT].map(link_up).to_vec()
}

fn link_up(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    (link.header.index, link.header.flags) = (index, LinkFlags::Up | LinkFlags::LowerUp);
    link
}

/// The rule that names the main table.
pub fn rules() -> Vec<RuleMessage> {
    let mut rule = RuleMessage::default();
    rule.header.table = 254;
    vec![rule]
}

/// Notification that the route to a TEP changed.
pub fn route_changed(tep: Tep) -> Notice {
    let mut route = RouteMessage::default();
    (route.header.address_family, route.header.table) = (AddressFamily::Inet, 254);
    route.header.destination_prefix_length = 32;
    route.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(tep.address())));
    Notice::Route(route, Change::Set)
}

/// Notification of a neighbour's MAC address; `None`: its entry is gone.
pub fn neighbour_changed(hop: IpAddr, mac: Option<MacAddr>) -> Notice {
    let mut message = NeighbourMessage::default();
    (message.header.ifindex, message.header.state) = (TAP, NeighbourState::Reachable);
    let IpAddr::V4(address) = hop else { unreachable!("next hops are IPv4 here") };
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
    message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())));
    Notice::Neighbour(message, if mac.is_some() { Change::Set } else { Change::Removed })
}

/// The kernel's refusal with an error number.
pub fn refused(code: i32) -> RequestError {
    let mut message = ErrorMessage::default();
    message.code = NonZeroI32::new(code);
    RequestError::Refused { name: "a request", error: rtnetlink::Error::NetlinkError(message) }
}

/// The missed deadline of a request.
pub fn unanswered() -> RequestError {
    RequestError::NoAnswer { name: "a request", deadline: DEADLINE }
}
