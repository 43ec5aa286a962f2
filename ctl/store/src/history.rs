//! Events of HAVIPs: a bounded number of each HAVIP, and of all.

use ctl_api::model::{HavipEvent, HavipEventKind, Name};
use ctl_api::proto;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
    WriteTransaction,
};

use crate::codec;
use crate::embedded::{Failure, META};

/// Most events that are kept of one HAVIP; the oldest go first.
pub const HISTORY_OF_ONE: usize = 50;
/// Of these, forgeries: whoever forges shall not push out what matters.
const SPOOFS_OF_ONE: usize = 10;
/// Most events that are kept of all HAVIPs; the oldest go first.
pub const HISTORY_OF_ALL: u64 = 500_000;

/// HAVIP and number -> `HavipEvent`.
const EVENTS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("havip_events");
/// The events by age: their numbers -> the HAVIP.
const AGES: TableDefinition<u64, &str> = TableDefinition::new("havip_event_ages");
/// Key in [`META`]: number of the next event.
const NEXT: &str = "havip_events";

/// The tables, open in a transaction.
pub(crate) struct History<'t> {
    events: Table<'t, (&'static str, u64), &'static [u8]>,
    ages: Table<'t, u64, &'static str>,
    next: u64,
    most: u64,
}

fn all_of(name: &str) -> std::ops::RangeInclusive<(&str, u64)> {
    (name, 0)..=(name, u64::MAX)
}

impl<'t> History<'t> {
    pub fn open(transaction: &'t WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            events: transaction.open_table(EVENTS)?,
            ages: transaction.open_table(AGES)?,
            next: transaction.open_table(META)?.get(NEXT)?.map_or(0, |next| next.value()),
            most: HISTORY_OF_ALL,
        })
    }

    /// Adds an event of a HAVIP that exists.
    pub fn add(&mut self, event: &HavipEvent) -> Result<(), Failure> {
        let name = event.havip.as_str();
        self.put(event)?;
        if event.kind == HavipEventKind::Spoof {
            self.keep(name, SPOOFS_OF_ONE, |row| Ok(parse(row)?.kind == HavipEventKind::Spoof))?;
        }
        self.keep(name, HISTORY_OF_ONE, |_| Ok(true))?;
        while self.ages.len()? > self.most {
            let Some((number, name)) = self.ages.pop_first()? else { break };
            self.events.remove((name.value(), number.value()))?;
        }
        Ok(())
    }

    /// Adds an event whatever the bounds are.
    pub fn put(&mut self, event: &HavipEvent) -> Result<(), Failure> {
        let name = event.havip.as_str();
        self.events.insert((name, self.next), codec::row::<proto::HavipEvent, _>(event).as_slice())?;
        self.ages.insert(self.next, name)?;
        self.next += 1;
        Ok(())
    }

    /// Keeps the newest so many of a HAVIP's that are such.
    fn keep(
        &mut self,
        name: &str,
        most: usize,
        is_such: impl Fn(&[u8]) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut such = Vec::new();
        for row in self.events.range(all_of(name))? {
            let (key, row) = row?;
            if is_such(row.value())? {
                such.push(key.value().1);
            }
        }
        for number in such.iter().take(such.len().saturating_sub(most)) {
            self.events.remove((name, *number))?;
            self.ages.remove(number)?;
        }
        Ok(())
    }

    /// Deletes all events of a HAVIP.
    pub fn forget(&mut self, name: &Name) -> Result<(), Failure> {
        for row in self.events.extract_from_if(all_of(name.as_str()), |_, _| true)? {
            self.ages.remove(row?.0.value().1)?;
        }
        Ok(())
    }

    /// Replaces all events with these: of each HAVIP in their order, none of them beyond the bounds.
    pub fn replace(&mut self, events: &[HavipEvent]) -> Result<(), Failure> {
        self.events.retain(|_, _| false)?;
        self.ages.retain(|_, _| false)?;
        // Those of one HAVIP keep their order, as they do not go back in time.
        let mut by_age: Vec<&HavipEvent> = events.iter().collect();
        by_age.sort_by_key(|event| event.generation);
        for event in by_age {
            self.put(event)?;
        }
        Ok(())
    }

    /// Ends the writing.
    pub fn close(self, transaction: &WriteTransaction) -> Result<(), Failure> {
        transaction.open_table(META)?.insert(NEXT, self.next)?;
        Ok(())
    }
}

