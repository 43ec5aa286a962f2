//! DPDK log lines of a failed call, for the error message: they say more than its error numbers.

use std::{
    ffi::CStr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The C side has one capture.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// DPDK's log goes to memory while this lives, whichever thread writes it.
pub(crate) struct Capture {
    _lock: MutexGuard<'static, ()>,
}

impl Capture {
    pub(crate) fn begin() -> Self {
        let lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: FFI; may be called before the EAL starts, and by one thread at a time, which the lock
        // ensures. Should it fail the log goes where it went before.
        unsafe { dpdk_sys::shim_log_capture_begin() };
        Capture { _lock: lock }
    }

    /// The captured lines as `: line; line`, or nothing.
    pub(crate) fn end(self) -> String {
        let text = take();
        let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        // Below a driver's own words the EAL only reports that there was an error.
        if lines.iter().any(|line| !line.starts_with("EAL: ")) {
            lines.retain(|line| !line.starts_with("EAL: "));
        }
        if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        take();
    }
}

fn take() -> String {
    // SAFETY: FFI; called by the holder of the lock. It returns null or a C string that is ours to free,
    // once.
    unsafe {
        let text = dpdk_sys::shim_log_capture_end();
        if text.is_null() {
            return String::new();
        }
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        dpdk_sys::shim_log_capture_free(text);
        copy
    }
}
