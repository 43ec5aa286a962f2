//! The environment abstraction layer: memory, devices, threads. Started once in a process.

use crate::{
    Errno,
    folder::{self, RuntimeFolder},
    log::Capture,
    tsc::Pair,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CStr, CString, c_char, c_int},
    marker::PhantomData,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering},
    },
    thread,
};

/// Configuration of the EAL.
#[derive(Debug, Clone)]
pub struct EalConfig {
    /// Memory to reserve at start, in MiB. All mbufs come out of it.
    pub memory_mb: u32,
    /// Take the memory from hugepages; else from ordinary pages, which suits virtual devices and small pools
    /// only.
    pub hugepages: bool,
    /// The core that DPDK counts as its own main core. Nothing runs on it: workers are threads of the caller.
    pub main_core: u32,
    /// Name of this process's runtime folder, which tells it from those of other DPDK processes. By default
    /// `bcast-PID`: a folder of such a name that a dead process left is removed by the next that starts.
    pub file_prefix: String,
    /// More EAL arguments, verbatim, after the others: they win.
    pub args: Vec<String>,
}

impl Default for EalConfig {
    fn default() -> Self {
        EalConfig {
            memory_mb: 512,
            hugepages: true,
            main_core: 0,
            file_prefix: folder::own_prefix(),
            args: Vec::new(),
        }
    }
}

impl EalConfig {
    /// The command line that the EAL would have got. It keeps its log to errors, opens no telemetry socket,
    /// and leaves PCI devices alone until one is attached.
    fn argv(&self) -> Vec<String> {
        let mut argv: Vec<String> =
            vec!["bcast".into(), "--no-telemetry".into(), "--log-level=*:error".into()];
        argv.push(format!("--file-prefix={}", self.file_prefix));
        argv.push(format!("--lcores={}", self.main_core));
        argv.extend(["-m".into(), self.memory_mb.to_string()]);
        if self.hugepages {
            argv.push("--in-memory".into());
        } else {
            argv.extend(["--no-huge".into(), "--no-shconf".into()]);
        }
        // DPDK would take every PCI device that is bound to vfio-pci, also those meant for others, unless
        // some are named. The root of the bus names none.
        let chosen = ["-a", "--allow", "-b", "--block", "--no-pci"];
        if !self.args.iter().any(|arg| chosen.iter().any(|option| arg.starts_with(option))) {
            argv.push("--allow=0000:00:00.0".into());
        }
        argv.extend(self.args.iter().cloned());
        argv
    }
}

/// Why the EAL did not start, or a thread was not registered with it.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// DPDK cannot be started twice in a process, not even after it was stopped.
    #[error("DPDK was started before in this process, and can be started only once")]
    Restarted,
    /// An argument that C cannot take.
    #[error("EAL argument {0:?} holds a NUL byte: remove it")]
    Argument(String),
    /// The thread that starts the EAL could not be made.
    #[error("cannot make the thread that starts DPDK: {0}")]
    Thread(#[from] std::io::Error),
    /// The EAL refused its arguments or found no memory.
    #[error("DPDK does not start: {errno}{log}; {advice}")]
    Init {
        /// Error that it returned.
        errno: Errno,
        /// Text that it logged, as `: text`.
        log: String,
        /// Advice for the operator.
        advice: &'static str,
    },
    /// The calling thread has an lcore id already.
    #[error("this thread is registered with DPDK already: keep the first registration")]
    Registered,
    /// No lcore id is left.
    #[error("DPDK has no thread number left ({0}): run fewer workers")]
    Threads(Errno),
}

/// The DPDK in use, such as `DPDK 22.11.11`; known before the EAL starts.
pub fn version() -> &'static str {
    // SAFETY: FFI; returns a C string that DPDK writes once, the same every time, and never frees.
    unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }.to_str().unwrap_or("DPDK")
}

/// The running EAL. A handle: clones are the same one, and pools, ports and registrations hold one each. When
/// the last is gone DPDK is cleaned up, unless mbufs are still out: then all its memory stays as it is until
/// the process ends.
#[derive(Clone)]
pub struct Eal(pub(crate) Arc<Environment>);

