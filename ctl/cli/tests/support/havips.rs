//! The model's HAVIPs.

use ctl_api::model::{Attachment, Change, Havip, Name, TepRef};

use super::{Model, Refused};

/// Most attachments of one.
const ATTACHMENTS: usize = 10;

impl Model {
    pub(super) fn change_havip(&mut self, change: Change, notes: &mut Vec<String>) -> Result<(), Refused> {
        match change {
            Change::HavipCreate { name, vni, subnet, address, vrids, refresh_s } => {
                let new = Havip {
                    name: name.clone(),
                    vni,
                    subnet,
                    address,
                    attachments: Vec::new(),
                    vrids: vrids.clone(),
                    refresh_s,
                    eip: None,
                };
                let mut havip = self.havips.get(&name).cloned().unwrap_or(new);
                if (havip.vni, havip.subnet, havip.address) != (vni, subnet, address) {
                    return Err(Refused::Havip(format!("havip {name} is there with another address")));
                }
                havip.vrids = if vrids.is_empty() { havip.vrids } else { vrids };
                havip.refresh_s = refresh_s.or(havip.refresh_s);
                self.set(havip)
            }
            Change::HavipSet(havip) => self.set(*havip),
            Change::HavipRemove { name } => {
                if self.havips.remove(&name).is_none() {
                    notes.push(format!("havip {name} is not there"));
                }
                Ok(())
            }
            Change::HavipAttach { name, instance, mac, teps } => {
                let teps = self.registered(teps)?.into_iter().collect();
                let mut havip = self.havip(&name)?;
                havip.attachments.retain(|attachment| attachment.instance != instance);
                havip.attachments.push(Attachment { instance, mac, teps });
                self.set(havip)
            }
            Change::HavipDetach { name, instance } => {
                let mut havip = self.havip(&name)?;
                let before = havip.attachments.len();
                havip.attachments.retain(|attachment| attachment.instance != instance);
                if havip.attachments.len() == before {
                    notes.push(format!("havip {name}: {instance} is not attached"));
                }
                self.set(havip)
            }
            Change::HavipBindEip { name, eip } => {
                let havip = self.havip(&name)?;
                if havip.eip.is_some_and(|other| other != eip) {
                    return Err(Refused::Havip(format!("havip {name} has an EIP: unbind that first")));
                }
                self.set(Havip { eip: Some(eip), ..havip })
            }
            Change::HavipUnbindEip { name } => {
                let havip = Havip { eip: None, ..self.havip(&name)? };
                self.set(havip)
            }
            Change::HavipUnfreeze { name } => self.havip(&name).map(|_| ()),
            other => unreachable!("{other:?} is of no HAVIP"),
        }
    }

    fn havip(&self, name: &Name) -> Result<Havip, Refused> {
        self.havips.get(name).cloned().ok_or_else(|| Refused::NoHavip(name.clone()))
    }

    fn set(&mut self, mut havip: Havip) -> Result<(), Refused> {
        havip.sort();
        havip.check().map_err(|error| Refused::Havip(error.to_string()))?;
        self.domains.get(&havip.vni).ok_or(Refused::NoDomain(havip.vni))?;
        for tep in havip.attachments.iter().flat_map(|attachment| &attachment.teps) {
            self.teps.get(tep).ok_or(Refused::Unregistered(TepRef::Address(*tep)))?;
        }
        let count = havip.attachments.len();
        if count > ATTACHMENTS {
            return Err(Refused::Havip(format!("{count} attachments are over the limit of {ATTACHMENTS}")));
        }
        for other in self.havips.values().filter(|other| other.name != havip.name) {
            if (other.vni, other.address) == (havip.vni, havip.address) {
                let (address, name) = (havip.address, &other.name);
                return Err(Refused::Havip(format!("address {address} is that of havip {name}")));
            }
            if havip.eip.is_some() && havip.eip == other.eip {
                return Err(Refused::Havip(format!("that EIP is bound to havip {}", other.name)));
            }
        }
        self.havips.insert(havip.name.clone(), havip);
        Ok(())
    }
}
