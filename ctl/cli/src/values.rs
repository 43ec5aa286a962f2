//! Values of the command line and of apply files, each read by the rules of its type.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;

use bcast_domain::{Mac, MacError, Rate, Vni};
use ctl_api::model::{AttachmentFields, Field, MAX_REFRESH_S, Name, NameError, TepRef, TepRefError, TepSet};
use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};
use thiserror::Error;

/// Value of an apply file that is written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<T>(std::marker::PhantomData<T>);
        impl<T: FromStr<Err: Display>> Visitor<'_> for TextVisitor<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<T>, E> {
                text.parse().map(Text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TextVisitor(std::marker::PhantomData))
    }
}

/// Value of an apply file that is written as a number or as text: 5001 or "0x1389", 250000 or 250k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar<T>(pub T);

/// Description of a [`Scalar`] for errors.
pub trait Expected {
    /// Noun of the value, as in "expected a VNI".
    const EXPECTED: &str;
}

impl Expected for Vni {
    const EXPECTED: &str = "a VNI: a number from 0 to 4294967295 such as 5001, or 0x1389";
}

impl Expected for Rate {
    const EXPECTED: &str = "a rate a second: a whole number such as 250000, or 250k";
}

impl Expected for Refresh {
    const EXPECTED: &str = "a time: whole seconds, or 30s, 5m, 1h";
}

impl Expected for Vrid {
    const EXPECTED: &str = "a VRRP id: 1 to 255";
}

impl<'de, T: FromStr<Err: Display> + Expected> Deserialize<'de> for Scalar<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor<T>(std::marker::PhantomData<T>);
        impl<T: FromStr<Err: Display> + Expected> Visitor<'_> for ScalarVisitor<T> {
            type Value = Scalar<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar<T>, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar<T>, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar<T>, E> {
                text.parse().map(Scalar).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(ScalarVisitor(std::marker::PhantomData))
    }
}

/// Old keys of an apply file that were met, each with the key that replaces it.
#[derive(Debug, Default)]
pub struct OldKeys(pub BTreeSet<(&'static str, &'static str)>);

/// An entry of an apply file that contradicts itself.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EntryError {
    /// An old key stands beside the one that replaces it.
    #[error("{old} is the old name of {new}: give {new} alone")]
    BothKeys {
        /// Old key.
        old: &'static str,
        /// New key.
        new: &'static str,
    },
    /// A member stands twice in the list of a domain.
    #[error("domain {vni}: member {member} is listed twice")]
    MemberTwice {
        /// VNI of the domain.
        vni: Vni,
        /// The member.
        member: TepRef,
    },
}

impl OldKeys {
    /// Value of whichever key is given; an old one is noted.
    pub fn either<T>(
        &mut self,
        old: &'static str,
        old_value: Option<T>,
        new: &'static str,
        value: Option<T>,
    ) -> Result<Option<T>, EntryError> {
        match (old_value, value) {
            (Some(_), Some(_)) => Err(EntryError::BothKeys { old, new }),
            (Some(value), None) => {
                self.0.insert((old, new));
                Ok(Some(value))
            }
            (None, value) => Ok(value),
        }
    }
}

/// Field of a request. One that an apply file does not have is absent.
pub fn field<T>(value: Option<Text<T>>) -> Field<T> {
    value.map_or(Field::Absent, |Text(value)| Field::Value(value))
}

/// The same of a [`Scalar`].
pub fn scalar_field<T>(value: Option<Scalar<T>>) -> Field<T> {
    value.map_or(Field::Absent, |Scalar(value)| Field::Value(value))
}

/// Text that is no IP address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not an IP address; write it like 10.0.0.100 or fd00::64, without prefix length or zone")]
pub struct AddressError(String);

/// IP address of either family.
pub fn address(text: &str) -> Result<IpAddr, AddressError> {
    text.parse().map_err(|_| AddressError(text.to_owned()))
}

/// VRRP id: 1 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vrid(pub u8);

/// Text that is no [`Vrid`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a VRRP id; give 1 to 255")]
pub struct VridError(String);

impl FromStr for Vrid {
    type Err = VridError;

    fn from_str(text: &str) -> Result<Self, VridError> {
        text.parse().ok().filter(|&vrid| vrid > 0).map(Self).ok_or_else(|| VridError(text.to_owned()))
    }
}

/// Attachment: `instance=vm1,mac=52:54:00:00:00:01,tep=hv1`, in any order; `tep=hv1+hv3` while it migrates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach(pub AttachmentFields);

