//! Rates of a limit: as text, as JSON, in a plan, and as a table.

use bcast_domain::Rate;
use ctl_api::model::Field;
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use crate::failure::Failure;
use crate::out::{Column, Out};

/// Sign for the rate of a TEP or a domain that has none of its own.
const DEFAULT: &str = "default";

/// Rates a second, by the names that they have on the command line and in files. None: the node's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates<const N: usize>(pub [(&'static str, Option<u64>); N]);

impl<const N: usize> Rates<N> {
    /// Rates of their own, whether there are any.
    pub fn any(&self) -> bool {
        self.0.iter().any(|(_, rate)| rate.is_some())
    }

    /// All rates in a few words.
    pub fn words(&self) -> String {
        if !self.any() {
            return DEFAULT.to_owned();
        }
        self.0.map(|(name, rate)| format!("{name} {}", or_default(rate))).join(", ")
    }

    /// Only the rates that are given, in a few words.
    pub fn given(&self) -> String {
        let given = self.0.iter().filter_map(|(name, rate)| Some(format!("{name} {}", text((*rate)?))));
        let words = given.collect::<Vec<_>>().join(", ");
        if words.is_empty() { DEFAULT.to_owned() } else { words }
    }

    /// Differences, in a few words for each rate.
    pub fn differences(&self, before: &Self) -> impl Iterator<Item = String> {
        let pairs = before.0.into_iter().zip(self.0);
        pairs.filter(|(before, after)| before != after).map(|((name, before), (_, after))| {
            format!("limit {name} {}, was {}", or_default(after), or_default(before))
        })
    }

    /// Rates of their own for an exported file: with a suffix in YAML, as numbers in JSON.
    pub fn exported(&self, yaml: bool) -> Option<Exported> {
        let value = |rate: u64| match text(rate) {
            text if yaml && text.ends_with(|last: char| !last.is_ascii_digit()) => Value::from(text),
            _ => Value::from(rate),
        };
        let own = self.0.iter().filter_map(|(name, rate)| Some((*name, value((*rate)?))));
        Some(Exported(own.collect())).filter(|exported| !exported.0.is_empty())
    }

    /// Prints them as a table.
    pub fn table(&self, out: &mut Out) -> Result<(), Failure> {
        let rows = self.0.map(|(name, rate)| [name.to_owned(), or_default(rate)]);
        out.table([Column::Text("LIMIT"), Column::Number("PER SECOND")], &rows)
    }
}

/// JSON: an object with null for each default.
impl<const N: usize> Serialize for Rates<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0)
    }
}

/// Rates in an exported file.
#[derive(Debug)]
pub struct Exported(Vec<(&'static str, Value)>);

impl Serialize for Exported {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, rate)| (name, rate)))
    }
}

/// Rate of a request: the one that is given, or else with `default` the node's default.
pub fn requested(rate: Option<Rate>, default: bool) -> Field<Rate> {
    match rate {
        Some(rate) => Field::Value(rate),
        None if default => Field::Clear,
        None => Field::Absent,
    }
}

/// Rate as it is written, with a suffix where it is a whole number of thousands, millions and so on.
fn text(rate: u64) -> String {
    let suffixes = [(1_000_000_000_000, 'T'), (1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'k')];
    match suffixes.iter().find(|(factor, _)| rate.is_multiple_of(*factor)) {
        Some((factor, suffix)) => format!("{}{suffix}", rate / factor),
        None => rate.to_string(),
    }
}

fn or_default(rate: Option<u64>) -> String {
    rate.map_or_else(|| DEFAULT.to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_short_as_it_can_be_read_back() {
        for (per_second, expected) in [
            (1, "1"),
            (999, "999"),
            (1_000, "1k"),
            (1_500, "1500"),
            (250_000, "250k"),
            (1_000_000, "1M"),
            (10_000_000_000, "10G"),
            (Rate::MAX, "1T"),
        ] {
            assert_eq!(text(per_second), expected);
            assert_eq!(expected.parse(), Rate::new(per_second));
        }
    }
}
