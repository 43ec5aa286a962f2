//! A bounded stream of messages to one client, which ends with a clear status where the client is too slow.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use crate::refusal::Refusal;

/// Messages that may wait for the client.
const WAITING: usize = 16;
/// How long a client may take nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The sending end.
pub(crate) struct Feed<T> {
    messages: mpsc::Sender<T>,
    end: Arc<OnceLock<Status>>,
}

/// The end that the client reads.
pub(crate) struct Fed<T> {
    messages: mpsc::Receiver<T>,
    end: Arc<OnceLock<Status>>,
    ended: bool,
}

/// Both ends of a stream.
pub(crate) fn feed<T>() -> (Feed<T>, Fed<T>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let end = Arc::new(OnceLock::new());
    (Feed { messages: sender, end: Arc::clone(&end) }, Fed { messages: receiver, end, ended: false })
}

/// The stream is over: the client is gone, or too slow.
pub(crate) struct Over;

impl<T> Feed<T> {
    /// Sends a message, waiting for the client at most [`PATIENCE`].
    pub async fn send(&self, message: T) -> Result<(), Over> {
        match self.messages.send_timeout(message, PATIENCE).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Over),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                self.end(Refusal::Slow(PATIENCE.as_secs()));
                Err(Over)
            }
        }
    }

    /// What the client reads after the messages that wait.
    pub fn end(&self, refusal: Refusal) {
        drop(self.end.set(refusal.into()));
    }

    /// The client is gone.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }
}

impl<T> Stream for Fed<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.messages.poll_recv(context) {
            Poll::Ready(None) if !self.ended => {
                self.ended = true;
                Poll::Ready(self.end.get().cloned().map(Err))
            }
            other => other.map(|message| message.map(Ok)),
        }
    }
}