/// Text that is no [`Attach`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AttachError {
    /// A part is missing, unknown or there twice.
    #[error(
        "{0} in {1:?}; write instance=vm1,mac=52:54:00:00:00:01,tep=hv1, or tep=hv1+hv3 while it migrates"
    )]
    Parts(&'static str, String),
    /// Instance.
    #[error("instance: {0}")]
    Instance(#[from] NameError),
    /// MAC address.
    #[error("mac: {0}")]
    Mac(#[from] MacError),
    /// TEP.
    #[error("tep: {0}")]
    Tep(#[from] TepRefError),
}

impl FromStr for Attach {
    type Err = AttachError;

    fn from_str(text: &str) -> Result<Self, AttachError> {
        let wrong = |what| AttachError::Parts(what, text.to_owned());
        let (mut instance, mut mac, mut teps) = (None, None, None);
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| wrong("a part without ="))?;
            let before = match key {
                "instance" => instance.replace(value),
                "mac" => mac.replace(value),
                "tep" => teps.replace(value),
                _ => return Err(wrong("an unknown key")),
            };
            if before.is_some() {
                return Err(wrong("a key that is given twice"));
            }
        }
        let instance: Name = instance.ok_or_else(|| wrong("no instance"))?.parse()?;
        let mac: Mac = mac.ok_or_else(|| wrong("no mac"))?.parse()?;
        let teps = teps.ok_or_else(|| wrong("no tep"))?.split('+').map(str::parse);
        let teps = teps.collect::<Result<TepSet, TepRefError>>()?;
        Ok(Self(AttachmentFields { instance, mac, teps }))
    }
}

/// Seconds between two announcements on a holder's behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh(pub u32);

/// Text that is no [`Refresh`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RefreshError {
    /// No number with s, m or h.
    #[error("{0:?} is not a time; write whole seconds, minutes or hours, as in 30s, 5m or 1h")]
    NotATime(String),
    /// Out of range.
    #[error("{0} is out of range: 1s to 24h")]
    Range(String),
}

impl FromStr for Refresh {
    type Err = RefreshError;

    fn from_str(text: &str) -> Result<Self, RefreshError> {
        let (digits, factor) = match text.char_indices().next_back() {
            Some((at, 's')) => (&text[..at], 1),
            Some((at, 'm')) => (&text[..at], 60),
            Some((at, 'h')) => (&text[..at], 3600),
            _ => (text, 1),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RefreshError::NotATime(text.to_owned()));
        }
        let seconds = digits.parse().ok().and_then(|number: u32| number.checked_mul(factor));
        seconds
            .filter(|seconds| (1..=MAX_REFRESH_S).contains(seconds))
            .map(Self)
            .ok_or_else(|| RefreshError::Range(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_or_vrrp_id_says_what_one_looks_like() {
        for text in ["10.0.0.100", "fd00::64", "::ffff:10.0.0.1"] {
            assert_eq!(address(text).unwrap().to_string(), text);
        }
        for text in ["", "web", "10.0.0", "010.0.0.1", "203.0.113.7/32", "fe80::1%eth0"] {
            let error = address(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is not an IP address; write it like ")), "{error}");
        }
        assert_eq!(("1".parse(), "255".parse()), (Ok(Vrid(1)), Ok(Vrid(255))));
        for text in ["", "0", "256", "-1", "x", "5 1"] {
            let error = text.parse::<Vrid>().unwrap_err().to_string();
            assert_eq!(error, format!("{text:?} is not a VRRP id; give 1 to 255"));
        }
    }

    #[test]
    fn an_attachment_is_written_with_its_three_parts_in_any_order() {
        let one: Attach = "instance=default/web-0,mac=5254.0000.0001,tep=hv1+198.18.0.3".parse().unwrap();
        assert_eq!(
            (one.0.instance.as_str(), one.0.mac.to_string()),
            ("default/web-0", "52:54:00:00:00:01".into())
        );
        let teps: Vec<_> = one.0.teps.iter().map(|tep| tep.to_string()).collect();
        assert_eq!(teps, ["198.18.0.3", "hv1"]);
        assert_eq!("tep=198.18.0.3+hv1,mac=525400000001,instance=default/web-0".parse(), Ok(one));
        for (text, words) in [
            ("", "a part without ="),
            ("vm1", "a part without ="),
            ("instance=vm1,mac=525400000001", "no tep in"),
            ("instance=vm1,tep=hv1", "no mac in"),
            ("mac=525400000001,tep=hv1", "no instance in"),
            ("instance=vm1,mac=525400000001,tep=hv1,", "a part without ="),
            ("instance=vm1,mac=525400000001,tep=hv1,tep=hv2", "a key that is given twice"),
            ("instance=vm1,mac=525400000001,teps=hv1", "an unknown key"),
            ("instance=vm 1,mac=525400000001,tep=hv1", "instance: name"),
            ("instance=vm1,mac=5254,tep=hv1", "mac: "),
            ("instance=vm1,mac=525400000001,tep=hv1+", "tep: a name is empty"),
            ("instance=vm1,mac=525400000001,tep=fd00::1", "tep: TEP fd00::1 is an IPv6 address"),
        ] {
            let error = text.parse::<Attach>().unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_refresh_is_written_in_seconds_minutes_or_hours() {
        for (text, seconds) in [("1", 1), ("30s", 30), ("5m", 300), ("24h", 86_400), ("86400", 86_400)] {
            assert_eq!(text.parse(), Ok(Refresh(seconds)));
        }
        for text in ["", "s", "-1s", "1.5h", "1d", "30 s", "s30", "30é"] {
            assert_eq!(text.parse::<Refresh>(), Err(RefreshError::NotATime(text.to_owned())));
        }
        for text in ["0", "0s", "25h", "86401", "4294967296s", "4294967295h"] {
            assert_eq!(text.parse::<Refresh>(), Err(RefreshError::Range(text.to_owned())));
        }
    }
}
