//! Patience of a client with a daemon that gives no sign.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tonic::codegen::tokio_stream::{Stream, StreamExt};

use crate::ClientError;

/// Waits for an answer; `None`: as long as it takes.
pub(crate) async fn within<T>(
    patience: Option<Duration>,
    socket: &Path,
    answer: impl Future<Output = T>,
) -> Result<T, ClientError> {
    match patience {
        None => Ok(answer.await),
        Some(patience) => {
            let silent = |_| ClientError::Silent { socket: socket.to_owned(), patience };
            timeout(patience, answer).await.map_err(silent)
        }
    }
}

/// Time at which the daemon last took something of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// The same stream, each message of which is progress.
    pub fn noting<T>(
        &self,
        parts: impl Stream<Item = T> + Send + 'static,
    ) -> impl Stream<Item = T> + Send + 'static {
        let last = Arc::clone(&self.0);
        parts.map(move |part| {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            part
        })
    }

    /// Waits until there is none for so long.
    pub async fn ceases(&self, patience: Option<Duration>, socket: &Path) -> ClientError {
        let Some(patience) = patience else { return std::future::pending().await };
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sleep_until(last + patience).await;
            if last.elapsed() >= patience && *self.0.lock().unwrap_or_else(PoisonError::into_inner) == last {
                return ClientError::Silent { socket: socket.to_owned(), patience };
            }
        }
    }
}
