//! One change of the domains, from its message and back.

use bcast_domain::{DomainLimit, RateError, Tep, TepLimit, Vni, limits};
use thiserror::Error;

use super::limit::{domain_limit, domain_rates, tep_limit, tep_rates};
use super::{Name, NameError, TepRef, TepRefError};
use crate::proto::{self, change::Kind};

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
    /// Takes a TEP out; refused while it is a member of a domain, unless `force`.
    TepRemove {
        /// Which one.
        tep: TepRef,
        /// Take it out of all its domains as well.
        force: bool,
    },
    /// Creates a domain without members; a given name replaces the old one.
    DomainCreate {
        /// Its VNI.
        vni: Vni,
        /// Its name; names of domains need not be unique.
        name: Option<Name>,
    },
    /// Takes a domain out, members and all.
    DomainRemove {
        /// Its VNI.
        vni: Vni,
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
            Kind::DomainRemove(m) => Self::DomainRemove { vni: Vni::from(m.vni) },
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
            Change::DomainRemove { vni } => Kind::DomainRemove(proto::DomainRemove { vni: vni.get() }),
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
        };
        Self { kind: Some(kind) }
    }
}
