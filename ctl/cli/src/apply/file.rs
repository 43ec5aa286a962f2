//! The apply file: YAML or JSON text to a desired state, each entry checked by itself.
//!
//! ```yaml
//! teps:    [{address: 198.18.0.1, name: hv1}, {address: 198.18.0.2, limit: {frames: 1000}}]
//! domains: [{vni: 5001, name: vpc-a, members: [hv1, 198.18.0.2], limit: {copies: 250k, bits: 1G, control: 10k}}]
//! havips:  [{name: web, vni: 5001, subnet: 10.0.0.0/24, address: 10.0.0.100,
//!            attachments: [{instance: vm1, mac: "52:54:00:00:00:01", teps: [hv1]}]}]
//! ```
//!
//! An export also has its `revision`: the node's is greater once it is applied.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::mem::discriminant;

use ctl_api::model::{Revision, SetResource};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use super::syntax::{self, SyntaxError};
use crate::values::{EntryError, OldKeys};
use crate::{domain, havip, tep};

/// An apply file, the entries of each section in the file's order.
#[derive(Debug, Default)]
pub struct ApplyFile {
    /// Revision of the export.
    pub revision: Option<u64>,
    /// Old keys that it has.
    pub old_keys: OldKeys,
    /// Entries: first TEPs, then domains, then HAVIPs.
    pub entries: Vec<SetResource>,
}

impl ApplyFile {
    /// Place of an entry by its position, counted from 1: `domains[2] (VNI 5001)`, counted from 0 in its section.
    pub fn place(&self, position: u64) -> Option<String> {
        let at = usize::try_from(position).ok()?.checked_sub(1)?;
        let entry = self.entries.get(at)?;
        let (section, name) = match entry {
            SetResource::Tep(tep, _) => ("teps", tep.to_string()),
            SetResource::Domain(vni, _) => ("domains", format!("VNI {vni}")),
            SetResource::Havip(name, _) => ("havips", name.to_string()),
        };
        let of_section = |other: &&SetResource| discriminant(*other) == discriminant(entry);
        let before = self.entries.iter().take(at).filter(of_section).count();
        Some(format!("{section}[{before}] ({name})"))
    }
}

/// Reads an apply file.
///
/// # Errors
/// [`SyntaxError`]: unreadable text, unknown or repeated keys, wrong types, values that are no VNI, address or name.
pub fn parse(bytes: &[u8]) -> Result<ApplyFile, SyntaxError> {
    let mut file = ApplyFile::default();
    syntax::parse(bytes, FileSeed(&mut file))?;
    Ok(file)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Teps,
    Domains,
    Havips,
    Revision,
}

/// Fills an [`ApplyFile`] while the text is read, so that there is no second copy of its entries.
struct FileSeed<'f>(&'f mut ApplyFile);

impl<'de> DeserializeSeed<'de> for FileSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FileSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`teps`, `domains` and `havips`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let ApplyFile { revision, old_keys, entries } = self.0;
        let (mut domains, mut havips) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<Key>()? {
            if !seen.insert(key) {
                let names = ["teps", "domains", "havips", "revision"];
                return Err(de::Error::duplicate_field(names[key as usize]));
            }
            match key {
                Key::Revision => *revision = exported(map.next_value()?).map_err(de::Error::custom)?,
                Key::Teps => map.next_value_seed(each(|entry: tep::Entry| {
                    entries.push(entry.desired(old_keys)?);
                    Ok(())
                }))?,
                Key::Domains => map.next_value_seed(each(|entry: domain::Entry| {
                    domains.push(entry.desired(old_keys)?);
                    Ok(())
                }))?,
                Key::Havips => map.next_value_seed(each(|entry: havip::Entry| {
                    havips.push(SetResource::from(entry));
                    Ok(())
                }))?,
            }
        }
        entries.append(&mut domains);
        entries.append(&mut havips);
        Ok(())
    }
}

/// Reads a list entry by entry, and hands on each.
struct Each<E, F>(F, PhantomData<E>);

fn each<E, F: FnMut(E) -> Result<(), EntryError>>(take: F) -> Each<E, F> {
    Each(take, PhantomData)
}

impl<'de, E: Deserialize<'de>, F: FnMut(E) -> Result<(), EntryError>> DeserializeSeed<'de> for Each<E, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, E: Deserialize<'de>, F: FnMut(E) -> Result<(), EntryError>> Visitor<'de> for Each<E, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element()? {
            (self.0)(entry).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

/// Revision of an export. 0 is the revision of an empty node.
fn exported(number: u64) -> Result<Option<u64>, NoRevision> {
    match number {
        0 => Ok(None),
        _ if number > Revision::MAX_SAVED.get() => Err(NoRevision(number)),
        _ => Ok(Some(number)),
    }
}

/// A revision that no node has given.
#[derive(Debug, Error)]
#[error("revision {0} is above {max}; no node has given it", max = Revision::MAX_SAVED)]
struct NoRevision(u64);
