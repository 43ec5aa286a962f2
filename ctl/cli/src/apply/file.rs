//! The apply file: YAML or JSON text to entries, each entry checked by itself.
//!
//! ```yaml
//! teps:    [{address: 198.18.0.1, name: hv1}, {address: 198.18.0.2, limit: {frames: 1000}}]
//! domains: [{vni: 5001, name: vpc-a, members: [hv1, 198.18.0.2], limit: {copies: 250k, bits: 1G, control: 10k}}]
//! havips:  [{name: web, vni: 5001, subnet: 10.0.0.0/24, address: 10.0.0.100, attachments: [{instance: vm1, mac: "52:54:00:00:00:01", teps: [hv1]}]}]
//! ```
//!
//! An export also says the `revision` that it is of: the node's is greater once it is applied.

mod havip;
mod values;

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, Tep, TepLimit, Vni};
use ctl_api::model::{GarpMode, Name, Revision, TepRef};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

pub use havip::{FileAttachment, FileHavip};
use values::{domain_limit, optional_text, tep_limit, text, vni};

/// An apply file as it stands: entries in the file's order, names not yet resolved.
#[derive(Debug, Default)]
pub struct ApplyFile {
    /// The revision that it was exported of.
    pub revision: Option<Revision>,
    /// The entries of `teps`.
    pub teps: Vec<FileTep>,
    /// The entries of `domains`.
    pub domains: Vec<FileDomain>,
    /// The entries of `havips`.
    pub havips: Vec<FileHavip>,
    /// The members of all domains, one after another.
    pub members: Vec<Member>,
    /// Each name that a member is written by, once; [`Member::Name`] is an index into it.
    pub names: Vec<Name>,
}

/// An entry of `teps`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTep {
    /// The TEP's underlay address.
    #[serde(deserialize_with = "text")]
    pub address: Tep,
    /// Its name.
    #[serde(default, deserialize_with = "optional_text")]
    pub name: Option<Name>,
    /// The rates that it says.
    #[serde(default, deserialize_with = "tep_limit")]
    pub limit: TepLimit,
    /// The IPv4 gateway that it says.
    #[serde(default, deserialize_with = "optional_text")]
    pub next_hop: Option<Ipv4Addr>,
    /// The IPv6 gateway that it says.
    #[serde(default, deserialize_with = "optional_text")]
    pub next_hop6: Option<Ipv6Addr>,
}

/// An entry of `domains`; its members are the file's from `first` on, `len` of them.
#[derive(Debug)]
pub struct FileDomain {
    /// The domain's VNI.
    pub vni: Vni,
    /// Its name.
    pub name: Option<Name>,
    /// The rates that it says.
    pub limit: DomainLimit,
    /// The mode that it says.
    pub garp: Option<GarpMode>,
    /// Its first member's index in [`ApplyFile::members`].
    pub first: usize,
    /// How many members it lists; none where it has no list.
    pub len: Option<usize>,
}

/// A member as it is written: 8 bytes, since there are millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// By its address.
    Address(Tep),
    /// By its name: an index into [`ApplyFile::names`].
    Name(u32),
}

/// What is wrong with the text of an apply file, and where.
#[derive(Debug, Error)]
pub enum SyntaxError {
    /// Not text at all.
    #[error("it is not UTF-8 text: byte {at} cannot be read")]
    Encoding {
        /// The offset of the first byte that is wrong.
        at: usize,
    },
    /// Nothing in it.
    #[error("it is empty: write `teps:` and `domains:`, or {{}} if nothing shall be")]
    Empty,
    /// Unreadable, or an entry is wrong.
    #[error("line {line}, column {column}: {reason}")]
    Text {
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// What is wrong there.
        reason: String,
    },
}

/// Reads an apply file, JSON where it starts like JSON, YAML otherwise.
///
/// # Errors
/// [`SyntaxError`] for unreadable text, unknown or repeated keys, wrong types, and values that are no VNI, address or name.
pub fn parse(bytes: &[u8]) -> Result<ApplyFile, SyntaxError> {
    let text = str::from_utf8(bytes).map_err(|error| SyntaxError::Encoding { at: error.valid_up_to() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut file = ApplyFile::default();
    let seed = FileSeed { file: &mut file, interned: HashMap::new() };
    if is_json(text) {
        parse_json(text, seed)?
    } else {
        parse_yaml(text, seed)?
    }
    Ok(file)
}

/// YAML may start with a brace as well, but hardly with `{"` or `{}`.
fn is_json(text: &str) -> bool {
    let after = text.trim_start().strip_prefix('{').map(str::trim_start);
    after.is_some_and(|after| after.starts_with('"') || after.starts_with('}'))
}

fn parse_json(text: &str, seed: FileSeed<'_>) -> Result<(), SyntaxError> {
    let mut json = serde_json::Deserializer::from_str(text);
    seed.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let said = error.to_string();
        // serde_json's own " at line L column C" would say the place twice.
        let reason = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
        SyntaxError::Text { line: line as u64, column: column as u64, reason: one_line(reason) }
    })
}

