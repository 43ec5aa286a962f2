//! A socket whose peer has to take what is written, and whose HTTP/2 authority may be anything.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::authority::Filter;

/// Bytes that are read at a time on their way through the filter.
const READ_BYTES: usize = 16 << 10;

/// Time after which unread bytes in the socket end a connection.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// Time limit without any progress.
    Stall(Duration),
    /// Time limit for one write to be taken whole.
    Whole(Duration),
}

/// Progress of a connection's peer.
#[derive(Debug, Default)]
pub struct Seen(AtomicBool);

impl Seen {
    /// The preface of HTTP/2 was received. A flag alone: it guards no other data.
    #[must_use]
    pub fn preface(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A socket. A write that waits for longer than the patience fails, which ends the connection.
#[derive(Debug)]
pub struct Guarded<S> {
    socket: S,
    patience: Patience,
    /// Set while the peer does not take what is written.
    waiting: Option<Pin<Box<Sleep>>>,
    incoming: Option<Incoming>,
}

/// Received bytes on their way through the filter.
#[derive(Debug)]
struct Incoming {
    filter: Filter,
    seen: Arc<Seen>,
    read: Box<[u8]>,
    passed: Vec<u8>,
    /// Up to here `passed` was given to the reader.
    given: usize,
    ended: bool,
}

impl<S> Guarded<S> {
    /// Any socket.
    pub fn new(socket: S, patience: Patience) -> Self {
        Self { socket, patience, waiting: None, incoming: None }
    }

    /// A socket of HTTP/2 clients that may name any authority; and what is seen of the peer.
    pub fn any_authority(socket: S, patience: Patience) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let incoming = Incoming {
            filter: Filter::default(),
            seen: Arc::clone(&seen),
            read: vec![0; READ_BYTES].into(),
            passed: Vec::new(),
            given: 0,
            ended: false,
        };
        (Self { socket, patience, waiting: None, incoming: Some(incoming) }, seen)
    }

    /// Judges what a write came to: of `length` bytes.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        let within = match (&written, self.patience) {
            (Poll::Ready(Err(_)), _) | (Poll::Ready(_), Patience::Stall(_)) => {
                self.waiting = None;
                return written;
            }
            (Poll::Ready(Ok(bytes)), Patience::Whole(_)) if *bytes >= length => {
                self.waiting = None;
                return written;
            }
            (_, Patience::Stall(within) | Patience::Whole(within)) => within,
        };
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + within)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer does not take what is sent to it",
            ))),
            Poll::Pending => written,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        };
        loop {
            if incoming.give(buffer) || incoming.ended {
                return Poll::Ready(Ok(()));
            }
            let mut read = ReadBuf::new(&mut incoming.read);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                incoming.ended = true;
                incoming.filter.end(&mut incoming.passed);
            } else {
                incoming.filter.push(read.filled(), &mut incoming.passed);
                if incoming.filter.is_begun() {
                    incoming.seen.0.store(true, Relaxed);
                }
            }
        }
    }
}

impl Incoming {
    /// Gives what has passed; whether there was anything.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let passed = self.passed.get(self.given..).unwrap_or_default();
        let some = passed.get(..passed.len().min(buffer.remaining())).unwrap_or_default();
        if passed.is_empty() {
            self.passed.clear();
            self.given = 0;
            return false;
        }
        buffer.put_slice(some);
        self.given += some.len();
        true
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.judge(context, written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.judge(context, written, slices.iter().map(|slice| slice.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_ends_the_connection_and_a_slow_one_does_not() {
        let (near, mut far) = duplex(8);
        let mut near = Guarded::new(near, Patience::Stall(Duration::from_secs(10)));
        let writer = tokio::spawn(async move { near.write_all(&[7; 64]).await });
        let mut bytes = [0; 8];
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(9)).await;
            far.read_exact(&mut bytes).await.unwrap();
        }
        assert_eq!(writer.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_byte_now_and_then_has_to_take_the_whole_in_time() {
        let (near, mut far) = duplex(8);
        let mut near = Guarded::new(near, Patience::Whole(Duration::from_secs(10)));
        let begun = Instant::now();
        let writer = tokio::spawn(async move { near.write_all(&[7; 1_000]).await });
        let reader = tokio::spawn(async move {
            let mut taken = 0;
            while far.read_u8().await.is_ok() {
                taken += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            taken
        });
        assert_eq!(writer.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(12), "the clock is the test's");
        assert!(reader.await.unwrap() < 30);
    }

    #[tokio::test]
    async fn what_is_received_comes_out_whole_in_buffers_of_any_size() {
        let (near, mut far) = duplex(1 << 20);
        let (mut near, seen) = Guarded::any_authority(near, Patience::Stall(Duration::from_secs(10)));
        let frames: Vec<u8> = (0..100_u8).flat_map(|n| [0, 0, 1, 0, 0, 0, 0, 0, 1, n]).collect();
        let sent = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames, &[0, 0, 9, 1]].concat();
        assert!(!seen.preface());
        far.write_all(&sent).await.unwrap();
        drop(far);
        let mut received = Vec::new();
        let mut buffer = [0; 7];
        while let Ok(n @ 1..) = near.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(received, sent);
        assert!(seen.preface());
    }
}
