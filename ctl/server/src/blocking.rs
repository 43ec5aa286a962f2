//! Calls that may block, on threads of their own: a bounded number of each kind, so that one kind that hangs leaves the
//! others their threads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::refusal::Refusal;

/// Time that a call waits for a thread.
const WAIT: Duration = Duration::from_secs(5);

/// Calls of one kind.
pub(crate) struct Blocking {
    /// Kind of the calls, for people.
    kind: &'static str,
    most: usize,
    /// Time that a call waits for a thread.
    wait: Duration,
    free: Arc<Semaphore>,
}

/// The kinds. Together with snapshots and watches these are fewer threads than the runtime has for such calls (512).
pub(crate) struct Threads {
    /// Calls that wait for the state's lock.
    pub state: Blocking,
    /// Calls that read the store, or write webhooks' rows.
    pub store: Blocking,
    /// Calls that ask the port and the kernel.
    pub port: Blocking,
    /// Calls that make a model of a message; they wait for nothing.
    pub parsing: Blocking,
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            state: Blocking::new("reads of the state", 64),
            store: Blocking::new("reads of the store", 16),
            port: Blocking::new("reads of the port's counters", 4),
            parsing: Blocking::new("large requests", 8),
        }
    }
}

impl Blocking {
    fn new(kind: &'static str, most: usize) -> Self {
        Self { kind, most, wait: WAIT, free: Arc::new(Semaphore::new(most)) }
    }

    /// Makes the call. Where nobody waits for it any more it is finished all the same, and counts until then.
    ///
    /// # Errors
    ///
    /// All threads of this kind are at work, and none gets free.
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let hangs = Refusal::Hangs { kind: self.kind, calls: self.most };
        let permit = timeout(self.wait, Arc::clone(&self.free).acquire_owned()).await.map_err(|_| hangs)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = call();
            drop(permit);
            done
        });
        done.await.map_err(|_| Refusal::Stopping)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn calls_that_hang_do_not_take_the_threads_of_other_kinds() {
        let threads = Threads {
            port: Blocking {
                wait: Duration::from_millis(50),
                ..Blocking::new("reads of the port's counters", 4)
            },
            ..Threads::default()
        };
        let (release, hung) = mpsc::channel::<()>();
        let hung = Arc::new(std::sync::Mutex::new(hung));
        let call = || {
            let hung = Arc::clone(&hung);
            threads.port.run(move || hung.lock().unwrap().recv().is_ok())
        };
        let mut calls = Vec::from_iter((0..4).map(|_| Box::pin(call())));
        poll_fn(|context| {
            assert!(calls.iter_mut().all(|call| call.as_mut().poll(context).is_pending()));
            Poll::Ready(())
        })
        .await;
        let refused = threads.port.run(|| ()).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "4 reads of the port's counters are under way and do not end; try again later, and look at the daemon's log"
        );
        assert_eq!(threads.state.run(|| 7).await.unwrap(), 7);
        drop(release);
    }
}
