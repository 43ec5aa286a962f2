//! The processor's time stamp counter.

use crate::Eal;

/// A steady clock that costs some ten nanoseconds to read, on any thread.
#[derive(Clone, Copy, Debug)]
pub struct Tsc {
    per_second: u64,
    /// Ticks at [`Self::clock_ns`] 0.
    zero: u64,
}

impl Tsc {
    /// The clock, whose rate the EAL has measured.
    pub fn new(_eal: &Eal) -> Self {
        // SAFETY: FFI; the EAL has run, so the rate is known.
        let mut tsc = Tsc { per_second: unsafe { dpdk_sys::shim_cycles_per_second() }, zero: 0 };
        tsc.zero = tsc.now().saturating_sub(tsc.per_second);
        tsc
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

    /// When it was that many ticks, as nanoseconds since a second before this clock was made: never 0 after that, and small for as long
    /// as the daemon runs. (The ticks themselves count from the host's start, or from what its firmware set.)
    #[inline]
    pub fn clock_ns(self, ticks: u64) -> u64 {
        self.nanoseconds(ticks.saturating_sub(self.zero))
    }

    /// Ticks in a second.
    pub fn per_second(self) -> u64 {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_with_the_daemon_however_long_the_host_has_been_up() {
        let per_second = 2_300_000_000;
        let zero = 10 * 365 * 86_400 * per_second;
        let tsc = Tsc { per_second, zero };
        assert_eq!(tsc.clock_ns(zero + 5 * per_second), 5_000_000_000);
        assert_eq!(tsc.clock_ns(zero - 1), 0);
    }
}
