//! Number of HAVIPs that have each diagnosis, and that are in each state, for metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bcast_domain::VipId;
use ctl_api::model::{HavipEntry, HavipState};
use ctl_havip::codes;
use ctl_node::Node;

use crate::state::State;

/// HAVIPs that are looked at while the state is locked once: changes wait for no more than these.
const AT_A_TIME: usize = 256;
/// Time after which a count is given up when the state cannot be had at once: whoever holds it waits for the data plane.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two attempts to lock the state.
const PAUSE: Duration = Duration::from_micros(200);

/// States of HAVIPs with their names.
const STATES: [(HavipState, &str); 4] = [
    (HavipState::Unbound, "unbound"),
    (HavipState::Bound, "bound"),
    (HavipState::Frozen, "frozen"),
    (HavipState::Conflict, "conflict"),
];

/// Counts in the order of [`codes::ALL`], and in that of [`STATES`].
#[derive(Clone, Copy, Default)]
struct Counts {
    codes: [u64; codes::ALL.len()],
    states: [u64; STATES.len()],
}

/// Numbers of HAVIPs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HavipCounts {
    /// Those that have each diagnosis, by code; all codes are there.
    pub diagnoses: Vec<(&'static str, u64)>,
    /// Those in each state; all states are there.
    pub states: Vec<(&'static str, u64)>,
}

/// Counter of diagnoses.
pub struct DiagnosisCounter {
    state: Arc<Mutex<State>>,
    node: Arc<dyn Node>,
    last: Mutex<Counts>,
}

impl DiagnosisCounter {
    pub(crate) fn new(state: Arc<Mutex<State>>, node: Arc<dyn Node>) -> Self {
        Self { state, node, last: Mutex::default() }
    }

    /// Number of HAVIPs with each code and in each state, all codes and states included; those of the last time while the state cannot be had. Waits for it a
    /// second at most. Takes some 1.5 us for each HAVIP.
    pub fn count(&self) -> HavipCounts {
        let counts = match self.count_now() {
            Some(counts) => {
                *self.last() = counts;
                counts
            }
            None => *self.last(),
        };
        HavipCounts {
            diagnoses: codes::ALL.iter().copied().zip(counts.codes).collect(),
            states: STATES.iter().map(|(_, name)| *name).zip(counts.states).collect(),
        }
    }

    fn last(&self) -> MutexGuard<'_, Counts> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_now(&self) -> Option<Counts> {
        let (mut counts, mut from, until) = (Counts::default(), 0, Instant::now() + PATIENCE);
        loop {
            let mut state = self.lock(until)?;
            let numbers = state.havips.numbers();
            for index in from..numbers.min(from + AT_A_TIME) {
                let id = u32::try_from(index).ok().and_then(|number| VipId::new(number).ok());
                if let Some(id) = id {
                    add(&mut state, self.node.as_ref(), id, &mut counts);
                }
            }
            from += AT_A_TIME;
            if from >= numbers {
                return Some(counts);
            }
        }
    }

    fn lock(&self, until: Instant) -> Option<MutexGuard<'_, State>> {
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// Adds a HAVIP to the counts of its diagnoses.
fn add(state: &mut State, node: &dyn Node, id: VipId, counts: &mut Counts) {
    let Some(held) = state.havips.get(id) else { return };
    // The machine takes note of when they were heard.
    drop(state.machines.announcer_times(held, &state.havips, node));
    let state = &*state;
    let mut has = [false; codes::ALL.len()];
    let mut mark = |code: &str| {
        let place = codes::ALL.iter().position(|one| *one == code);
        place.and_then(|place| has.get_mut(place)).into_iter().for_each(|has| *has = true);
    };
    state.machines.codes(held, node.now().steady_ns).for_each(&mut mark);
    if has_outsider(state, &held.entry) {
        mark(codes::TEP_NOT_MEMBER);
    }
    let state_of = STATES.iter().position(|(one, _)| *one == held.entry.binding.state);
    state_of.and_then(|place| counts.states.get_mut(place)).into_iter().for_each(|count| *count += 1);
    counts.codes.iter_mut().zip(has).for_each(|(count, has)| *count += u64::from(has));
}

/// True if an instance is attached at a TEP outside of the domain.
fn has_outsider(state: &State, entry: &HavipEntry) -> bool {
    let list = state.list(entry.havip.vni);
    let is_member =
        |tep| list.zip(state.teps.index(tep)).is_some_and(|(list, tep)| list.position(tep).is_some());
    let mut teps = entry.havip.attachments.iter().flat_map(|attachment| &attachment.teps);
    teps.any(|&tep| !is_member(tep))
}
