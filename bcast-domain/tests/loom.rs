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

use std::{process::Command, sync::Arc};

use bcast_domain::{
    AnnouncementBoard, AnnouncementKind, AnnouncerId, ArrayPublisher, DomainPublisher, HeardTags,
    LastAnnounced, LearnedBindings, Reader, Readers, SILENCE_NS, SITES, SharedRow, StrictReason, TepIndex,
    VipId, VipTable, VlanTags, Vni, live_allocations, table,
};
use loom::{
    cell::UnsafeCell,
    model::Builder,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

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

/// A reader has an old list while it is replaced; after its report it goes on with whichever it finds.
fn replacing(readers: usize) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let change = |domains: &mut DomainPublisher, _: &mut _| {
        domains.set(A, &member(2)).unwrap();
        domains.reclaim();
    };
    beside(readers, table, change, |mut reader| {
        let list = reader.lookup(A).unwrap();
        let first = list.members()[0];
        assert_eq!(list.members(), [first]);
        reader.quiesce();
        let second = sight(&reader, A).unwrap();
        assert!(first.get() <= second, "time went back from {first} to {second}");
    });
}

/// An answered removal is final: once grace has passed no reader finds the domain, asleep or awake.
fn removing(readers: usize, nap: bool) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let grace = table.2.grace();
    // Relaxed, so that the answer itself orders nothing.
    let answered = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&answered);
    let change = move |domains: &mut DomainPublisher, _: &mut _| {
        domains.remove(A);
        if grace.passed(domains.epoch()) {
            answer.store(true, Relaxed);
        }
        domains.reclaim();
    };
    beside(readers, table, change, move |mut reader| {
        if nap {
            drop(reader.offline())
        } else {
            reader.quiesce()
        }
        let answered = answered.load(Relaxed);
        let found = sight(&reader, A);
        assert!(!(answered && found.is_some()), "found after the removal was answered");
    });
}

/// Something of the user's own, which loom watches.
struct Touched(UnsafeCell<()>);

// SAFETY: needed since loom's cell is not `Sync`; loom fails the model if two threads touch it at a time.
unsafe impl Sync for Touched {}

impl Touched {
    fn use_it(&self) {
        self.0.with(|_| ());
    }

    fn change_it(&self) {
        self.0.with_mut(|_| ());
    }
}

/// Memory that readers touch only while they find a domain may be changed once grace has passed.
fn waiting(readers: usize) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let grace = table.2.grace();
    let touched = Arc::new(Touched(UnsafeCell::new(())));
    let changed = Arc::clone(&touched);
    let change = move |domains: &mut DomainPublisher, _: &mut _| {
        domains.remove(A);
        if grace.passed(domains.epoch()) {
            changed.change_it();
        }
    };
    beside(readers, table, change, move |mut reader| {
        if sight(&reader, A).is_some() {
            touched.use_it();
        }
        reader.quiesce();
        if sight(&reader, A).is_some() {
            touched.use_it();
        }
    });
}

/// A key is removed and set again in the same slot; a reader sees the states in order.
fn reusing_a_key(readers: usize) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let change = |domains: &mut DomainPublisher, _: &mut _| {
        domains.remove(A);
        domains.reclaim();
        domains.set(A, &member(2)).unwrap();
        domains.reclaim();
    };
    beside(readers, table, change, |mut reader| {
        let first = sight(&reader, A);
        reader.quiesce();
        let second = sight(&reader, A);
        assert!(first != Some(2) || second == Some(2), "time went back from {first:?} to {second:?}");
    });
}

/// A number of a removed domain never stands for two domains that one reader sees in one section.
fn reusing_a_number(readers: usize) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let change = |domains: &mut DomainPublisher, _: &mut _| {
        domains.remove(A);
        domains.reclaim();
        domains.set(B, &member(2)).unwrap();
    };
    beside(readers, table, change, |mut reader| {
        reader.quiesce();
        if let (Some(a), Some(b)) = (reader.lookup(A), reader.lookup(B)) {
            assert_ne!(a.domain(), b.domain());
        }
    });
}

/// The slot array is rebuilt, then a list in it replaced: the reader finds the domain in either array.
fn growing(readers: usize) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let change = |domains: &mut DomainPublisher, _: &mut _| {
        domains.set(B, &member(7)).unwrap();
        domains.set(A, &member(2)).unwrap();
        assert_eq!(domains.retired(), 2, "an array and a list");
        domains.reclaim();
    };
    beside(readers, table, change, |mut reader| {
        let list = reader.lookup(A).expect("there all the time");
        let new = sight(&reader, B);
        assert!(new.is_none_or(|new| new == 7));
        let first = list.members()[0];
        reader.quiesce();
        assert!(first.get() <= sight(&reader, A).expect("there all the time"));
    });
}

