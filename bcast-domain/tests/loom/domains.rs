//! Models of lists, arrays and their readers.

use std::sync::Arc;

use bcast_domain::{ArrayPublisher, DomainPublisher, Readers, table};
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use super::{A, B, beside, member, sight};

/// Table with a list of domain `A`.
fn one_list() -> (DomainPublisher, ArrayPublisher<()>, Readers<()>) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    table
}

/// Replaces that list.
fn replace(domains: &mut DomainPublisher, _: &mut ArrayPublisher<()>) {
    domains.set(A, &member(2)).unwrap();
    domains.reclaim();
}

/// A reader has an old list while it is replaced; after its report it goes on with whichever it finds.
pub(super) fn replacing(readers: usize) {
    beside(readers, one_list(), replace, |mut reader| {
        let list = reader.lookup(A).unwrap();
        let first = list.members()[0];
        assert_eq!(list.members(), [first]);
        reader.quiesce();
        let second = sight(&reader, A).unwrap();
        assert!(first.get() <= second, "time went back from {first} to {second}");
    });
}

/// An answered removal is final: once grace has passed no reader finds the domain, asleep or awake.
pub(super) fn removing(readers: usize, nap: bool) {
    let table = one_list();
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
pub(super) fn waiting(readers: usize) {
    let table = one_list();
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
pub(super) fn reusing_a_key(readers: usize) {
    let table = one_list();
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
pub(super) fn reusing_a_number(readers: usize) {
    let table = one_list();
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
pub(super) fn growing(readers: usize) {
    let table = one_list();
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
pub(super) fn holding(readers: usize) {
    beside(readers, one_list(), replace, |mut reader| {
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
pub(super) fn handing_over(nap: bool) {
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
pub(super) fn napping(readers: usize) {
    beside(readers, one_list(), replace, |mut reader| {
        let first = sight(&reader, A);
        drop(reader.offline());
        let list = reader.lookup(A).unwrap();
        assert!(first.unwrap() <= list.members()[0].get());
    });
}

/// The array is replaced, then a list points into its new part: the array that a reader asks for later has it.
pub(super) fn replacing_the_array(readers: usize) {
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

/// Readers register while a list is replaced, and leave.
pub(super) fn registering(readers: usize) {
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
pub(super) fn publishing_from_two_threads(_: usize) {
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
