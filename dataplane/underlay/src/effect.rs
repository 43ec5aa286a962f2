//! Notifications that matter to the node, and the effect of each.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use netlink::{Change, Notice};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use wire::MacAddr;

use crate::hops::{Neighbour, Route, Stale};

/// Effect of a notification on the node.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// The port's link is up, or down.
    PortLink(bool),
    /// The TAP's link changed: the kernel has removed its routes, the gateway's too.
    TapLink,
    /// The interface behind the port is gone.
    PortGone,
    /// The TAP is gone.
    TapGone,
    /// A neighbour of the TAP is at this MAC address, or is unresolved.
    Resolved(IpAddr, Option<MacAddr>),
    /// The kernel's entry of a neighbour of the TAP is gone.
    Vanished(IpAddr),
    /// The routes of these TEPs may have changed.
    Routes(Stale),
    /// An address of the host is gone, the TAP's perhaps, and with it routes.
    AddressRemoved,
    /// A setting of an interface changed, the TAP's perhaps.
    Setting,
    /// Rules changed: other tables may matter, and other routes.
    Rules,
    /// Notifications were lost.
    Resync,
}

/// Rules that can match packets of the node's own: from its address or from any, by no interface and no mark.
pub fn matching(rules: Vec<RuleMessage>, node: Ipv4Addr) -> Vec<RuleMessage> {
    let excludes = |rule: &RuleMessage| {
        rule.attributes.iter().any(|attribute| match attribute {
            RuleAttribute::Source(IpAddr::V4(source)) => !within(node, *source, rule.header.src_len),
            RuleAttribute::Iifname(_) => true,
            RuleAttribute::FwMark(mark) => *mark != 0,
            _ => false,
        })
    };
    rules.into_iter().filter(|rule| !excludes(rule)).collect()
}

fn within(address: Ipv4Addr, prefix: Ipv4Addr, bits: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
    (address.to_bits() ^ prefix.to_bits()) & mask == 0
}

/// Tables that routes to TEPs can be in: those that a rule names.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Tables {
    /// Not known, or a rule names a table by the packet (`l3mdev`): any.
    #[default]
    Any,
    /// These.
    Some(BTreeSet<u32>),
}

impl Tables {
    /// Tables that these rules name.
    pub fn of(rules: &[RuleMessage]) -> Self {
        let mut tables = BTreeSet::new();
        for rule in rules {
            let mut table = u32::from(rule.header.table);
            for attribute in &rule.attributes {
                match attribute {
                    RuleAttribute::Table(number) => table = *number,
                    RuleAttribute::L3MDev(true) => return Self::Any,
                    _ => {}
                }
            }
            tables.insert(table);
        }
        Self::Some(tables)
    }

    fn contain(&self, table: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Some(tables) => tables.contains(&table),
        }
    }
}

/// Interfaces and tables whose notifications matter.
#[derive(Debug, Default)]
pub struct Watched {
    /// Index of the TAP; 0: there is none.
    pub tap: u32,
    /// Index of the interface behind the port.
    pub port: Option<u32>,
    /// Tables that matter.
    pub tables: Tables,
}

impl Watched {
    /// The effect of a notification; `None`: it is of no concern to the node.
    pub fn effect(&self, notice: &Notice) -> Option<Effect> {
        match notice {
            Notice::Link(link, change) => self.link(link, *change),
            Notice::Neighbour(neighbour, change) => self.neighbour(neighbour, *change),
            Notice::Route(route, _) => self.route(route).map(Effect::Routes),
            Notice::Address(Change::Set) => None,
            Notice::Address(Change::Removed) => Some(Effect::AddressRemoved),
            Notice::Setting => Some(Effect::Setting),
            Notice::NextHopObject => Some(Effect::Routes(Stale::ByObject)),
            Notice::Rule => Some(Effect::Rules),
            Notice::Lost => Some(Effect::Resync),
        }
    }

    fn link(&self, link: &LinkMessage, change: Change) -> Option<Effect> {
        // A bridge tells of its ports in messages of its own family: one that leaves a bridge is not gone.
        if link.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let (index, gone) = (link.header.index, change == Change::Removed);
        match (self.port == Some(index), self.tap == index && index != 0) {
            (true, _) if gone => Some(Effect::PortGone),
            (true, _) => Some(Effect::PortLink(link_is_up(link))),
            (_, true) if gone => Some(Effect::TapGone),
            (_, true) => Some(Effect::TapLink),
            _ => None,
        }
    }

    fn neighbour(&self, neighbour: &NeighbourMessage, change: Change) -> Option<Effect> {
        if neighbour.header.ifindex != self.tap || self.tap == 0 {
            return None;
        }
        let hop = neighbour_address(neighbour)?;
        Some(match change {
            Change::Set => Effect::Resolved(hop, usable_mac(neighbour)),
            Change::Removed => Effect::Vanished(hop),
        })
    }

