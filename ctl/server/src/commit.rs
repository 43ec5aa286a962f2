//! The control path: request -> validate -> commit to the store -> publish to the table -> confirm -> answer.
//!
//! One thread does it for all requests that wait (group commit: one durable transaction for all of them, while each
//! is all or nothing by itself and gets its own revision). Confirmation is another thread's ([`crate::confirm`]), so
//! that the next group commits meanwhile.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use ctl_api::model::{Event, HavipEvent, RequestId, Revision};
use ctl_node::Node;
use ctl_store::{Answer, Answered, Body, Group, Record, Store, StoreError};
use tokio::sync::watch;

use crate::alarms::{Alarm, AlarmSender};
use crate::author::{self, Author};
use crate::clock::now_ms;
use crate::confirm::{Published, Waiting};
use crate::health::{Health, Trouble};
use crate::hook::{CommitHooks, Report};
use crate::job::{Job, Reply, Work};
use crate::machines;
use crate::refusal::Refusal;
use crate::refusals::Refusals;
use crate::restore::Backup;
use crate::state::{Figures, State, lock};
use crate::transaction::{Prepared, Transaction};

/// Most requests in one group.
const GROUP_REQUESTS: usize = 512;
/// With this many changes a group takes no further request. One request may have more; the memory that a group of
/// over 100,000 changes took stays with the allocator afterwards, for the next such group.
const GROUP_CHANGES: usize = 20_000;
/// Time between two turns that free replaced lists, while no request comes.
const RECLAIM_EVERY: Duration = Duration::from_millis(20);

/// Time between two looks at announcements of HAVIPs.
const TICK_EVERY: Duration = Duration::from_millis(1);
/// Most refused announcements taken in one turn: all that the data plane keeps.
const MOST_REFUSALS: usize = 4_096;
/// Longest wait of the thread: its heartbeat while nothing happens.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// The commit thread's own.
pub(crate) struct Committer {
    pub state: Arc<Mutex<State>>,
    pub store: Arc<dyn Store>,
    pub node: Arc<dyn Node>,
    pub jobs: Receiver<Job>,
    pub stopped: bool,
    pub confirmer: Sender<Published>,
    /// The revision up to which watchers may read.
    pub visible: watch::Sender<Revision>,
    /// Published figures, for readers that must not wait for the state.
    pub figures: watch::Sender<Figures>,
    pub listeners: CommitHooks,
    /// Whoever watches.
    pub alarms: AlarmSender,
    pub reports: Receiver<Report>,
    /// Time at which replaced lists were freed last.
    pub reclaimed: Instant,
    pub health: Arc<Health>,
    pub trouble: Trouble,
    /// The store could not be followed where it may be elsewhere.
    pub astray: bool,
    /// Announcements that domains with sticky ARP inspection refused.
    pub refusals: Refusals,
}

/// The accepted requests of a group, and what they change.
struct Accepted {
    group: Group,
    /// True if a copy that was made before the change may be sent where none is sent after it.
    removes: bool,
    waiting: Vec<Waiting>,
}

impl Committer {
    /// Serves until the last sender of jobs is gone; what was sent by then is answered.
    pub fn run(mut self) {
        while let Some(mut jobs) = self.next_group() {
            self.health.beat(Instant::now());
            let restore = jobs.pop_if(|job| matches!(job.work, Work::Restore(_)));
            if !jobs.is_empty() {
                let accepted = self.validate(jobs);
                self.carry_out(accepted);
            }
            if let Some(Job { work: Work::Restore(restore), reply, author, .. }) = restore {
                self.restore(*restore, reply, author);
            }
            // After each group, so that no move waits for more than one.
            self.tick_havips();
            self.report_refusals();
            self.probe();
        }
    }

    /// Takes all announcements that were refused, and reports what is due.
    fn report_refusals(&mut self) {
        let now = self.node.now();
        for _ in 0..MOST_REFUSALS {
            let Some(refusal) = self.node.take_refused() else { break };
            self.refusals.add(refusal, now.steady_ns);
        }
        if !self.refusals.is_due(now.steady_ns) {
            return;
        }
        let events = {
            let state = lock(&self.state);
            let tep = |index| state.teps.address(index);
            self.refusals.log(now.steady_ns, tep);
            self.refusals.events(now, state.revision, tep)
        };
        for event in &events {
            self.alarms.send(Alarm::Refused(*event));
        }
        if !events.is_empty() {
            self.listeners.refused(&events);
        }
    }

    /// While the store takes no changes it is tried now and then, so that it is known when it does again.
    fn probe(&mut self) {
        if !self.trouble.is_time(Instant::now()) {
            return;
        }
        let tried = if self.astray { self.follow_store() } else { Ok(()) };
        match tried.and_then(|()| self.store.probe()) {
            Ok(()) => self.trouble.works(),
            Err(error) => self.trouble.failed(&error, 0, Instant::now()),
        }
    }

