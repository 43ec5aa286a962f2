//! HAVIPs: virtual IPs that tenants' instances hand over among themselves.

use std::net::IpAddr;

use bcast_domain::{Mac, Tep, VlanTags, Vni};
use thiserror::Error;

use super::address::unicast;
use super::word::words;
use super::{Field, Name, NotUnicast, Subnet, TepSet};

mod message;

/// Most TEPs of an attachment: a second one while the instance migrates.
pub const MAX_ATTACHMENT_TEPS: usize = 2;
/// Most seconds between two refreshing announcements: a day.
pub const MAX_REFRESH_S: u32 = 86_400;

words! {
    /// State of a HAVIP.
    pub enum HavipState("state of a HAVIP") {
        /// Nobody holds it.
        Unbound = "unbound",
        /// One instance holds it.
        Bound = "bound",
        /// It moved too often: the holder stays until the HAVIP is thawed.
        Frozen = "frozen",
        /// Two instances claim to be master.
        Conflict = "conflict",
    }
}

words! {
    /// Cause of a binding's last change.
    pub enum Why("cause of a binding") {
        /// A gratuitous ARP, or an unsolicited neighbour advertisement.
        Garp = "garp",
        /// A VRRP advert.
        Advert = "advert",
        /// Another use of the address in ARP or neighbour discovery.
        Arp = "arp",
        /// An announcement that came before its sender was attached.
        Replay = "replay",
        /// A double master has ended, and this one goes on advertising.
        Healed = "healed",
        /// The holder's instance was attached elsewhere, or heard at another of its TEPs.
        Migrated = "migrated",
        /// The holder was detached, or has another MAC.
        Detached = "detached",
        /// The holder's TEP was removed.
        TepRemoved = "tep_removed",
        /// The HAVIP was removed.
        Removed = "removed",
        /// The domain was removed.
        DomainRemoved = "domain_removed",
        /// It got another address, or went to another domain.
        Changed = "changed",
        /// It moved too often.
        Flapping = "flapping",
        /// Two instances advertise it by turns.
        DoubleMaster = "double_master",
        /// It was quiet, or frozen, for long enough.
        Thawed = "thawed",
        /// It was thawed by hand.
        Unfrozen = "unfrozen",
        /// A backup was restored.
        Restored = "restored",
        /// The holder was silent, and this announcer used or advertised the address.
        TakenOver = "taken_over",
    }
}

/// An instance that may hold a virtual IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The instance's name; one name is one instance within a VNI.
    pub instance: Name,
    /// The MAC address of its interface.
    pub mac: Mac,
    /// TEPs of the instance: one, or two while it migrates; ascending.
    pub teps: Vec<Tep>,
}

/// A HAVIP as it was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Havip {
    /// Name, unique on a node.
    pub name: Name,
    /// The domain that it is in.
    pub vni: Vni,
    /// The network that the address is of.
    pub subnet: Subnet,
    /// The address; at most one HAVIP in a VNI has it.
    pub address: IpAddr,
    /// Attachments that may hold the address, by instance.
    pub attachments: Vec<Attachment>,
    /// The VRRP ids whose virtual MAC addresses its holders may use; ascending, 1 to 255.
    pub vrids: Vec<u8>,
    /// Seconds after which the node announces the address anew while its holder is heard: 1 to [`MAX_REFRESH_S`].
    pub refresh_s: Option<u32>,
    /// The public address that goes where the virtual IP goes; at most one HAVIP of a node has it.
    pub eip: Option<IpAddr>,
    /// HAVIPs of one VNI with the same group belong to one election: a VRRP advert of one counts for all of them.
    pub group: Option<Name>,
}

