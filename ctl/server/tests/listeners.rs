//! CommitHooks are told all that commits, in order, and their rows are in its transaction.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use ctl_api::model::{Batch, Revision};
use ctl_server::CommitHook;
use ctl_store::{
    EmbeddedStore, EventId, OutboxKey, OutboxRow, OutboxRows, Record, Snapshot, Store, StoreError,
};

/// Writes down what it is told, and stages a row for each record.
#[derive(Clone, Default)]
struct Scribe(Arc<Mutex<Vec<String>>>);

impl Scribe {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

fn revisions(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.revision.get()).collect()
}

impl CommitHook for Scribe {
    fn loaded(&mut self, snapshot: &dyn Snapshot) -> Result<(), StoreError> {
        self.note(format!("loaded {}", snapshot.revision()));
        Ok(())
    }

    fn stage(&mut self, records: &[Record]) -> OutboxRows {
        self.note(format!("stage {:?}", revisions(records)));
        let row = |record: &Record| OutboxRow {
            key: OutboxKey {
                receiver: "noc".parse().unwrap(),
                id: EventId { revision: record.revision, index: 0 },
            },
            havip: "web".parse().unwrap(),
            since_unix_ms: record.unix_ms,
            gap: 0,
            body: "{}".into(),
        };
        OutboxRows { insert: records.iter().map(row).collect(), delete: Vec::new() }
    }

    fn committed(&mut self, records: &[Record]) {
        self.note(format!("committed {:?}", revisions(records)));
    }

    fn aborted(&mut self) {
        self.note("aborted".to_owned());
    }
}

#[test]
fn a_listener_is_told_each_commit_before_its_answer_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let scribe = Scribe::default();
    let rig = Rig::listening(folder.path(), vec![Box::new(scribe.clone())]);
    rig.commit(vec![add(1), create(5001)]);
    assert_eq!(*scribe.0.lock().unwrap(), ["loaded 0", "stage [1]", "committed [1]"]);
    rig.commit(vec![add(1)]);
    rig.try_commit(Batch::new(vec![join(5002, &[1])])).unwrap_err();
    assert_eq!(scribe.0.lock().unwrap().len(), 3, "nothing changed");
    rig.commit(vec![join(5001, &[1])]);
    assert_eq!(scribe.0.lock().unwrap()[3..], ["stage [2]", "committed [2]"]);
    drop(rig);
    let rows = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap().outbox().unwrap();
    let revisions: Vec<Revision> = rows.iter().map(|row| row.key.id.revision).collect();
    assert_eq!(revisions, [Revision::new(1), Revision::new(2)], "durable with what they tell");
}