fn parse_yaml(text: &str, seed: FileSeed<'_>) -> Result<(), SyntaxError> {
    // A budget is for documents from strangers; the operator's own may have a member for each of 33 million memberships.
    // What stays limited is what a small file could blow up with: nesting, aliases, merge keys.
    const REPLAYED_EVENTS: usize = 64 << 20;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_total_comment_bytes: usize::MAX,
            max_aliases: 1 << 20,
            max_anchors: 1 << 20,
            max_depth: 16,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPLAYED_EVENTS },
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    if text.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#')) {
        return Err(SyntaxError::Empty);
    }
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| seed.deserialize(yaml))
        .map_err(|error| {
            let place = error.location();
            let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
            let said = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            let reason = said.rsplit_once(" at line ").map_or(said.as_str(), |(reason, _)| reason);
            SyntaxError::Text { line, column, reason: in_file_words(&one_line(reason)) }
        })
}

/// The YAML reader's words for what it expected, as someone who writes files would say them.
fn in_file_words(reason: &str) -> String {
    match reason {
        "expected sequence start" => "expected a list".to_owned(),
        "expected mapping start" => "expected keys with values".to_owned(),
        "expected string scalar" => "expected text".to_owned(),
        other => other.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Fills an [`ApplyFile`] while the text is read, so that no second copy of the members is made.
struct FileSeed<'f> {
    file: &'f mut ApplyFile,
    interned: HashMap<Name, u32>,
}

impl FileSeed<'_> {
    fn push(&mut self, entry: DomainText) -> Result<(), TooManyNames> {
        let first = self.file.members.len();
        let listed = entry.members.is_some();
        for MemberText(tep) in entry.members.into_iter().flatten() {
            let member = match tep {
                TepRef::Address(address) => Member::Address(address),
                TepRef::Name(name) => Member::Name(self.intern(name)?),
            };
            self.file.members.push(member);
        }
        let len = listed.then(|| self.file.members.len() - first);
        self.file.domains.push(FileDomain {
            vni: entry.vni,
            name: entry.name,
            limit: entry.limit,
            garp: entry.garp,
            first,
            len,
        });
        Ok(())
    }

    fn intern(&mut self, name: Name) -> Result<u32, TooManyNames> {
        if let Some(&at) = self.interned.get(&name) {
            return Ok(at);
        }
        let at = u32::try_from(self.file.names.len()).map_err(|_| TooManyNames)?;
        self.file.names.push(name.clone());
        self.interned.insert(name, at);
        Ok(at)
    }
}

/// More different names than TEPs can ever be.
#[derive(Debug, Error)]
#[error("more than 4,294,967,296 different names")]
struct TooManyNames;

/// A domain's entry with its members, for as long as it takes to file them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DomainText {
    #[serde(deserialize_with = "vni")]
    vni: Vni,
    #[serde(default, deserialize_with = "optional_text")]
    name: Option<Name>,
    #[serde(default, deserialize_with = "domain_limit")]
    limit: DomainLimit,
    #[serde(default, deserialize_with = "optional_text")]
    garp: Option<GarpMode>,
    #[serde(default)]
    members: Option<Vec<MemberText>>,
}

#[derive(Debug)]
struct MemberText(TepRef);

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

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let (mut teps, mut domains, mut havips, mut revision) = (false, false, false, false);
        while let Some(Key(key)) = map.next_key()? {
            match key {
                Section::Teps if teps => return Err(de::Error::duplicate_field("teps")),
                Section::Domains if domains => return Err(de::Error::duplicate_field("domains")),
                Section::Havips if havips => return Err(de::Error::duplicate_field("havips")),
                Section::Revision if revision => return Err(de::Error::duplicate_field("revision")),
                Section::Revision => {
                    revision = true;
                    self.file.revision = exported(map.next_value()?).map_err(de::Error::custom)?;
                }
                Section::Teps => {
                    teps = true;
                    self.file.teps = map.next_value()?;
                }
                Section::Havips => {
                    havips = true;
                    self.file.havips = map.next_value()?;
                }
                Section::Domains => {
                    domains = true;
                    map.next_value_seed(DomainsSeed(&mut self))?;
                }
            }
        }
        Ok(())
    }
}

/// A revision that a node can have given; 0 is that of an empty one.
fn exported(number: u64) -> Result<Option<Revision>, NoRevision> {
    match Revision::new(number) {
        revision if revision > Revision::MAX_SAVED => Err(NoRevision(number)),
        revision => Ok(Some(revision).filter(|_| number > 0)),
    }
}

/// A revision that no node has given.
#[derive(Debug, Error)]
#[error("revision {0} is above {max}; no node has given it", max = Revision::MAX_SAVED)]
struct NoRevision(u64);

enum Section {
    Teps,
    Domains,
    Havips,
    Revision,
}

struct Key(Section);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl Visitor<'_> for Keys {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`teps`, `domains` or `havips`")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<Key, E> {
                match key {
                    "teps" => Ok(Key(Section::Teps)),
                    "domains" => Ok(Key(Section::Domains)),
                    "havips" => Ok(Key(Section::Havips)),
                    "revision" => Ok(Key(Section::Revision)),
                    other => Err(E::unknown_field(other, &["teps", "domains", "havips"])),
                }
            }
        }
        deserializer.deserialize_identifier(Keys)
    }
}

struct DomainsSeed<'s, 'f>(&'s mut FileSeed<'f>);

impl<'de> DeserializeSeed<'de> for DomainsSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for DomainsSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of domains")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut domains: A) -> Result<(), A::Error> {
        while let Some(entry) = domains.next_element()? {
            self.0.push(entry).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for MemberText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(MemberText)
    }
}
