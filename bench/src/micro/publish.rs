//! Changes by one publisher, as fast as it can, freeing included.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;

use super::Turns;
use super::check;
use super::clock;
use super::contenders::{Contender, Read, Write};
use super::results::PublishRow;
use super::work::{self, BURST, Work};
use crate::harness::Spread;

/// Changes that are published together: a group of the daemon's commits under load.
pub const LOT: u64 = 32;

/// Measures all contenders on so many domains, in turns, while a reader looks up all the time.
pub fn measure(contenders: &[Contender], domains: u32, turns: Turns) -> Result<Vec<PublishRow>> {
    turns.cores.enter_measured();
    let work = Work::new(domains);
    let mut tables: Vec<_> = contenders.iter().map(|contender| (contender.make)(domains)).collect();
    for (writer, _) in &mut tables {
        work.vnis().for_each(|vni| writer.set(vni, &work::list(vni, 0)));
        writer.publish();
    }
    let mut rates = vec![Vec::new(); contenders.len()];
    for round in 0..turns.rounds {
        for turn in 0..contenders.len() {
            let who = (round + turn) % contenders.len();
            let (writer, reader) = &mut tables[who];
            let rate = take_turn(contenders[who].name, writer.as_mut(), reader.as_mut(), &work, turns)?;
            rates[who].push(rate);
        }
    }
    let row = |(contender, rates): (&Contender, Vec<f64>)| PublishRow {
        contender: contender.name.to_owned(),
        domains,
        changes_per_lot: LOT,
        changes_per_cpu_s: Spread::of(rates),
    };
    Ok(contenders.iter().zip(rates).map(row).collect())
}

fn take_turn(
    contender: &'static str,
    writer: &mut dyn Write,
    reader: &mut dyn Read,
    work: &Work,
    turns: Turns,
) -> Result<f64> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            turns.cores.enter_beside();
            let mut found = [None; BURST];
            for number in 0.. {
                let vnis = work.burst(number);
                reader.burst(vnis, &mut found);
                check::verify(contender, vnis, &found)?;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok::<_, anyhow::Error>(())
        });
        let (start, mut number) = (clock::cpu_ns(), 0);
        let spent = loop {
            for _ in 0..LOT {
                let (vni, list) = work.change(number);
                writer.set(vni, &list);
                number += 1;
            }
            writer.publish();
            let spent = Duration::from_nanos(clock::cpu_ns() - start);
            if spent >= turns.turn {
                break spent;
            }
        };
        stop.store(true, Ordering::Relaxed);
        // A reader that panicked has found nothing wrong with the answers; the panic itself ends the program.
        reading.join().unwrap_or(Ok(()))?;
        Ok(number as f64 / spent.as_secs_f64())
    })
}
