//! Input and output of the [state machine](crate::Machine) of next hops.

use std::collections::HashMap;
use std::net::IpAddr;

use bcast_domain::Tep;
use netlink::{Notice, RequestError};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::rule::RuleMessage;
use wire::MacAddr;

use crate::hops::{Neighbour, Route};

/// The node cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The TAP is gone.
    #[error("the TAP was removed; bcastd makes a new one when it is started again")]
    Tap,
    /// The interface behind the port is gone.
    #[error("the port's network interface was removed; start bcastd again when it is back")]
    Port,
}

/// Request to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read all links.
    Links,
    /// Give the TAP back its addresses, its settings and the state `up`, where others took them.
    Tap(Box<LinkMessage>),
    /// Read the routing rules, and put back the daemon's own.
    Rules,
    /// Put back the route to the gateway.
    Gateway,
    /// Read the TAP's neighbours.
    Neighbours,
    /// Look up the route to a TEP.
    Route(Tep),
    /// Resolve a next hop and keep it resolved, unless the operator has set its MAC address.
    Resolve(IpAddr),
    /// Remove the entry of a next hop.
    Forget(IpAddr),
}

/// The kernel's answer to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// All links.
    Links(Vec<LinkMessage>),
    /// State of the TAP.
    Tap {
        /// Settings that were missing, and are back.
        missing: Vec<String>,
        /// State that keeps the node's kernel from the underlay, in one line.
        trouble: Option<String>,
    },
    /// Routing rules.
    Rules {
        /// IPv4 rules as they were read.
        rules: Vec<RuleMessage>,
        /// Number of the daemon's rules that were missing, and are back.
        missing: usize,
    },
    /// The TAP's neighbours.
    Neighbours(HashMap<IpAddr, Neighbour>),
    /// Route to a TEP; `None`: there is none.
    Route(Option<Route>),
    /// State of a next hop.
    Resolved {
        /// MAC address; `None`: unresolved.
        mac: Option<MacAddr>,
        /// The kernel keeps an entry at the daemon's request.
        asked: bool,
    },
    /// The request was carried out.
    Done,
}

/// Input of the state machine.
#[derive(Debug)]
pub enum Event {
    /// The kernel sent a notification, or lost some.
    Notice(Notice),
    /// A request was answered, or failed.
    Answered(Request, Result<Answer, RequestError>),
    /// Time has passed, or TEPs were added or removed.
    Tick,
}

/// Output of the state machine.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a request; its answer is an event.
    Ask(Request),
    /// The port's link is up, or down.
    PortLink(bool),
    /// State of the TAP that keeps the node's kernel from the underlay; `None`: there is none.
    TapTrouble(Option<String>),
    /// The kernel does not answer, or answers again.
    Silent(bool),
    /// The kernel's state was read in full: compare this number of next hops with the limit of its neighbour table.
    CheckLimit(usize),
    /// The daemon cannot go on.
    GiveUp(Fatal),
}
