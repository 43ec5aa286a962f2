//! Readers that come, go and sleep while one thread changes everything; in the end all that was retired is freed.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod counting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use bcast_domain::{DomainPublisher, Reader, Readers, TepIndex, Vni, table};
use counting::{Counting, live};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An array that counts how many of it there are.
struct Counted {
    version: usize,
    alive: Arc<AtomicIsize>,
}

impl Counted {
    fn new(version: usize, alive: &Arc<AtomicIsize>) -> Self {
        alive.fetch_add(1, Relaxed);
        Self { version, alive: Arc::clone(alive) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

/// Numbers that look random and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(bound)).unwrap()
    }
}

const VNIS: u32 = 3000;

/// A list that tells which domain it is of and whether it is whole: as many members as the first says, a step apart.
fn whole_list(vni: u32, dice: &mut Dice) -> Vec<TepIndex> {
    let len = 1 + dice.below(16);
    (0..len).map(|i| TepIndex::new(vni * 16 + len - 1 + i * 16).unwrap()).collect()
}

fn assert_whole(vni: Vni, members: &[TepIndex]) {
    let first = members[0].get();
    assert_eq!(
        (first / 16, first % 16 + 1),
        (vni.get(), u32::try_from(members.len()).unwrap()),
        "{vni}: {members:?}"
    );
    assert!(members.windows(2).all(|pair| pair[0].get() + 16 == pair[1].get()), "{vni}: {members:?}");
}

/// Readers come, look up some bursts, nap now and then, and go.
fn come_and_go(readers: &Readers<Counted>, mut dice: Dice, done: &AtomicBool, lookups: &AtomicUsize) {
    while !done.load(Relaxed) {
        let mut reader: Reader<Counted> = readers.reader();
        let mut version = 0;
        for _ in 0..dice.below(200) {
            let vnis: [Vni; 32] = std::array::from_fn(|_| Vni::from(dice.below(VNIS)));
            let mut lists = [None; 32];
            reader.lookup_bulk(&vnis, &mut lists);
            for (&vni, list) in vnis.iter().zip(lists) {
                list.inspect(|list| assert_whole(vni, list.members()));
            }
            let array = reader.array();
            assert!(array.version >= version, "time goes on");
            version = array.version;
            lookups.fetch_add(vnis.len(), Relaxed);
            match dice.below(20) {
                0 => drop(reader.offline()),
                1 => {} // a longer section
                _ => reader.quiesce(),
            }
        }
    }
}

/// Random changes. Returns how many things were retired, and how many freed.
fn change(domains: &mut DomainPublisher, changes: usize, dice: &mut Dice) -> (usize, usize) {
    let (mut retired, mut freed) = (0, 0);
    for n in 0..changes {
        let before = domains.retired();
        let vni = dice.below(VNIS);
        if dice.below(3) == 0 {
            domains.remove(vni.into());
        } else {
            domains.set(vni.into(), &whole_list(vni, dice)).unwrap();
        }
        retired += domains.retired() - before;
        if n % 64 == 0 {
            freed += domains.reclaim();
        }
    }
    (retired, freed)
}

/// Returns how many lists and slot arrays were freed, arrays replaced, and lookups made.
fn scenario(changes: usize) -> (usize, usize, usize) {
    let alive = Arc::new(AtomicIsize::new(0));
    let (mut domains, mut array, readers) = table(Counted::new(0, &alive));
    let (done, lookups) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (freed, (mut array, replaced, mut arrays_freed)) = thread::scope(|scope| {
        for seed in 1..=3 {
            let (readers, done, lookups) = (&readers, &done, &lookups);
            scope.spawn(move || come_and_go(readers, Dice(seed), done, lookups));
        }
        let replacing = scope.spawn(|| {
            let (mut replaced, mut freed) = (0, 0);
            while !done.load(Relaxed) {
                replaced += 1;
                array.replace(Counted::new(replaced, &alive));
                freed += array.reclaim();
                thread::yield_now();
            }
            (array, replaced, freed)
        });
        let (retired, mut freed) = change(&mut domains, changes, &mut Dice(77));
        done.store(true, Relaxed);
        let arrays = replacing.join().unwrap();
        while domains.retired() > 0 {
            freed += domains.reclaim();
            thread::yield_now();
        }
        assert_eq!(retired, freed, "everything retired is freed, once");
        (freed, arrays)
    });
    arrays_freed += array.reclaim();
    assert_eq!((array.retired(), arrays_freed), (0, replaced));
    assert_eq!(alive.load(Relaxed), 1, "the current array alone");
    // Left unreclaimed on purpose: what a publisher leaves behind goes with the last of all.
    domains.set(1.into(), &[]).unwrap();
    let reader = readers.reader();
    domains.remove(1.into());
    array.replace(Counted::new(0, &alive));
    drop((domains, array, readers));
    assert_eq!(alive.load(Relaxed), 2);
    drop(reader);
    assert_eq!(alive.load(Relaxed), 0);
    (freed, replaced, lookups.into_inner())
}

#[test]
fn what_is_retired_is_freed_while_readers_come_and_go() {
    scenario(1000); // what the standard library allocates once is allocated now
    let at_first = live();
    let (freed, arrays, lookups) = scenario(300_000);
    // Nothing was printed so far: the harness would keep it on the heap.
    assert_eq!(live(), at_first, "blocks and bytes on the heap");
    println!("retired and freed: {freed} lists and slot arrays, {arrays} arrays, beside {lookups} lookups");
}
