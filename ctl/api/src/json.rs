//! JSON of messages: addresses, MACs and enums as text.

use std::fmt::Display;
use std::net::Ipv4Addr;

use bcast_domain::Octets;
use serde::ser::Serializer;

use crate::model::{Word, ip};
use crate::proto;

fn text<S: Serializer>(value: Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(&value),
        None => serializer.serialize_none(),
    }
}

/// An address in network order; null where it is none.
pub fn address<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    text(ip(bytes).ok(), serializer)
}

/// The same of an optional field.
pub fn optional_address<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    address(bytes.as_deref().unwrap_or_default(), serializer)
}

/// A MAC address; null where it is none.
pub fn mac<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    text(bytes.try_into().ok().map(Octets), serializer)
}

/// The same of an optional field.
pub fn optional_mac<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    mac(bytes.as_deref().unwrap_or_default(), serializer)
}

/// The word of an enum's number; null where it is unspecified or not known.
pub fn word<W: Word, S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    text(W::from_number(*number).ok().flatten().map(W::as_str), serializer)
}

/// Bytes that are JSON themselves, as text.
pub fn json_text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

/// Addresses, then names.
impl From<proto::Teps> for Vec<String> {
    fn from(teps: proto::Teps) -> Self {
        let v4 = teps.ipv4.as_chunks::<4>().0.iter().map(|&octets| Ipv4Addr::from(octets).to_string());
        let v6 = teps.ipv6.chunks_exact(16).filter_map(|octets| ip(octets).ok()).map(|ip| ip.to_string());
        v4.chain(v6).chain(teps.names).collect()
    }
}
