//! Entries of `havips`.

use std::fmt;
use std::net::IpAddr;

use bcast_domain::{Mac, Vni};
use ctl_api::model::{Name, Subnet, TepRef};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::MemberText;
use super::values::{optional_text, text, vni};
use crate::args::Refresh;

/// An entry of `havips`. What it leaves out is `None`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHavip {
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub name: Name,
    /// Its domain.
    #[serde(deserialize_with = "vni")]
    pub vni: Vni,
    /// The network of its address.
    #[serde(deserialize_with = "text")]
    pub subnet: Subnet,
    /// Its address.
    #[serde(deserialize_with = "text")]
    pub address: IpAddr,
    /// The VRRP ids that its holders may use.
    #[serde(default)]
    pub vrids: Option<Vec<Vrid>>,
    /// How often it is announced anew.
    #[serde(default, deserialize_with = "refresh")]
    pub refresh: Option<Refresh>,
    /// Its public address.
    #[serde(default, deserialize_with = "optional_text")]
    pub eip: Option<IpAddr>,
    /// Who may hold it: the whole list.
    #[serde(default)]
    pub attachments: Option<Vec<FileAttachment>>,
}

/// An entry of a HAVIP's `attachments`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileAttachment {
    /// The instance.
    #[serde(deserialize_with = "text")]
    pub instance: Name,
    /// The MAC address of its interface.
    #[serde(deserialize_with = "text")]
    pub mac: Mac,
    /// Where it runs.
    teps: Vec<MemberText>,
}

impl FileAttachment {
    /// Where it runs, as it is written.
    pub fn teps(&self) -> impl Iterator<Item = &TepRef> {
        self.teps.iter().map(|MemberText(tep)| tep)
    }
}

/// A VRRP id: 1 to 255.
#[derive(Clone, Copy, Debug)]
pub struct Vrid(pub u8);

impl<'de> Deserialize<'de> for Vrid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VridVisitor;
        impl Visitor<'_> for VridVisitor {
            type Value = Vrid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a VRRP id: 1 to 255")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Vrid, E> {
                let vrid = u8::try_from(number).ok().filter(|&vrid| vrid > 0).map(Vrid);
                vrid.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_u64(VridVisitor)
    }
}

/// Reads a time: whole seconds, or text such as 30s; null is none.
fn refresh<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Refresh>, D::Error> {
    struct RefreshVisitor;
    impl Visitor<'_> for RefreshVisitor {
        type Value = Option<Refresh>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time: whole seconds, or 30s, 5m, 1h")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<Refresh>, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<Refresh>, E> {
            text.parse().map(Some).map_err(E::custom)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Option<Refresh>, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(RefreshVisitor)
}
