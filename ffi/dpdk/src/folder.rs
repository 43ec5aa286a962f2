//! The EAL's runtime folder. DPDK makes one for each process, `bcast-PID` below `/run/dpdk` (or below
//! `$RUNTIME_DIRECTORY` or `$XDG_RUNTIME_DIR`), and leaves it behind. With the arguments of
//! [`crate::EalConfig`] nothing is ever in it: hugepages come from memory files without a name.
//!
//! A process holds a lock on its folder as long as it lives, and the kernel takes the lock from a dead one.
//! A starting process removes the folders that nobody holds, if their names are bcast's and they are empty: those of
//! other DPDK programs stay.

use std::{
    ffi::{CStr, OsStr},
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

/// Prefix of the names of bcast's folders; a process id follows.
const PREFIX: &str = "bcast-";

/// Time that a start may take from its folder to its lock.
const STARTING: Duration = Duration::from_secs(60);

/// The `--file-prefix` of this process.
pub(crate) fn own_prefix() -> String {
    format!("{PREFIX}{}", process::id())
}

/// The runtime folder of this process, locked.
pub(crate) struct RuntimeFolder {
    path: PathBuf,
    /// An open file of the folder, which has the lock; none where the folder cannot be opened.
    _lock: Option<File>,
}

impl RuntimeFolder {
    /// Locks the folder that `rte_eal_init` made, and removes those that dead processes of bcast left beside
    /// it. `None`: `rte_eal_init` made none.
    pub(crate) fn claim() -> Option<Self> {
        // SAFETY: FFI; a C string that lasts as long as the process, of which a copy is made. Empty before
        // the EAL has made its folder.
        let path = unsafe { CStr::from_ptr(dpdk_sys::rte_eal_get_runtime_dir()) };
        if path.is_empty() {
            return None;
        }
        let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
        let lock = File::open(&path).ok().filter(|folder| folder.try_lock().is_ok());
        if let Some(all) = path.parent() {
            remove_abandoned(all);
        }
        Some(RuntimeFolder { path, _lock: lock })
    }
}

impl Drop for RuntimeFolder {
    fn drop(&mut self) {
        // It is empty, or somebody else's business.
        drop(fs::remove_dir(&self.path));
    }
}

/// Removes what dead processes of bcast left in DPDK's folder. What cannot be removed stays: it is in nobody's
/// way.
fn remove_abandoned(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        // One that has just started may not have its lock yet. An older folder goes by its lock alone: its process id may be
        // another program's by now.
        let is_new = || entry.metadata().and_then(|folder| folder.modified()).map(|at| at.elapsed());
        let starting = |pid: u32| {
            let alive = Path::new("/proc").join(pid.to_string()).exists();
            alive && is_new().is_ok_and(|age| age.is_ok_and(|age| age < STARTING))
        };
        if pid.is_none_or(starting) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        // Held by a process of another PID namespace, or by none.
        let Ok(folder) = File::open(&path) else { continue };
        if folder.try_lock().is_ok() {
            drop(fs::remove_dir(path));
        }
    }
}
