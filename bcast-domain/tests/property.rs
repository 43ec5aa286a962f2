//! Random sequences of operations against a plain map, with a reader in another thread.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use bcast_domain::{
    ArrayPublisher, DomainId, DomainPublisher, LimitError, MemberList, Reader, Readers, TepIndex, Vni,
    table_with_capacity,
};
use proptest::prelude::*;

/// Few, some of them far apart, so that sequences come back to them; more than the smallest table holds.
const VNIS: u32 = 90;

fn vni(n: u32) -> Vni {
    Vni::from(if n < 60 { n } else { u32::MAX - (n << 20) })
}

#[derive(Clone, Debug)]
enum Operation {
    Set(u32, Vec<u16>),
    Remove(u32),
    Epoch,
    Reclaim,
    ReplaceArray,
    Quiesce,
    Nap,
    ChangeReader,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => (0..VNIS, prop::collection::vec(0..40_u16, 0..6)).prop_map(|(n, list)| Operation::Set(n, list)),
        6 => (0..VNIS).prop_map(Operation::Remove),
        1 => Just(Operation::Epoch),
        2 => Just(Operation::Reclaim),
        1 => Just(Operation::ReplaceArray),
        2 => Just(Operation::Quiesce),
        1 => Just(Operation::Nap),
        1 => Just(Operation::ChangeReader),
    ]
}

type Seen = BTreeSet<(u32, Vec<TepIndex>)>;

/// The other thread: looks everything up, again and again, and notes each list that it finds.
fn watch(mut reader: Reader<usize>, done: &AtomicBool) -> Seen {
    let mut seen = Seen::new();
    let mut version = 0;
    loop {
        let last = done.load(Relaxed);
        for first in (0..VNIS).step_by(16) {
            let vnis: Vec<Vni> = (first..VNIS.min(first + 16)).map(vni).collect();
            let mut lists = [None; 16];
            reader.lookup_bulk(&vnis, &mut lists);
            for (n, list) in (first..).zip(lists) {
                seen.extend(list.map(|list: &MemberList| (n, list.members().to_vec())));
            }
            assert!(*reader.array() >= version);
            version = *reader.array();
            if first % 32 == 0 {
                reader.quiesce();
            }
        }
        if last {
            return seen;
        }
    }
}

/// The table, the map that it must agree with, and all lists that ever were.
struct Run {
    domains: DomainPublisher,
    array: ArrayPublisher<usize>,
    readers: Readers<usize>,
    reader: Reader<usize>,
    model: BTreeMap<u32, (DomainId, Vec<TepIndex>)>,
    history: Seen,
}

impl Run {
    fn new(capacity: usize) -> Self {
        let (domains, array, readers) = table_with_capacity(0, capacity);
        let reader = readers.reader();
        Self { domains, array, readers, reader, model: BTreeMap::new(), history: Seen::new() }
    }

    fn set(&mut self, n: u32, list: &[u16]) -> Result<(), TestCaseError> {
        let members: Vec<TepIndex> = list.iter().copied().map(TepIndex::from).collect();
        let sorted: BTreeSet<TepIndex> = members.iter().copied().collect();
        let set = self.domains.set(vni(n), &members);
        if sorted.len() < members.len() {
            let refused = matches!(set, Err(LimitError::DuplicateMember { .. }));
            prop_assert!(refused, "{:?}", set);
            return Ok(());
        }
        let (id, list) = (set.unwrap(), Vec::from_iter(sorted));
        let old = self.model.insert(n, (id, list.clone()));
        prop_assert!(old.is_none_or(|(old, _)| old == id), "a living domain keeps its number");
        self.history.insert((n, list));
        Ok(())
    }

    fn apply(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Set(n, list) => self.set(n, &list)?,
            Operation::Remove(n) => {
                prop_assert_eq!(self.domains.remove(vni(n)), self.model.remove(&n).is_some());
            }
            Operation::Epoch => _ = self.domains.epoch(),
            Operation::Reclaim => {
                let retired = self.domains.retired();
                prop_assert_eq!(self.domains.reclaim() + self.domains.retired(), retired);
                self.array.reclaim();
            }
            Operation::ReplaceArray => _ = self.array.replace(self.array.get() + 1),
            Operation::Quiesce => self.reader.quiesce(),
            Operation::Nap => drop(self.reader.offline()),
            Operation::ChangeReader => self.reader = self.readers.reader(),
        }
        Ok(())
    }

    /// A reader of the publisher's own thread sees each change at once.
    fn agree(&self) -> Result<(), TestCaseError> {
        let Self { domains, array, reader, model, .. } = self;
        prop_assert_eq!(reader.array(), array.get());
        prop_assert_eq!((domains.len(), domains.iter().count()), (model.len(), model.len()));
        prop_assert_eq!(domains.memberships(), model.values().map(|(_, list)| list.len()).sum::<usize>());
        for n in 0..VNIS {
            let content = |list: &MemberList| (list.domain(), list.members().to_vec());
            prop_assert_eq!(&reader.lookup(vni(n)).map(content), &model.get(&n).cloned());
            prop_assert_eq!(&domains.get(vni(n)).map(content), &model.get(&n).cloned());
        }
        let numbers: BTreeSet<DomainId> = model.values().map(|(id, _)| *id).collect();
        prop_assert_eq!(numbers.len(), model.len(), "no two domains share a number");
        Ok(())
    }
}

fn check(operations: Vec<Operation>, capacity: usize) -> Result<(), TestCaseError> {
    let mut run = Run::new(capacity);
    let (other, done) = (run.readers.reader(), AtomicBool::new(false));
    let (seen, result) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(other, &done));
        let result = operations.into_iter().try_for_each(|operation| {
            run.apply(operation)?;
            run.agree()
        });
        done.store(true, Relaxed);
        (watching.join().unwrap(), result)
    });
    result?;
    let never_set: Vec<_> = seen.difference(&run.history).collect();
    prop_assert!(never_set.is_empty(), "the other thread saw {never_set:?}");
    let Run { mut domains, reader, .. } = run;
    drop(reader);
    domains.reclaim();
    prop_assert_eq!(domains.retired(), 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_agrees_with_a_plain_map(
        operations in prop::collection::vec(operation(), 1..250),
        capacity in prop::sample::select(vec![0, 100]),
    ) {
        check(operations, capacity)?;
    }
}
