//! The entries of `havips`.

use std::collections::HashMap;
use std::net::IpAddr;

use bcast_domain::Vni;
use ctl_api::model::{Attachment, Havip, HavipError, Name, TepRef};
use thiserror::Error;

use super::super::file::{FileAttachment, FileHavip};
use super::super::inventory::Inventory;
use super::Resolver;
use crate::args::Refresh;

/// An entry of `havips` that contradicts another one, or the node.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HavipEntryError {
    /// The same HAVIP stands twice.
    #[error("havips[{entry}]: {name} stands in havips[{earlier}] already: remove one of them")]
    Twice {
        /// The later entry, from 0.
        entry: usize,
        /// The entry before it.
        earlier: usize,
        /// The name of both.
        name: Name,
    },
    /// Two have one address in one domain.
    #[error(
        "havips[{entry}] ({name}): {address} in domain {vni} is that of havips[{earlier}] already: one address belongs to one \
         HAVIP"
    )]
    AddressTwice {
        /// The later entry, from 0.
        entry: usize,
        /// The entry before it.
        earlier: usize,
        /// The name of the later one.
        name: Name,
        /// The address of both.
        address: IpAddr,
        /// The domain of both.
        vni: Vni,
    },
    /// Its domain will not be there.
    #[error("havips[{entry}] ({name}): there is no domain {vni}: add it to `domains`")]
    NoDomain {
        /// The entry, from 0.
        entry: usize,
        /// Its name.
        name: Name,
        /// The domain.
        vni: Vni,
    },
    /// A TEP that will not be there.
    #[error("havips[{entry}] ({name}): {tep}, where {instance} runs, is no TEP: add it to `teps`")]
    NoTep {
        /// The entry, from 0.
        entry: usize,
        /// Its name.
        name: Name,
        /// The instance.
        instance: Name,
        /// The TEP as it is written.
        tep: TepRef,
    },
    /// It cannot be by itself.
    #[error("havips[{entry}] ({name}): {error}")]
    Wrong {
        /// The entry, from 0.
        entry: usize,
        /// Its name.
        name: Name,
        /// Why.
        error: HavipError,
    },
}

/// Adds the file's HAVIPs to what shall be; `listed` tells the domains that are in the file.
///
/// A list of attachments is the whole list. What an entry leaves out stays as it is; with `prune` it goes.
pub fn resolve(
    resolver: &Resolver<'_>,
    entries: &[FileHavip],
    listed: impl Fn(Vni) -> bool,
    want: &mut Inventory,
) -> Result<(), HavipEntryError> {
    let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
    for (entry, file) in entries.iter().enumerate() {
        let FileHavip { vni, address, .. } = *file;
        let name = || file.name.clone();
        if let Some(earlier) = names.insert(&file.name, entry) {
            return Err(HavipEntryError::Twice { entry, earlier, name: name() });
        }
        if let Some(earlier) = addresses.insert((vni, address), entry) {
            return Err(HavipEntryError::AddressTwice { entry, earlier, name: name(), address, vni });
        }
        if !listed(vni) && (resolver.prune || resolver.have.domain(vni).is_none()) {
            return Err(HavipEntryError::NoDomain { entry, name: name(), vni });
        }
        let (havip, attachments_stay) = one(resolver, entry, file)?;
        havip.check().map_err(|error| HavipEntryError::Wrong { entry, name: name(), error })?;
        want.push_havip(havip, attachments_stay);
    }
    Ok(())
}

/// What an entry says, filled up with what stays, and whether its attachments are what stays.
fn one(resolver: &Resolver<'_>, entry: usize, file: &FileHavip) -> Result<(Havip, bool), HavipEntryError> {
    let had = if resolver.prune { None } else { resolver.have.havip(&file.name) };
    let of_file = |attachments: &Vec<FileAttachment>| {
        attachments.iter().map(|attachment| attached(resolver, entry, file, attachment)).collect()
    };
    let attachments: Option<Vec<Attachment>> = file.attachments.as_ref().map(of_file).transpose()?;
    let vrids = file.vrids.as_ref().map(|vrids| vrids.iter().map(|vrid| vrid.0).collect());
    let stay = attachments.is_none() && had.is_some();
    let mut havip = Havip {
        name: file.name.clone(),
        vni: file.vni,
        subnet: file.subnet,
        address: file.address,
        attachments: attachments.or(had.map(|had| had.attachments.clone())).unwrap_or_default(),
        vrids: vrids.or(had.map(|had| had.vrids.clone())).unwrap_or_default(),
        refresh_s: file.refresh.map(|Refresh(seconds)| seconds).or(had.and_then(|had| had.refresh_s)),
        eip: file.eip.or(had.and_then(|had| had.eip)),
    };
    havip.sort();
    Ok((havip, stay))
}

fn attached(
    resolver: &Resolver<'_>,
    entry: usize,
    file: &FileHavip,
    attachment: &FileAttachment,
) -> Result<Attachment, HavipEntryError> {
    let found = |tep: &TepRef| {
        resolver.find(tep).ok_or_else(|| HavipEntryError::NoTep {
            entry,
            name: file.name.clone(),
            instance: attachment.instance.clone(),
            tep: tep.clone(),
        })
    };
    let teps = attachment.teps().map(found).collect::<Result<_, _>>()?;
    Ok(Attachment { instance: attachment.instance.clone(), mac: attachment.mac, teps })
}
