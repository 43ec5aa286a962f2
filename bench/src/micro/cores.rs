//! Cores of threads: the measured one on one core, the one beside it on another, as in the daemon.

use anyhow::{Context, Result};
use core_affinity::{CoreId, get_core_ids, set_for_current};

/// The cores of a measurement. On a machine with one core all share it; where threads cannot be pinned they are not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cores {
    pub(super) measured: Option<CoreId>,
    pub(super) beside: Option<CoreId>,
}

impl Cores {
    /// Puts the measured thread on this core, or the last; the one beside it on the first other core.
    pub fn choose(measured: Option<usize>) -> Result<Self> {
        let cores = get_core_ids().unwrap_or_default();
        let measured = match measured {
            Some(id) => Some(*cores.iter().find(|core| core.id == id).with_context(|| {
                format!("core {id} is not there, or not to be used here: give one that `taskset -p $$` shows")
            })?),
            None => cores.last().copied(),
        };
        Ok(Self { measured, beside: cores.into_iter().find(|&core| Some(core) != measured) })
    }

    /// Moves the calling thread, which is measured, to its core.
    pub fn enter_measured(self) {
        enter(self.measured);
    }

    /// Moves the calling thread, which works beside it, to its core.
    pub fn enter_beside(self) {
        enter(self.beside);
    }
}

fn enter(core: Option<CoreId>) {
    // A thread that cannot be pinned runs where the system puts it.
    let _pinned = core.is_some_and(set_for_current);
}
