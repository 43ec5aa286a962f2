//! One change of the domains, from its message and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, Mac, RateError, Tep, TepLimit, Vni, limits};
use thiserror::Error;

use super::limit::{domain_limit, domain_rates, tep_limit, tep_rates};
use super::{GarpMode, Havip, HavipMessageError, Name, NameError, Subnet, TepRef, TepRefError};
use crate::proto::{self, change::Kind};

mod havip;

/// One change. What is asked for and is so already succeeds and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Registers a TEP; a given name replaces the old one.
    TepAdd {
        /// Its underlay address.
        address: Tep,
        /// Its name, unique among the TEPs.
        name: Option<Name>,
    },
    /// Takes a TEP out; refused while it is a member of a domain or has attachments, unless `force`.
    TepRemove {
        /// Which one.
        tep: TepRef,
        /// Take it out of all its domains and attachments as well.
        force: bool,
    },
    /// Creates a domain without members; a given name replaces the old one.
    DomainCreate {
        /// Its VNI.
        vni: Vni,
        /// Its name; names of domains need not be unique.
        name: Option<Name>,
    },
    /// Takes a domain out, members and all; refused while it has HAVIPs, unless `force`.
    DomainRemove {
        /// Its VNI.
        vni: Vni,
        /// Remove its HAVIPs as well.
        force: bool,
    },
    /// The domain shall have exactly these members; it is created where it is missing.
    DomainSet {
        /// Its VNI.
        vni: Vni,
        /// A given name replaces the old one.
        name: Option<Name>,
        /// All its members; one that is named twice is a member once.
        members: Vec<TepRef>,
    },
    /// These TEPs become members.
    Join {
        /// The domain.
        vni: Vni,
        /// Registered TEPs.
        teps: Vec<TepRef>,
    },
    /// These TEPs are members no longer.
    Leave {
        /// The domain.
        vni: Vni,
        /// The TEPs.
        teps: Vec<TepRef>,
    },
    /// A domain gets other rates.
    DomainLimit {
        /// The domain.
        vni: Vni,
        /// The rates that are given.
        limit: DomainLimit,
        /// Those that are not given are the node's default again; else they stay.
        reset: bool,
    },
    /// A TEP gets another rate.
    TepLimit {
        /// A registered TEP.
        tep: TepRef,
        /// The rate that is given.
        limit: TepLimit,
        /// One that is not given is the node's default again; else it stays.
        reset: bool,
    },
    /// A TEP gets other next hops, for the routes of HAVIPs.
    TepNextHop {
        /// A registered TEP.
        tep: TepRef,
        /// The one for IPv4, if it is given.
        next_hop: Option<Ipv4Addr>,
        /// The one for IPv6, if it is given.
        next_hop6: Option<Ipv6Addr>,
        /// One that is not given is none any more; else it stays.
        reset: bool,
    },
    /// What addresses that are no HAVIP may do in a domain.
    DomainGarp {
        /// The domain.
        vni: Vni,
        /// What they may do.
        mode: GarpMode,
    },
    /// Creates a HAVIP without attachments. There already, with this VNI, subnet and address: VRRP ids and a refresh that
    /// are given replace the old ones.
    HavipCreate {
        /// Its name, unique on a node.
        name: Name,
        /// Its domain.
        vni: Vni,
        /// The network of its address.
        subnet: Subnet,
        /// Its address.
        address: IpAddr,
        /// The VRRP ids that it may use.
        vrids: Vec<u8>,
        /// Seconds between two refreshing announcements.
        refresh_s: Option<u32>,
    },
    /// The HAVIP shall be exactly this; it is created where it is missing. Its holder stays while it stays attached.
    HavipSet(Box<Havip>),
    /// Takes a HAVIP out, attachments and all.
    HavipRemove {
        /// Which one.
        name: Name,
    },
    /// Attaches an instance; one that is attached already gets this MAC and these TEPs.
    HavipAttach {
        /// The HAVIP.
        name: Name,
        /// The instance.
        instance: Name,
        /// The MAC address of its interface.
        mac: Mac,
        /// Where it runs: one registered TEP, or two while it migrates.
        teps: Vec<TepRef>,
    },
    /// Detaches an instance; if it is the holder, the HAVIP has none any more.
    HavipDetach {
        /// The HAVIP.
        name: Name,
        /// The instance.
        instance: Name,
    },
    /// Gives a HAVIP its public address.
    HavipBindEip {
        /// The HAVIP.
        name: Name,
        /// The address; no other HAVIP's.
        eip: IpAddr,
    },
    /// Takes a HAVIP's public address away.
    HavipUnbindEip {
        /// The HAVIP.
        name: Name,
    },
    /// Lets a frozen HAVIP move again.
    HavipUnfreeze {
        /// The HAVIP.
        name: Name,
    },
}

