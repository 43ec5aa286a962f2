//! HAVIPs in an export. Where there are none, there is no such section.

use std::io::{self, Write};

use ctl_api::model::{Attachment, Name};

use super::{addresses, is_plain};
use crate::apply::HavipRow;

/// As YAML, an entry a line.
pub fn yaml(to: &mut impl Write, havips: &[HavipRow]) -> io::Result<()> {
    if !havips.is_empty() {
        writeln!(to, "havips:")?;
    }
    for HavipRow { havip, .. } in havips {
        let (subnet, address) = (quoted(&havip.subnet), quoted(&havip.address));
        let name = yaml_name(&havip.name);
        write!(to, "  - {{name: {name}, vni: {}, subnet: {subnet}, address: {address}", havip.vni)?;
        if !havip.vrids.is_empty() {
            write!(to, ", vrids: [{}]", joined(&havip.vrids, ", "))?;
        }
        havip.refresh_s.map(|seconds| write!(to, ", refresh: {seconds}s")).transpose()?;
        havip.eip.map(|eip| write!(to, ", eip: {}", quoted(&eip))).transpose()?;
        write!(to, ", attachments: [")?;
        for (at, Attachment { instance, mac, teps }) in havip.attachments.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            // Unquoted, a MAC address is a number to readers of YAML 1.1.
            write!(to, "{comma}{{instance: {}, mac: \"{mac}\", teps: [", yaml_name(instance))?;
            addresses(to, teps, ", ", "")?;
            write!(to, "]}}")?;
        }
        writeln!(to, "]}}")?;
    }
    Ok(())
}

/// As JSON, an entry a line.
pub fn json(to: &mut impl Write, havips: &[HavipRow]) -> io::Result<()> {
    if havips.is_empty() {
        return Ok(());
    }
    write!(to, ",\"havips\":[")?;
    for (at, HavipRow { havip, .. }) in havips.iter().enumerate() {
        let (comma, name, vni) = (if at == 0 { "\n" } else { ",\n" }, &havip.name, havip.vni);
        let (subnet, address) = (havip.subnet, havip.address);
        write!(
            to,
            "{comma}{{\"name\":\"{name}\",\"vni\":{vni},\"subnet\":\"{subnet}\",\"address\":\"{address}\""
        )?;
        if !havip.vrids.is_empty() {
            write!(to, ",\"vrids\":[{}]", joined(&havip.vrids, ","))?;
        }
        havip.refresh_s.map(|seconds| write!(to, ",\"refresh\":\"{seconds}s\"")).transpose()?;
        havip.eip.map(|eip| write!(to, ",\"eip\":\"{eip}\"")).transpose()?;
        write!(to, ",\"attachments\":[")?;
        for (at, Attachment { instance, mac, teps }) in havip.attachments.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(to, "{comma}{{\"instance\":\"{instance}\",\"mac\":\"{mac}\",\"teps\":[")?;
            addresses(to, teps, ",", "\"")?;
            write!(to, "]}}")?;
        }
        write!(to, "]}}")?;
    }
    write!(to, "\n]")
}

/// What has colons is quoted: a reader could take it for a key.
fn quoted(value: &impl ToString) -> String {
    let text = value.to_string();
    if text.contains(':') { format!("\"{text}\"") } else { text }
}

fn yaml_name(name: &Name) -> String {
    if is_plain(name.as_str()) { name.to_string() } else { format!("\"{name}\"") }
}

fn joined(numbers: &[u8], comma: &str) -> String {
    numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(comma)
}