/// A reader holds a list over its reports while the list is replaced, and drops it before a last report.
fn holding(readers: usize) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let change = |domains: &mut DomainPublisher, _: &mut _| {
        domains.set(A, &member(2)).unwrap();
        domains.reclaim();
    };
    beside(readers, table, change, |mut reader| {
        let held = reader.hold(A).unwrap();
        let first = held.members()[0];
        reader.quiesce();
        assert!(first.get() <= sight(&reader, A).unwrap());
        reader.quiesce();
        assert_eq!(held.members(), [first]);
        drop(held);
        reader.quiesce();
    });
}

/// Another thread uses what was held, and drops it, while the reader reports or sleeps.
fn handing_over(nap: bool) {
    let (mut domains, _array, makes) = table(());
    domains.set(A, &member(1)).unwrap();
    let mut reader = makes.reader();
    let held = reader.hold(A).unwrap();
    let other = thread::spawn(move || {
        assert_eq!(held.members(), member(1));
    });
    let reading = thread::spawn(move || {
        if nap {
            drop(reader.offline());
        } else {
            reader.quiesce();
        }
        reader
    });
    domains.set(A, &member(2)).unwrap();
    domains.reclaim();
    other.join().unwrap();
    drop(reading.join().unwrap());
    domains.reclaim();
    assert_eq!(domains.retired(), 0);
}

/// A reader sleeps and wakes while a list is replaced.
fn napping(readers: usize) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let change = |domains: &mut DomainPublisher, _: &mut _| {
        domains.set(A, &member(2)).unwrap();
        domains.reclaim();
    };
    beside(readers, table, change, |mut reader| {
        let first = sight(&reader, A);
        drop(reader.offline());
        let list = reader.lookup(A).unwrap();
        assert!(first.unwrap() <= list.members()[0].get());
    });
}

/// The array is replaced, then a list points into its new part: the array that a reader asks for later has it.
fn replacing_the_array(readers: usize) {
    let mut table = table(1_u32);
    table.0.set(A, &member(0)).unwrap();
    let change = |domains: &mut DomainPublisher, array: &mut ArrayPublisher<u32>| {
        array.replace(2);
        array.reclaim();
        domains.set(A, &member(1)).unwrap();
    };
    beside(readers, table, change, |mut reader| {
        let member = sight(&reader, A).unwrap();
        assert!(member < *reader.array(), "{member} is not in the array");
        reader.quiesce();
        assert!(*reader.array() <= 2);
    });
}

/// A domain's VIP table is replaced while readers use it: they find one or the other, and each lives as long as its list.
fn guarding(readers: usize) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let (first, second) = (Arc::new(VipTable::new([])), Arc::new(VipTable::new([])));
    let weak = [&first, &second].map(Arc::downgrade);
    table.0.set_vip_table(A, Some(first));
    let change = |domains: &mut DomainPublisher, _: &mut _| {
        domains.set_vip_table(A, Some(second));
        domains.remove(A);
        domains.reclaim();
    };
    beside(readers, table, change, |mut reader| {
        if let Some(list) = reader.lookup(A) {
            assert_eq!(list.members(), member(1));
            assert_eq!(list.vip_table().map(|vip_table| vip_table.vips().len()), Some(0));
        }
        reader.quiesce();
    });
    assert!(weak.iter().all(|vip_table| vip_table.strong_count() == 0), "a VIP table that was never freed");
}

/// Workers note what they hear of one virtual IP, each of an announcer of its own, while the control side drains: what it knows in
/// the end is what was noted last.
fn hearing(workers: usize) {
    let board = Arc::new(AnnouncementBoard::new());
    let vip = VipId::new(0).unwrap();
    let announcers: Vec<_> = (0_u32..).take(workers).map(|id| AnnouncerId::new(id).unwrap()).collect();
    let threads: Vec<_> = announcers
        .iter()
        .map(|&announcer| {
            let board = Arc::clone(&board);
            thread::spawn(move || {
                board.note(vip, announcer, AnnouncementKind::Claim { mac: [0; 6] }, VlanTags::NONE, 1);
                if workers == 1 {
                    board.note(
                        vip,
                        announcer,
                        AnnouncementKind::Advert { interval_cs: 100, priority: 200 },
                        VlanTags::NONE,
                        2,
                    );
                }
            })
        })
        .collect();
    let mut known = vec![LastAnnounced::default(); workers];
    let mut drain = || {
        board.drain(|marked| {
            assert_eq!(marked, vip);
            for (known, &announcer) in known.iter_mut().zip(&announcers) {
                *known = board.read(announcer);
            }
        });
    };
    drain();
    for thread in threads {
        thread.join().unwrap();
    }
    drain();
    let tags = HeardTags::Used(VlanTags::NONE);
    let claim = LastAnnounced { claim_ns: 1, tags, ..LastAnnounced::default() };
    let both = LastAnnounced { advert_ns: 2, interval_cs: 100, priority: 200, ..claim };
    assert_eq!(known, vec![if workers == 1 { both } else { claim }; workers], "noted, and never learnt");
}

