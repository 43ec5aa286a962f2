//! Lookup in bulk under changes: all contenders in turns.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::Turns;
use super::check;
use super::clock;
use super::contenders::{Contender, Read, Write};
use super::results::LookupRow;
use super::work::{self, BURST, Work};
use crate::harness::Spread;

/// The longest that a turn may take by the wall's clock, where the publisher is slow.
const MAX_TURN: Duration = Duration::from_secs(5);

/// The quantiles that are reported.
const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

/// A contender's table, loaded, and what was measured of it.
struct Player {
    contender: Contender,
    writer: Box<dyn Write>,
    reader: Box<dyn Read>,
    /// Bursts looked up, and changes made, so far.
    bursts: usize,
    changes: u64,
    /// CPU time of each burst of the current turn, in nanoseconds.
    times: Histogram<u64>,
    /// Results at the current rate: quantiles of each turn, bursts of all turns, changes that were published and their
    /// seconds.
    quantiles: [Vec<f64>; QUANTILES.len()],
    timed: u64,
    published: (u64, f64),
}

impl Player {
    fn new(contender: &Contender, work: &Work) -> Result<Self> {
        let (mut writer, reader) = (contender.make)(work.domains);
        work.vnis().for_each(|vni| writer.set(vni, &work::list(vni, 0)));
        writer.publish();
        Ok(Self {
            contender: *contender,
            writer,
            reader,
            bursts: 0,
            changes: 0,
            times: histogram()?,
            quantiles: Default::default(),
            timed: 0,
            published: (0, 0.0),
        })
    }

    fn next_rate(&mut self) {
        self.quantiles = Default::default();
        (self.timed, self.published) = (0, (0, 0.0));
    }

    fn end_turn(&mut self) {
        for (of_turns, quantile) in self.quantiles.iter_mut().zip(QUANTILES) {
            of_turns.push(self.times.value_at_quantile(quantile) as f64);
        }
        self.timed += self.times.len();
        self.times.reset();
    }

    fn row(&mut self, domains: u32, wanted: u32) -> LookupRow {
        let [p50, p99, p999, max] = std::mem::take(&mut self.quantiles).map(Spread::of);
        LookupRow {
            contender: self.contender.name.to_owned(),
            domains,
            changes_wanted_per_s: wanted,
            changes_per_s: if wanted == 0 { 0.0 } else { self.published.0 as f64 / self.published.1 },
            ns_per_lookup: p50.scaled(1.0 / BURST as f64),
            burst_p50_ns: p50,
            burst_p99_ns: p99,
            burst_p999_ns: p999,
            burst_max_ns: max,
            bursts: self.timed,
        }
    }
}

/// Nanoseconds up to 10 s, three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 10_000_000_000, 3)?)
}

/// Measures all contenders on so many domains, at each rate of changes a second.
pub fn measure(
    contenders: &[Contender],
    domains: u32,
    rates: &[u32],
    turns: Turns,
) -> Result<Vec<LookupRow>> {
    turns.cores.enter_measured();
    let work = Work::new(domains);
    let mut players =
        contenders.iter().map(|contender| Player::new(contender, &work)).collect::<Result<Vec<_>>>()?;
    let overhead = clock::overhead_ns();
    let mut rows = Vec::new();
    for &rate in rates {
        players.iter_mut().for_each(Player::next_rate);
        for round in 0..turns.rounds {
            let count = players.len();
            for turn in 0..count {
                let player = &mut players[(round + turn) % count];
                take_turn(player, &work, rate, turns, overhead)?;
                player.end_turn();
            }
        }
        rows.extend(players.iter_mut().map(|player| player.row(domains, rate)));
    }
    Ok(rows)
}

fn take_turn(player: &mut Player, work: &Work, rate: u32, turns: Turns, overhead: u64) -> Result<()> {
    let Player { contender, writer, reader, bursts, changes, times, published, .. } = player;
    let (stop, publications) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let publish = || {
            turns.cores.enter_beside();
            publish_at(rate, writer.as_mut(), work, changes, &stop, &publications)
        };
        let publisher = (rate > 0).then(|| scope.spawn(publish));
        let began = Instant::now();
        // A slow publisher shall have published at least once while it is measured.
        let enough = |publications_before: u64| {
            rate == 0 || publications.load(Ordering::Relaxed) > publications_before
        };
        let mut read = |times: &mut Option<&mut Histogram<u64>>| {
            let (start, publications_before) = (clock::cpu_ns(), publications.load(Ordering::Relaxed));
            let mut found = [None; BURST];
            loop {
                let vnis = work.burst(*bursts);
                *bursts += 1;
                let before = clock::cpu_ns();
                reader.burst(vnis, &mut found);
                let after = clock::cpu_ns();
                check::verify(contender.name, vnis, &found)?;
                if let Some(times) = times {
                    times.saturating_record((after - before).saturating_sub(overhead).max(1));
                }
                let over = Duration::from_nanos(after - start) >= turns.turn && enough(publications_before);
                if over || began.elapsed() > MAX_TURN {
                    return Ok::<_, anyhow::Error>(());
                }
            }
        };
        let result = read(&mut None).and_then(|()| read(&mut Some(times)));
        stop.store(true, Ordering::Relaxed);
        if let Some((count, seconds)) = publisher.and_then(|publisher| publisher.join().ok()) {
            published.0 += count;
            published.1 += seconds;
        }
        result
    })
}

/// Time between publications. The system makes some 100 us of it; what has become due meanwhile is one lot.
const PAUSE: Duration = Duration::from_micros(50);

/// Makes changes at a rate, until it is stopped. Returns how many, and in how many seconds.
fn publish_at(
    rate: u32,
    writer: &mut dyn Write,
    work: &Work,
    number: &mut u64,
    stop: &AtomicBool,
    publications: &AtomicU64,
) -> (u64, f64) {
    let (start, first) = (Instant::now(), *number);
    while !stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000;
        let due = first + u64::try_from(due).unwrap_or(u64::MAX);
        if *number < due {
            while *number < due {
                let (vni, list) = work.change(*number);
                writer.set(vni, &list);
                *number += 1;
            }
            writer.publish();
            publications.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(PAUSE);
    }
    (*number - first, start.elapsed().as_secs_f64())
}
