//! Changes: resources that are set and deleted, and the members of what is set by another's name.

use std::net::IpAddr;

use bcast_domain::{Tep, Vni};

use super::address::{bytes, ip, tep, tep_bytes};
use super::{
    AttachmentFields, DomainFields, Gateway, HavipFields, ModelError, Name, TepFields, TepRef, TepSet,
};
use crate::proto::{self, change::Kind};

/// One change. A change to what is so already succeeds and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a resource. It is created where it is missing, unless it has to exist.
    Set(Box<Set>),
    /// Deletes a resource.
    Delete {
        /// The resource.
        target: Target,
        /// A TEP leaves its domains and attachments, and a domain's HAVIPs go, too; without it they refuse the
        /// deletion.
        force: bool,
    },
    /// TEPs become members.
    Join {
        /// The domain.
        vni: Vni,
        /// Registered TEPs.
        teps: TepSet,
    },
    /// TEPs are members no longer.
    Leave {
        /// The domain.
        vni: Vni,
        /// The TEPs.
        teps: TepSet,
    },
    /// Attaches an instance; one that is attached already gets this MAC and these TEPs.
    SetAttachment {
        /// The HAVIP.
        havip: Name,
        /// The attachment.
        attachment: Box<AttachmentFields>,
    },
    /// Detaches an instance; if it is the holder, the HAVIP has none any more.
    DeleteAttachment {
        /// The HAVIP.
        havip: Name,
        /// The instance.
        instance: Name,
    },
    /// Lets a frozen HAVIP move again.
    Unfreeze {
        /// The HAVIP.
        havip: Name,
    },
    /// States a gateway of a domain; its other gateways stay.
    SetGateway {
        /// The domain.
        vni: Vni,
        /// The gateway.
        gateway: Gateway,
    },
    /// Removes a gateway of a domain; its other gateways stay.
    DeleteGateway {
        /// The domain.
        vni: Vni,
        /// Address of the gateway.
        address: IpAddr,
    },
}

/// A resource to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The resource and its fields.
    pub resource: SetResource,
    /// Condition on what is there.
    pub existing: Existing,
    /// Absent fields are cleared.
    pub replace: bool,
}

/// A resource by its key, with fields of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetResource {
    /// A TEP. One that is new is given by its address.
    Tep(TepRef, TepFields),
    /// A domain.
    Domain(Vni, DomainFields),
    /// A HAVIP.
    Havip(Name, HavipFields),
}

/// Condition on the resource that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// It is created where it is missing.
    #[default]
    Any,
    /// It exists.
    Required,
    /// A HAVIP of that name has the same VNI, subnet and address, or there is none.
    Same,
}

/// A resource by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A TEP.
    Tep(TepRef),
    /// A domain.
    Domain(Vni),
    /// A HAVIP.
    Havip(Name),
}

impl SetResource {
    /// The change that sets it, created where it is missing.
    #[must_use]
    pub fn set(self) -> Change {
        self.set_if(Existing::Any)
    }

    /// The change that sets it under a condition.
    #[must_use]
    pub fn set_if(self, existing: Existing) -> Change {
        Change::Set(Box::new(Set { resource: self, existing, replace: false }))
    }
}

impl Change {
    /// Registers a TEP, or gives it this name.
    #[must_use]
    pub fn tep(address: Tep, name: Option<Name>) -> Self {
        let name = name.map(super::Field::Value).unwrap_or_default();
        SetResource::Tep(TepRef::Address(address), TepFields { name, ..TepFields::default() }).set()
    }

    /// Creates a domain, or gives it this name.
    #[must_use]
    pub fn domain(vni: Vni, name: Option<Name>) -> Self {
        let name = name.map(super::Field::Value).unwrap_or_default();
        SetResource::Domain(vni, DomainFields { name, ..DomainFields::default() }).set()
    }

    /// Gives a domain exactly these members; it is created where it is missing.
    #[must_use]
    pub fn members(vni: Vni, members: TepSet) -> Self {
        SetResource::Domain(vni, DomainFields { members: Some(members), ..DomainFields::default() }).set()
    }

