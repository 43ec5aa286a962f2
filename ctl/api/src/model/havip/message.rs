//! HAVIPs from their messages and back.

use bcast_domain::{VlanTags, Vni};

use crate::model::address::{bytes, ip, mac, tep, tep_bytes, unicast};
use crate::model::{
    Attachment, AttachmentFields, Binding, Field, Havip, HavipEntry, HavipError, HavipFields, HavipState,
    Holder, MAX_ATTACHMENT_TEPS, MAX_REFRESH_S, ModelError, Place, Subnet, TepSet, Why, Word,
};
use crate::proto;

type Result<T> = std::result::Result<T, ModelError>;

/// The place; absent where nothing of it is given.
fn place(message: &proto::Havip) -> Result<Option<Place>> {
    if message.address.is_empty() && message.subnet.is_empty() && message.vni == 0 {
        return Ok(None);
    }
    let field = ModelError::within;
    if message.address.is_empty() {
        return Err(field("address")(ModelError::Missing("address of the HAVIP")));
    }
    let subnet = ip(&message.subnet).map_err(field("subnet"))?;
    let subnet = Subnet::new(subnet, message.prefix_length)?;
    let address = ip(&message.address).map_err(field("address"))?;
    Ok(Some(Place { vni: Vni::from(message.vni), subnet, address }))
}

