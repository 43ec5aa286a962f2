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
const WAITING: usize = 4;
/// Time for which a client may take nothing before its stream ends with a status. One that does not take that is cut
/// off with its connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The sending end.
pub(crate) struct Feed<T> {
    messages: mpsc::Sender<T>,
    patience: Duration,
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
    patient_feed(PATIENCE)
}

fn patient_feed<T>(patience: Duration) -> (Feed<T>, Fed<T>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let end = Arc::new(OnceLock::new());
    (
        Feed { messages: sender, patience, end: Arc::clone(&end) },
        Fed { messages: receiver, end, ended: false },
    )
}

/// The stream is over: the client is gone, or too slow.
pub(crate) struct Over;

impl<T> Feed<T> {
    /// Sends a message, waiting for the client at most [`PATIENCE`].
    pub async fn send(&self, message: T) -> Result<(), Over> {
        match self.messages.send_timeout(message, self.patience).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Over),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                self.end(Refusal::Slow(self.patience.as_secs()));
                Err(Over)
            }
        }
    }

    /// Messages that the client reads after those that wait.
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

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_dropped_and_reads_why_after_what_waited() {
        let (feed, mut fed) = patient_feed(Duration::from_millis(1));
        for n in 0..WAITING {
            assert!(feed.send(n).await.is_ok());
        }
        assert!(feed.send(WAITING).await.is_err());
        drop(feed);
        for n in 0..WAITING {
            assert_eq!(fed.next().await.unwrap().unwrap(), n);
        }
        let status = fed.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("open the stream anew"), "{status}");
        assert!(fed.next().await.is_none());
    }
}
