//! Signals, and an end of the daemon that comes whatever hangs.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Time from the first SIGTERM or SIGINT to the end of the process, at most.
pub const STOP_WITHIN: Duration = Duration::from_secs(9);
/// Time for the last line of the log to be written.
const LAST_LINE: Duration = Duration::from_millis(200);
/// Signals that wait to be handled; more of the same kind would change nothing.
const WAITING: usize = 4;

/// A request of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM or SIGINT: stop.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The part of the daemon that is being stopped.
static STEP: Mutex<&str> = Mutex::new("the start");

/// Names the part of the daemon that is being stopped, for the log, should it hang.
pub fn step(name: &'static str) {
    *STEP.lock().unwrap_or_else(PoisonError::into_inner) = name;
}

/// Handles signals on a thread of its own, from now on: also while the daemon starts.
///
/// # Errors
/// The system refuses the handlers or the thread.
pub fn requests() -> io::Result<Receiver<Request>> {
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (tell, requests) = sync_channel(WAITING);
    thread::Builder::new().name("signals".into()).spawn(move || handle(signals, &tell))?;
    Ok(requests)
}

fn handle(mut signals: Signals, tell: &SyncSender<Request>) {
    let mut stopping = false;
    for signal in signals.forever() {
        // Where the queue is full, a request of each kind waits already, or the daemon is stopping.
        match signal {
            SIGHUP => drop(tell.try_send(Request::Reload)),
            _ if stopping => {}
            _ => {
                stopping = true;
                if let Err(error) = thread::Builder::new().name("deadline".into()).spawn(end_at_deadline) {
                    tracing::error!(%error, "the end of the daemon has no deadline");
                }
                // Where the queue is full, there is room with the next reload that is taken; the deadline runs anyway.
                if tell.send(Request::Stop).is_err() {
                    return;
                }
            }
        }
    }
}

/// Ends the process, unless it has ended before.
fn end_at_deadline() {
    thread::sleep(STOP_WITHIN);
    let step = STEP.try_lock().map_or("an unknown part", |step| *step);
    tracing::error!(step, "the daemon does not stop in time; it ends now, and the next start tidies up");
    thread::sleep(LAST_LINE);
    signal_hook::low_level::exit(1);
}
