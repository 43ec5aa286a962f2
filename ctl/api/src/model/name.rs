//! Names, references to TEPs, and request ids.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bcast_domain::{Tep, TepError, limits};
use thiserror::Error;

use super::ModelError;
use super::address::{packed, tep, tep_bytes};
use crate::proto;

/// The name of a TEP, a domain, a HAVIP, an instance or a receiver.
///
/// # Legal values
///
/// 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or digit; or several such parts with `/` between them, as in
/// Kubernetes' `namespace/pod`, with 255 characters in all. It must not read as an IP address, a subnet or a number, so
/// that a word on the command line is an address, a VNI or a name, never two of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum NameError {
    /// No character at all.
    #[error("a name is empty; it has 1 to 63 characters")]
    Empty,
    /// More than 63 characters in a part, or 255 in all.
    #[error("name {0:?}... is too long; at most 63 characters, or 63 in each part between / and 255 in all")]
    TooLong(Box<str>),
    /// A character that names do not have.
    #[error("name {name:?} has the character {character:?}; names are made of A-Z a-z 0-9 . _ - /")]
    Character { name: Box<str>, character: char },
    /// Name that starts with a sign, or has a part that does.
    #[error("name {0:?} starts with a sign; the first character is a letter or a digit, so too after each /")]
    Start(Box<str>),
    /// It could be taken for an IP address or a number.
    #[error("name {0:?} reads as an address or a number; put a letter into it")]
    Numeric(Box<str>),
}

impl Name {
    /// Most characters of a part, all of them ASCII.
    pub const MAX_PART: usize = 63;
    /// Most characters in all.
    pub const MAX: usize = 255;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
        if text.len() > Self::MAX || text.split('/').any(|part| part.len() > Self::MAX_PART) {
            return Err(NameError::TooLong(text.chars().take(16).collect::<String>().into()));
        }
        if let Some(character) = text.chars().find(|&c| !legal(c)) {
            return Err(NameError::Character { name: text.into(), character });
        }
        if !text.split('/').all(|part| part.starts_with(|first: char| first.is_ascii_alphanumeric())) {
            return Err(NameError::Start(text.into()));
        }
        if reads_as_number(text) {
            return Err(NameError::Numeric(text.into()));
        }
        Ok(Self(text.into()))
    }
}

/// Digits, dots and `/` (every IPv4 address or subnet, also a mistyped one), or `0x` and hexadecimal digits. An IPv6
/// address has colons, which no name has.
fn reads_as_number(text: &str) -> bool {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '/'))
        || hexadecimal.is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A TEP, named by its underlay address or by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TepRef {
    /// Address of the TEP.
    Address(Tep),
    /// Name of the TEP.
    Name(Name),
}

/// Why a text does not name a TEP.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TepRefError {
    /// An IPv4 address that no TEP can have.
    #[error("TEP {0}")]
    Tep(#[from] TepError),
    /// An address of the wrong family.
    #[error(
        "TEP {0} is an IPv6 address; IPv6 TEPs are not supported yet, give the TEP's IPv4 underlay address"
    )]
    Family(IpAddr),
    /// Neither an address nor a name.
    #[error("{0}; a TEP is given by its IPv4 address or its name")]
    Name(#[from] NameError),
}

impl FromStr for TepRef {
    type Err = TepRefError;

    fn from_str(text: &str) -> Result<Self, TepRefError> {
        // Most references are IPv4 addresses: one parse for those.
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(Tep::new(address)?));
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Err(TepRefError::Family(address)),
            Err(_) => Ok(Self::Name(text.parse()?)),
        }
    }
}

impl fmt::Display for TepRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(tep) => tep.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl TryFrom<Option<proto::TepRef>> for TepRef {
    type Error = ModelError;

    fn try_from(message: Option<proto::TepRef>) -> Result<Self, ModelError> {
        match message.and_then(|message| message.tep) {
            Some(proto::tep_ref::Tep::Address(bytes)) => Ok(Self::Address(tep(&bytes)?)),
            Some(proto::tep_ref::Tep::Name(name)) => Ok(Self::Name(name.parse()?)),
            None => Err(ModelError::Missing("TEP that is meant")),
        }
    }
}

impl From<TepRef> for proto::TepRef {
    fn from(tep: TepRef) -> Self {
        Self {
            tep: Some(match tep {
                TepRef::Address(tep) => proto::tep_ref::Tep::Address(tep_bytes(tep)),
                TepRef::Name(name) => proto::tep_ref::Tep::Name(name.to_string()),
            }),
        }
    }
}

/// TEPs of a request: by address, and by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TepSet {
    /// Addresses, in any order.
    pub addresses: Vec<Tep>,
    /// Names of registered TEPs.
    pub names: Vec<Name>,
}

impl TepSet {
    /// Number of TEPs that are named; one that is named twice counts twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len() + self.names.len()
    }

    /// No TEP is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The TEPs: those by address, then those by name.
    pub fn iter(&self) -> impl Iterator<Item = TepRef> {
        let names = self.names.iter().cloned().map(TepRef::Name);
        self.addresses.iter().copied().map(TepRef::Address).chain(names)
    }
}

