//! The commit thread's side: which rows its next transaction shall write and delete.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ctl_api::model::{Event, HavipEvent, Name, RefusedAnnouncement, Revision};

use crate::event::{encode, encode_refused, subject};
use crate::ledger::LedgerError;
use crate::queue::MOST_LINES;
use crate::receiver::{Receiver, now_unix_ms};
use crate::settle::Settler;
use ctl_store::{EventId, OutboxKey, OutboxRow, OutboxRows, Record};

/// The commit thread's end of all queues. Nothing in it waits for a receiver or the store; without receivers nothing is done.
pub struct Outbox {
    source: Arc<str>,
    receivers: Arc<[Arc<Receiver>]>,
    settler: Arc<Settler>,
    /// For each receiver, by virtual IP: since the last `stage`, until `committed`.
    staged: Vec<HashMap<Name, Staged>>,
    /// Number of the next alarm, below [`EventId::ALARMS`].
    alarm: u32,
}

/// Numbers of alarms that a millisecond stands for, as one over this: more than a node tells. So after a restart they go on
/// above all that were given.
const ALARM_MS: u64 = 5;

/// Fate of a virtual IP's line.
#[derive(Default)]
struct Staged {
    held: bool,
    delete: Vec<EventId>,
    insert: Vec<OutboxRow>,
    /// Events that are neither told nor stored any more.
    skipped: usize,
}

/// An event, encoded once for all receivers.
struct Encoded<'h> {
    id: EventId,
    event: &'h HavipEvent,
    body: Bytes,
}

impl Outbox {
    pub(crate) fn new(source: Arc<str>, receivers: Arc<[Arc<Receiver>]>, settler: Arc<Settler>) -> Self {
        let staged = receivers.iter().map(|_| HashMap::new()).collect();
        let alarm = u32::try_from(now_unix_ms() / ALARM_MS % u64::from(EventId::ALARMS)).unwrap_or(0);
        Self { source, receivers, settler, staged, alarm }
    }

    /// Tells alarms, which are part of no revision, as far as there is room. They are in memory alone until a receiver has
    /// accepted them, or refused them for a day.
    pub fn tell(&mut self, alarms: &[HavipEvent]) {
        for event in alarms {
            let id = self.alarm_id(event.generation);
            let body = encode(&self.source, id, event, 0);
            self.tell_one(id, &event.havip, event.unix_ms, &body);
        }
    }

    /// Tells refused announcements in the same way. Those of a domain have a line of their own.
    pub fn tell_refused(&mut self, refused: &[RefusedAnnouncement]) {
        for one in refused {
            let Ok(line) = subject(one.vni).parse() else { continue };
            let id = self.alarm_id(one.generation);
            let body = encode_refused(&self.source, id, one);
            self.tell_one(id, &line, one.unix_ms, &body);
        }
    }

    fn alarm_id(&mut self, generation: u64) -> EventId {
        let (revision, index) = (Revision::new(generation), EventId::ALARMS | self.alarm);
        self.alarm = (self.alarm + 1) % EventId::ALARMS;
        EventId { revision, index }
    }

    fn tell_one(&self, id: EventId, line: &Name, since_unix_ms: u64, body: &Bytes) {
        let now = Instant::now();
        for receiver in self.receivers.iter() {
            let mut queue = receiver.queue();
            // The other half is for what moves: whoever forges has no move coalesced.
            if queue.len() >= receiver.pending() / 2 {
                drop(queue);
                receiver.count_skipped(1);
                continue;
            }
            let key = OutboxKey { receiver: receiver.name().clone(), id };
            let (havip, body) = (line.clone(), body.clone());
            queue.insert(OutboxRow { key, havip, since_unix_ms, gap: 0, body }, now);
            drop(queue);
            receiver.wake();
        }
    }