    /// Replaces everything by a backup.
    fn restore(&mut self, mut backup: Backup, reply: Reply, author: Author) {
        if reply.is_closed() {
            return;
        }
        let unix_ms = now_ms();
        let prepared = self.store.snapshot().map_err(Refusal::from).and_then(|snapshot| {
            let above = backup.last_given(snapshot.identity(), unix_ms);
            let state = lock(&self.state);
            let prepared =
                Transaction::new(&state, self.node.as_ref()).restore(&mut backup, above, unix_ms)?;
            Ok((state.revision, prepared))
        });
        let (base, Prepared { answer, record, .. }) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let (records, history) = (Vec::from_iter(record), Some(backup.history));
        let (anew, configures) = (true, true);
        let group = Group { base, unix_ms, records, anew, configures, history, ..Group::default() };
        let logged = Some((author, "restore".to_owned()));
        let waiting = vec![Waiting { reply, answer, summary: None, drains: true, logged }];
        self.carry_out(Accepted { group, removes: true, waiting });
    }

    /// Commits and publishes a group; false where the store did not take it.
    fn carry_out(&mut self, mut accepted: Accepted) -> bool {
        accepted.group.outbox = self.listeners.stage(&accepted.group.records);
        match self.commit(&accepted.group) {
            Ok(()) => {
                if !accepted.group.is_empty() {
                    // The store was at the group's base, so it is followed.
                    self.astray = false;
                    self.trouble.works();
                }
                self.publish(accepted);
                true
            }
            Err(error) => {
                self.refuse(accepted, error);
                false
            }
        }
    }

    /// Announcements move HAVIPs: decided by their machines, then committed and published like any change.
    fn tick_havips(&mut self) {
        let (tick, group) = {
            let mut state = lock(&self.state);
            if state.machines.is_idle() {
                return;
            }
            let unix_ms = now_ms();
            let mut tick = state.tick(&self.reports, unix_ms);
            let records = Vec::from_iter(tick.record(state.revision.next(), unix_ms));
            (tick, Group { base: state.revision, unix_ms, records, ..Group::default() })
        };
        let changes = !group.records.is_empty();
        let done = !changes || self.carry_out(Accepted { group, removes: false, waiting: Vec::new() });
        let alarms = lock(&self.state).end_tick(tick, done);
        self.tell_alarms(&alarms);
    }

    /// Tells alarms, which commit nothing.
    fn tell_alarms(&mut self, alarms: &[HavipEvent]) {
        for alarm in alarms {
            machines::log(alarm);
            self.alarms.send(Alarm::Havip(alarm.clone()));
        }
        if !alarms.is_empty() {
            self.listeners.alarmed(alarms);
        }
    }

    /// Waits for a request, and takes all others that wait by then. No request: it is time to look at the HAVIPs.
    fn next_group(&mut self) -> Option<Vec<Job>> {
        let mut jobs = Vec::new();
        let mut changes = 0;
        let mut message = match self.stopped {
            true => return None,
            false => self.first_message(),
        };
        while let Ok(job) = message {
            changes = job.work.changes().saturating_add(changes);
            jobs.push(job);
            if jobs.len() == GROUP_REQUESTS || changes >= GROUP_CHANGES {
                return Some(jobs);
            }
            match self.jobs.try_recv() {
                Ok(next) => message = Ok(next),
                Err(_) => return Some(jobs),
            }
        }
        // Nobody is left to send one.
        self.stopped = !matches!(message, Err(RecvTimeoutError::Timeout));
        Some(jobs)
    }

    /// Waits for a message, at most until there is something else to do, and frees replaced lists before.
    fn first_message(&mut self) -> Result<Job, RecvTimeoutError> {
        let wait = self.wait();
        let probe = self.trouble.wait(Instant::now());
        self.jobs.recv_timeout(probe.map_or(wait, |probe| probe.min(wait)))
    }

    /// Frees replaced lists now and then, and says how long to wait for a message.
    fn wait(&mut self) -> Duration {
        let mut state = lock(&self.state);
        let ticks = !state.machines.is_idle();
        if !ticks || self.reclaimed.elapsed() >= RECLAIM_EVERY {
            self.reclaimed = Instant::now();
            state.reclaim();
            self.tell(&state);
        }
        match ticks {
            true if state.machines.is_ready(self.node.now().steady_ns) => Duration::ZERO,
            true => TICK_EVERY,
            false if state.counts().retired > 0 => RECLAIM_EVERY,
            false => BEAT_EVERY,
        }
    }

    /// Checks each request against the state as those before it leave it. Refusals are answered at once.
    fn validate(&self, jobs: Vec<Job>) -> Accepted {
        let state = lock(&self.state);
        let unix_ms = now_ms();
        let mut group = Group { base: state.revision, unix_ms, configures: true, ..Group::default() };
        let mut transaction = Transaction::new(&state, self.node.as_ref());
        let (mut waiting, mut removes) = (Vec::with_capacity(jobs.len()), false);
        // Whoever went away before this point changes nothing.
        for job in jobs.into_iter().filter(|job| !job.reply.is_closed()) {
            match self.validate_one(&mut transaction, &job.work, &mut group) {
                Ok(Prepared { answer, removes: does, summary, record }) => {
                    removes |= does;
                    let logged = record.map(|record| {
                        group.records.push(record);
                        (job.author, author::kinds(&job.work, summary.as_deref()))
                    });
                    // An answer that changed nothing may speak of what was deleted just before it.
                    let drains = does || answer.changed == 0;
                    waiting.push(Waiting { reply: job.reply, answer, summary, drains, logged });
                }
                Err(refusal) => drop(job.reply.send(Err(refusal))),
            }
        }
        Accepted { group, removes, waiting }
    }

