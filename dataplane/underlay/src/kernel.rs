//! Requests to the kernel's network stack: the TAP's addresses and routes, routes to TEPs, and neighbours. Each has a deadline.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netlink::{Notice, Notices, RequestError, Requests};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{IpVersion, LinkUnspec, MulticastGroup, RouteMessageBuilder};

use futures::{StreamExt, TryStreamExt};
use ipnet::Ipv4Net;
use wire::MacAddr;

use crate::effect::{by_tap, is_enslaved, is_static, name_of, neighbour, usable_mac};
use crate::event::{Answer, Request};
use crate::hops::{Neighbour, Route};
use crate::task::Stack;

/// The number of the routing table that holds the way to `underlay.gateway` is this and the TAP's index.
const FIRST_TABLE: u32 = 9_117_000;
/// The kernel's main routing table.
const MAIN_TABLE: u32 = 254;
/// Priorities of the two rules for what comes from the node's addresses: first the main table without its default route, then
/// the daemon's own table.
const RULES: [u32; 2] = [9116, 9117];

/// The kernel's error number for an object that is there already, EEXIST.
const EXISTS: i32 = -17;
/// Errors by which a route lookup says that there is no route: EACCES, EINVAL (prohibited, blackhole), ENODEV, ENETUNREACH,
/// EHOSTUNREACH.
const NO_ROUTE: [i32; 5] = [-13, -22, -19, -101, -113];

/// Time for the TAP's settings to be read and restored.
const SETTINGS_WITHIN: Duration = Duration::from_secs(2);
/// Multicast groups whose notifications matter.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv4Netconf,
    MulticastGroup::Ipv6Netconf,
    MulticastGroup::Nexthop,
];

