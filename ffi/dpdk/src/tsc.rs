//! The processor's time stamp counter.

use crate::Eal;

/// A steady clock that costs some ten nanoseconds to read, on any thread.
#[derive(Clone, Copy, Debug)]
pub struct Tsc {
    per_second: u64,
}

impl Tsc {
    /// The clock, whose rate the EAL has measured.
    pub fn new(_eal: &Eal) -> Self {
        // SAFETY: FFI; the EAL has run, so the rate is known.
        Tsc { per_second: unsafe { dpdk_sys::shim_cycles_per_second() } }
    }

    /// Ticks since some moment before.
    #[inline]
    pub fn now(self) -> u64 {
        // SAFETY: FFI; reads a register.
        unsafe { dpdk_sys::shim_cycles() }
    }

    /// So many ticks in nanoseconds.
    #[inline]
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(self.per_second.max(1)))
            .unwrap_or(u64::MAX)
    }

    /// Ticks in a second.
    pub fn per_second(self) -> u64 {
        self.per_second
    }
}