/// All events, by HAVIP, the oldest first.
pub(crate) fn table(transaction: &ReadTransaction) -> Result<HistoryTable, Failure> {
    Ok(transaction.open_table(EVENTS)?)
}

/// Makes the tables.
pub(crate) fn make_tables(transaction: &WriteTransaction) -> Result<(), Failure> {
    transaction.open_table(EVENTS)?;
    transaction.open_table(AGES)?;
    Ok(())
}

fn parse(row: &[u8]) -> Result<HavipEvent, codec::Malformed> {
    codec::value::<proto::HavipEvent, _>("an event", row)
}

/// A read transaction's table of events.
pub(crate) type HistoryTable = ReadOnlyTable<(&'static str, u64), &'static [u8]>;

/// The events of a HAVIP, the oldest first.
pub(crate) fn read(transaction: &ReadTransaction, name: &Name) -> Result<Vec<HavipEvent>, Failure> {
    let rows = table(transaction)?.range(all_of(name.as_str()))?;
    rows.map(|row| Ok(parse(row?.1.value())?)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ctl_api::model::{Binding, Havip, HavipEntry};
    use redb::{Database, ReadableDatabase, backends::InMemoryBackend};

    use super::*;

    fn moved(name: &str, kind: HavipEventKind, generation: u64) -> HavipEvent {
        let havip = Havip {
            name: name.parse().unwrap(),
            vni: 1.into(),
            subnet: "10.0.0.0/24".parse().unwrap(),
            address: "10.0.0.1".parse().unwrap(),
            attachments: vec![],
            vrids: vec![],
            refresh_s: None,
            eip: None,
            group: None,
        };
        let entry = HavipEntry { havip, binding: Binding { generation, ..Binding::unbound(0) } };
        HavipEvent::of(&entry, kind, 0)
    }

    #[test]
    fn forgeries_push_out_forgeries_alone() {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut history = History::open(&transaction).unwrap();
        let kind = |generation| match generation {
            0..3 | 500 => HavipEventKind::Moved,
            _ => HavipEventKind::Spoof,
        };
        (0..=520).for_each(|n| history.add(&moved("a", kind(n), n)).unwrap());
        history.close(&transaction).unwrap();
        transaction.commit().unwrap();
        let transaction = database.begin_read().unwrap();
        let kept = read(&transaction, &"a".parse().unwrap()).unwrap();
        let kept: Vec<u64> = kept.iter().map(|event| event.generation).collect();
        assert_eq!(kept, [&[0, 1, 2, 500], &Vec::from_iter(511..=520)[..]].concat());
    }

    #[test]
    fn the_oldest_of_all_goes_first_whosever_it_is() {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut history = History::open(&transaction).unwrap();
        history.most = 60;
        for (name, generations) in [("a", 0..20), ("b", 20..90), ("a", 90..95)] {
            generations
                .for_each(|generation| history.add(&moved(name, HavipEventKind::Moved, generation)).unwrap());
        }
        history.close(&transaction).unwrap();
        transaction.commit().unwrap();
        let transaction = database.begin_read().unwrap();
        let kept = |name: &str| {
            let events = read(&transaction, &name.parse().unwrap()).unwrap();
            events.iter().map(|event| event.generation).collect::<Vec<_>>()
        };
        // Of b never more than 50; then five of a make the oldest of all, a's own, go.
        assert_eq!(kept("a"), [15, 16, 17, 18, 19].into_iter().chain(90..95).collect::<Vec<_>>());
        assert_eq!(kept("b"), (40..90).collect::<Vec<_>>());
    }
}
