//! DPDK's error numbers in words.

use std::{ffi::CStr, fmt};

/// An error number as DPDK reports it: the system's, plus a few of its own. Always positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(i32);

impl Errno {
    /// From a function's negative return value.
    pub(crate) fn returned(code: i32) -> Self {
        Errno(code.saturating_abs())
    }

    /// From `rte_errno` of the calling thread.
    pub(crate) fn last() -> Self {
        // SAFETY: FFI is the only way to a thread-local variable of C; reading it has no precondition.
        Errno(unsafe { dpdk_sys::shim_errno() }.saturating_abs())
    }

    /// The number, to be compared with `libc::E*`.
    pub fn code(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: FFI; returns a NUL-terminated string, static or of the calling thread, that stays as it is
        // until this thread's next call: it is copied out before that.
        let words = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(self.0)) };
        write!(f, "{} (errno {})", words.to_string_lossy(), self.0)
    }
}
