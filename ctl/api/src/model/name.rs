//! Names, references to TEPs, and request ids.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use bcast_domain::{Tep, TepError};
use thiserror::Error;

/// The name of a TEP or a domain.
///
/// # Legal values
///
/// 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or digit; and it must not read as an IP address or a number,
/// so that a word on the command line is an address, a VNI or a name, never two of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// No character at all.
    #[error("a name is empty; it has 1 to 63 characters")]
    Empty,
    /// More than 63 characters.
    #[error("name {0:?}... is too long; at most 63 characters")]
    TooLong(Box<str>),
    /// A character that names do not have.
    #[error("name {name:?} has the character {character:?}; names are made of A-Z a-z 0-9 . _ -")]
    Character {
        /// The whole text.
        name: Box<str>,
        /// Its first bad character.
        character: char,
    },
    /// It starts with a sign.
    #[error("name {0:?} starts with a sign; the first character is a letter or a digit")]
    Start(Box<str>),
    /// It could be taken for an IP address or a number.
    #[error("name {0:?} reads as an address or a number; put a letter into it")]
    Numeric(Box<str>),
}

impl Name {
    /// Most characters, all of them ASCII.
    pub const MAX: usize = 63;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.len() > Self::MAX {
            return Err(NameError::TooLong(text.chars().take(16).collect::<String>().into()));
        }
        if let Some(character) = text.chars().find(|&c| !legal(c)) {
            return Err(NameError::Character { name: text.into(), character });
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::Start(text.into()));
        }
        if reads_as_number(text) {
            return Err(NameError::Numeric(text.into()));
        }
        Ok(Self(text.into()))
    }
}

/// Digits and dots (every IPv4 address, also a mistyped one), or `0x` and hexadecimal digits. An IPv6 address has
/// colons, which no name has.
fn reads_as_number(text: &str) -> bool {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    text.chars().all(|c| c.is_ascii_digit() || c == '.')
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
    /// By its address.
    Address(Tep),
    /// By its name.
    Name(Name),
}

/// Why a text does not name a TEP.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TepRefError {
    /// An IPv4 address that no TEP can have.
    #[error("TEP {0}")]
    Tep(#[from] TepError),
    /// An address of the wrong family.
    #[error("TEP {0} is an IPv6 address; a TEP is known by its IPv4 underlay address")]
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
        for text in ok {
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
