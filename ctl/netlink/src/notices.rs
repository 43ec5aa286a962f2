//! Notifications from the kernel, bounded by its own receive buffer.

use std::collections::VecDeque;
use std::io;

use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use rtnetlink::MulticastGroup;

/// Bytes that the kernel may queue for the socket: some 20,000 notifications.
pub const RECEIVE_BUFFER: usize = 16 << 20;

/// Message types of next hop objects (`RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP` of `linux/rtnetlink.h`).
const NEXT_HOP_OBJECTS: [u16; 2] = [104, 105];
/// Message types of interfaces' settings (`RTM_NEWNETCONF`, `RTM_DELNETCONF`).
const SETTINGS: [u16; 2] = [80, 81];

/// Change of an object: present or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new, or has changed.
    Set,
    /// It is gone.
    Removed,
}

/// A notification.
#[derive(Debug)]
pub enum Notice {
    /// A network interface.
    Link(LinkMessage, Change),
    /// A neighbour of any interface.
    Neighbour(NeighbourMessage, Change),
    /// A route of any table.
    Route(RouteMessage, Change),
    /// An address of an interface. With one that is removed the kernel removes routes that have it as their source, without a
    /// notification; one that is set brings notifications of its routes.
    Address(Change),
    /// A setting of an interface, such as forwarding.
    Setting,
    /// A routing rule.
    Rule,
    /// A next hop object (`ip nexthop`). Routes that use it may lead elsewhere now, without a notification of their own.
    NextHopObject,
    /// Notifications were lost, or could not be read: what they would have told must be read in full.
    Lost,
}

/// A socket that hears notifications, in the network namespace of the thread that opened it.
pub struct Notices {
    socket: TokioSocket,
    waiting: VecDeque<Notice>,
}

impl Notices {
    /// Joins multicast groups, on the current runtime.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn open(groups: &[MulticastGroup]) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let inner = socket.socket_mut();
        // Beyond net.core.rmem_max it takes CAP_NET_ADMIN; without, an overrun is only more likely.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&*inner, RECEIVE_BUFFER).is_err() {
            inner.set_rx_buf_sz(RECEIVE_BUFFER as u64)?;
        }
        inner.bind(&SocketAddr::new(0, 0))?;
        for &group in groups {
            inner.add_membership(group as u32)?;
        }
        Ok(Self { socket, waiting: VecDeque::new() })
    }

    /// Waits for the next notification. Dropping the future loses none.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn next(&mut self) -> io::Result<Notice> {
        loop {
            if let Some(notice) = self.waiting.pop_front() {
                return Ok(notice);
            }
            match self.socket.recv_from_full().await {
                Ok((datagram, _)) => read(&datagram, &mut self.waiting),
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    return Ok(Notice::Lost);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reads the messages of a datagram.
pub fn read(mut datagram: &[u8], notices: &mut VecDeque<Notice>) {
    while !datagram.is_empty() {
        let Ok(header) = NetlinkBuffer::new_checked(datagram) else {
            notices.push_back(Notice::Lost);
            return;
        };
        let length = usize::try_from(header.length()).unwrap_or(usize::MAX);
        let Some(message) = datagram.get(..length) else {
            notices.push_back(Notice::Lost);
            return;
        };
        notices.extend(notice(header.message_type(), message));
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// One message as a notice; `None`: it is of a kind that nobody asked for.
fn notice(kind: u16, message: &[u8]) -> Option<Notice> {
    if NEXT_HOP_OBJECTS.contains(&kind) {
        return Some(Notice::NextHopObject);
    }
    if SETTINGS.contains(&kind) {
        return Some(Notice::Setting);
    }
    let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else {
        return Some(Notice::Lost);
    };
    let message = match message.payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Notice::Lost),
        _ => return None,
    };
    Some(match message {
        RouteNetlinkMessage::NewLink(link) => Notice::Link(link, Change::Set),
        RouteNetlinkMessage::DelLink(link) => Notice::Link(link, Change::Removed),
        RouteNetlinkMessage::NewNeighbour(neighbour) => Notice::Neighbour(neighbour, Change::Set),
        RouteNetlinkMessage::DelNeighbour(neighbour) => Notice::Neighbour(neighbour, Change::Removed),
        RouteNetlinkMessage::NewRoute(route) => Notice::Route(route, Change::Set),
        RouteNetlinkMessage::DelRoute(route) => Notice::Route(route, Change::Removed),
        RouteNetlinkMessage::NewAddress(_) => Notice::Address(Change::Set),
        RouteNetlinkMessage::DelAddress(_) => Notice::Address(Change::Removed),
        RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => Notice::Rule,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(datagram: &[u8]) -> Vec<String> {
        let mut notices = VecDeque::new();
        read(datagram, &mut notices);
        notices
            .iter()
            .map(|notice| format!("{notice:?}").split('(').next().unwrap_or("").to_owned())
            .collect()
    }

    /// A message of `kind` with `body`.
    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut out = length.to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend([0; 10]);
        out.extend(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn a_datagram_of_several_messages_is_read_to_its_end() {
        let neighbour = message(28, &[2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        let object = message(104, &[2, 0, 0, 0]);
        let datagram = [neighbour.clone(), object, neighbour].concat();
        assert_eq!(kinds(&datagram), ["Neighbour", "NextHopObject", "Neighbour"]);
    }

    #[test]
    fn what_cannot_be_read_counts_as_lost() {
        let neighbour = message(28, &[2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        for cut in 1..neighbour.len() {
            assert_eq!(kinds(&neighbour[..cut]), ["Lost"], "cut to {cut} bytes");
        }
        assert_eq!(kinds(&message(28, &[2])), ["Lost"], "a body that is too short");
        assert_eq!(kinds(&message(24, &[2, 99])), ["Lost"], "a route that is too short");
        let endless = [8_u32.to_ne_bytes(), [28, 0, 0, 0], [0; 4], [0; 4]].concat();
        assert_eq!(kinds(&endless), ["Lost"], "a length below that of the header");
    }
}