/// Fault of a HAVIP by itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum HavipError {
    /// The address is of another network.
    #[error("address {address} is not in subnet {subnet}; give one of that subnet")]
    OutsideSubnet { address: IpAddr, subnet: Subnet },
    /// The network's own address, or its broadcast address.
    #[error("address {address} is the network or broadcast address of {subnet}; give a host's address")]
    NotAHost { address: IpAddr, subnet: Subnet },
    /// A network of all addresses.
    #[error("subnet {0} holds every address; give the network that the address is in, like 10.0.0.0/24")]
    Everything(Subnet),
    /// An address of no single host.
    #[error("address {0}")]
    Address(NotUnicast),
    /// A public address of no single host.
    #[error("EIP {0}")]
    Eip(NotUnicast),
    /// A public address that nobody outside the link can reach.
    #[error("EIP {0} is link-local; give one that is routed")]
    EipLinkLocal(IpAddr),
    /// A virtual MAC address is no instance's own.
    #[error(
        "MAC {mac} of instance {instance} is the virtual one of VRRP id {vrid}; give the instance's own, and the HAVIP \
         VRRP id {vrid}"
    )]
    VirtualMac { instance: Name, mac: Mac, vrid: u8 },
    /// A VRRP id out of range.
    #[error("VRRP id {0} is out of range; 1 to 255")]
    Vrid(u32),
    /// A word that is no VLAN tag, or a third tag.
    #[error(
        "{0:#010x} is no VLAN tag of a binding; two at most, 0x8100 or 0x88a8 and then priority and VLAN id"
    )]
    VlanTag(u32),
    /// A refresh out of range.
    #[error("a refresh of {0} s is out of range; 1 to {MAX_REFRESH_S} s")]
    Refresh(u32),
    /// No TEP, or more than [`MAX_ATTACHMENT_TEPS`].
    #[error("instance {instance} is given {count} TEPs; it runs on one, or on two while it migrates")]
    Teps { instance: Name, count: usize },
    /// An instance stands there twice.
    #[error("instance {0} is attached twice; attach it once, with its MAC and TEP")]
    Twice(Name),
    /// Nobody could tell the two apart.
    #[error("instances {one} and {other} have the same MAC {mac} on TEP {tep}; each needs its own")]
    SameMac { one: Name, other: Name, mac: Mac, tep: Tep },
    /// Two may use one virtual MAC address, and only their TEPs would tell them apart.
    #[error(
        "instances {one} and {other} are both on TEP {tep}; with VRRP ids the holder is told by its TEP, so attach \
         them on different ones, or state no VRRP id"
    )]
    SharedTep { one: Name, other: Name, tep: Tep },
}

/// An attachment in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentFields {
    /// Name of the instance.
    pub instance: Name,
    /// MAC address of its interface.
    pub mac: Mac,
    /// The TEPs where it runs; resolved by the node.
    pub teps: TepSet,
}

/// The place of a HAVIP: a change of VNI or address makes it another HAVIP for those who follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Domain.
    pub vni: Vni,
    /// Network of the address.
    pub subnet: Subnet,
    /// Address.
    pub address: IpAddr,
}

/// Fields of a HAVIP in a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HavipFields {
    /// Place; absent: it stays.
    pub place: Option<Place>,
    /// VRRP ids; absent: they stay, or with `replace` there are none.
    pub vrids: Option<Vec<u8>>,
    /// Seconds between two announcements on the holder's behalf.
    pub refresh_s: Field<u32>,
    /// Public address.
    pub eip: Field<IpAddr>,
    /// Group of one election.
    pub group: Field<Name>,
    /// All attachments; absent: they stay, or with `replace` there are none.
    pub attachments: Option<Vec<AttachmentFields>>,
}

impl HavipError {
    /// Name of the field that is wrong, as in the contract.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::OutsideSubnet { .. } | Self::NotAHost { .. } | Self::Address(_) => "address",
            Self::Everything(_) => "subnet",
            Self::Eip(_) | Self::EipLinkLocal(_) => "eip",
            Self::Vrid(_) => "vrids",
            Self::Refresh(_) => "refresh_s",
            Self::VlanTag(_) => "vlan_tags",
            Self::VirtualMac { .. }
            | Self::Teps { .. }
            | Self::Twice(_)
            | Self::SameMac { .. }
            | Self::SharedTep { .. } => "attachments",
        }
    }
}

impl Attachment {
    /// One or two TEPs, and a MAC address of its own.
    ///
    /// # Errors
    ///
    /// [`HavipError::Teps`], [`HavipError::VirtualMac`].
    pub fn check(&self) -> Result<(), HavipError> {
        if let [.., vrid] = self.mac.octets()
            && bcast_domain::is_virtual_mac(self.mac.octets(), &[vrid])
        {
            return Err(HavipError::VirtualMac { instance: self.instance.clone(), mac: self.mac, vrid });
        }
        match self.teps.len() {
            1..=MAX_ATTACHMENT_TEPS => Ok(()),
            count => Err(HavipError::Teps { instance: self.instance.clone(), count }),
        }
    }
}

impl Havip {
    /// A HAVIP without attachments.
    #[must_use]
    pub const fn new(name: Name, Place { vni, subnet, address }: Place) -> Self {
        Self {
            name,
            vni,
            subnet,
            address,
            attachments: vec![],
            vrids: vec![],
            refresh_s: None,
            eip: None,
            group: None,
        }
    }

