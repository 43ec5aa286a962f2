//! The processor's time stamp counter.

use crate::Eal;
use std::time::Duration;

/// Least time for which the counter is compared with the kernel's clock. A pair of both is right to some 100 ns, so this gives the rate
/// to some 10 parts in a million.
const MEASURED: Duration = Duration::from_millis(20);

/// Most readings of a pair, until nothing came between its two clocks.
const TRIES: usize = 8;
/// Ticks between the two readings of the counter around the kernel's clock, where nothing came between.
const UNDISTURBED: u64 = 2_000;

/// A steady clock that costs some ten nanoseconds to read, on any thread.
///
/// Differences between its readings saturate at 0 wherever they are taken: counters of different cores may differ by a little, and
/// a virtual machine that moves to another host may find a smaller count there.
#[derive(Clone, Copy, Debug)]
pub struct Tsc {
    per_second: u64,
    /// Ticks at [`Self::clock_ns`] 0.
    zero: u64,
}

impl Tsc {
    /// The clock. Its rate is measured against the kernel's `CLOCK_MONOTONIC_RAW` since the EAL began to start, for 20 ms at least: DPDK
    /// rounds what it measures to 10 MHz, which can be 0.2 % off.
    pub fn new(eal: &Eal) -> Self {
        let from = eal.0.started;
        let mut to = Pair::read();
        if let Some(missing) =
            MEASURED.checked_sub(Duration::from_nanos(to.kernel_ns.saturating_sub(from.kernel_ns)))
        {
            std::thread::sleep(missing);
            to = Pair::read();
        }
        // SAFETY: FFI; the EAL has run, so there is an estimate.
        let estimate = unsafe { dpdk_sys::shim_cycles_per_second() };
        let per_second = rate(from, to).unwrap_or(estimate);
        Tsc { per_second, zero: to.ticks.saturating_sub(per_second) }
    }

    /// Ticks since some moment before.
    #[inline]
    pub fn now(self) -> u64 {
        // SAFETY: FFI; reads a register.
        unsafe { dpdk_sys::shim_cycles() }
    }

    /// Ticks since `then`; 0 where the counter was beyond that.
    #[inline]
    pub fn since(self, then: u64) -> u64 {
        self.now().saturating_sub(then)
    }

    /// Converts ticks to nanoseconds.
    #[inline]
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(self.per_second.max(1)))
            .unwrap_or(u64::MAX)
    }

    /// Time of a tick, in nanoseconds since a second before this clock was made: never 0 after that, and small for as long
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

/// The counter and the kernel's clock at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    ticks: u64,
    /// `CLOCK_MONOTONIC_RAW`, which no time daemon speeds up or slows down.
    kernel_ns: u64,
}

impl Pair {
    /// Reads both, again while the thread lost its core in between; the closest pair of several counts.
    pub(crate) fn read() -> Self {
        let read = || {
            // SAFETY: FFI; reads a register.
            let before = unsafe { dpdk_sys::shim_cycles() };
            let kernel_ns = kernel_ns();
            // SAFETY: as above.
            let between = unsafe { dpdk_sys::shim_cycles() }.saturating_sub(before);
            (between, Pair { ticks: before.saturating_add(between / 2), kernel_ns })
        };
        let mut closest = read();
        for _ in 1..TRIES {
            if closest.0 <= UNDISTURBED {
                break;
            }
            let next = read();
            if next.0 < closest.0 {
                closest = next;
            }
        }
        closest.1
    }
}

fn kernel_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: FFI; writes the struct, and fails only for clocks that the kernel does not have.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &raw mut time) };
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    part(time.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(time.tv_nsec))
}

/// Ticks in a second, from what passed between two pairs; `None`: one of the clocks stood still.
fn rate(from: Pair, to: Pair) -> Option<u64> {
    let ticks = u128::from(to.ticks.saturating_sub(from.ticks));
    let passed_ns = u128::from(to.kernel_ns.saturating_sub(from.kernel_ns));
    u64::try_from((ticks * 1_000_000_000).checked_div(passed_ns)?).ok().filter(|&rate| rate > 0)
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

    #[test]
    fn the_rate_is_what_the_kernels_clock_says_and_is_not_rounded() {
        let pair = |ticks, kernel_ns| Pair { ticks, kernel_ns };
        for (from, to, expected) in [
            (pair(1_000, 5_000), pair(244_499_901_000, 100_000_005_000), Some(2_444_999_000)),
            (pair(0, 0), pair(23_000_000, 10_000_000), Some(2_300_000_000)),
            (pair(0, 7), pair(23_000_000, 7), None),
            (pair(9, 0), pair(9, 10_000_000), None),
            // The counter is smaller than it was: a virtual machine on another host.
            (pair(50, 0), pair(9, 10_000_000), None),
            (pair(0, 0), pair(u64::MAX, 1), None),
        ] {
            assert_eq!(rate(from, to), expected, "{from:?} {to:?}");
        }
    }

    #[test]
    fn the_counter_never_seems_to_run_backwards() {
        let tsc = Tsc { per_second: 1, zero: 0 };
        assert_eq!(tsc.since(u64::MAX), 0);
    }
}