    /// Rows that the next transaction, of these revisions, shall write and delete. Staged rows that were not committed are
    /// forgotten.
    pub fn stage(&mut self, records: &[Record]) -> OutboxRows {
        self.aborted();
        let mut rows = OutboxRows::default();
        if self.receivers.is_empty() {
            return rows;
        }
        let encoded: Vec<Encoded<'_>> =
            records.iter().flat_map(|record| encode_all(&self.source, record)).collect();
        if encoded.is_empty() {
            return rows;
        }
        for (receiver, staged) in self.receivers.iter().zip(&mut self.staged) {
            stage_for(receiver, &self.source, &encoded, staged);
            for line in staged.values() {
                rows.insert.extend_from_slice(&line.insert);
                rows.delete.extend(
                    line.delete.iter().map(|&id| OutboxKey { receiver: receiver.name().clone(), id }),
                );
            }
        }
        rows.insert.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    /// The transaction is durable: off they go.
    pub fn committed(&mut self) {
        let now = Instant::now();
        for (receiver, staged) in self.receivers.iter().zip(&mut self.staged) {
            if staged.is_empty() {
                continue;
            }
            let mut queue = receiver.queue();
            for (havip, line) in staged.drain() {
                receiver.count_skipped(line.skipped);
                for row in line.insert {
                    queue.insert(row, now);
                }
                if line.held {
                    queue.release(&havip, &line.delete, now);
                }
            }
            drop(queue);
            receiver.wake();
        }
    }

    /// Nothing of what was staged is in the store.
    pub fn aborted(&mut self) {
        let now = Instant::now();
        for (receiver, staged) in self.receivers.iter().zip(&mut self.staged) {
            let held = staged.drain().filter(|(_, line)| line.held);
            let held: Vec<Name> = held.map(|(havip, _)| havip).collect();
            if !held.is_empty() {
                let mut queue = receiver.queue();
                held.iter().for_each(|havip| queue.release(havip, &[], now));
                drop(queue);
                receiver.wake();
            }
        }
    }

    /// After a transaction of which nobody knows whether it is in the store: takes up what is there and not here.
    ///
    /// # Errors
    /// The store cannot be read; try again.
    pub fn reload(&mut self) -> Result<(), LedgerError> {
        self.aborted();
        let over = self.settler.unsettled();
        let mut rows = self.settler.ledger().rows()?;
        rows.retain(|row| !over.contains(&row.key));
        load(&self.receivers, rows);
        Ok(())
    }
}

/// Puts rows into the queues of their receivers; returns those of nobody.
pub(crate) fn load(receivers: &[Arc<Receiver>], mut rows: Vec<OutboxRow>) -> Vec<OutboxRow> {
    rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let now = Instant::now();
    let mut orphans = Vec::new();
    for row in rows {
        match receivers.iter().find(|receiver| *receiver.name() == row.key.receiver) {
            Some(receiver) => receiver.queue().insert(row, now),
            None => orphans.push(row),
        }
    }
    receivers.iter().for_each(|receiver| receiver.wake());
    orphans
}

/// The events of a revision, numbered.
fn encode_all<'r>(source: &str, record: &'r Record) -> impl Iterator<Item = Encoded<'r>> {
    let happened = record.events.iter().filter_map(|event| match event {
        Event::HavipEvent(event) => Some(event.as_ref()),
        _ => None,
    });
    (0..).zip(happened).map(move |(index, event)| {
        let id = EventId { revision: record.revision, index };
        Encoded { id, event, body: encode(source, id, event, 0) }
    })
}

fn stage_for(receiver: &Receiver, source: &str, events: &[Encoded<'_>], staged: &mut HashMap<Name, Staged>) {
    let mut queue = receiver.queue();
    let pending = receiver.pending();
    let mut rows = queue.len();
    for Encoded { id, event, body } in events {
        let havip = &event.havip;
        let line = staged.entry(havip.clone()).or_default();
        let mut gap = 0;
        if rows >= pending {
            if !line.held {
                line.held = true;
                let waiting = queue.hold(havip);
                gap += waiting.iter().map(|(_, gap)| 1 + gap).sum::<u64>();
                rows -= waiting.len();
                line.skipped += waiting.len();
                line.delete.extend(waiting.iter().map(|(id, _)| *id));
            }
            gap += line.insert.iter().map(|row| 1 + row.gap).sum::<u64>();
            rows -= line.insert.len();
            line.skipped += line.insert.len();
            line.insert.clear();
            if gap == 0 && rows >= pending + MOST_LINES {
                receiver.overflow();
                continue;
            }
        }
        line.insert.push(OutboxRow {
            key: OutboxKey { receiver: receiver.name().clone(), id: *id },
            havip: havip.clone(),
            since_unix_ms: event.unix_ms,
            gap,
            body: if gap == 0 { body.clone() } else { encode(source, *id, event, gap) },
        });
        rows += 1;
    }
}
