//! `export`: everything as an apply file.

use std::io::{self, Write};

use ctl_api::Client;
use ctl_api::proto::{Domain, Havip, SnapshotRequest, Tep};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::failure::Failure;
use crate::out::Out;
use crate::{domain, havip, tep};

/// Prints everything that the node has. It is read whole first: half of it would be an apply file as well, and with
/// `--prune` a dangerous one.
pub async fn run(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let (mut revision, mut teps, mut domains, mut havips) =
        (0, Vec::<Tep>::new(), Vec::<Domain>::new(), vec![]);
    let mut parts = client.snapshot(SnapshotRequest::default()).await?;
    while let Some(part) = client.next(&mut parts).await? {
        revision = part.revision.unwrap_or(revision);
        teps.extend(part.teps);
        domains.extend(part.domains);
        havips.extend(part.havips.into_iter().filter_map(|entry| entry.havip));
    }
    let yaml = !out.is_json();
    let to = out.raw();
    let start = if yaml { format!("revision: {revision}\n") } else { format!("{{\"revision\":{revision}") };
    write!(to, "{start}")?;
    section(to, yaml, "teps", teps.iter().map(|tep| tep::export(tep, yaml)))?;
    section(to, yaml, "domains", domains.iter().map(|domain| domain::export(domain, yaml)))?;
    // Without HAVIPs there is no such section.
    if !havips.is_empty() {
        section(to, yaml, "havips", havips.iter().map(|havip: &Havip| havip::Export::from(havip)))?;
    }
    if yaml { Ok(()) } else { Ok(writeln!(to, "}}")?) }
}

/// Writes a section, an entry a line.
fn section<T: Serialize>(
    to: &mut impl Write,
    yaml: bool,
    name: &str,
    entries: impl ExactSizeIterator<Item = T>,
) -> Result<(), Failure> {
    if yaml {
        writeln!(to, "{name}:{}", if entries.len() == 0 { " []" } else { "" })?;
        for entry in entries {
            write!(to, "  - ")?;
            entry.serialize(&mut Serializer::with_formatter(&mut *to, FlowYaml::default()))?;
            writeln!(to)?;
        }
        return Ok(());
    }
    write!(to, ",\"{name}\":[")?;
    for (at, entry) in entries.enumerate() {
        write!(to, "{}", if at == 0 { "\n" } else { ",\n" })?;
        serde_json::to_writer(&mut *to, &entry)?;
    }
    Ok(write!(to, "\n]")?)
}

/// Writes JSON as YAML in flow style, with quotes only where a YAML reader could take text for something else.
#[derive(Default)]
struct FlowYaml {
    /// Text that is being written, which may come in pieces.
    text: String,
}

impl Formatter for FlowYaml {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }

    fn begin_string<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.text.clear();
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, _: &mut W, text: &str) -> io::Result<()> {
        self.text.push_str(text);
        Ok(())
    }

    /// Writes the text: a key, name, address, time or rate, which has no character that is escaped.
    fn end_string<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        let text = &self.text;
        if is_plain(text) { write!(to, "{text}") } else { write!(to, "\"{text}\"") }
    }
}

/// True if readers of YAML 1.1 and 1.2 take the text for text without quotes: an IPv4 address or subnet, a number with
/// a suffix, or a word without colons that starts with a letter and has no meaning of its own.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan"];
    let digits = |text: &str, others: &str| text.chars().all(|c| c.is_ascii_digit() || others.contains(c));
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return !text.contains(':') && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    }
    let number =
        text.strip_suffix(|last: char| last.is_ascii_alphabetic()).filter(|number| !number.is_empty());
    digits(text, "./") && text.matches('.').count() == 3 || number.is_some_and(|number| digits(number, ""))
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn text_that_could_be_something_else_is_quoted() {
        for text in ["hv1", "a.b-c_d", "198.18.0.1", "10.0.0.0/24", "250k", "30s", "sticky"] {
            assert!(is_plain(text), "{text}");
        }
        for text in ["", "true", "No", "off", "1e5", "9lives", "fd00::1", "52:54:00:00:00:01", "-1", "k", "7"]
        {
            assert_eq!(is_plain(text), text == "k", "{text}");
        }
    }
}
