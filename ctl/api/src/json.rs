//! JSON of messages: addresses, MACs, enums and times as text.

use std::fmt::Display;
use std::net::Ipv4Addr;

use bcast_domain::MacAddr;
use jiff::Timestamp;
use serde::ser::{Serialize, Serializer};

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
    text(bytes.try_into().ok().map(MacAddr), serializer)
}

/// The same of an optional field.
pub fn optional_mac<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    mac(bytes.as_deref().unwrap_or_default(), serializer)
}

/// Counters: one object of names and numbers, in their order.
pub fn counters<S: Serializer>(counters: &[proto::Counter], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counters.iter().map(|counter| (&counter.name, counter.value)))
}

/// The word of an enum's number; null where it is unspecified or not known.
pub fn word<W: Word, S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    text(W::from_number(*number).ok().flatten().map(W::as_str), serializer)
}

/// Text; null where it is empty.
pub fn optional_text<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
    text(Some(value).filter(|value| !value.is_empty()), serializer)
}

/// RFC 3339 text of a Unix time in milliseconds; null where it is 0.
pub fn optional_utc<S: Serializer>(unix_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    text(Some(*unix_ms).filter(|&unix_ms| unix_ms > 0).map(utc), serializer)
}

/// Unix time in milliseconds as RFC 3339 text, in UTC.
#[must_use]
pub fn utc(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{unix_ms} ms after 1970"), |time| format!("{time:.3}"))
}

/// A message; its default where it is absent.
pub fn or_default<T: Serialize + Default, S: Serializer>(
    message: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match message {
        Some(message) => message.serialize(serializer),
        None => T::default().serialize(serializer),
    }
}

/// Subnets as text; none where they are absent.
pub fn subnets<S: Serializer>(subnets: &Option<proto::Subnets>, serializer: S) -> Result<S::Ok, S::Error> {
    let all = subnets.iter().flat_map(|all| &all.subnets);
    serializer
        .collect_seq(all.filter_map(|one| Some(format!("{}/{}", ip(&one.network).ok()?, one.prefix_length))))
}

/// Gateways; none where they are absent.
pub fn gateways<S: Serializer>(gateways: &Option<proto::Gateways>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(gateways.iter().flat_map(|all| &all.gateways))
}

/// Names of nodes; none where they are absent.
pub fn node_names<S: Serializer>(names: &Option<proto::NodeNames>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().flat_map(|all| &all.names))
}

/// Bytes that are JSON themselves; null where they are not.
pub fn json_value<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_slice::<serde_json::Value>(bytes).ok().serialize(serializer)
}

/// A set of TEPs: their addresses, then names.
impl Serialize for proto::Teps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let v4 = self.ipv4.as_chunks::<4>().0.iter().map(|&octets| Ipv4Addr::from(octets).to_string());
        let v6 = self.ipv6.chunks_exact(16).filter_map(|octets| ip(octets).ok()).map(|ip| ip.to_string());
        serializer.collect_seq(v4.chain(v6).chain(self.names.iter().cloned()))
    }
}