    /// TEPs whose routes a changed route may concern.
    fn route(&self, route: &RouteMessage) -> Option<Stale> {
        if route.header.address_family != AddressFamily::Inet {
            return None;
        }
        let (mut table, mut destination) = (u32::from(route.header.table), Ipv4Addr::UNSPECIFIED);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
                _ => {}
            }
        }
        let concerns = self.tables.contain(table);
        concerns.then_some(Stale::Prefix(destination, route.header.destination_prefix_length))
    }
}

/// True if an interface is up and has a carrier.
pub fn link_is_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
}

/// A neighbour's address.
fn neighbour_address(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::from(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    })
}

/// True if an entry is the operator's, which the kernel never asks about.
pub fn is_static(message: &NeighbourMessage) -> bool {
    matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp)
}

/// True if the kernel keeps asking about an entry by itself.
fn is_managed(message: &NeighbourMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        NeighbourAttribute::ExtFlags(flags) => flags.contains(NeighbourExtFlags::Managed),
        _ => false,
    })
}

/// The MAC address of a neighbour in a state in which it may be used; STALE ones may. One that is no host's is none.
pub fn usable_mac(message: &NeighbourMessage) -> Option<MacAddr> {
    match message.header.state {
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Permanent
        | NeighbourState::Noarp => message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                let mac: [u8; 6] = bytes.as_slice().try_into().ok()?;
                (mac[0] & 1 == 0 && mac != [0; 6]).then_some(MacAddr(mac))
            }
            _ => None,
        }),
        _ => None,
    }
}

/// The name of an interface.
pub fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// The interface belongs to a bridge, a bond or the like.
pub fn is_enslaved(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::Controller(_)))
}

/// The route by which the kernel would send to `address`, where it leaves by the TAP.
pub fn by_tap(found: &RouteMessage, tap_index: u32, address: Ipv4Addr) -> Option<Route> {
    if found.header.kind != RouteType::Unicast {
        return None;
    }
    let (mut hop, mut leaves_by_tap, mut by_object) = (IpAddr::from(address), false, false);
    for attribute in &found.attributes {
        match attribute {
            RouteAttribute::Oif(index) => leaves_by_tap = *index == tap_index,
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => hop = (*gateway).into(),
            // RFC 8950: an IPv4 route by way of an IPv6 next hop.
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => hop = (*gateway).into(),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => hop = (*gateway).into(),
            // Some other kind of next hop, which the node cannot resolve.
            RouteAttribute::Via(_) => return None,
            // The kernel would put something before the packet.
            RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => return None,
            RouteAttribute::NhId(_) => by_object = true,
            _ => {}
        }
    }
    leaves_by_tap.then_some(Route { hop, by_object })
}

