//! Writes the seeds of `stored_rows` and `api_model`: rows of a store of schema 3 and of what it is migrated to, and
//! requests that make the same state. `cargo run --example seeds`, in this folder.

use std::fs;
use std::path::Path;

use bcast_domain::Tep;
use ctl_api::model::{Batch, Change, Conditions, Event, Existing, Set, SetResource, Target, TepRef};
use ctl_api::proto::{ApplyOptions, ApplyRequest, CommitRequest, HavipEntry, SnapshotPart};
use ctl_store::rows::Table;
use ctl_store::{EmbeddedStore, Group, Record, Store};
use prost::Message;
use redb::{Database, Key, ReadableDatabase, ReadableTable, TableDefinition};

const FIXTURE: &str = "../../ctl/store/tests/fixtures/previous-release/domains.redb";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("domains.redb");
    fs::copy(FIXTURE, &path)?;
    fs::copy(format!("{FIXTURE}.revision"), folder.path().join("domains.redb.revision"))?;
    {
        let database = Database::open(&path)?;
        domains(&database)?;
        rows::<&str>(&database, "havips", Table::OldHavip)?;
        rows::<(&str, u64)>(&database, "happenings", Table::OldEvent)?;
    }
    let store = EmbeddedStore::open(&path)?;
    requests(&store)?;
    let revision = store.revision()?.next();
    let events = all(&store)?;
    let records = vec![Record { revision, unix_ms: 1, events }];
    store.commit(&Group { base: store.revision()?, unix_ms: 1, records, ..Group::default() })?;
    drop(store);
    let database = Database::open(&path)?;
    rows::<&[u8]>(&database, "tep_rows", Table::Tep)?;
    rows::<u32>(&database, "domain_rows", Table::Domain)?;
    rows::<&str>(&database, "havip_rows", Table::Havip)?;
    rows::<(&str, u64)>(&database, "havip_events", Table::Event)?;
    rows::<u64>(&database, "records", Table::Record)?;
    seed("stored_rows", Table::Letter as u8, b"log\0web\0{\"id\":\"7-0\"}\0connection refused")?;
    Ok(())
}

fn seed(target: &str, kind: u8, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new("corpus").join(target);
    fs::create_dir_all(&folder)?;
    let count = fs::read_dir(&folder)?.count();
    fs::write(folder.join(format!("seed-{count:03}")), [&[kind], bytes].concat())
}

/// The first rows of a table.
fn rows<K: Key + 'static>(
    database: &Database,
    name: &str,
    table: Table,
) -> Result<(), Box<dyn std::error::Error>> {
    let definition: TableDefinition<K, &[u8]> = TableDefinition::new(name);
    for row in database.begin_read()?.open_table(definition)?.iter()?.take(8) {
        seed("stored_rows", table as u8, row?.1.value())?;
    }
    Ok(())
}

/// Rows of domains of an older schema, with the VNI before them.
fn domains(database: &Database) -> Result<(), Box<dyn std::error::Error>> {
    let definition: TableDefinition<u32, &[u8]> = TableDefinition::new("domains");
    for row in database.begin_read()?.open_table(definition)?.iter()?.take(8) {
        seed("stored_rows", Table::OldDomain as u8, row?.1.value())?;
    }
    Ok(())
}

/// All that there is, as events.
fn all(store: &EmbeddedStore) -> Result<Vec<Event>, ctl_store::StoreError> {
    let snapshot = store.snapshot()?;
    let history: Vec<_> = snapshot.history()?.map(|event| Ok(Event::HavipEvent(Box::new(event?)))).collect();
    snapshot.all()?.chain(history).collect()
}

/// Requests that make the state of a store.
fn requests(store: &EmbeddedStore) -> Result<(), Box<dyn std::error::Error>> {
    let (mut part, mut apply, mut changes) = (SnapshotPart::default(), ApplyRequest::default(), Vec::new());
    let options = ApplyOptions {
        prune: true,
        expected_revision: Some(7),
        max_differences: Some(3),
        ..Default::default()
    };
    apply.options = Some(options);
    for event in all(store)? {
        let resource = match event {
            Event::TepSet(tep) => {
                (part.teps.push(tep.clone().into()), apply.teps.push(tep.clone().into()));
                SetResource::Tep(TepRef::Address(tep.address), tep.into())
            }
            Event::DomainSet(domain) => {
                (part.domains.push(domain.clone().into()), apply.domains.push(domain.clone().into()));
                let join = Change::Join { vni: domain.vni, teps: domain.members.clone().into() };
                let leave = Change::Leave { vni: domain.vni, teps: domain.members.clone().into() };
                changes.extend([join, leave, Change::delete(Target::Domain(domain.vni))]);
                SetResource::Domain(domain.vni, domain.into())
            }
            Event::HavipSet(entry) => {
                let message = HavipEntry::from(*entry.clone());
                apply.havips.extend(message.havip.clone());
                part.havips.push(message);
                let havip = entry.havip;
                for attachment in &havip.attachments {
                    let (name, instance) = (havip.name.clone(), attachment.instance.clone());
                    let attachment = Box::new(attachment.clone().into());
                    changes.push(Change::SetAttachment { havip: name.clone(), attachment });
                    changes.push(Change::DeleteAttachment { havip: name.clone(), instance });
                    changes.push(Change::Unfreeze { havip: name });
                }
                SetResource::Havip(havip.name.clone(), havip.into())
            }
            Event::HavipEvent(event) => {
                part.history.push((*event).into());
                continue;
            }
            _ => continue,
        };
        let set = Set { resource, existing: Existing::Required, replace: true };
        changes.push(Change::Set(Box::new(set)));
    }
    let tep = TepRef::Address(Tep::new([198, 18, 0, 1].into())?);
    changes.push(Change::Delete { target: Target::Tep(tep), force: true });
    for change in changes.clone() {
        seed("api_model", 0, &CommitRequest::from(Batch::new(vec![change])).encode_to_vec())?;
    }
    let conditions = Conditions { request_id: "seed".parse().ok(), dry_run: true, ..Conditions::default() };
    changes.truncate(8);
    seed("api_model", 0, &CommitRequest::from(Batch { changes, conditions }).encode_to_vec())?;
    seed("api_model", 1, &apply.encode_to_vec())?;
    seed("api_model", 2, &part.encode_to_vec())?;
    Ok(())
}
