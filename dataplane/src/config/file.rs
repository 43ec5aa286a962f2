//! The file as it is written: every key optional, unknown keys refused; and the checks that make a [`Config`] of it.

use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bcast_domain::Rate;
use ctl_routes::RoutesConfig;
use ctl_webhook::WebhookConfig;
use ipnet::Ipv4Net;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use wire::MacAddr;

use engine::police::RateLimits;
use engine::runtime::{OuterSource, RuntimeSettings};

use super::bfd::Bfd;
use super::cluster::Cluster;
use super::havip::Havip;
use super::{
    Config, EalSection, MAX_ADDRESSES, MAX_WORKERS, PortConfig, UnderlayConfig, ValueError, link_address,
};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    port: Port,
    underlay: Underlay,
    workers: Workers,
    replication: Replication,
    limits: Limits,
    store: Store,
    api: Api,
    metrics: Metrics,
    eal: Eal,
    bfd: Bfd,
    havip: Havip,
    cluster: Cluster,
    webhook: Vec<WebhookConfig>,
    routes: Option<RoutesConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Port {
    device: Option<String>,
    mtu: Whole,
    takeover: bool,
}

impl Default for Port {
    fn default() -> Self {
        Self { device: None, mtu: Whole(1500), takeover: false }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Underlay {
    addresses: Vec<String>,
    gateway: Option<String>,
    gateway_mac: Option<String>,
    tap: String,
    punt_rate: Whole,
}

impl Default for Underlay {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            gateway: None,
            gateway_mac: None,
            tap: "bcast0".into(),
            punt_rate: Whole(20_000),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Workers {
    cores: Vec<usize>,
    idle_sleep_us: Whole,
}

impl Default for Workers {
    fn default() -> Self {
        Self { cores: vec![1], idle_sleep_us: Whole(0) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Replication {
    share_payload_from: Whole,
    outer_source: String,
}

impl Default for Replication {
    fn default() -> Self {
        Self { share_payload_from: Whole(256), outer_source: "node".into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    enabled: bool,
    domain_copies: RateText,
    domain_bits: RateText,
    tep_frames: RateText,
    node_copies: RateText,
    control_copies: RateText,
    failover_copies: RateText,
}

impl Default for Limits {
    fn default() -> Self {
        let RateLimits {
            enabled,
            domain_copies,
            domain_bits,
            tep_frames,
            node_copies,
            control_copies,
            failover_copies,
        } = RateLimits::default();
        let number = |rate: Rate| RateText::Number(rate.per_second());
        Self {
            enabled,
            domain_copies: number(domain_copies),
            domain_bits: number(domain_bits),
            tep_frames: number(tep_frames),
            node_copies: number(node_copies),
            control_copies: number(control_copies),
            failover_copies: number(failover_copies),
        }
    }
}

/// A whole number as it is written. Its range is checked later, so that the error names it.
#[derive(Clone, Copy)]
pub(super) struct Whole(pub u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0 on, without quotes")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
                let positive = u64::try_from(number).map(Whole);
                positive.map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A rate as it is written: 250000 or "250k".
enum RateText {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for RateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = RateText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate a second, as in 250000 or \"250k\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<RateText, E> {
                let positive = u64::try_from(number).map(RateText::Number);
                positive.map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RateText, E> {
                Ok(RateText::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Store {
    path: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self { path: "/var/lib/bcastd/domains.redb".into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Api {
    socket: PathBuf,
}

impl Default for Api {
    fn default() -> Self {
        Self { socket: "/run/bcastd/api.sock".into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Metrics {
    listen: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9117".into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Eal {
    memory_mb: Whole,
    hugepages: bool,
    args: Vec<String>,
}

impl Default for Eal {
    fn default() -> Self {
        Self { memory_mb: Whole(512), hugepages: true, args: Vec::new() }
    }
}

/// Of `key`: `value` as a number between `min` and `max`.
pub(super) fn number<T: TryFrom<u64> + Into<u64>>(
    key: &'static str,
    Whole(value): Whole,
    min: T,
    max: T,
) -> Result<T, (&'static str, ValueError)> {
    let (min, max) = (min.into(), max.into());
    T::try_from(value)
        .ok()
        .filter(|_| (min..=max).contains(&value))
        .ok_or((key, ValueError::Range { value, min, max }))
}

impl File {
    pub fn check(self) -> Result<Config, (&'static str, ValueError)> {
        let runtime = RuntimeSettings {
            share_payload_from: number(
                "replication.share_payload_from",
                self.replication.share_payload_from,
                0_u16,
                u16::MAX,
            )?,
            outer_source: match self.replication.outer_source.as_str() {
                "node" => OuterSource::Node,
                "origin" => OuterSource::Origin,
                _ => {
                    let problem = ValueError::OuterSource(self.replication.outer_source);
                    return Err(("replication.outer_source", problem));
                }
            },
            idle_sleep_us: number("workers.idle_sleep_us", self.workers.idle_sleep_us, 0_u32, 100_000)?,
            punt_rate: number("underlay.punt_rate", self.underlay.punt_rate, 0_u32, 10_000_000)?,
            allow_inner_bfd: self.bfd.allow_inner,
            limits: self.limits.check()?,
        };
        let underlay = self.underlay.check()?;
        Ok(Config {
            port: self.port.check()?,
            nodes: self.cluster.check(&underlay)?,
            underlay,
            cores: self.workers.check()?,
            runtime,
            store_path: absolute("store.path", self.store.path)?,
            api_socket: absolute("api.socket", self.api.socket)?,
            metrics_listen: match self.metrics.listen.parse() {
                Ok(address) => address,
                Err(_) => return Err(("metrics.listen", ValueError::Listen(self.metrics.listen))),
            },
            eal: EalSection {
                memory_mb: number("eal.memory_mb", self.eal.memory_mb, 64_u32, 65_536)?,
                hugepages: self.eal.hugepages,
                args: self.eal.args,
            },
            bfd: self.bfd.check()?,
            havip: self.havip.check()?,
            webhooks: match super::receivers(&self.webhook) {
                Ok(_) => self.webhook,
                Err(problem) => return Err(("webhook", problem)),
            },
            routes: self.routes,
        })
    }
}

impl Limits {
    fn check(self) -> Result<RateLimits, (&'static str, ValueError)> {
        let rate = |key, text| {
            let rate = match text {
                RateText::Number(per_second) => Rate::new(per_second),
                RateText::Text(text) => text.parse(),
            };
            rate.map_err(|error| (key, ValueError::Rate(error)))
        };
        Ok(RateLimits {
            enabled: self.enabled,
            domain_copies: rate("limits.domain_copies", self.domain_copies)?,
            domain_bits: rate("limits.domain_bits", self.domain_bits)?,
            tep_frames: rate("limits.tep_frames", self.tep_frames)?,
            node_copies: rate("limits.node_copies", self.node_copies)?,
            control_copies: rate("limits.control_copies", self.control_copies)?,
            failover_copies: rate("limits.failover_copies", self.failover_copies)?,
        })
    }
}

fn absolute(key: &'static str, path: PathBuf) -> Result<PathBuf, (&'static str, ValueError)> {
    if path.is_absolute() { Ok(path) } else { Err((key, ValueError::Path(path))) }
}

impl Port {
    fn check(self) -> Result<PortConfig, (&'static str, ValueError)> {
        let device =
            self.device.ok_or(("port.device", ValueError::Missing("device = \"af_packet:eth0\"")))?;
        Ok(PortConfig {
            device: device.parse().map_err(|error| ("port.device", ValueError::Device(error)))?,
            mtu: number("port.mtu", self.mtu, 576_u16, 9_000)?,
            takeover: self.takeover,
        })
    }
}

impl Underlay {
    fn check(self) -> Result<UnderlayConfig, (&'static str, ValueError)> {
        const ADDRESSES: &str = "underlay.addresses";
        if self.addresses.is_empty() {
            let example = "addresses = [\"198.18.0.254/16\"]";
            return Err((ADDRESSES, ValueError::Missing(example)));
        }
        let (count, max) = (self.addresses.len(), MAX_ADDRESSES);
        if count > max {
            return Err((ADDRESSES, ValueError::Count { count, min: 1, max }));
        }
        let mut addresses: Vec<Ipv4Net> = Vec::with_capacity(count);
        for text in &self.addresses {
            let next = link_address(text).map_err(|error| (ADDRESSES, error))?;
            if addresses.iter().any(|known| known.addr() == next.addr()) {
                return Err((ADDRESSES, ValueError::Twice(next.addr())));
            }
            addresses.push(next);
        }
        let bare: Vec<Ipv4Addr> = addresses.iter().map(Ipv4Net::addr).collect();
        let too_many = |_| (ADDRESSES, ValueError::Count { count, min: 1, max });
        let node = wire::NodeAddresses::new(&bare).map_err(too_many)?;
        let tap = match self.tap.as_str() {
            "" => None,
            name if name.len() <= 15
                && !name.contains(|c: char| c == '/' || c.is_whitespace())
                && name != "."
                && name != ".." =>
            {
                Some(self.tap)
            }
            _ => return Err(("underlay.tap", ValueError::InterfaceName(self.tap))),
        };
        let gateway_mac = self.gateway_mac.map(unicast_mac).transpose()?;
        if tap.is_none() && gateway_mac.is_none() {
            return Err(("underlay.tap", ValueError::NoNextHops));
        }
        Ok(UnderlayConfig {
            gateway: self.gateway.map(|text| on_link(text, &addresses)).transpose()?,
            addresses,
            node,
            gateway_mac,
            tap,
        })
    }
}

fn on_link(text: String, addresses: &[Ipv4Net]) -> Result<Ipv4Addr, (&'static str, ValueError)> {
    const KEY: &str = "underlay.gateway";
    let gateway: Ipv4Addr = text.parse().map_err(|_| (KEY, ValueError::Gateway(text)))?;
    if addresses.iter().any(|link| link.contains(&gateway) && link.addr() != gateway) {
        Ok(gateway)
    } else {
        Err((KEY, ValueError::GatewayOffLink(gateway)))
    }
}

fn unicast_mac(text: String) -> Result<MacAddr, (&'static str, ValueError)> {
    match text.parse::<MacAddr>() {
        Ok(mac) if !mac.is_multicast() && !mac.is_zero() => Ok(mac),
        _ => Err(("underlay.gateway_mac", ValueError::Mac(text))),
    }
}

impl Workers {
    fn check(&self) -> Result<Vec<usize>, (&'static str, ValueError)> {
        const KEY: &str = "workers.cores";
        let distinct: HashSet<usize> = self.cores.iter().copied().collect();
        let count = self.cores.len();
        if count == 0 || count > MAX_WORKERS || distinct.len() != count {
            return Err((KEY, ValueError::Count { count, min: 1, max: MAX_WORKERS }));
        }
        let present: HashSet<usize> =
            core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        match self.cores.iter().find(|core| !present.is_empty() && !present.contains(core)) {
            Some(&core) => Err((KEY, ValueError::NoCore(core))),
            None => Ok(self.cores.clone()),
        }
    }
}
