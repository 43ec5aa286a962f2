//! Errors of messages that are wrong by themselves.

use std::net::{IpAddr, Ipv6Addr};

use bcast_domain::{MacError, RateError, TepError, limits};
use thiserror::Error;

use super::{HavipError, Name, NameError, NotUnicast, SubnetError, TepRefError, WordError};

/// Why a message has no meaning in the model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum ModelError {
    /// The kind of a change or resource is not set, or not known.
    #[error("no kind of {0} that this version knows; is the client newer than the daemon?")]
    Kind(&'static str),
    /// A part that has to be there.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// An error in a named field.
    #[error("{error}")]
    In { field: &'static str, error: Box<ModelError> },
    /// Bytes that are no IP address.
    #[error("an address has {0} bytes; it has 4 (IPv4) or 16 (IPv6)")]
    AddressLength(usize),
    /// A packed list that is not a whole number of addresses.
    #[error("the IPv4 addresses of TEPs have {0} bytes, and each has 4")]
    TepsLength(usize),
    /// An IPv6 address of a TEP.
    #[error("TEP {0}: IPv6 TEPs are not supported yet; give the TEP's IPv4 underlay address")]
    Ipv6Tep(Ipv6Addr),
    /// An IPv4 address that no TEP can have.
    #[error("TEP {0}")]
    Tep(#[from] TepError),
    /// A text that is no TEP.
    #[error(transparent)]
    TepRef(#[from] TepRefError),
    /// A name in place of an address.
    #[error("{0} stands where a TEP's address belongs")]
    NotAnAddress(Name),
    /// More TEPs than a domain can have.
    #[error("{0} TEPs for one domain; a domain has at most {max} members", max = limits::MAX_MEMBERS)]
    TooManyTeps(usize),
    /// More subnets than a domain can have.
    #[error("{0} subnets for one domain; a domain has at most {max}", max = limits::MAX_SUBNETS)]
    TooManySubnets(usize),
    /// More gateways than a domain can have.
    #[error("{0} gateways for one domain; a domain has at most {max}", max = limits::MAX_GATEWAYS)]
    TooManyGateways(usize),
    /// More pinned nodes than there can be nodes.
    #[error("{0} nodes for one domain; there are at most {max}", max = super::MAX_NODES)]
    TooManyNodes(usize),
    /// A node that is pinned twice.
    #[error("node {0} stands there twice; give it once")]
    NodeTwice(Name),
    /// A gateway's address with two MAC addresses.
    #[error("gateway {0} stands there twice; give it once, with one MAC address")]
    GatewayTwice(IpAddr),
    /// A name that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A MAC address that cannot be an instance's.
    #[error(transparent)]
    Mac(#[from] MacError),
    /// Bytes that are no MAC address.
    #[error("a MAC address has {0} bytes; it has 6")]
    MacLength(usize),
    /// A rate out of range.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// A subnet that cannot be.
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    /// A HAVIP that cannot be.
    #[error(transparent)]
    Havip(#[from] HavipError),
    /// A route gateway of the other family.
    #[error("route gateway {0} is not an {1} address")]
    GatewayFamily(IpAddr, &'static str),
    /// A route gateway that no host can be.
    #[error("route gateway {0}")]
    Gateway(#[from] NotUnicast),
    /// A domain's gateway that no host can be.
    #[error("gateway {0}")]
    DomainGateway(NotUnicast),
    /// A word that is not known.
    #[error(transparent)]
    Word(#[from] WordError),
    /// A number of an enum that is not known.
    #[error("{number} is no {kind} that this version knows; is the client newer than the daemon?")]
    Number { kind: &'static str, number: i32 },
}

impl ModelError {
    /// The same error, in this field; the innermost field stays.
    pub(crate) fn within(field: &'static str) -> impl Fn(Self) -> Self {
        move |error| match error {
            Self::In { .. } => error,
            error => Self::In { field, error: Box::new(error) },
        }
    }

    /// The error without the field that it is in.
    #[must_use]
    pub fn innermost(&self) -> &Self {
        match self {
            Self::In { error, .. } => error.innermost(),
            error => error,
        }
    }

    /// Name of the field that is wrong, as in the contract; "" where it is not known.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::In { field, .. } => field,
            Self::Rate(_) => "limit",
            Self::Name(_) => "name",
            Self::Mac(_) | Self::MacLength(_) => "mac",
            Self::Subnet(_) => "subnet",
            Self::TooManyTeps(_) | Self::TepsLength(_) => "teps",
            Self::GatewayFamily(_, "IPv6") => "route_gateway6",
            Self::GatewayFamily(..) | Self::Gateway(_) => "route_gateway",
            Self::Havip(error) => error.field(),
            _ => "",
        }
    }
}