fn vrids(message: proto::Vrids) -> Result<Vec<u8>> {
    let vrid = |id: u32| u8::try_from(id).ok().filter(|&id| id > 0).ok_or(HavipError::Vrid(id));
    let mut ids = message.ids.into_iter().map(vrid).collect::<std::result::Result<Vec<u8>, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn refresh(seconds: u32) -> Result<u32> {
    let is_one = (1..=MAX_REFRESH_S).contains(&seconds);
    is_one.then_some(seconds).ok_or(HavipError::Refresh(seconds).into())
}

impl TryFrom<proto::Attachment> for AttachmentFields {
    type Error = ModelError;

    fn try_from(message: proto::Attachment) -> Result<Self> {
        let instance = message
            .instance
            .parse()
            .map_err(|error| ModelError::within("instance")(ModelError::Name(error)))?;
        let teps = TepSet::try_from(message.teps.unwrap_or_default()).map_err(ModelError::within("teps"))?;
        // The node tells which of them are the same, by name and by address; more than that cannot be right.
        if teps.is_empty() || teps.len() > 2 * MAX_ATTACHMENT_TEPS {
            return Err(HavipError::Teps { instance, count: teps.len() }.into());
        }
        Ok(Self { instance, mac: mac(&message.mac)?, teps })
    }
}

impl From<AttachmentFields> for proto::Attachment {
    fn from(fields: AttachmentFields) -> Self {
        let AttachmentFields { instance, mac, teps } = fields;
        Self { instance: instance.to_string(), mac: mac.octets().to_vec(), teps: Some(teps.into()) }
    }
}

impl From<Attachment> for AttachmentFields {
    fn from(Attachment { instance, mac, teps }: Attachment) -> Self {
        Self { instance, mac, teps: teps.into() }
    }
}

impl TryFrom<proto::Havip> for HavipFields {
    type Error = ModelError;

    fn try_from(message: proto::Havip) -> Result<Self> {
        let attachments = |list: proto::Attachments| {
            let parse = |attachment| {
                AttachmentFields::try_from(attachment).map_err(ModelError::within("attachments"))
            };
            list.attachments.into_iter().map(parse).collect::<Result<Vec<_>>>()
        };
        let eip = |bytes: Vec<u8>| Ok(unicast(ip(&bytes)?).map_err(HavipError::Eip)?);
        Ok(Self {
            place: place(&message)?,
            vrids: message.vrids.map(vrids).transpose()?,
            refresh_s: Field::parse(message.refresh_s, refresh)?,
            eip: Field::parse(message.eip, eip).map_err(ModelError::within("eip"))?,
            group: Field::parse(message.group, |name| name.parse().map_err(ModelError::Name))
                .map_err(ModelError::within("group"))?,
            attachments: message.attachments.map(attachments).transpose()?,
        })
    }
}

impl From<HavipFields> for proto::Havip {
    fn from(fields: HavipFields) -> Self {
        let place = fields.place;
        let list = |list: Vec<AttachmentFields>| list.into_iter().map(proto::Attachment::from).collect();
        Self {
            name: String::new(),
            vni: place.map_or(0, |place| place.vni.get()),
            subnet: place.map(|place| bytes(place.subnet.address())).unwrap_or_default(),
            prefix_length: place.map_or(0, |place| place.subnet.prefix_len().into()),
            address: place.map(|place| bytes(place.address)).unwrap_or_default(),
            vrids: fields.vrids.map(|ids| proto::Vrids { ids: ids.into_iter().map(u32::from).collect() }),
            refresh_s: fields.refresh_s.message(|seconds| seconds),
            eip: fields.eip.message(bytes),
            group: fields.group.message(|name| name.to_string()),
            attachments: fields.attachments.map(|all| proto::Attachments { attachments: list(all) }),
        }
    }
}

/// The fields that a HAVIP has.
impl From<Havip> for HavipFields {
    fn from(havip: Havip) -> Self {
        Self {
            place: Some(havip.place()),
            vrids: Some(havip.vrids),
            refresh_s: Field::present(havip.refresh_s),
            eip: Field::present(havip.eip),
            group: Field::present(havip.group),
            attachments: Some(havip.attachments.into_iter().map(AttachmentFields::from).collect()),
        }
    }
}

impl TryFrom<AttachmentFields> for Attachment {
    type Error = ModelError;

    /// The attachment, where all its TEPs are addresses.
    fn try_from(AttachmentFields { instance, mac, teps }: AttachmentFields) -> Result<Self> {
        Ok(Self { instance, mac, teps: teps.into_addresses()? })
    }
}

impl TryFrom<proto::Havip> for Havip {
    type Error = ModelError;

    fn try_from(message: proto::Havip) -> Result<Self> {
        let name = message.name.parse()?;
        let fields = HavipFields::try_from(message)?;
        let place = fields.place.ok_or(ModelError::Missing("address of the HAVIP"))?;
        let attachments = fields.attachments.unwrap_or_default().into_iter().map(Attachment::try_from);
        let mut havip = Self {
            vrids: fields.vrids.unwrap_or_default(),
            refresh_s: fields.refresh_s.over(None, true),
            eip: fields.eip.over(None, true),
            group: fields.group.over(None, true),
            attachments: attachments.collect::<Result<_>>()?,
            ..Self::new(name, place)
        };
        havip.sort();
        havip.check()?;
        Ok(havip)
    }
}

impl From<Havip> for proto::Havip {
    fn from(havip: Havip) -> Self {
        Self { name: havip.name.to_string(), ..HavipFields::from(havip).into() }
    }
}

impl TryFrom<proto::Holder> for Holder {
    type Error = ModelError;

    fn try_from(message: proto::Holder) -> Result<Self> {
        Ok(Self { instance: message.instance.parse()?, mac: mac(&message.mac)?, tep: tep(&message.tep)? })
    }
}

impl From<Holder> for proto::Holder {
    fn from(Holder { instance, mac, tep }: Holder) -> Self {
        Self { instance: instance.to_string(), mac: mac.octets().to_vec(), tep: tep_bytes(tep) }
    }
}

impl TryFrom<proto::Binding> for Binding {
    type Error = ModelError;

    fn try_from(message: proto::Binding) -> Result<Self> {
        let holder = |holder: Option<proto::Holder>| holder.map(Holder::try_from).transpose();
        Ok(Self {
            state: HavipState::from_number(message.state)?
                .ok_or(ModelError::Missing("state of the HAVIP"))?,
            holder: holder(message.holder)?,
            previous: holder(message.previous)?,
            since_unix_ms: message.since_unix_ms,
            why: Why::from_number(message.why)?,
            moves: message.moves,
            generation: message.generation,
            tags: message.vlan_tags.map(vlan_tags).transpose()?,
        })
    }
}

impl From<Binding> for proto::Binding {
    fn from(binding: Binding) -> Self {
        Self {
            state: binding.state.number(),
            holder: binding.holder.map(proto::Holder::from),
            previous: binding.previous.map(proto::Holder::from),
            since_unix_ms: binding.since_unix_ms,
            why: binding.why.map_or(0, Word::number),
            moves: binding.moves,
            generation: binding.generation,
            vlan_tags: binding.tags.map(vlan_tags_message),
        }
    }
}

fn vlan_tags(message: proto::VlanTags) -> Result<VlanTags> {
    if message.too_many {
        return Ok(VlanTags::TOO_MANY);
    }
    message.tags.iter().try_fold(VlanTags::NONE, |tags, &tag| {
        let [tpid_high, tpid_low, high, low] = tag.to_be_bytes();
        let (tpid, tci) = (u16::from_be_bytes([tpid_high, tpid_low]), u16::from_be_bytes([high, low]));
        let all = tags.with(tpid, tci);
        let is_tag = matches!(tpid, 0x8100 | 0x88a8) && all != tags && all != VlanTags::TOO_MANY;
        is_tag.then_some(all).ok_or(HavipError::VlanTag(tag).into())
    })
}

fn vlan_tags_message(tags: VlanTags) -> proto::VlanTags {
    match tags.tags() {
        Some(tags) => {
            let word = |(tpid, tci): (u16, u16)| u32::from(tpid) << u16::BITS | u32::from(tci);
            proto::VlanTags { tags: tags.map(word).collect(), too_many: false }
        }
        None => proto::VlanTags { tags: vec![], too_many: true },
    }
}

impl TryFrom<proto::HavipEntry> for HavipEntry {
    type Error = ModelError;

    fn try_from(message: proto::HavipEntry) -> Result<Self> {
        Ok(Self {
            havip: message.havip.ok_or(ModelError::Missing("HAVIP"))?.try_into()?,
            binding: message.binding.ok_or(ModelError::Missing("binding"))?.try_into()?,
        })
    }
}

impl From<HavipEntry> for proto::HavipEntry {
    fn from(HavipEntry { havip, binding }: HavipEntry) -> Self {
        Self { havip: Some(havip.into()), binding: Some(binding.into()) }
    }
}
