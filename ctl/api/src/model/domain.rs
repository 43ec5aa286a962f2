//! Broadcast domains: present ones, and what a request sets of one.

use bcast_domain::{DomainLimit, Rate, Tep, Vni};

use super::stated::{gateways, subnets};
use super::word::{Word, words};
use super::{Field, Gateway, ModelError, Name, StatedAddresses, Subnet, TepSet, nodes};
use crate::proto;

words! {
    /// Inspection of ARP and neighbour discovery for addresses that are no HAVIP.
    #[derive(Default)]
    pub enum ArpInspection("mode of ARP inspection") {
        /// Such an address is ordinary broadcast.
        #[default]
        Off = "off",
        /// Such an address does not move from the MAC and TEP that last announced it.
        Sticky = "sticky",
    }
}

/// A domain with all its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEntry {
    /// VNI.
    pub vni: Vni,
    /// Name; names of domains need not be unique.
    pub name: Option<Name>,
    /// Rates of the domain.
    pub limit: DomainLimit,
    /// ARP inspection.
    pub arp_inspection: ArpInspection,
    /// Subnets and gateways.
    pub stated: StatedAddresses,
    /// Nodes that come first in the domain's placement, in this order, none twice.
    pub pinned: Vec<Name>,
    /// Members; ascending in messages and in the store, in any order elsewhere, none twice.
    pub members: Vec<Tep>,
}

/// Fields of a domain in a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainFields {
    /// Name.
    pub name: Field<Name>,
    /// All members; absent: they stay, or with `replace` they leave.
    pub members: Option<TepSet>,
    /// Copies a second.
    pub copies: Field<Rate>,
    /// Bits a second of the inner frames in all copies.
    pub bits: Field<Rate>,
    /// Copies a second of ARP, neighbour advertisements and VRRP.
    pub control: Field<Rate>,
    /// ARP inspection; absent: it stays, or with `replace` it is off.
    pub arp_inspection: Option<ArpInspection>,
    /// All subnets; absent: they stay, or with `replace` there are none.
    pub subnets: Option<Vec<Subnet>>,
    /// All gateways; absent: they stay, or with `replace` there are none.
    pub gateways: Option<Vec<Gateway>>,
    /// All pinned nodes; absent: they stay, or with `replace` there are none.
    pub pinned: Option<Vec<Name>>,
}

impl DomainEntry {
    /// A domain with nothing but its VNI.
    #[must_use]
    pub fn new(vni: Vni) -> Self {
        let (limit, arp_inspection) = (DomainLimit::default(), ArpInspection::Off);
        let stated = StatedAddresses::default();
        Self { vni, name: None, limit, arp_inspection, stated, pinned: Vec::new(), members: Vec::new() }
    }

    /// The domain after a request, but for its members.
    #[must_use]
    pub fn with(self, fields: &DomainFields, replace: bool) -> Self {
        let stays = if replace { ArpInspection::Off } else { self.arp_inspection };
        let stated = if replace { StatedAddresses::default() } else { self.stated };
        let pinned = if replace { Vec::new() } else { self.pinned };
        Self {
            name: fields.name.over(self.name, replace),
            limit: DomainLimit {
                copies: fields.copies.over(self.limit.copies, replace),
                bits: fields.bits.over(self.limit.bits, replace),
                control: fields.control.over(self.limit.control, replace),
            },
            arp_inspection: fields.arp_inspection.unwrap_or(stays),
            stated: StatedAddresses {
                subnets: fields.subnets.clone().unwrap_or(stated.subnets),
                gateways: fields.gateways.clone().unwrap_or(stated.gateways),
            },
            pinned: fields.pinned.clone().unwrap_or(pinned),
            ..self
        }
    }
}

/// The fields that a domain has.
impl From<DomainEntry> for DomainFields {
    fn from(entry: DomainEntry) -> Self {
        Self {
            name: Field::present(entry.name),
            members: Some(entry.members.into()),
            copies: Field::present(entry.limit.copies),
            bits: Field::present(entry.limit.bits),
            control: Field::present(entry.limit.control),
            arp_inspection: Some(entry.arp_inspection),
            subnets: Some(entry.stated.subnets).filter(|all| !all.is_empty()),
            gateways: Some(entry.stated.gateways).filter(|all| !all.is_empty()),
            pinned: Some(entry.pinned).filter(|all| !all.is_empty()),
        }
    }
}

impl TryFrom<proto::Domain> for DomainFields {
    type Error = ModelError;

    fn try_from(message: proto::Domain) -> Result<Self, ModelError> {
        let limit = message.limit.unwrap_or_default();
        let members = message.members.map(TepSet::try_from).transpose();
        Ok(Self {
            name: Field::parse(message.name, |name| name.parse())?,
            members: members.map_err(ModelError::within("members"))?,
            copies: Field::parse(limit.copies, Rate::new)?,
            bits: Field::parse(limit.bits, Rate::new)?,
            control: Field::parse(limit.control, Rate::new)?,
            arp_inspection: ArpInspection::from_number(message.arp_inspection)
                .map_err(ModelError::within("arp_inspection"))?,
            subnets: message.subnets.map(subnets).transpose().map_err(ModelError::within("subnets"))?,
            gateways: message.gateways.map(gateways).transpose().map_err(ModelError::within("gateways"))?,
            pinned: message.pinned.map(nodes::names).transpose().map_err(ModelError::within("pinned"))?,
        })
    }
}

impl From<DomainFields> for proto::Domain {
    fn from(fields: DomainFields) -> Self {
        let rate = |field: Field<Rate>| field.message(Rate::per_second);
        let [copies, bits, control] = [fields.copies, fields.bits, fields.control].map(rate);
        let limit = proto::DomainRates { copies, bits, control };
        Self {
            vni: 0,
            name: fields.name.message(|name| name.to_string()),
            members: fields.members.map(proto::Teps::from),
            limit: (limit != proto::DomainRates::default()).then_some(limit),
            arp_inspection: fields.arp_inspection.map_or(0, Word::number),
            subnets: fields.subnets.map(proto::Subnets::from),
            gateways: fields.gateways.map(proto::Gateways::from),
            pinned: fields
                .pinned
                .map(|names| proto::NodeNames { names: names.iter().map(Name::to_string).collect() }),
        }
    }
}

impl TryFrom<proto::Domain> for DomainEntry {
    type Error = ModelError;

    fn try_from(message: proto::Domain) -> Result<Self, ModelError> {
        let domain = Self::new(Vni::from(message.vni));
        let mut fields = DomainFields::try_from(message)?;
        let members = fields.members.take().unwrap_or_default().into_addresses()?;
        Ok(Self { members, ..domain.with(&fields, true) })
    }
}

impl From<DomainEntry> for proto::Domain {
    fn from(mut entry: DomainEntry) -> Self {
        entry.members.sort_unstable();
        Self { vni: entry.vni.get(), ..DomainFields::from(entry).into() }
    }
}
