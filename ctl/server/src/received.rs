//! Requests as they come: until when, and in how much memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use ctl_api::model::MAX_MESSAGE_BYTES;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status};

use crate::budget::{Budget, Claim};
use crate::{deadline, refusal::Refusal};

/// The body of a request. What it holds is given back when it has ended, or when nobody reads it any more.
///
/// A stream of messages counts with the longest message that there may be, since it is read one message at a time.
pub(crate) struct Received {
    inner: Incoming,
    claim: Claim,
    ends: Option<Pin<Box<Sleep>>>,
}

impl Received {
    /// A body that comes whole within this time; its bytes count in `memory`.
    pub fn new(inner: Incoming, memory: &Arc<Budget>, within: Option<Duration>) -> Self {
        Self { inner, claim: Claim::new(memory), ends: within.map(|within| Box::pin(sleep(within))) }
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let more = bytes.min(MAX_MESSAGE_BYTES.saturating_sub(this.claim.bytes()));
                Poll::Ready(Some(if this.claim.claim(more) {
                    Ok(frame)
                } else {
                    Err(Refusal::Memory.into())
                }))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Status::new(
                Code::Cancelled,
                format!("the request broke off: {error}"),
            )))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match this.ends.as_mut().map(|ends| ends.as_mut().poll(context)) {
                Some(Poll::Ready(())) => Poll::Ready(Some(Err(deadline::incomplete()))),
                _ => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
