//! The loop that accepts connections, and ends them in the end.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::connections::{Admitted, Connections};

/// Pause after an error of accept: long enough that nothing spins, short enough that nobody waits.
const AGAIN: Duration = Duration::from_millis(100);

/// Accepts connections until `stop`, and has each served in a task of its own; returns when those have ended.
///
/// Without a free file descriptor in the process or the host, an idle connection is closed, and it is tried again.
pub async fn serve<S, F>(
    connections: Arc<Connections>,
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    serve: impl Fn(S, Admitted) -> F,
    stop: impl Future<Output = ()>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut tasks, mut stop) = (JoinSet::new(), pin!(stop));
    let (mut failing, mut full) = (false, false);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = tasks.join_next() => continue,
            accepted = poll_fn(&mut poll_accept) => accepted,
        };
        match accepted {
            Ok(stream) => {
                failing = false;
                if let Some(admitted) = connections.admit().await {
                    // A connection that took the last place ends no episode.
                    full &= !connections.has_room();
                    tasks.spawn(serve(stream, admitted));
                } else if !std::mem::replace(&mut full, true) {
                    let connections = connections.figures().open;
                    tracing::warn!(
                        connections,
                        "all connections are at work; further ones are closed at once"
                    );
                }
            }
            Err(error) => {
                // Once an episode: a flood of connections is no flood of lines.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "no connection can be accepted now; it is tried again");
                }
                if is_starved(&error) {
                    connections.evict();
                }
                tokio::select! {
                    () = &mut stop => break,
                    () = sleep(AGAIN) => {}
                }
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// There is no file descriptor, in this process or on the host.
fn is_starved(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::sync::oneshot;

    use super::*;
    use crate::connections::Activity;

    #[tokio::test(start_paused = true)]
    async fn without_file_descriptors_it_does_not_spin_makes_room_and_goes_on() {
        let connections = Connections::new(4, Activity::Idle);
        let (calls, (done, stop)) = (AtomicUsize::new(0), oneshot::channel::<()>());
        let done = std::sync::Mutex::new(Some(done));
        let begun = tokio::time::Instant::now();
        let accept = |_: &mut Context<'_>| match calls.fetch_add(1, Relaxed) {
            0 | 11 => Poll::Ready(Ok(())),
            1..=10 => Poll::Ready(Err(io::Error::from_raw_os_error(Errno::MFILE.raw_os_error()))),
            _ => {
                drop(done.lock().unwrap().take());
                Poll::Pending
            }
        };
        let task = async |admitted: Admitted| admitted.evicted().await;
        serve(
            Arc::clone(&connections),
            accept,
            move |(), admitted| {
                // The second one is not evicted, and ends by itself.
                let first = connections.figures().evicted == 0;
                async move {
                    if first {
                        task(admitted).await
                    }
                }
            },
            async { drop(stop.await) },
        )
        .await;
        assert!(calls.load(Relaxed) >= 13);
        // The clock is the test's: it counts pauses, whatever the machine does.
        assert_eq!(begun.elapsed().as_millis(), 1_000, "a pause for each failure");
    }
}
