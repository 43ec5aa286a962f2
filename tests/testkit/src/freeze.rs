//! One thread of a program stopped in its tracks, while the others run on: what a hung system call looks like from outside.

use std::{fs, marker::PhantomData};

use nix::{
    sys::{
        ptrace::{self, Options},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use crate::process::{Process, wait_for};

/// A stopped thread. It runs on when this is dropped. The thread that stopped it traces it, and alone may let it go.
#[derive(Debug)]
pub struct Frozen {
    thread: Pid,
    _not_send: PhantomData<*const ()>,
}

impl Frozen {
    /// Stops the program's thread of this name.
    ///
    /// # Panics
    /// There is no such thread.
    pub fn thread(process: &Process, name: &str) -> Self {
        let folder = format!("/proc/{}/task", process.id());
        let thread = wait_for(&format!("a thread {name}"), || {
            let threads = fs::read_dir(&folder).expect("the program runs").filter_map(Result::ok);
            threads.map(|thread| thread.path()).find_map(|thread| {
                let is_it = fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name);
                is_it.then(|| thread.file_name()?.to_str()?.parse().ok())?
            })
        });
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, Options::empty()).expect("a thread can be traced");
        ptrace::interrupt(thread).expect("a traced thread can be stopped");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("a stopped thread says so");
        Self { thread, _not_send: PhantomData }
    }

    /// Waits for the end of the program that the thread belongs to; gives its exit status.
    ///
    /// # Panics
    /// The thread does not end in time.
    pub fn end_of(self, process: &mut Process) -> std::process::ExitStatus {
        wait_for("the end of a program with a frozen thread", || {
            // The thread's own end is told to its tracer, and the program's only after that.
            let _none_yet = waitpid(self.thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
            process.ended()
        })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The program may have ended.
        let _ended = ptrace::detach(self.thread, None);
    }
}
