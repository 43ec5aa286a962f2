//! Where threads run: what is measured on one core, what works beside it on another, as in the daemon.

use core_affinity::{CoreId, get_core_ids, set_for_current};

/// The cores of a measurement. On a machine with one core all share it; where threads cannot be pinned they are not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cores {
    measured: Option<CoreId>,
    beside: Option<CoreId>,
}

/// There is no such core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("core {0} is not there, or not this program's to use: give one that `taskset -p $$` shows, or none")]
pub struct NoSuchCore(usize);

impl Cores {
    /// What is measured goes to this core, or to the last; what works beside it to the first other one.
    ///
    /// # Errors
    /// The core is not there.
    pub fn choose(measured: Option<usize>) -> Result<Self, NoSuchCore> {
        let cores = get_core_ids().unwrap_or_default();
        let measured = match measured {
            Some(id) => Some(*cores.iter().find(|core| core.id == id).ok_or(NoSuchCore(id))?),
            None => cores.last().copied(),
        };
        Ok(Self { measured, beside: cores.into_iter().find(|&core| Some(core) != measured) })
    }

    /// The calling thread is what is measured.
    pub fn enter_measured(self) {
        enter(self.measured);
    }

    /// The calling thread works beside it.
    pub fn enter_beside(self) {
        enter(self.beside);
    }
}

fn enter(core: Option<CoreId>) {
    // A thread that cannot be pinned runs where the system puts it.
    let _pinned = core.is_some_and(set_for_current);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_and_what_works_beside_it_have_different_cores() {
        let all = get_core_ids().unwrap_or_default();
        for id in all.iter().map(|core| core.id) {
            let cores = Cores::choose(Some(id)).unwrap();
            assert_eq!(cores.measured.map(|core| core.id), Some(id));
            assert_ne!(cores.measured, cores.beside);
            assert_eq!(cores.beside.is_some(), all.len() > 1);
        }
        assert_eq!(Cores::choose(Some(1 << 20)).unwrap_err(), NoSuchCore(1 << 20));
    }
}