/// State that lives as long as the EAL does.
pub(crate) struct Environment {
    pools: Mutex<Vec<PoolPointer>>,
    open_ports: Mutex<BTreeSet<u16>>,
    /// The bus of each attached device, by name.
    attached: Mutex<BTreeMap<CString, &'static CStr>>,
    next_device: AtomicU32,
    /// Removed last, whether or not DPDK is cleaned up: nothing is ever in it.
    _folder: Option<RuntimeFolder>,
    /// Clocks before the EAL started.
    pub(crate) started: Pair,
}

/// A pool's address. Pools stay in place as long as the EAL runs.
#[derive(Clone, Copy)]
pub(crate) struct PoolPointer(pub(crate) NonNull<dpdk_sys::rte_mempool>);

// SAFETY: the compiler cannot know that a mempool is made to be shared: its functions may be called from any
// thread, and each thread that is registered uses a cache of its own.
unsafe impl Send for PoolPointer {}
// SAFETY: as above.
unsafe impl Sync for PoolPointer {}

impl Eal {
    /// Starts DPDK. That happens on a thread made for it, since `rte_eal_init` pins its caller to a core: the
    /// calling thread keeps its affinity.
    pub fn init(config: &EalConfig) -> Result<Eal, EalError> {
        static STARTED: AtomicBool = AtomicBool::new(false);
        let words = config
            .argv()
            .into_iter()
            .map(|word| CString::new(word.clone()).map_err(|_| EalError::Argument(word)));
        let words = words.collect::<Result<Vec<CString>, EalError>>()?;
        if STARTED.swap(true, Ordering::Relaxed) {
            return Err(EalError::Restarted);
        }
        let clocks = Pair::read();
        let started = thread::Builder::new().name("eal-init".into()).spawn(move || start(words))?.join();
        // That of a failed start goes at once.
        let folder = RuntimeFolder::claim();
        match started {
            Ok(Ok(())) => Ok(Eal(Arc::new(Environment {
                pools: Mutex::default(),
                open_ports: Mutex::default(),
                attached: Mutex::default(),
                next_device: AtomicU32::new(0),
                _folder: folder,
                started: clocks,
            }))),
            Ok(Err((errno, log))) => Err(EalError::Init { errno, log, advice: advice(config, errno) }),
            Err(_) => Err(EalError::Thread(std::io::Error::other("it panicked"))),
        }
    }

    /// Gives the calling thread a number of DPDK's, and with it a cache in every pool: without one, each
    /// access to a pool goes to its shared ring. Workers do this first of all. An error where the thread has
    /// one already.
    pub fn register_thread(&self) -> Result<ThreadRegistration, EalError> {
        // SAFETY: FFI; reads a thread-local variable.
        if unsafe { dpdk_sys::shim_thread_is_registered() } != 0 {
            return Err(EalError::Registered);
        }
        // SAFETY: FFI; the EAL runs (self proves it), and the thread is not registered.
        if unsafe { dpdk_sys::rte_thread_register() } != 0 {
            return Err(EalError::Threads(Errno::last()));
        }
        Ok(ThreadRegistration { environment: self.0.clone(), this_thread: PhantomData })
    }

    /// A number for the next virtual device: their names must differ.
    pub(crate) fn next_device(&self) -> u32 {
        self.0.next_device.fetch_add(1, Ordering::Relaxed)
    }
}

impl Environment {
    pub(crate) fn pools(&self) -> MutexGuard<'_, Vec<PoolPointer>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a device, so that it can be detached.
    pub(crate) fn attached(&self, name: CString, bus: &'static CStr) {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).insert(name, bus);
    }

    /// Takes a closed port's device off its bus, if it was attached: it can be attached again then.
    pub(crate) fn detach(&self, name: &CStr) {
        let bus = self.attached.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(bus) = bus {
            // SAFETY: FFI; the EAL runs, and both are C strings.
            unsafe { dpdk_sys::rte_eal_hotplug_remove(bus.as_ptr(), name.as_ptr()) };
        }
    }

