//! Limits: as text, as changes, and the commands that show one.

use bcast_domain::{DomainLimit, Rate, TepLimit, Vni};
use ctl_api::Client;
use ctl_api::model::{Change, DomainEntry, TepEntry, TepRef};

use crate::failure::Failure;
use crate::out::{Column, Out};
use crate::shapes;

/// Stands where there is no rate of its own.
const DEFAULT: &str = "default";

/// A rate by the name that it has in files and on the command line; `None`: the node's default.
pub type Named = (&'static str, Option<Rate>);

/// A domain's rates.
pub fn of_domain(limit: DomainLimit) -> [Named; 3] {
    [("copies", limit.copies), ("bits", limit.bits), ("control", limit.control)]
}

/// A TEP's rates.
pub fn of_tep(limit: TepLimit) -> [Named; 1] {
    [("frames", limit.frames)]
}

/// The rates that are given, and of the others those of `or`.
pub fn domain_or(given: DomainLimit, or: DomainLimit) -> DomainLimit {
    DomainLimit {
        copies: given.copies.or(or.copies),
        bits: given.bits.or(or.bits),
        control: given.control.or(or.control),
    }
}

/// What makes `want` of `had`. A rate that stays is not given: it may be another one by now.
pub fn domain_change(vni: Vni, had: DomainLimit, want: DomainLimit) -> Change {
    if of_domain(had).iter().zip(of_domain(want)).any(|(had, want)| had.1.is_some() && want.1.is_none()) {
        return Change::DomainLimit { vni, limit: want, reset: true };
    }
    let limit = DomainLimit {
        copies: want.copies.filter(|_| want.copies != had.copies),
        bits: want.bits.filter(|_| want.bits != had.bits),
        control: want.control.filter(|_| want.control != had.control),
    };
    Change::DomainLimit { vni, limit, reset: false }
}

/// The same for a TEP.
pub fn tep_change(tep: TepRef, limit: TepLimit) -> Change {
    Change::TepLimit { tep, limit, reset: limit == TepLimit::default() }
}

/// A rate as it is written, with a suffix where it is a whole number of thousands, millions and so on.
pub fn rate(rate: Rate) -> String {
    let number = rate.per_second();
    let suffixes = [(1_000_000_000_000, 'T'), (1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'k')];
    match suffixes.iter().find(|(factor, _)| number.is_multiple_of(*factor)) {
        Some((factor, suffix)) => format!("{}{suffix}", number / factor),
        None => number.to_string(),
    }
}

fn or_default(own: Option<Rate>) -> String {
    own.map_or_else(|| DEFAULT.to_owned(), rate)
}

/// The rates in a few words.
pub fn words(rates: &[Named]) -> String {
    if rates.iter().all(|(_, own)| own.is_none()) {
        return DEFAULT.to_owned();
    }
    let words: Vec<_> = rates.iter().map(|(name, own)| format!("{name} {}", or_default(*own))).collect();
    words.join(", ")
}

/// What differs, in a few words for each rate.
pub fn differences(had: &[Named], want: &[Named]) -> impl Iterator<Item = String> {
    had.iter().zip(want).filter(|(had, want)| had != want).map(|((name, had), (_, want))| {
        format!("limit {name} {}, was {}", or_default(*want), or_default(*had))
    })
}

/// `domain limit` without a rate.
pub async fn show_domain(out: &mut Out, client: &mut Client, vni: Vni) -> Result<(), Failure> {
    let limit = DomainEntry::try_from(client.domain(vni).await?)?.limit;
    if out.is_json() {
        return out.json(&shapes::DomainLimit { vni: vni.get(), limit: limit.into() });
    }
    table(out, &of_domain(limit))
}

/// `tep limit` without a rate.
pub async fn show_tep(out: &mut Out, client: &mut Client, tep: TepRef) -> Result<(), Failure> {
    let tep = TepEntry::try_from(client.tep(tep).await?.tep.unwrap_or_default())?;
    if out.is_json() {
        let address = tep.address.to_string();
        return out.json(&shapes::TepLimit { address: &address, limit: tep.limit.into() });
    }
    table(out, &of_tep(tep.limit))
}

fn table(out: &mut Out, rates: &[Named]) -> Result<(), Failure> {
    let rows: Vec<_> = rates.iter().map(|(name, own)| [(*name).to_owned(), or_default(*own)]).collect();
    out.table([Column::Text("LIMIT"), Column::Number("PER SECOND")], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rates_that_differ_are_given_unless_one_becomes_the_default() {
        let limit = |[copies, bits, control]: [u64; 3]| {
            let [copies, bits, control] = [copies, bits, control].map(|number| Rate::new(number).ok());
            DomainLimit { copies, bits, control }
        };
        let table = [
            ([1, 1, 1], [2, 1, 1], [2, 0, 0], false),
            ([1, 1, 1], [1, 2, 1], [0, 2, 0], false),
            ([1, 1, 1], [1, 1, 2], [0, 0, 2], false),
            ([0, 0, 1], [3, 3, 1], [3, 3, 0], false),
            ([1, 1, 1], [1, 0, 2], [1, 0, 2], true),
            ([0, 0, 1], [0, 0, 0], [0, 0, 0], true),
        ];
        for (had, want, given, reset) in table {
            let expected = Change::DomainLimit { vni: 7.into(), limit: limit(given), reset };
            assert_eq!(domain_change(7.into(), limit(had), limit(want)), expected, "{had:?} to {want:?}");
        }
    }

    #[test]
    fn a_rate_is_written_as_short_as_it_can_be_read_back() {
        for (per_second, text) in [
            (1, "1"),
            (999, "999"),
            (1_000, "1k"),
            (1_500, "1500"),
            (250_000, "250k"),
            (1_000_000, "1M"),
            (10_000_000_000, "10G"),
            (Rate::MAX, "1T"),
        ] {
            let own = Rate::new(per_second).unwrap();
            assert_eq!(rate(own), text);
            assert_eq!(text.parse(), Ok(own));
        }
    }
}