    /// Place of the HAVIP.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place { vni: self.vni, subnet: self.subnet, address: self.address }
    }

    /// Puts attachments, TEPs and VRRP ids into their order, and takes out TEPs and ids that stand there twice.
    pub fn sort(&mut self) {
        self.vrids.sort_unstable();
        self.vrids.dedup();
        self.attachments.sort_by(|a, b| a.instance.cmp(&b.instance));
        for attachment in &mut self.attachments {
            attachment.teps.sort_unstable();
            attachment.teps.dedup();
        }
    }

    /// The attachment of this instance.
    #[must_use]
    pub fn attachment(&self, instance: &Name) -> Option<&Attachment> {
        self.attachments.iter().find(|attachment| attachment.instance == *instance)
    }

    /// Checks a sorted HAVIP, as far as it tells by itself.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), HavipError> {
        let Self { address, subnet, .. } = *self;
        if !subnet.contains(address) {
            return Err(HavipError::OutsideSubnet { address, subnet });
        }
        if !subnet.is_host(address) {
            return Err(HavipError::NotAHost { address, subnet });
        }
        unicast(address).map_err(HavipError::Address)?;
        self.eip.map(unicast).transpose().map_err(HavipError::Eip)?;
        if let Some(eip) = self.eip.filter(is_link_local) {
            return Err(HavipError::EipLinkLocal(eip));
        }
        if self.vrids.contains(&0) {
            return Err(HavipError::Vrid(0));
        }
        if let Some(refresh_s) = self.refresh_s.filter(|refresh_s| !(1..=MAX_REFRESH_S).contains(refresh_s)) {
            return Err(HavipError::Refresh(refresh_s));
        }
        self.check_attachments()
    }

    /// Checks a new subnet. A stored HAVIP may have had one of all addresses before that was refused.
    ///
    /// # Errors
    ///
    /// [`HavipError::Everything`].
    pub fn check_subnet(&self, before: Option<Subnet>) -> Result<(), HavipError> {
        let is_new = before != Some(self.subnet);
        if is_new && self.subnet.prefix_len() == 0 {
            Err(HavipError::Everything(self.subnet))
        } else {
            Ok(())
        }
    }

    fn check_attachments(&self) -> Result<(), HavipError> {
        for (index, one) in self.attachments.iter().enumerate() {
            one.check()?;
            for other in &self.attachments[index + 1..] {
                let name = |attachment: &Attachment| attachment.instance.clone();
                if one.instance == other.instance {
                    return Err(HavipError::Twice(name(one)));
                }
                let Some(&tep) = one.teps.iter().find(|tep| other.teps.contains(tep)) else { continue };
                if one.mac == other.mac {
                    return Err(HavipError::SameMac {
                        one: name(one),
                        other: name(other),
                        mac: one.mac,
                        tep,
                    });
                }
                if !self.vrids.is_empty() {
                    return Err(HavipError::SharedTep { one: name(one), other: name(other), tep });
                }
            }
        }
        Ok(())
    }
}

/// RFC 3927, RFC 4291 section 2.5.6.
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Holder of a HAVIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The instance.
    pub instance: Name,
    /// The MAC address of its interface.
    pub mac: Mac,
    /// TEP that it is on.
    pub tep: Tep,
}

/// Binding of a HAVIP to its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// State.
    pub state: HavipState,
    /// Holder. A frozen or contended HAVIP may have one or none.
    pub holder: Option<Holder>,
    /// Holder before that.
    pub previous: Option<Holder>,
    /// Time since which state and holder are so, Unix time in milliseconds.
    pub since_unix_ms: u64,
    /// Cause of that.
    pub why: Option<Why>,
    /// Number of changes from one holder to another.
    pub moves: u64,
    /// The revision that made it so. It only grows, also when a HAVIP is removed and made anew.
    pub generation: u64,
    /// VLAN tags of the holder's latest claim or use of the address; `None`: not known.
    pub tags: Option<VlanTags>,
}

impl Binding {
    /// Binding of a new HAVIP: no holder.
    #[must_use]
    pub const fn unbound(since_unix_ms: u64) -> Self {
        Self {
            state: HavipState::Unbound,
            holder: None,
            previous: None,
            since_unix_ms,
            why: None,
            moves: 0,
            generation: 0,
            tags: None,
        }
    }
}

/// A HAVIP and its binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HavipEntry {
    /// The HAVIP as it was ordered.
    pub havip: Havip,
    /// Binding.
    pub binding: Binding,
}
