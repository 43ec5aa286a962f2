//! DPDK leaves nothing on the disk, even after kill -9.
// Clippy knows tests, but not their helpers.
#![allow(clippy::unwrap_used)]

mod common;
use common::pool;
use dpdk::{Eal, EalConfig, Mbuf};
use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Set for a child of a test: what it shall do.
const ROLE: &str = "BCAST_TEST_ROLE";
/// Line that a child prints when its EAL runs.
const RUNNING: &str = "the EAL runs";

/// Work of a child: it starts an EAL below `$RUNTIME_DIRECTORY` and ends in one way or another.
fn child(role: &str) {
    let hugepages = role == "wait on hugepages";
    let config = EalConfig { memory_mb: 32, hugepages, ..EalConfig::default() };
    match role {
        "fail" => {
            let args = vec!["--no-such-option".to_owned()];
            assert!(Eal::init(&EalConfig { args, ..config.clone() }).is_err());
        }
        "fail for want of memory" => {
            assert!(Eal::init(&EalConfig { memory_mb: 1 << 20, hugepages: true, ..config }).is_err());
        }
        "stop" => drop(Eal::init(&config).unwrap()),
        "stop with an mbuf out" => {
            let eal = Eal::init(&config).unwrap();
            let pool = pool(&eal);
            std::mem::forget(Mbuf::alloc(&pool).unwrap());
        }
        _ => {
            let _eal = Eal::init(&config).unwrap();
            println!("\n{RUNNING}");
            // Until the test kills this process, or is gone itself.
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }
    }
}

/// Starts this program's test of that name again, as a child with a role.
fn start(test: &str, role: &str, runtime: &Path) -> Child {
    // Not `current_exe`, which is a path of the mount namespace that this process began in.
    Command::new("/proc/self/exe")
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, role)
        .env("RUNTIME_DIRECTORY", runtime)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The same, and its EAL runs.
fn start_running(test: &str, role: &str, runtime: &Path) -> Child {
    let mut child = start(test, role, runtime);
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == RUNNING), "{role}: it ended");
    child
}

fn kill9(mut child: Child) -> u32 {
    child.kill().unwrap();
    child.wait().unwrap();
    child.id()
}

/// Names below a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn its_folder_goes_with_it_and_those_of_killed_processes_with_the_next_start() {
    let this = "its_folder_goes_with_it_and_those_of_killed_processes_with_the_next_start";
    if let Ok(role) = env::var(ROLE) {
        return child(&role);
    }
    let runtime = tempfile::tempdir().unwrap();
    let all = runtime.path().join("dpdk");
    let live = start_running(this, "wait", runtime.path());
    // Folders that a start must leave alone: of a process that is alive but has no lock (yet), of another
    // program, of one that has files in it, of one that a process of another PID namespace holds.
    let nobodys = 4_194_304; // above the kernel's largest process id
    let held = format!("bcast-{nobodys}");
    let mut stay = BTreeSet::from([format!("bcast-{}", live.id()), held.clone()]);
    for name in [format!("bcast-{}", std::process::id()), "rte".into(), "bcast-other".into()] {
        fs::create_dir(all.join(&name)).unwrap();
        stay.insert(name);
    }
    let used = format!("bcast-{}", nobodys + 1);
    fs::create_dir(all.join(&used)).unwrap();
    fs::write(all.join(&used).join("config"), "").unwrap();
    stay.insert(used);
    fs::create_dir(all.join(&held)).unwrap();
    let lock = fs::File::open(all.join(&held)).unwrap();
    lock.lock().unwrap();

    for _ in 0..5 {
        let dead = kill9(start_running(this, "wait", runtime.path()));
        let left = names(&all);
        let abandoned: Vec<_> = left.difference(&stay).collect();
        assert_eq!(abandoned, [&format!("bcast-{dead}")], "the last one's alone");
        assert!(left.is_superset(&stay), "{left:?}");
    }
    for role in ["stop", "stop with an mbuf out", "fail", "fail for want of memory"] {
        let ended = start(this, role, runtime.path()).wait_with_output().unwrap();
        assert!(ended.status.success(), "{role}: {}", String::from_utf8_lossy(&ended.stdout));
        // A start that fails early makes no folder, and looks for none.
        assert_eq!(names(&all), stay, "{role}");
    }
    drop(lock);
    let ended = start(this, "stop", runtime.path()).wait_with_output().unwrap();
    assert!(ended.status.success());
    stay.remove(&held);
    assert_eq!(names(&all), stay, "what nobody holds any more goes");
    // An hour later that process id is some other program's.
    let unlocked = format!("bcast-{}", std::process::id());
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    fs::File::open(all.join(&unlocked)).unwrap().set_modified(hour_ago).unwrap();
    let ended = start(this, "stop", runtime.path()).wait_with_output().unwrap();
    assert!(ended.status.success());
    stay.remove(&unlocked);
    assert_eq!(names(&all), stay, "an old one whose process id another program has goes, too");
    kill9(live);
}

#[test]
fn no_hugepage_file_is_left_after_kill_9() {
    let this = "no_hugepage_file_is_left_after_kill_9";
    if let Ok(role) = env::var(ROLE) {
        return child(&role);
    }
    common::reserve_hugepages(32);
    // A hugetlbfs of the test's own: who else uses hugepages meanwhile is not seen in it.
    let (mount, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = std::ffi::CString::new(mount.path().to_str().unwrap()).unwrap();
    let (none, kind) = (c"none".as_ptr(), c"hugetlbfs".as_ptr());
    // SAFETY: FFI with C strings and null pointers where the kernel takes them; it changes this thread's mount
    // namespace, which no other thread depends on.
    let codes = unsafe {
        [
            libc::unshare(libc::CLONE_NEWNS),
            libc::mount(
                none,
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ),
            libc::mount(none, path.as_ptr(), kind, 0, std::ptr::null()),
        ]
    };
    assert_eq!(codes, [0; 3], "mounting takes CAP_SYS_ADMIN: run as root");
    for _ in 0..2 {
        let child = start_running(this, "wait on hugepages", runtime.path());
        assert_eq!(names(mount.path()), BTreeSet::new(), "while it runs");
        kill9(child);
        assert_eq!(names(mount.path()), BTreeSet::new(), "after it");
    }
    // SAFETY: FFI with a C string.
    assert_eq!(unsafe { libc::umount(path.as_ptr()) }, 0);
}
