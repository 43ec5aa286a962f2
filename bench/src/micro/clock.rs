//! The CPU time of the calling thread. On a machine that others use as well it is the only clock that compares.

use rustix::time::{ClockId, clock_gettime};

/// CPU time that the calling thread has used: nanoseconds. A system call, some 100 ns or more.
#[inline]
pub fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    // A thread's CPU time is never negative.
    seconds.unwrap_or(0) * 1_000_000_000 + nanoseconds.unwrap_or(0)
}

/// Time that two calls of [`cpu_ns`] with nothing between measure: nanoseconds, the median of many.
pub fn overhead_ns() -> u64 {
    let mut pairs: Vec<u64> = (0..10_001)
        .map(|_| {
            let start = cpu_ns();
            cpu_ns() - start
        })
        .collect();
    pairs.sort_unstable();
    pairs[pairs.len() / 2]
}
