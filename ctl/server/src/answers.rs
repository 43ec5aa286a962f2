//! Answers on their way to the client: until when, in which memory, and whether the client takes them.
//!
//! An answer's bytes are handed to the transport in slices that know when the transport has let go of them. So what an
//! answer holds (its part of the budget, its stream's permit) is given back when its memory is gone, and not before;
//! and an answer that waits for its client is told from one that has nothing to say.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ctl_net::{Activity, Admitted};
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use crate::budget::{Budget, Claim};
use crate::{deadline, refusal::Refusal};

/// Bytes of an answer that the client has to take at a time, to be seen to take it.
const SLICE: usize = 16 << 10;

/// The answers of one connection. Its place in the list of connections says at once whether there are any.
#[derive(Debug)]
pub(crate) struct Answers {
    under_way: Mutex<Vec<Weak<Outgoing>>>,
    /// An answer that outlives its connection does not keep the connection's place.
    admitted: Weak<Admitted>,
}

/// One answer; it is gone with the last of its bytes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    owed: Mutex<Owed>,
    permit: OnceLock<OwnedSemaphorePermit>,
    connection: Arc<Answers>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let mut under_way = self.connection.under_way();
        under_way.retain(|answer| answer.strong_count() > 0);
        if under_way.is_empty() {
            self.connection.set(Activity::Idle);
        }
    }
}

/// Data that the client has still to take.
#[derive(Debug)]
struct Owed {
    /// Slices that the transport has, and one for what may follow them.
    slices: usize,
    /// True if the answer has, as far as is known, data that the transport does not have yet.
    speaks: bool,
    /// Time at which the client took data last, or had taken all.
    since: Instant,
}

impl Answers {
    /// No answer yet, of a connection that is admitted so.
    pub fn new(admitted: &Arc<Admitted>) -> Arc<Self> {
        Arc::new(Self { under_way: Mutex::default(), admitted: Arc::downgrade(admitted) })
    }

    /// A new answer, to a request that has a place.
    pub fn open(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Arc<Outgoing> {
        let owed = Mutex::new(Owed { slices: 0, speaks: false, since: Instant::now() });
        let (permit, connection) = (OnceLock::new(), Arc::clone(self));
        let answer = Arc::new(Outgoing { owed, permit, connection, _place: place });
        let mut under_way = self.under_way();
        under_way.push(Arc::downgrade(&answer));
        self.set(Activity::Working);
        answer
    }

    /// Number of answers under way.
    pub fn count(&self) -> usize {
        self.under_way().len()
    }

    /// True if the client leaves one of them for so long.
    pub fn stalled(&self, patience: Duration) -> bool {
        // The list is let go of first: an answer that ends takes itself out of it.
        let answers: Vec<_> = self.under_way().iter().filter_map(Weak::upgrade).collect();
        answers.iter().any(|answer| answer.stalled(patience))
    }

    fn set(&self, activity: Activity) {
        if let Some(admitted) = self.admitted.upgrade() {
            admitted.set(activity);
        }
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<Weak<Outgoing>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    /// Holds the permit of its stream for as long as there is any of it.
    pub fn hold(&self, permit: OwnedSemaphorePermit) {
        // A request is answered once, by one stream.
        drop(self.permit.set(permit));
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stalled(&self, patience: Duration) -> bool {
        let owed = self.owed();
        (owed.slices > 0 || owed.speaks) && owed.since.elapsed() >= patience
    }

    /// The transport asked for more: it had room.
    fn asked(&self, speaks: bool) {
        let mut owed = self.owed();
        (owed.speaks, owed.since) = (speaks, Instant::now());
    }
}

/// Bytes that are counted for as long as there are any.
struct Chunk {
    bytes: Bytes,
    _claim: Claim,
}

/// A part of a chunk, as the transport has it.
struct Slice {
    chunk: Arc<Chunk>,
    start: usize,
    end: usize,
    answer: Arc<Outgoing>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self.chunk.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        let mut owed = self.answer.owed();
        owed.slices = owed.slices.saturating_sub(1);
        owed.since = Instant::now();
    }
}

/// The body of an answer.
pub(crate) struct Taken {
    inner: Body,
    answer: Arc<Outgoing>,
    memory: Arc<Budget>,
    /// Rest of a chunk, from here on.
    rest: Option<(Arc<Chunk>, usize)>,
    ends: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Taken {
    /// The answer's body, which ends by `ends`; its bytes count in `memory`.
    pub fn new(
        inner: Body,
        answer: Arc<Outgoing>,
        memory: Arc<Budget>,
        ends: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        answer.asked(true);
        Self { inner, answer, memory, rest: None, ends, over: false }
    }

    /// Ends the answer with this status, whatever it had still to say.
    fn end(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        (self.inner, self.rest, self.over) = (Body::empty(), None, true);
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    /// The next slice of a chunk.
    fn slice(&mut self) -> Option<Frame<Bytes>> {
        let (chunk, start) = self.rest.take()?;
        let length = chunk.bytes.len();
        let end = length.min(start + SLICE);
        if end < length {
            self.rest = Some((Arc::clone(&chunk), end));
        }
        self.answer.owed().slices += 1;
        let slice = Slice { chunk, start, end, answer: Arc::clone(&self.answer) };
        Some(Frame::data(Bytes::from_owner(slice)))
    }
}

impl http_body::Body for Taken {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        this.answer.asked(true);
        if this.ends.as_mut().is_some_and(|ends| ends.as_mut().poll(context).is_ready()) {
            return this.end(deadline::exceeded());
        }
        if let Some(frame) = this.slice() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) if bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(bytes) => {
                    let mut claim = Claim::new(&this.memory);
                    if !claim.claim(bytes.len()) {
                        return this.end(Refusal::Memory.into());
                    }
                    this.rest = Some((Arc::new(Chunk { bytes, _claim: claim }), 0));
                    Poll::Ready(this.slice().map(Ok))
                }
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            Poll::Pending => {
                this.answer.asked(false);
                Poll::Pending
            }
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.rest.is_none() && self.inner.is_end_stream()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.answer.owed().speaks = false;
    }
}