/// A request to the kernel failed, at start.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// There is no such interface.
    #[error("there is no network interface \"{0}\" here; see `ip link`")]
    NoInterface(String),
    /// A setting of the TAP.
    #[error(transparent)]
    Setting(#[from] crate::tap::SettingError),
    /// A request failed.
    #[error("{0}; it takes the capability CAP_NET_ADMIN")]
    Request(#[from] RequestError),
}

/// The kernel's network stack, as the node uses it while it runs.
pub struct Kernel {
    requests: Requests,
    notices: Notices,
    tap_index: u32,
    /// The node's addresses; packets are routed by the first.
    addresses: Vec<Ipv4Net>,
    gateway: Option<Ipv4Addr>,
}

impl Kernel {
    /// The stack without a TAP, on the current runtime and in the network namespace of this thread. To be opened before the
    /// state is read that notifications change.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn open() -> io::Result<Self> {
        let notices = Notices::open(&GROUPS)?;
        let requests = Requests::open(false)?;
        Ok(Self { requests, notices, tap_index: 0, addresses: Vec::new(), gateway: None })
    }

    /// Index of the TAP; 0: there is none.
    pub fn tap_index(&self) -> u32 {
        self.tap_index
    }

    /// Makes the TAP the node's network interface: MAC, MTU, addresses, up, and the way to the gateway.
    ///
    /// # Errors
    /// The kernel refuses one of these, or does not answer.
    pub async fn configure_tap(
        &mut self,
        (tap, tap_index): (&str, u32),
        (mac, mtu): (MacAddr, u16),
        addresses: &[Ipv4Net],
        gateway: Option<Ipv4Addr>,
    ) -> Result<(), KernelError> {
        self.tap_index = tap_index;
        (self.addresses, self.gateway) = (addresses.to_vec(), gateway);
        let link = LinkUnspec::new_with_index(self.tap_index).address(mac.0.to_vec()).mtu(mtu.into()).build();
        let set = async |handle: rtnetlink::Handle| handle.link().set(link).execute().await;
        self.requests.run("setting the TAP's MAC address and MTU", set).await?;
        self.add_addresses(addresses).await?;
        crate::tap::configure(tap)?;
        self.set_tap_up().await?;
        self.remove_rules().await;
        if gateway.is_some() {
            self.route_to_gateway().await?;
            self.restore_rules(&[]).await?;
        }
        Ok(())
    }

    async fn add_addresses(&self, addresses: &[Ipv4Net]) -> Result<(), RequestError> {
        for link in addresses {
            let add = async |handle: rtnetlink::Handle| {
                handle.address().add(self.tap_index, link.addr().into(), link.prefix_len()).execute().await
            };
            self.requests.run("giving the TAP its address", add).await?;
        }
        Ok(())
    }

    async fn set_tap_up(&self) -> Result<(), RequestError> {
        let up = LinkUnspec::new_with_index(self.tap_index).up().build();
        let set = async |handle: rtnetlink::Handle| handle.link().set(up).execute().await;
        self.requests.run("setting the TAP up", set).await
    }

    /// The node's address; packets are routed by it.
    pub fn node(&self) -> Option<Ipv4Addr> {
        self.addresses.first().map(Ipv4Net::addr)
    }

    /// Sets the TAP up again, and gives it back its addresses, where somebody else took them. Returns what was missing, in
    /// words.
    ///
    /// # Errors
    /// See [`Kernel::restore_gateway`].
    async fn restore_tap(&self, tap: &LinkMessage) -> Result<Vec<String>, RequestError> {
        let get = async |handle: rtnetlink::Handle| {
            let addresses = handle.address().get().set_link_index_filter(self.tap_index).execute();
            addresses.try_collect::<Vec<_>>().await
        };
        let found = self.requests.run("reading the TAP's addresses", get).await?;
        let is_there = |link: &&Ipv4Net| {
            let attributes = found.iter().flat_map(|address| &address.attributes);
            let mut locals = attributes.filter(|attribute| matches!(attribute, AddressAttribute::Local(_)));
            locals.any(|attribute| *attribute == AddressAttribute::Local(link.addr().into()))
        };
        let gone: Vec<Ipv4Net> = self.addresses.iter().filter(|link| !is_there(link)).cloned().collect();
        self.add_addresses(&gone).await?;
        let mut missing: Vec<String> = gone.iter().map(Ipv4Net::to_string).collect();
        if !tap.header.flags.contains(LinkFlags::Up) {
            self.set_tap_up().await?;
            missing.push("up".to_owned());
        }
        Ok(missing)
    }

    fn table(&self) -> u32 {
        FIRST_TABLE.wrapping_add(self.tap_index)
    }

    /// Puts the route to `underlay.gateway` where it is missing: the kernel removes it when the TAP goes down.
    ///
    /// # Errors
    /// As every request: the kernel refuses, or does not answer; so for all that follow.
    async fn restore_gateway(&self) -> Result<(), RequestError> {
        match self.route_to_gateway().await {
            Err(error) if !error.is_silence() => {
                tracing::debug!(%error, "the route to underlay.gateway cannot be there now");
                Ok(())
            }
            done => done,
        }
    }

    async fn route_to_gateway(&self) -> Result<(), RequestError> {
        let Some(gateway) = self.gateway else { return Ok(()) };
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(self.tap_index);
        let route = route.table_id(self.table()).build();
        let add = async |handle: rtnetlink::Handle| handle.route().add(route).execute().await;
        match self.requests.run("adding the route to underlay.gateway", add).await {
            Err(error) if error.code() == Some(EXISTS) => Ok(()),
            done => done,
        }
    }

    /// Adds the daemon's rules that are not among `rules`: packets from the node's addresses go by the main table's routes but its
    /// default route, and else to the gateway. Returns how many were missing.
    ///
    /// # Errors
    /// See [`Kernel::restore_gateway`].
    async fn restore_rules(&self, rules: &[RuleMessage]) -> Result<usize, RequestError> {
        let mut missing = 0;
        for link in self.addresses.iter().filter(|_| self.gateway.is_some()) {
            for (priority, table) in RULES.into_iter().zip([MAIN_TABLE, self.table()]) {
                let wanted = [RuleAttribute::Priority(priority), RuleAttribute::Source(link.addr().into())];
                if rules.iter().any(|rule| wanted.iter().all(|wanted| rule.attributes.contains(wanted))) {
                    continue;
                }
                let add = async |handle: rtnetlink::Handle| {
                    let rule = handle.rule().add().v4().source_prefix(link.addr(), 32);
                    let mut rule = rule.table_id(table).priority(priority).action(RuleAction::ToTable);
                    if table == MAIN_TABLE {
                        rule.message_mut().attributes.push(RuleAttribute::SuppressPrefixLen(0));
                    }
                    rule.replace().execute().await
                };
                self.requests.run("adding the routing rule for the node's addresses", add).await?;
                missing += 1;
            }
        }
        Ok(missing)
    }

    /// Routing rules for IPv4.
    ///
    /// # Errors
    /// See [`Kernel::restore_gateway`].
    async fn rules(&self) -> Result<Vec<RuleMessage>, RequestError> {
        let get =
            async |handle: rtnetlink::Handle| handle.rule().get(IpVersion::V4).execute().try_collect().await;
        self.requests.run("reading routing rules", get).await
    }

    /// Removes the routing rules for the node's addresses, also those of a daemon that was killed. Routes go with the TAP.
    pub async fn remove_rules(&self) {
        let rules = match self.rules().await {
            Ok(rules) => rules,
            Err(error) => return tracing::warn!(%error, "routing rules of the daemon may be left"),
        };
        let priority = |a: &RuleAttribute| matches!(a, RuleAttribute::Priority(p) if RULES.contains(p));
        let source = |a: &RuleAttribute| match a {
            RuleAttribute::Source(IpAddr::V4(from)) => self.addresses.iter().any(|link| link.addr() == *from),
            _ => false,
        };
        let ours = rules
            .into_iter()
            .filter(|rule| rule.attributes.iter().any(priority) && rule.attributes.iter().any(source));
        for rule in ours {
            let del = async |handle: rtnetlink::Handle| handle.rule().del(rule).execute().await;
            if let Err(error) = self.requests.run("removing a routing rule of the daemon", del).await {
                tracing::warn!(%error, "a routing rule of the daemon is left");
            }
        }
    }

    /// All network interfaces.
    ///
    /// # Errors
    /// See [`Kernel::restore_gateway`].
    async fn links(&self) -> Result<Vec<LinkMessage>, RequestError> {
        let get = async |handle: rtnetlink::Handle| handle.link().get().execute().try_collect().await;
        self.requests.run("reading network interfaces", get).await
    }

    /// The route to `address` by the TAP; `None`: there is none.
    ///
    /// # Errors
    /// See [`Kernel::restore_gateway`].
    async fn route(&self, address: Ipv4Addr) -> Result<Option<Route>, RequestError> {
        let Some(node) = self.node() else { return Ok(None) };
        let query = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32);
        let query = query.source_prefix(node, 32).build();
        let get = async |handle: rtnetlink::Handle| handle.route().get(query).execute().try_next().await;
        match self.requests.run("looking up the route to a TEP", get).await {
            Ok(found) => Ok(found.and_then(|found| by_tap(&found, self.tap_index, address))),
            Err(error) if error.code().is_some_and(|code| NO_ROUTE.contains(&code)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks the kernel to resolve a next hop now, and to keep it resolved.
    ///
    /// # Errors
    /// The kernel's neighbour table is full, or the kernel knows no `managed` neighbours (before 5.16), or it does not answer.
    async fn ask_for_neighbour(&self, hop: IpAddr) -> Result<(), RequestError> {
        let ask = async |handle: rtnetlink::Handle| {
            let request = handle.neighbours().add(self.tap_index, hop);
            let mut request = request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
            let managed = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
            request.message_mut().attributes.push(managed);
            request.execute().await
        };
        self.requests.run("asking for a next hop", ask).await
    }

    /// Lets the kernel forget a next hop, unless its entry has become the operator's. It may have forgotten it already.
    ///
    /// # Errors
    /// The kernel does not answer.
    async fn forget_neighbour(&self, hop: IpAddr) -> Result<(), RequestError> {
        match self.neighbour(hop).await {
            Ok(Some(entry)) if is_static(&entry) => return Ok(()),
            Err(error) if error.is_silence() => return Err(error),
            _ => {}
        }
        let message = self.neighbour_message(hop);
        let del = async |handle: rtnetlink::Handle| handle.neighbours().del(message).execute().await;
        match self.requests.run("forgetting a next hop", del).await {
            Err(error) if error.is_silence() => Err(error),
            Err(error) => {
                tracing::debug!(next_hop = %hop, %error, "the kernel had no such neighbour");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// One neighbour; `None`: the kernel has no entry.
    ///
    /// # Errors
    /// The kernel does not answer.
    async fn neighbour(&self, hop: IpAddr) -> Result<Option<NeighbourMessage>, RequestError> {
        let message = self.neighbour_message(hop);
        let get = async |handle: rtnetlink::Handle| {
            let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(message));
            request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
            let mut answers = handle.clone().request(request)?;
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(found)) = answer.payload
                {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        self.requests.run("reading a neighbour", get).await
    }

    /// The TAP's neighbours of both families.
    ///
    /// # Errors
    /// See [`Kernel::restore_gateway`].
    async fn neighbours(&self) -> Result<HashMap<IpAddr, Neighbour>, RequestError> {
        let mut all = HashMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let get = async |handle: rtnetlink::Handle| {
                let request = handle.neighbours().get().set_address_family(family);
                request.execute().try_collect::<Vec<_>>().await
            };
            let found = self.requests.run("reading neighbours", get).await?;
            let found = found.iter().filter(|message| message.header.ifindex == self.tap_index);
            all.extend(found.filter_map(neighbour));
        }
        Ok(all)
    }

    fn neighbour_message(&self, hop: IpAddr) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family_of(hop);
        message.header.ifindex = self.tap_index;
        message.attributes.push(NeighbourAttribute::Destination(hop.into()));
        message
    }
}

impl Stack for Kernel {
    async fn ask(&self, request: &Request) -> Result<Answer, RequestError> {
        Ok(match request {
            Request::Links => Answer::Links(self.links().await?),
            Request::Tap(tap) => {
                let missing = self.restore_tap(tap).await?;
                Answer::Tap { missing, trouble: tap_trouble(tap).await }
            }
            Request::Rules => {
                let rules = self.rules().await?;
                let missing = self.restore_rules(&rules).await?;
                Answer::Rules { rules, missing }
            }
            Request::Gateway => self.restore_gateway().await.map(|()| Answer::Done)?,
            Request::Neighbours => Answer::Neighbours(self.neighbours().await?),
            Request::Route(tep) => Answer::Route(self.route(tep.address()).await?),
            Request::Resolve(hop) => {
                let present = self.neighbour(*hop).await?;
                let asked = !present.as_ref().is_some_and(is_static);
                if asked {
                    self.ask_for_neighbour(*hop).await?;
                }
                // An entry that was there before brings no notification.
                Answer::Resolved { mac: present.as_ref().and_then(usable_mac), asked }
            }
            Request::Forget(hop) => self.forget_neighbour(*hop).await.map(|()| Answer::Done)?,
        })
    }

    async fn notice(&mut self) -> io::Result<Notice> {
        self.notices.next().await
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.notices = Notices::open(&GROUPS)?;
        Ok(())
    }

    async fn clear(&self) {
        self.remove_rules().await;
    }
}

/// Makes the TAP's settings where others changed them. Returns what keeps the node's kernel from the underlay, in one line.
async fn tap_trouble(tap: &LinkMessage) -> Option<String> {
    let name = name_of(tap).unwrap_or_default().to_owned();
    let settings = tokio::task::spawn_blocking(move || crate::tap::configure(&name));
    match tokio::time::timeout(SETTINGS_WITHIN, settings).await {
        Ok(Ok(Err(error))) => Some(error.to_string()),
        Ok(_) if is_enslaved(tap) => {
            Some("the TAP belongs to a bridge or bond, so the node's kernel gets no frames; take it out (`ip link set TAP nomaster`)".into())
        }
        Ok(_) => None,
        Err(_) => Some("the TAP's settings cannot be read: /proc/sys/net does not answer".into()),
    }
}

fn family_of(hop: IpAddr) -> AddressFamily {
    match hop {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