/// A row is read whole while its writer replaces it twice, and its last write is read in the end.
fn reading_a_row(_: usize) {
    let row = Arc::new(SharedRow::<2>::default());
    let writer = {
        let row = Arc::clone(&row);
        thread::spawn(move || (1..=2).for_each(|number| row.write([number; 2])))
    };
    if let Some([one, other]) = row.read() {
        assert_eq!(one, other, "words of two writes");
    }
    writer.join().unwrap();
    assert_eq!(row.read(), Some([2, 2]));
}

/// An address whose holder is silent is taken by one of two that announce it at once, and then stays with that one.
fn taking_over(_: usize) {
    let learned = Arc::new(LearnedBindings::new());
    let address = std::net::IpAddr::from([10, 0, 0, 7]);
    let announce = move |learned: &LearnedBindings, tep: u16, now_ns| {
        learned.admit(address, [2, 0, 0, 0, 0, 1], tep.into(), now_ns, |_| false).is_ok()
    };
    assert!(announce(&learned, 1, 1));
    let later = 2 + SILENCE_NS;
    let other = Arc::clone(&learned);
    let thread = thread::spawn(move || announce(&other, 2, later));
    let mine = announce(&learned, 3, later);
    assert!(mine != thread.join().unwrap(), "taken by both, or by nobody");
    assert_eq!(announce(&learned, 3, later), mine);
}

/// An address whose owner is silent is announced by another, while the slot of that address goes to a new address: the table
/// has one slot. The slot is then of one of both, with the owner that announced it and counted once.
fn giving_a_slot_away(_: usize) {
    let learned = Arc::new(LearnedBindings::new());
    let [old, new] = [7, 8].map(|last| std::net::IpAddr::from([10, 0, 0, last]));
    let announce = |learned: &LearnedBindings, address, tep: u16, now_ns| {
        learned.admit(address, [2, 0, 0, 0, 0, 1], tep.into(), now_ns, |_| false)
    };
    let later = 2 + SILENCE_NS;
    announce(&learned, old, 1, 1).unwrap();
    let other = Arc::clone(&learned);
    let thread = thread::spawn(move || announce(&other, new, 2, later));
    let took_old = announce(&learned, old, 3, later);
    thread.join().unwrap().unwrap();
    // What was admitted without being remembered is free, and finds no room.
    let [held] = learned.all().collect::<Vec<_>>()[..] else { panic!("{:?}", learned.all().count()) };
    let is_new = held.address == new;
    assert_eq!(held.tep, TepIndex::from(if is_new { 2 } else { 3 }), "{held:?}");
    assert!(is_new || took_old.is_ok());
    assert_eq!(announce(&learned, held.address, 4, later), Err(StrictReason::OtherOwner));
    assert_eq!((held.mac, learned.counted()), ([2, 0, 0, 0, 0, 1], 1));
}

/// An operator frees an address while its owner and another announce it: it has one owner then, or none.
fn forgetting(_: usize) {
    let learned = Arc::new(LearnedBindings::new());
    let address = std::net::IpAddr::from([10, 0, 0, 7]);
    let announce = move |learned: &LearnedBindings, tep: u16| {
        learned.admit(address, [2, 0, 0, 0, 0, 1], tep.into(), 1, |_| false)
    };
    announce(&learned, 1).unwrap();
    let other = Arc::clone(&learned);
    let thread = thread::spawn(move || announce(&other, 2));
    assert!(learned.forget(address));
    let took = thread.join().unwrap();
    assert_eq!(learned.len(), usize::from(took.is_ok()));
    assert_eq!(learned.counted(), u64::from(took.is_ok()));
}

/// Readers register while a list is replaced, and leave.
fn registering(readers: usize) {
    let (mut domains, _array, makes) = table(());
    domains.set(A, &member(1)).unwrap();
    let threads: Vec<_> = (0..readers)
        .map(|_| {
            let makes = makes.clone();
            thread::spawn(move || {
                let mut reader = makes.reader();
                let first = sight(&reader, A).unwrap();
                reader.quiesce();
                assert!(first <= sight(&reader, A).unwrap());
            })
        })
        .collect();
    domains.set(A, &member(2)).unwrap();
    domains.reclaim();
    for thread in threads {
        thread.join().unwrap();
    }
    domains.reclaim();
    assert_eq!(domains.retired(), 0);
}

/// Two publishers move the same epoch; a report of the later one's covers the earlier one's.
fn publishing_from_two_threads(_: usize) {
    let (mut domains, mut array, makes) = table(1_u32);
    domains.set(A, &member(1)).unwrap();
    let mut reader = makes.reader();
    let second = thread::spawn(move || {
        array.replace(2);
        array.reclaim();
        array
    });
    let reading = thread::spawn(move || {
        let list = reader.lookup(A).unwrap();
        assert!(*reader.array() <= 2 && list.members()[0].get() <= 2);
        reader.quiesce();
        let list = reader.lookup(A).unwrap();
        assert!(*reader.array() <= 2 && list.members()[0].get() <= 2);
    });
    domains.set(A, &member(2)).unwrap();
    domains.reclaim();
    reading.join().unwrap();
    let mut array = second.join().unwrap();
    assert!(domains.reclaim() + array.reclaim() <= 2);
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