    /// Deletes a resource that nothing depends on.
    #[must_use]
    pub const fn delete(target: Target) -> Self {
        Self::Delete { target, force: false }
    }

    /// Path of the changed thing in the contract, for errors.
    fn path(kind: &Kind) -> &'static str {
        use proto::set::Resource;
        match kind {
            Kind::Set(set) => match set.resource {
                Some(Resource::Tep(_)) => "set.tep",
                Some(Resource::Domain(_)) => "set.domain",
                Some(Resource::Havip(_)) => "set.havip",
                None => "set",
            },
            Kind::Delete(_) => "delete",
            Kind::Join(_) => "join",
            Kind::Leave(_) => "leave",
            Kind::SetAttachment(_) => "set_attachment",
            Kind::DeleteAttachment(_) => "delete_attachment",
            Kind::Unfreeze(_) => "unfreeze",
            Kind::SetGateway(_) => "set_gateway",
            Kind::DeleteGateway(_) => "delete_gateway",
        }
    }

    /// Parses a message; the error comes with the path of the bad field.
    pub(super) fn parse(message: proto::Change) -> Result<Self, (String, ModelError)> {
        let path = message.kind.as_ref().map_or("", Self::path);
        Self::try_from(message).map_err(|error| {
            let field = [path, error.field()].into_iter().filter(|part| !part.is_empty());
            (field.collect::<Vec<_>>().join("."), error)
        })
    }
}

fn set(message: proto::Set) -> Result<Set, ModelError> {
    use proto::set::Resource;
    let by = message.by.map(|by| TepRef::try_from(Some(by))).transpose().map_err(ModelError::within("by"))?;
    let resource = match message.resource.ok_or(ModelError::Kind("resource"))? {
        Resource::Tep(tep) => {
            let key = by.map_or_else(|| key_of(&tep), Ok)?;
            SetResource::Tep(key, tep.try_into()?)
        }
        Resource::Domain(domain) => SetResource::Domain(Vni::from(domain.vni), domain.try_into()?),
        Resource::Havip(havip) => SetResource::Havip(havip.name.parse()?, havip.try_into()?),
    };
    let existing = match proto::Existing::try_from(message.existing) {
        Ok(proto::Existing::Unspecified) => Existing::Any,
        Ok(proto::Existing::Required) => Existing::Required,
        Ok(proto::Existing::Same) => Existing::Same,
        Err(_) => {
            return Err(ModelError::Number { kind: "condition on what exists", number: message.existing });
        }
    };
    Ok(Set { resource, existing, replace: message.replace })
}

pub(super) fn key_of(message: &proto::Tep) -> Result<TepRef, ModelError> {
    tep(&message.address).map(TepRef::Address).map_err(ModelError::within("address"))
}

impl TryFrom<proto::Change> for Change {
    type Error = ModelError;

    fn try_from(message: proto::Change) -> Result<Self, ModelError> {
        use proto::delete::Resource;
        let teps = |teps: Option<proto::Teps>| {
            TepSet::try_from(teps.unwrap_or_default()).map_err(ModelError::within("teps"))
        };
        Ok(match message.kind.ok_or(ModelError::Kind("change"))? {
            Kind::Set(message) => Self::Set(Box::new(set(message)?)),
            Kind::Delete(message) => {
                let target = match message.resource.ok_or(ModelError::Kind("resource"))? {
                    Resource::Tep(tep) => {
                        Target::Tep(Some(tep).try_into().map_err(ModelError::within("tep"))?)
                    }
                    Resource::Domain(vni) => Target::Domain(Vni::from(vni)),
                    Resource::Havip(name) => Target::Havip(name.parse()?),
                };
                Self::Delete { target, force: message.force }
            }
            Kind::Join(message) => Self::Join { vni: message.vni.into(), teps: teps(message.teps)? },
            Kind::Leave(message) => Self::Leave { vni: message.vni.into(), teps: teps(message.teps)? },
            Kind::SetAttachment(message) => {
                let attachment = message.attachment.ok_or(ModelError::Missing("attachment"))?;
                Self::SetAttachment {
                    havip: message.havip.parse()?,
                    attachment: Box::new(attachment.try_into()?),
                }
            }
            Kind::DeleteAttachment(message) => {
                let instance = message
                    .instance
                    .parse()
                    .map_err(|error| ModelError::within("instance")(ModelError::Name(error)))?;
                Self::DeleteAttachment { havip: message.havip.parse()?, instance }
            }
            Kind::Unfreeze(message) => Self::Unfreeze { havip: message.havip.parse()? },
            Kind::SetGateway(message) => {
                let gateway = message.gateway.ok_or(ModelError::Missing("gateway"))?;
                let gateway = gateway.try_into().map_err(ModelError::within("gateway"))?;
                Self::SetGateway { vni: message.vni.into(), gateway }
            }
            Kind::DeleteGateway(message) => {
                let address = ip(&message.address).map_err(ModelError::within("address"))?;
                Self::DeleteGateway { vni: message.vni.into(), address }
            }
        })
    }
}

