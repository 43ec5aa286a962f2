//! `export`: everything as an apply file.

mod havip;

use std::io::{self, Write};

use bcast_domain::{Rate, Tep};
use ctl_api::Client;
use ctl_api::model::{GarpMode, Name, Revision};

use crate::apply::{Inventory, snapshot};
use crate::failure::Failure;
use crate::limit;
use crate::out::Out;

/// Prints everything that the node has. It is read whole first: half of it would be an apply file as well, and with
/// `--prune` a dangerous one.
pub async fn run(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let (revision, inventory) = snapshot::read(client).await?;
    let written = if out.is_json() {
        json(out.raw(), revision, &inventory)
    } else {
        yaml(out.raw(), revision, &inventory)
    };
    Ok(written?)
}

/// As YAML, an entry a line; members by address, which holds where names change.
fn yaml(to: &mut impl Write, revision: Revision, inventory: &Inventory) -> io::Result<()> {
    writeln!(to, "revision: {revision}")?;
    writeln!(to, "teps:{}", if inventory.teps().is_empty() { " []" } else { "" })?;
    for tep in inventory.teps() {
        write!(to, "  - {{address: {}", tep.address)?;
        yaml_name(to, tep.name.as_ref())?;
        yaml_limit(to, &limit::of_tep(tep.limit))?;
        // An address with colons is quoted: a reader could take it for a key.
        tep.next_hop.map(|hop| write!(to, ", next_hop: {hop}")).transpose()?;
        tep.next_hop6.map(|hop| write!(to, ", next_hop6: \"{hop}\"")).transpose()?;
        writeln!(to, "}}")?;
    }
    writeln!(to, "domains:{}", if inventory.domains().is_empty() { " []" } else { "" })?;
    for domain in inventory.domains() {
        write!(to, "  - {{vni: {}", domain.vni)?;
        yaml_name(to, domain.name.as_ref())?;
        yaml_limit(to, &limit::of_domain(domain.limit))?;
        write!(to, "{}", if domain.garp == GarpMode::Strict { ", garp: strict" } else { "" })?;
        write!(to, ", members: [")?;
        addresses(to, inventory.members(domain), ", ", "")?;
        writeln!(to, "]}}")?;
    }
    havip::yaml(to, inventory.havips())
}

/// As JSON, an entry a line. Names and addresses have no character that JSON escapes.
fn json(to: &mut impl Write, revision: Revision, inventory: &Inventory) -> io::Result<()> {
    let name = |name: Option<&Name>| name.map(|name| format!(",\"name\":\"{name}\"")).unwrap_or_default();
    let comma = |at: usize| if at == 0 { "\n" } else { ",\n" };
    write!(to, "{{\"revision\":{revision},\"teps\":[")?;
    for (at, tep) in inventory.teps().iter().enumerate() {
        let (name, limit) = (name(tep.name.as_ref()), json_limit(&limit::of_tep(tep.limit)));
        write!(to, "{}{{\"address\":\"{}\"{name}{limit}", comma(at), tep.address)?;
        tep.next_hop.map(|hop| write!(to, ",\"next_hop\":\"{hop}\"")).transpose()?;
        tep.next_hop6.map(|hop| write!(to, ",\"next_hop6\":\"{hop}\"")).transpose()?;
        write!(to, "}}")?;
    }
    write!(to, "\n],\"domains\":[")?;
    for (at, domain) in inventory.domains().iter().enumerate() {
        let (name, limit) = (name(domain.name.as_ref()), json_limit(&limit::of_domain(domain.limit)));
        let garp = if domain.garp == GarpMode::Strict { ",\"garp\":\"strict\"" } else { "" };
        write!(to, "{}{{\"vni\":{}{name}{limit}{garp},\"members\":[", comma(at), domain.vni)?;
        addresses(to, inventory.members(domain), ",", "\"")?;
        write!(to, "]}}")?;
    }
    write!(to, "\n]")?;
    havip::json(to, inventory.havips())?;
    writeln!(to, "}}")
}

fn addresses(to: &mut impl Write, members: &[Tep], comma: &str, quote: &str) -> io::Result<()> {
    for (at, member) in members.iter().enumerate() {
        let comma = if at == 0 { "" } else { comma };
        write!(to, "{comma}{quote}{member}{quote}")?;
    }
    Ok(())
}

/// The rates of its own; a rate with its suffix is text that no YAML reader takes for a number, nor the other way round.
fn yaml_limit(to: &mut impl Write, rates: &[limit::Named]) -> io::Result<()> {
    match own(rates, |name, rate| format!("{name}: {}", limit::rate(rate))) {
        Some(rates) => write!(to, ", limit: {{{}}}", rates.join(", ")),
        None => Ok(()),
    }
}

fn json_limit(rates: &[limit::Named]) -> String {
    let rates = own(rates, |name, rate| format!("\"{name}\":{rate}"));
    rates.map(|rates| format!(",\"limit\":{{{}}}", rates.join(","))).unwrap_or_default()
}

/// The rates of its own as they are written; `None` where it has none.
fn own(rates: &[limit::Named], write: impl Fn(&str, Rate) -> String) -> Option<Vec<String>> {
    let own: Vec<_> = rates.iter().filter_map(|(name, rate)| Some(write(name, (*rate)?))).collect();
    Some(own).filter(|own| !own.is_empty())
}

fn yaml_name(to: &mut impl Write, name: Option<&Name>) -> io::Result<()> {
    match name {
        Some(name) if is_plain(name.as_str()) => write!(to, ", name: {name}"),
        Some(name) => write!(to, ", name: \"{name}\""),
        None => Ok(()),
    }
}

/// Whether every YAML reader takes the name for text without quotes: it starts with a letter, and is no word that
/// YAML 1.1 or 1.2 gives a meaning.
fn is_plain(name: &str) -> bool {
    const WORDS: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan"];
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && !WORDS.iter().any(|word| name.eq_ignore_ascii_case(word))
}