/// A neighbour as next hops need it.
pub fn neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Neighbour)> {
    let is_kept = is_static(message) || is_managed(message);
    Some((neighbour_address(message)?, Neighbour { mac: usable_mac(message), is_kept }))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::rule::RuleMessage;

    use super::*;

    const TAP: u32 = 7;
    const PORT: u32 = 8;

    fn watched() -> Watched {
        Watched { tap: TAP, port: Some(PORT), tables: Tables::Some([254, 255, 9_117_007].into()) }
    }

    fn link(index: u32, up: bool) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        if up {
            link.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        }
        link
    }

    fn route(destination: [u8; 4], bits: u8, table: u32) -> Notice {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.destination_prefix_length = bits;
        if bits > 0 {
            let destination = RouteAddress::Inet(Ipv4Addr::from(destination));
            route.attributes.push(RouteAttribute::Destination(destination));
        }
        match u8::try_from(table) {
            Ok(table) => route.header.table = table,
            Err(_) => route.attributes.push(RouteAttribute::Table(table)),
        }
        Notice::Route(route, Change::Set)
    }

    #[test]
    fn links_of_others_do_not_matter_and_a_port_that_leaves_a_bridge_is_not_gone() {
        let watched = watched();
        let effect = |link, change| watched.effect(&Notice::Link(link, change));
        assert_eq!(effect(link(PORT, true), Change::Set), Some(Effect::PortLink(true)));
        assert_eq!(effect(link(PORT, false), Change::Set), Some(Effect::PortLink(false)));
        assert_eq!(effect(link(PORT, true), Change::Removed), Some(Effect::PortGone));
        assert_eq!(effect(link(TAP, true), Change::Set), Some(Effect::TapLink));
        assert_eq!(effect(link(TAP, true), Change::Removed), Some(Effect::TapGone));
        assert_eq!(effect(link(9, true), Change::Removed), None);
        let mut bridged = link(PORT, true);
        bridged.header.interface_family = AddressFamily::Bridge;
        assert_eq!(effect(bridged, Change::Removed), None);
    }

    #[test]
    fn without_a_tap_no_interface_is_taken_for_it() {
        let watched = Watched { tap: 0, port: Some(PORT), tables: Tables::Any };
        assert_eq!(watched.effect(&Notice::Link(link(0, true), Change::Removed)), None);
        assert_eq!(watched.effect(&Notice::Neighbour(NeighbourMessage::default(), Change::Removed)), None);
    }

    #[test]
    fn routes_of_tables_that_no_rule_names_do_not_matter() {
        let watched = watched();
        let stale = |address: [u8; 4], bits| Some(Effect::Routes(Stale::Prefix(address.into(), bits)));
        assert_eq!(watched.effect(&route([198, 18, 3, 0], 24, 254)), stale([198, 18, 3, 0], 24));
        assert_eq!(watched.effect(&route([0; 4], 0, 9_117_007)), stale([0; 4], 0));
        assert_eq!(watched.effect(&route([198, 18, 3, 0], 24, 117)), None);
        assert_eq!(watched.effect(&route([198, 18, 3, 0], 24, 70_000)), None);
        let any = Watched { tables: Tables::Any, ..watched };
        assert_eq!(any.effect(&route([198, 18, 3, 0], 24, 117)), stale([198, 18, 3, 0], 24));
    }

    #[test]
    fn rules_name_tables_by_header_or_attribute_and_l3mdev_names_any() {
        let rule = |table: u8, attributes| {
            let mut rule = RuleMessage::default();
            rule.header.table = table;
            rule.attributes = attributes;
            rule
        };
        let (main, long) = (rule(254, vec![]), rule(0, vec![RuleAttribute::Table(9_117_007)]));
        assert_eq!(Tables::of(&[main.clone(), long]), Tables::Some([254, 9_117_007].into()));
        assert_eq!(Tables::of(&[main, rule(0, vec![RuleAttribute::L3MDev(true)])]), Tables::Any);
    }

    #[test]
    fn neighbours_of_both_families_are_followed_on_the_tap_alone() {
        let neighbour = |ifindex, address: NeighbourAddress, state| {
            let mut message = NeighbourMessage::default();
            (message.header.ifindex, message.header.state) = (ifindex, state);
            message.attributes.push(NeighbourAttribute::Destination(address));
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 1]));
            Notice::Neighbour(message, Change::Set)
        };
        let (v4, v6) = (NeighbourAddress::Inet([198, 18, 0, 1].into()), "fe80::1".parse().unwrap());
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let watched = watched();
        let effect = |notice| watched.effect(&notice);
        assert_eq!(
            effect(neighbour(TAP, v4.clone(), NeighbourState::Stale)),
            Some(Effect::Resolved([198, 18, 0, 1].into(), Some(mac)))
        );
        assert_eq!(
            effect(neighbour(TAP, NeighbourAddress::Inet6(v6), NeighbourState::Reachable)),
            Some(Effect::Resolved(v6.into(), Some(mac)))
        );
        assert_eq!(
            effect(neighbour(TAP, v4.clone(), NeighbourState::Failed)),
            Some(Effect::Resolved([198, 18, 0, 1].into(), None))
        );
        assert_eq!(effect(neighbour(9, v4.clone(), NeighbourState::Stale)), None);
        for no_host in [vec![0; 6], vec![1, 0, 0x5e, 0, 0, 1], vec![2; 8], vec![]] {
            let Notice::Neighbour(mut message, change) =
                neighbour(TAP, v4.clone(), NeighbourState::Permanent)
            else {
                panic!("it is a neighbour");
            };
            message.attributes[1] = NeighbourAttribute::LinkLayerAddress(no_host);
            let effect = watched.effect(&Notice::Neighbour(message, change));
            assert_eq!(
                effect,
                Some(Effect::Resolved([198, 18, 0, 1].into(), None)),
                "a MAC address that is no host's"
            );
        }
    }

    #[test]
    fn an_address_that_is_added_elsewhere_has_no_effect_and_rules_of_others_do_not_match() {
        assert_eq!(watched().effect(&Notice::Address(Change::Set)), None);
        assert_eq!(watched().effect(&Notice::Address(Change::Removed)), Some(Effect::AddressRemoved));
        let rule = |bits, attributes| {
            let mut rule = RuleMessage::default();
            (rule.header.src_len, rule.attributes) = (bits, attributes);
            rule
        };
        let node = Ipv4Addr::new(198, 18, 0, 254);
        let from = |address: [u8; 4]| RuleAttribute::Source(Ipv4Addr::from(address).into());
        let (all, own) = (rule(0, vec![]), rule(24, vec![from([198, 18, 0, 0])]));
        let others = [
            rule(32, vec![from([198, 18, 0, 9])]),
            rule(0, vec![RuleAttribute::FwMark(7)]),
            rule(0, vec![RuleAttribute::Iifname("eth9".into())]),
        ];
        let rules = [vec![all.clone(), own.clone()], others.to_vec()].concat();
        assert_eq!(matching(rules, node), [all, own]);
    }
}