/// The message of a resource; a TEP that is named has no address in it.
impl From<SetResource> for proto::set::Resource {
    fn from(resource: SetResource) -> Self {
        match resource {
            SetResource::Tep(TepRef::Address(tep), fields) => {
                Self::Tep(proto::Tep { address: tep_bytes(tep), ..fields.into() })
            }
            SetResource::Tep(TepRef::Name(_), fields) => Self::Tep(fields.into()),
            SetResource::Domain(vni, fields) => {
                Self::Domain(proto::Domain { vni: vni.get(), ..fields.into() })
            }
            SetResource::Havip(name, fields) => {
                Self::Havip(proto::Havip { name: name.to_string(), ..fields.into() })
            }
        }
    }
}

impl From<Set> for proto::Set {
    fn from(set: Set) -> Self {
        let by = match &set.resource {
            SetResource::Tep(name @ TepRef::Name(_), _) => Some(name.clone().into()),
            _ => None,
        };
        let existing = match set.existing {
            Existing::Any => proto::Existing::Unspecified,
            Existing::Required => proto::Existing::Required,
            Existing::Same => proto::Existing::Same,
        };
        Self { resource: Some(set.resource.into()), by, existing: existing.into(), replace: set.replace }
    }
}

impl From<Change> for proto::Change {
    fn from(change: Change) -> Self {
        use proto::delete::Resource;
        let kind = match change {
            Change::Set(set) => Kind::Set((*set).into()),
            Change::Delete { target, force } => {
                let resource = Some(match target {
                    Target::Tep(tep) => Resource::Tep(tep.into()),
                    Target::Domain(vni) => Resource::Domain(vni.get()),
                    Target::Havip(name) => Resource::Havip(name.to_string()),
                });
                Kind::Delete(proto::Delete { resource, force })
            }
            Change::Join { vni, teps } => Kind::Join(proto::Join { vni: vni.get(), teps: Some(teps.into()) }),
            Change::Leave { vni, teps } => {
                Kind::Leave(proto::Leave { vni: vni.get(), teps: Some(teps.into()) })
            }
            Change::SetAttachment { havip, attachment } => {
                let attachment = Some((*attachment).into());
                Kind::SetAttachment(proto::SetAttachment { havip: havip.to_string(), attachment })
            }
            Change::DeleteAttachment { havip, instance } => {
                let (havip, instance) = (havip.to_string(), instance.to_string());
                Kind::DeleteAttachment(proto::DeleteAttachment { havip, instance })
            }
            Change::Unfreeze { havip } => Kind::Unfreeze(proto::Unfreeze { havip: havip.to_string() }),
            Change::SetGateway { vni, gateway } => {
                Kind::SetGateway(proto::SetGateway { vni: vni.get(), gateway: Some(gateway.into()) })
            }
            Change::DeleteGateway { vni, address } => {
                Kind::DeleteGateway(proto::DeleteGateway { vni: vni.get(), address: bytes(address) })
            }
        };
        Self { kind: Some(kind) }
    }
}
