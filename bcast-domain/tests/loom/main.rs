//! Models of the table: the real module on loom's atomics, run in every order that its threads could meet in.
//!
//!     RUSTFLAGS="--cfg loom" cargo test -p bcast-domain --release --test loom
//!
//! Loom explores interleavings and what weak memory allows each load to return. Every allocation of the table is
//! watched: made before it is used, used before it is freed, freed once, and none left over. With one reader
//! beside the publisher that is exhaustive; with a third thread at most two forced thread switches are explored, which
//! keeps them all within a minute (`LOOM_MAX_PREEMPTIONS=3` explores more).
//!
//! `every_ordering_is_needed` runs the models again with one ordering weakened at a time.
#![cfg(loom)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::process::Command;

use bcast_domain::{
    ArrayPublisher, DomainPublisher, Reader, Readers, SITES, TepIndex, Vni, live_allocations,
};
use domains::*;
use loom::{model::Builder, thread};
use vips::*;

mod domains;
mod vips;

const A: Vni = Vni::new(1);
const B: Vni = Vni::new(2);

fn member(index: u16) -> [TepIndex; 1] {
    [TepIndex::from(index)]
}

/// A reader's view of a domain: its only member. Uses the list twice, the second time as late as it can.
fn sight<T: Send + Sync + 'static>(reader: &Reader<T>, vni: Vni) -> Option<u32> {
    let list = reader.lookup(vni)?;
    let [seen] = list.members() else { panic!("{list:?}") };
    Some(seen.get())
}

/// Explores a model with this many threads beside the publisher; afterwards nothing may be left.
fn explore(threads: usize, model: impl Fn(usize) + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or((threads > 1).then_some(2));
    builder.check(move || {
        assert_eq!(live_allocations(), 0);
        model(threads);
        assert_eq!(live_allocations(), 0, "allocations that were never freed");
    });
}

/// Runs `change` beside readers that do `read`, then frees all that is left: readers that are gone hold nothing back.
fn beside<T: Send + Sync + 'static>(
    readers: usize,
    (mut domains, mut array, makes): (DomainPublisher, ArrayPublisher<T>, Readers<T>),
    change: impl FnOnce(&mut DomainPublisher, &mut ArrayPublisher<T>),
    read: impl Fn(Reader<T>) + Clone + Send + 'static,
) {
    let threads: Vec<_> = (0..readers)
        .map(|_| {
            let (read, reader) = (read.clone(), makes.reader());
            thread::spawn(move || read(reader))
        })
        .collect();
    change(&mut domains, &mut array);
    for thread in threads {
        thread.join().unwrap();
    }
    domains.reclaim();
    array.reclaim();
    assert_eq!((domains.retired(), array.retired()), (0, 0));
}

macro_rules! models {
    ($($name:ident: $model:expr, $threads:literal;)*) => {
        $(#[test] fn $name() { explore($threads, $model) })*
        /// The names of all models, in the order in which the check below tries them.
        const MODELS: &[&str] = &[$(stringify!($name),)*];
    };
}

models! {
    replacing_with_1_reader: replacing, 1;
    napping_with_1_reader: napping, 1;
    removing_with_1_reader: |readers| removing(readers, false), 1;
    removing_with_1_reader_that_naps: |readers| removing(readers, true), 1;
    waiting_with_1_reader: waiting, 1;
    growing_with_1_reader: growing, 1;
    replacing_the_array_with_1_reader: replacing_the_array, 1;
    reusing_a_key_with_1_reader: reusing_a_key, 1;
    reusing_a_number_with_1_reader: reusing_a_number, 1;
    registering_with_1_reader: registering, 1;
    guarding_with_1_reader: guarding, 1;
    hearing_from_1_worker: hearing, 1;
    reading_a_row_beside_its_writer: reading_a_row, 1;
    taking_an_address_over: taking_over, 1;
    giving_a_slot_away_with_1_worker: giving_a_slot_away, 1;
    forgetting_with_1_worker: forgetting, 1;
    holding_with_1_reader: holding, 1;
    handing_what_is_held_over: |_| handing_over(false), 2;
    handing_what_is_held_over_and_sleeping: |_| handing_over(true), 2;
    replacing_with_2_readers: replacing, 2;
    napping_with_2_readers: napping, 2;
    removing_with_2_readers: |readers| removing(readers, false), 2;
    waiting_with_2_readers: waiting, 2;
    growing_with_2_readers: growing, 2;
    replacing_the_array_with_2_readers: replacing_the_array, 2;
    reusing_a_key_with_2_readers: reusing_a_key, 2;
    reusing_a_number_with_2_readers: reusing_a_number, 2;
    registering_with_2_readers: registering, 2;
    holding_with_2_readers: holding, 2;
    guarding_with_2_readers: guarding, 2;
    hearing_from_2_workers: hearing, 2;
    publishing_from_two_threads_with_1_reader: publishing_from_two_threads, 2;
}

/// Runs one model in a process of its own with an ordering weakened; what it says if it fails.
fn run_weakened(model: &str, weaken: &str) -> Option<String> {
    let run = Command::new(std::env::current_exe().unwrap())
        .args([model, "--exact", "--nocapture"])
        .env("BCAST_WEAKEN", weaken)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(!error.contains("no site is named"), "{error}");
    let stdout = String::from_utf8_lossy(&run.stdout);
    assert!(stdout.contains("running 1 test"), "no model is named {model}: {stdout}");
    let mut lines = error.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    (!run.status.success())
        .then(|| lines.find(|line| !line.trim().is_empty()).unwrap_or("died").trim().to_owned())
}

/// Weakens each ordering in turn, a sequentially consistent fence to acquire-release as well as to nothing, and
/// demands that some model fails.
#[test]
fn every_ordering_is_needed() {
    let mut uncaught = Vec::new();
    for &(site, strength) in SITES {
        let weaker: &[(&str, String)] = match strength {
            "SeqCst" => &[("AcqRel", format!("{site}:AcqRel")), ("no fence", site.to_owned())],
            _ => &[("Relaxed", site.to_owned())],
        };
        for (to, weaken) in weaker {
            let caught = MODELS.iter().find_map(|model| Some((model, run_weakened(model, weaken)?)));
            match caught {
                Some((model, says)) => println!("{site:14} {strength:8} -> {to:9} {model}: {says}"),
                None => uncaught.push(format!("{site} {strength} -> {to}")),
            }
        }
    }
    assert!(uncaught.is_empty(), "no model catches: {uncaught:?}");
}