impl TepSet {
    /// The addresses, where no TEP is named.
    pub(super) fn into_addresses(self) -> Result<Vec<Tep>, ModelError> {
        match self.names.into_iter().next() {
            Some(name) => Err(ModelError::NotAnAddress(name)),
            None => Ok(self.addresses),
        }
    }
}

impl FromIterator<TepRef> for TepSet {
    fn from_iter<I: IntoIterator<Item = TepRef>>(teps: I) -> Self {
        let mut set = Self::default();
        for tep in teps {
            match tep {
                TepRef::Address(tep) => set.addresses.push(tep),
                TepRef::Name(name) => set.names.push(name),
            }
        }
        set
    }
}

impl From<Vec<Tep>> for TepSet {
    fn from(addresses: Vec<Tep>) -> Self {
        Self { addresses, names: Vec::new() }
    }
}

impl TryFrom<proto::Teps> for TepSet {
    type Error = ModelError;

    fn try_from(message: proto::Teps) -> Result<Self, ModelError> {
        if let Some(v6) = message.ipv6.first_chunk::<16>() {
            return Err(ModelError::Ipv6Tep(Ipv6Addr::from(*v6)));
        }
        if !message.ipv6.is_empty() {
            return Err(ModelError::AddressLength(message.ipv6.len()));
        }
        let count = message.ipv4.len() / 4 + message.names.len();
        if count > limits::MAX_MEMBERS {
            return Err(ModelError::TooManyTeps(count));
        }
        let names = message.names.iter().map(|name| name.parse());
        Ok(Self { addresses: packed(&message.ipv4)?, names: names.collect::<Result<_, _>>()? })
    }
}

impl From<TepSet> for proto::Teps {
    fn from(teps: TepSet) -> Self {
        let names = teps.names.iter().map(ToString::to_string).collect();
        let ipv4 = teps.addresses.iter().flat_map(|tep| tep.address().octets()).collect();
        Self { ipv4, names, ..Self::default() }
    }
}

/// A caller's mark of one request: the same id again, within 10 minutes, gets the first answer and changes nothing.
///
/// # Legal values
///
/// 1 to 64 bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

/// Why a text is not a [`RequestId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the request id has {0} bytes; it has 1 to 64")]
pub struct RequestIdError(pub usize);

impl RequestId {
    /// Most bytes.
    pub const MAX: usize = 64;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        match text.len() {
            1..=Self::MAX => Ok(Self(text.into())),
            length => Err(RequestIdError(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_and_refused_as_the_table_says() {
        let ok: &[&str] = &["a", "hv1", "vpc-a", "A.b_c-d", "0xhv", "10.0.0.1a", "9lives", &"x".repeat(63)];
        let parts = ["default/web-0", "1/a", "cluster/ns/pod", &["x".repeat(63), "y".repeat(63)].join("/")];
        for text in ok.iter().chain(&parts) {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), *text);
        }
        let numeric = |t: &str| NameError::Numeric(t.into());
        let bad: &[(&str, NameError)] = &[
            ("", NameError::Empty),
            (&"x".repeat(64), NameError::TooLong("x".repeat(16).into())),
            (&"é".repeat(40), NameError::TooLong("é".repeat(16).into())),
            ("a b", NameError::Character { name: "a b".into(), character: ' ' }),
            ("fd00::1", NameError::Character { name: "fd00::1".into(), character: ':' }),
            ("-a", NameError::Start("-a".into())),
            (".", NameError::Start(".".into())),
            ("/a", NameError::Start("/a".into())),
            ("a/", NameError::Start("a/".into())),
            ("a//b", NameError::Start("a//b".into())),
            ("a/../b", NameError::Start("a/../b".into())),
            (&format!("a/{}", "x".repeat(64)), NameError::TooLong(format!("a/{}", "x".repeat(14)).into())),
            (&["x"; 129].join("/"), NameError::TooLong("x/".repeat(8).into())),
            ("198.18.0.0/24", numeric("198.18.0.0/24")),
            ("5001", numeric("5001")),
            ("0x1389", numeric("0x1389")),
            ("198.18.0.1", numeric("198.18.0.1")),
            ("300.1.1.1", numeric("300.1.1.1")),
        ];
        for (text, error) in bad {
            assert_eq!(text.parse::<Name>().as_ref(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_tep_is_named_by_its_ipv4_address_or_its_name_and_by_nothing_else() {
        let tep = Tep::new(Ipv4Addr::new(198, 18, 0, 1)).unwrap();
        assert_eq!("198.18.0.1".parse(), Ok(TepRef::Address(tep)));
        assert_eq!("hv1".parse(), Ok(TepRef::Name("hv1".parse().unwrap())));
        for (text, words) in [
            ("224.0.0.1", "TEP 224.0.0.1 is a multicast address"),
            ("fd00::1", "TEP fd00::1 is an IPv6 address"),
            ("198.18.0.300", "reads as an address or a number"),
            ("", "a name is empty"),
        ] {
            let error = text.parse::<TepRef>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_request_id_has_1_to_64_bytes() {
        assert_eq!("".parse::<RequestId>(), Err(RequestIdError(0)));
        assert_eq!("i".repeat(64).parse::<RequestId>().unwrap().as_str().len(), 64);
        assert_eq!("é".repeat(33).parse::<RequestId>(), Err(RequestIdError(66)));
    }
}