/// Why a message is not a [`Change`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The message says nothing that this version knows.
    #[error("no kind of change that this version knows; is the client newer than the daemon?")]
    Kind,
    /// A removal or a limit that does not say of what.
    #[error("the TEP that is meant is missing")]
    NoTep,
    /// A TEP that cannot be.
    #[error(transparent)]
    Tep(#[from] TepRefError),
    /// A new TEP given by its name.
    #[error("a TEP is added by its IPv4 address, not by its name {0}")]
    TepByName(Name),
    /// A name that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A rate that cannot be.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// Something about HAVIPs that cannot be.
    #[error(transparent)]
    Havip(#[from] HavipMessageError),
    /// More TEPs than a domain can have.
    #[error("{count} TEPs in one change of domain {vni}; a domain has at most {max} members", max = limits::MAX_MEMBERS)]
    TooManyTeps {
        /// The domain.
        vni: Vni,
        /// How many were given.
        count: usize,
    },
}

impl TryFrom<proto::Change> for Change {
    type Error = ChangeError;

    fn try_from(message: proto::Change) -> Result<Self, ChangeError> {
        Ok(match message.kind.ok_or(ChangeError::Kind)? {
            Kind::TepAdd(m) => Self::TepAdd { address: address(&m.address)?, name: name(m.name.as_deref())? },
            Kind::TepRemove(m) => {
                Self::TepRemove { tep: m.tep.ok_or(ChangeError::NoTep)?.text.parse()?, force: m.force }
            }
            Kind::DomainCreate(m) => {
                Self::DomainCreate { vni: Vni::from(m.vni), name: name(m.name.as_deref())? }
            }
            Kind::DomainRemove(m) => Self::DomainRemove { vni: Vni::from(m.vni), force: m.force },
            Kind::DomainSet(m) => {
                let vni = Vni::from(m.vni);
                Self::DomainSet { vni, name: name(m.name.as_deref())?, members: teps(vni, &m.members)? }
            }
            Kind::Join(m) => {
                let vni = Vni::from(m.vni);
                Self::Join { vni, teps: teps(vni, &m.teps)? }
            }
            Kind::Leave(m) => {
                let vni = Vni::from(m.vni);
                Self::Leave { vni, teps: teps(vni, &m.teps)? }
            }
            Kind::DomainLimit(m) => {
                Self::DomainLimit { vni: Vni::from(m.vni), limit: domain_limit(m.rates)?, reset: m.reset }
            }
            Kind::TepLimit(m) => {
                let tep = m.tep.ok_or(ChangeError::NoTep)?.text.parse()?;
                Self::TepLimit { tep, limit: tep_limit(m.rates)?, reset: m.reset }
            }
            Kind::TepNextHop(m) => m.try_into()?,
            Kind::DomainGarp(m) => m.try_into()?,
            Kind::HavipCreate(m) => m.try_into()?,
            Kind::HavipSet(m) => Self::HavipSet(Box::new(m.try_into()?)),
            Kind::HavipRemove(m) => Self::HavipRemove { name: m.name.parse()? },
            Kind::HavipAttach(m) => m.try_into()?,
            Kind::HavipDetach(m) => m.try_into()?,
            Kind::HavipBindEip(m) => m.try_into()?,
            Kind::HavipUnbindEip(m) => Self::HavipUnbindEip { name: m.name.parse()? },
            Kind::HavipUnfreeze(m) => Self::HavipUnfreeze { name: m.name.parse()? },
        })
    }
}

fn address(text: &str) -> Result<Tep, ChangeError> {
    match text.parse()? {
        TepRef::Address(tep) => Ok(tep),
        TepRef::Name(name) => Err(ChangeError::TepByName(name)),
    }
}

fn name(text: Option<&str>) -> Result<Option<Name>, NameError> {
    text.map(str::parse).transpose()
}

fn teps(vni: Vni, references: &[proto::TepRef]) -> Result<Vec<TepRef>, ChangeError> {
    if references.len() > limits::MAX_MEMBERS {
        return Err(ChangeError::TooManyTeps { vni, count: references.len() });
    }
    references.iter().map(|r| Ok(r.text.parse()?)).collect()
}

impl From<TepRef> for proto::TepRef {
    fn from(tep: TepRef) -> Self {
        Self { text: tep.to_string() }
    }
}

impl From<Change> for proto::Change {
    fn from(change: Change) -> Self {
        let text = |name: Option<Name>| name.map(|n| n.to_string());
        let all = |teps: Vec<TepRef>| teps.into_iter().map(proto::TepRef::from).collect();
        let kind = match change {
            Change::TepAdd { address, name } => {
                Kind::TepAdd(proto::TepAdd { address: address.to_string(), name: text(name) })
            }
            Change::TepRemove { tep, force } => {
                Kind::TepRemove(proto::TepRemove { tep: Some(tep.into()), force })
            }
            Change::DomainCreate { vni, name } => {
                Kind::DomainCreate(proto::DomainCreate { vni: vni.get(), name: text(name) })
            }
            Change::DomainRemove { vni, force } => {
                Kind::DomainRemove(proto::DomainRemove { vni: vni.get(), force })
            }
            Change::DomainSet { vni, name, members } => {
                Kind::DomainSet(proto::DomainSet { vni: vni.get(), name: text(name), members: all(members) })
            }
            Change::Join { vni, teps } => Kind::Join(proto::Join { vni: vni.get(), teps: all(teps) }),
            Change::Leave { vni, teps } => Kind::Leave(proto::Leave { vni: vni.get(), teps: all(teps) }),
            Change::DomainLimit { vni, limit, reset } => {
                Kind::DomainLimit(proto::DomainLimit { vni: vni.get(), rates: domain_rates(limit), reset })
            }
            Change::TepLimit { tep, limit, reset } => {
                Kind::TepLimit(proto::TepLimit { tep: Some(tep.into()), rates: tep_rates(limit), reset })
            }
            Change::TepNextHop { tep, next_hop, next_hop6, reset } => {
                let (next_hop, next_hop6) =
                    (next_hop.map(|hop| hop.to_string()), next_hop6.map(|hop| hop.to_string()));
                Kind::TepNextHop(proto::TepNextHop { tep: Some(tep.into()), next_hop, next_hop6, reset })
            }
            Change::DomainGarp { vni, mode } => Kind::DomainGarp(proto::DomainGarp {
                vni: vni.get(),
                mode: proto::GarpMode::from(mode).into(),
            }),
            Change::HavipCreate { name, vni, subnet, address, vrids, refresh_s } => {
                Kind::HavipCreate(proto::HavipCreate {
                    name: name.to_string(),
                    vni: vni.get(),
                    subnet: subnet.to_string(),
                    address: address.to_string(),
                    vrids: vrids.into_iter().map(u32::from).collect(),
                    refresh_s,
                })
            }
            Change::HavipSet(havip) => Kind::HavipSet((*havip).into()),
            Change::HavipRemove { name } => Kind::HavipRemove(proto::HavipRemove { name: name.to_string() }),
            Change::HavipAttach { name, instance, mac, teps } => Kind::HavipAttach(proto::HavipAttach {
                name: name.to_string(),
                instance: instance.to_string(),
                mac: mac.to_string(),
                teps: all(teps),
            }),
            Change::HavipDetach { name, instance } => {
                let (name, instance) = (name.to_string(), instance.to_string());
                Kind::HavipDetach(proto::HavipDetach { name, instance })
            }
            Change::HavipBindEip { name, eip } => {
                Kind::HavipBindEip(proto::HavipBindEip { name: name.to_string(), eip: eip.to_string() })
            }
            Change::HavipUnbindEip { name } => {
                Kind::HavipUnbindEip(proto::HavipUnbindEip { name: name.to_string() })
            }
            Change::HavipUnfreeze { name } => {
                Kind::HavipUnfreeze(proto::HavipUnfreeze { name: name.to_string() })
            }
        };
        Self { kind: Some(kind) }
    }
}
