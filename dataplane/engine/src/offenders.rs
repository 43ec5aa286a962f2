//! Last offenders: who sent the frames that were dropped, by reason.
//!
//! An offender is a source address with a VNI. Its MAC addresses are those of its latest frame, so a VM that forges them is one offender
//! all the same. Each worker has [`ROWS`] of them for each reason, in sets of [`WAYS`]; the one of a set that was not seen for longest gives
//! way to a new one. A worker writes its rows alone, and only when it drops a frame; the control side reads them at any time.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bcast_domain::{MacAddr, SharedRow, Vni};
use wire::{DropReason, Offender};

/// Offenders of one reason that a worker tells apart.
pub const ROWS: usize = 64;
/// Rows among which an offender has its place.
pub const WAYS: usize = 8;
const SETS: usize = ROWS / WAYS;

/// Bits of the second word, above the MAC address.
const HAS_SOURCE: u64 = 1 << 48;
const HAS_KEY: u64 = 1 << 49;
const HAS_MACS: u64 = 1 << 50;
const OUTER: u64 = 1 << 51;
/// Words of a row: source and key; source MAC address and bits; destination; frames; tick of the latest.
type Words = [u64; 5];

/// Offenders of one worker.
pub struct Offenders(Box<[SharedRow<5>]>);

impl Default for Offenders {
    fn default() -> Self {
        Self((0..DropReason::ALL.len() * ROWS).map(|_| SharedRow::default()).collect())
    }
}

/// An offender, and what was dropped of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Reason of the drops.
    pub reason: DropReason,
    /// Sender, as the latest frame names it.
    pub offender: Offender,
    /// Frames dropped since it is among the last offenders.
    pub count: u64,
    /// Tick of the workers' clock at which the latest was received.
    pub at: u64,
}

impl Offenders {
    /// Records a frame that was dropped. For the one writer.
    #[cold]
    pub fn record(&self, reason: DropReason, offender: &Offender, at: u64) {
        let mut words = words(offender, at);
        let set = usize::try_from(spread(words[0]) % SETS as u64).unwrap_or_default();
        let from = reason.index() * ROWS + set * WAYS;
        let rows = &self.0[from..from + WAYS];
        let mut oldest = (u64::MAX, 0);
        for (place, row) in rows.iter().enumerate() {
            let known = row.own();
            if known[3] > 0 && key(&known) == key(&words) {
                words[3] += known[3];
                return row.write(words);
            }
            // A row that was never used is older than any.
            oldest = oldest.min((known[4], place));
        }
        rows[oldest.1].write(words);
    }

    /// Offenders of a reason, in no order. One that is written without pause may be missing.
    pub fn of(&self, reason: DropReason) -> impl Iterator<Item = Offence> {
        let rows = &self.0[reason.index() * ROWS..][..ROWS];
        rows.iter().filter_map(SharedRow::read).filter(|words| words[3] > 0).map(move |words| {
            let [_, _, _, count, at] = words;
            Offence { reason, offender: offender(&words), count, at }
        })
    }

    /// Offenders of some workers for a reason, those of one source and VNI as one, the latest first.
    pub fn merged<'w>(workers: impl Iterator<Item = &'w Self>, reason: DropReason) -> Vec<Offence> {
        let mut merged = HashMap::<(Option<Ipv4Addr>, Option<u32>), Offence>::new();
        for offence in workers.flat_map(|offenders| offenders.of(reason)) {
            let Offender { source, key, .. } = offence.offender;
            let known = merged.entry((source, key)).or_insert(Offence { count: 0, ..offence });
            let count = known.count + offence.count;
            let latest = if offence.at > known.at { offence } else { *known };
            *known = Offence { count, ..latest };
        }
        let mut merged: Vec<_> = merged.into_values().collect();
        merged.sort_by_key(|offence| (std::cmp::Reverse(offence.at), offence.offender.source));
        merged
    }
}

impl Offence {
    /// VNI of the frames.
    pub fn vni(&self) -> Option<Vni> {
        self.offender.key.map(Vni::from)
    }
}

/// Part of a row by which an offender is known again.
const fn key(words: &Words) -> (u64, u64) {
    (words[0], words[1] & (HAS_SOURCE | HAS_KEY))
}

fn words(offender: &Offender, at: u64) -> Words {
    let Offender { source, key, macs, outer } = *offender;
    let [from, to] = macs.unwrap_or_default().map(MacAddr::to_bits);
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    let bits = bit(source.is_some(), HAS_SOURCE)
        | bit(key.is_some(), HAS_KEY)
        | bit(macs.is_some(), HAS_MACS)
        | bit(outer, OUTER);
    let source = source.map_or(0, Ipv4Addr::to_bits);
    [u64::from(source) << 32 | u64::from(key.unwrap_or(0)), from | bits, to, 1, at]
}

fn offender(&[key, from, to, ..]: &Words) -> Offender {
    let [s0, s1, s2, s3, k0, k1, k2, k3] = key.to_be_bytes();
    Offender {
        source: (from & HAS_SOURCE != 0).then(|| [s0, s1, s2, s3].into()),
        key: (from & HAS_KEY != 0).then(|| u32::from_be_bytes([k0, k1, k2, k3])),
        macs: (from & HAS_MACS != 0).then(|| [from, to].map(MacAddr::from_bits)),
        outer: from & OUTER != 0,
    }
}

/// Spreads neighbouring numbers over all sets (Fibonacci hashing; Knuth, volume 3, section 6.4).
const fn spread(of: u64) -> u64 {
    of.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}