    fn validate_one(
        &self,
        transaction: &mut Transaction<'_>,
        work: &Work,
        group: &mut Group,
    ) -> Result<Prepared, Refusal> {
        let mut answered = None;
        if let Some((conditions, body)) = work.conditions()
            && let Some(id) = &conditions.request_id
        {
            match self.first_answer(id, group)? {
                // Of an answer from before bodies were kept nothing else is known.
                Some((kept, answer)) if kept.is_none_or(|kept| kept == body) => {
                    return Ok(Prepared { answer, record: None, removes: true, summary: None });
                }
                Some(_) => return Err(Refusal::IdOfAnother(id.clone())),
                None if conditions.dry_run => {}
                None if self.store.answers_left(group.unix_ms)? <= group.answers.len() as u64 => {
                    return Err(Refusal::Ids);
                }
                None => answered = Some((id.clone(), body)),
            }
        }
        let prepared = match work {
            Work::Changes(batch, _) => transaction.batch(batch, group.unix_ms)?,
            Work::Apply(apply, _) => transaction.apply(apply, group.unix_ms)?,
            // It commits alone.
            Work::Restore(_) => return Err(Refusal::Stopping),
        };
        let answer = &prepared.answer;
        group.answers.extend(answered.map(|(id, body)| Answered { id, body, answer: answer.clone() }));
        Ok(prepared)
    }

    /// The answer that a request with this id got before, and what the id belongs to.
    fn first_answer(
        &self,
        id: &RequestId,
        group: &Group,
    ) -> Result<Option<(Option<Body>, Answer)>, StoreError> {
        match group.answers.iter().find(|answered| answered.id == *id) {
            Some(Answered { body, answer, .. }) => Ok(Some((Some(*body), answer.clone()))),
            None => self.store.answer(id, group.unix_ms),
        }
    }

    /// Durable when it returns.
    fn commit(&self, group: &Group) -> Result<(), StoreError> {
        if group.is_empty() { Ok(()) } else { self.store.commit(group) }
    }

    /// The workers find the new lists from here on; the confirmer waits until all have.
    fn publish(&mut self, accepted: Accepted) {
        let epoch = {
            let mut state = lock(&self.state);
            let epoch = state.publish(&accepted.group.records, accepted.group.configures);
            self.tell(&state);
            epoch
        };
        let at = Instant::now();
        if let Some(Record { revision, .. }) = accepted.group.records.last() {
            self.visible.send_replace(*revision);
        }
        self.listeners.committed(&accepted.group.records);
        for Waiting { logged, answer, .. } in &accepted.waiting {
            if let Some((author, change)) = logged {
                author.log(change, answer);
            }
        }
        for event in accepted.group.records.iter().flat_map(|record| &record.events) {
            if let Event::HavipEvent(event) = event {
                machines::log(event);
            }
        }
        let changed = !accepted.group.records.is_empty();
        let mut events = accepted.group.records.iter().flat_map(|record| &record.events);
        let sets_teps = events.any(|event| matches!(event, Event::TepSet(_)));
        let Accepted { removes, waiting, .. } = accepted;
        if !waiting.is_empty() {
            // The confirmer outlives this thread.
            drop(self.confirmer.send(Published { epoch, at, changed, sets_teps, removes, waiting }));
        }
    }

    fn tell(&self, state: &State) {
        self.figures.send_replace(state.figures());
    }

    /// Nothing of a group that the store did not take is in the table. Where the store may have taken it after all,
    /// the table follows the store.
    fn refuse(&mut self, accepted: Accepted, error: StoreError) {
        self.listeners.aborted();
        self.astray |= matches!(error, StoreError::Unknown { .. } | StoreError::Diverged { .. });
        // A store that is elsewhere than thought works.
        if !matches!(error, StoreError::Diverged { .. }) {
            self.trouble.failed(&error, accepted.waiting.len(), Instant::now());
        }
        let refusal = Refusal::from(error);
        for waiting in accepted.waiting {
            drop(waiting.reply.send(Err(refusal.clone())));
        }
        if self.astray
            && let Err(error) = self.follow_store()
        {
            // It is tried again; and the next commit will find that the store is elsewhere.
            self.trouble.failed(&error, 0, Instant::now());
        }
    }

    fn follow_store(&mut self) -> Result<(), StoreError> {
        let snapshot = self.store.snapshot()?;
        let mut state = lock(&self.state);
        let loaded = state.load(snapshot.as_ref());
        self.tell(&state);
        let revision = state.revision;
        drop(state);
        loaded?;
        self.listeners.loaded(snapshot.as_ref())?;
        self.astray = false;
        self.visible.send_replace(revision);
        Ok(())
    }
}