    /// Ports that are open now, by number.
    pub(crate) fn open_ports(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.open_ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // No handle is left, so no registered thread, port or pool handle either: mbufs can still be freed,
        // by threads without a cache, but not taken. A pool that is complete now stays complete.
        // SAFETY: FFI; pools are never freed but by the cleanup below.
        let out = self
            .pools()
            .iter()
            .any(|pool| unsafe { dpdk_sys::rte_mempool_in_use_count(pool.0.as_ptr()) } > 0);
        if !out {
            // SAFETY: FFI; the EAL runs, and nobody is left who could use what this unmaps. A free that is
            // just returning has written its last: without a cache that is the tail index of the pool's ring,
            // which is what made the pool complete.
            unsafe { dpdk_sys::rte_eal_cleanup() };
        }
    }
}

/// The calling thread's registration with DPDK; dropping it empties the thread's caches and ends it.
pub struct ThreadRegistration {
    environment: Arc<Environment>,
    /// Belongs to one thread: not `Send`.
    this_thread: PhantomData<*const ()>,
}

impl Drop for ThreadRegistration {
    fn drop(&mut self) {
        for pool in self.environment.pools().iter() {
            // SAFETY: FFI; the pool lives as long as the environment, and only this thread uses its cache.
            unsafe { dpdk_sys::shim_pool_flush_cache(pool.0.as_ptr()) };
        }
        // SAFETY: FFI; `this_thread` keeps the value on the thread that was registered.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}

fn start(words: Vec<CString>) -> Result<(), (Errno, String)> {
    let capture = Capture::begin();
    let count = c_int::try_from(words.len()).unwrap_or(c_int::MAX);
    // The EAL keeps pointers into its arguments, and getopt reorders them: they are never freed.
    let mut argv: Vec<*mut c_char> = words.into_iter().map(CString::into_raw).collect();
    argv.push(std::ptr::null_mut());
    let argv = argv.leak();
    // Reachable, so that a leak checker does not report them.
    static ARGUMENTS: AtomicPtr<*mut c_char> = AtomicPtr::new(std::ptr::null_mut());
    ARGUMENTS.store(argv.as_mut_ptr(), Ordering::Relaxed);
    // SAFETY: FFI; `argv` holds `count` C strings and a null pointer, none of which is ever freed.
    let parsed = unsafe { dpdk_sys::rte_eal_init(count, argv.as_mut_ptr()) };
    if parsed >= 0 {
        return Ok(());
    }
    Err((Errno::last(), capture.end()))
}

fn advice(config: &EalConfig, errno: Errno) -> &'static str {
    match (errno.code(), config.hugepages) {
        (libc::EINVAL, _) => "check [eal] args, memory_mb and the main core",
        (_, true) => {
            "are enough hugepages free (/proc/sys/vm/nr_hugepages, 2 MiB each)? Without any, set hugepages = false"
        }
        (_, false) => "is memory_mb free?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_what_the_configuration_does() {
        let config =
            EalConfig { memory_mb: 64, main_core: 1, file_prefix: "node".into(), ..EalConfig::default() };
        let common = [
            "bcast",
            "--no-telemetry",
            "--log-level=*:error",
            "--file-prefix=node",
            "--lcores=1",
            "-m",
            "64",
        ];
        let none = "--allow=0000:00:00.0";
        for (hugepages, args, rest) in [
            (true, &[][..], &["--in-memory", none][..]),
            (false, &[], &["--no-huge", "--no-shconf", none]),
            (true, &["--log-level=debug"], &["--in-memory", none, "--log-level=debug"]),
            (true, &["-a", "0000:3b:00.0"], &["--in-memory", "-a", "0000:3b:00.0"]),
            (true, &["--block=0000:3b:00.0"], &["--in-memory", "--block=0000:3b:00.0"]),
            (false, &["--no-pci"], &["--no-huge", "--no-shconf", "--no-pci"]),
        ] {
            let args = args.iter().map(|&arg| arg.into()).collect();
            let argv = EalConfig { hugepages, args, ..config.clone() }.argv();
            assert_eq!(argv, [&common[..], rest].concat());
        }
    }
}
