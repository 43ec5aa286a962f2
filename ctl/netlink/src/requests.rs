//! Requests to the kernel, each with a deadline.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rtnetlink::Handle;
use thiserror::Error;
use tokio::task::AbortHandle;

/// Time that the kernel has for one request and all of its answers.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// Time after a missed deadline in which further requests fail at once, so that a long list of them does not wait one by one.
const SILENCE: Duration = Duration::from_secs(1);

/// A request failed.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The kernel refused.
    #[error("{name} failed: {error}")]
    Refused {
        /// Name of the request, the subject of a sentence.
        name: &'static str,
        /// The kernel's answer.
        error: rtnetlink::Error,
    },
    /// The kernel did not answer in time.
    #[error("{name} failed: the kernel did not answer within {seconds} s", seconds = .deadline.as_secs_f32())]
    NoAnswer {
        /// Name of the request, the subject of a sentence.
        name: &'static str,
        /// The time that it had.
        deadline: Duration,
    },
    /// There is no netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] io::Error),
}

impl RequestError {
    /// The kernel's error number, negative (`-17`: EEXIST); `None`: the kernel gave none.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { error: rtnetlink::Error::NetlinkError(message), .. } => Some(message.raw_code()),
            _ => None,
        }
    }

    /// The kernel gave no answer at all, so the next request may well hang too.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Socket(_))
    }
}

/// A netlink connection for requests, in the network namespace of the thread that opened it.
///
/// Answers to a request that missed its deadline may still come. They cannot be taken for another's: the connection is closed
/// and the next request opens a new one.
pub struct Requests {
    strict: bool,
    deadline: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// The kernel did not answer a request; until then none is sent.
    silent_until: Option<Instant>,
}

struct Connection {
    handle: Handle,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Requests {
    /// Opens a connection on the current runtime. `strict`: the kernel refuses what it does not understand of a request, and
    /// filters dumps by their attributes (`NETLINK_GET_STRICT_CHK`).
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn open(strict: bool) -> io::Result<Self> {
        let state = State { connection: Some(connect(strict)?), silent_until: None };
        Ok(Self { strict, deadline: DEADLINE, state: Mutex::new(state) })
    }

    /// The same connection with another deadline for each request.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Runs one request. `name` is its name in errors, the subject of a sentence.
    ///
    /// # Errors
    /// The kernel refused, or did not answer by the deadline.
    pub async fn run<T>(
        &self,
        name: &'static str,
        request: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>,
    ) -> Result<T, RequestError> {
        let silence = RequestError::NoAnswer { name, deadline: self.deadline };
        let Some(handle) = self.handle()? else { return Err(silence) };
        match tokio::time::timeout(self.deadline, request(handle)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                // The connection has ended: the next request opens a new one.
                if matches!(error, rtnetlink::Error::RequestFailed) {
                    self.lock().connection = None;
                }
                Err(RequestError::Refused { name, error })
            }
            Err(_) => {
                let silent_until = Some(Instant::now() + SILENCE);
                *self.lock() = State { connection: None, silent_until };
                Err(silence)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection; `None`: the kernel is left alone for a while.
    fn handle(&self) -> io::Result<Option<Handle>> {
        let mut state = self.lock();
        if state.silent_until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        let connection = match state.connection.take() {
            Some(connection) => connection,
            None => connect(self.strict)?,
        };
        Ok(Some(state.connection.insert(connection).handle.clone()))
    }
}

fn connect(strict: bool) -> io::Result<Connection> {
    let (connection, handle, _) = match strict {
        true => rtnetlink::new_connection_with_strict_check()?,
        false => rtnetlink::new_connection()?,
    };
    Ok(Connection { handle, task: tokio::spawn(connection).abort_handle() })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_request_that_is_not_answered_ends_at_its_deadline_and_the_next_ones_at_once() {
        let requests = Requests::open(false).unwrap().with_deadline(Duration::from_millis(20));
        let hang = async |_: Handle| pending::<Result<(), rtnetlink::Error>>().await;
        let error = requests.run("a request", hang).await.unwrap_err();
        assert!(error.is_silence());
        assert!(
            error.to_string().contains("a request failed: the kernel did not answer within 0.02 s"),
            "{error}"
        );
        let asked = async |_: Handle| -> Result<(), rtnetlink::Error> { panic!("the kernel is asked") };
        for _ in 0..1_000 {
            assert!(requests.run("a request", asked).await.unwrap_err().is_silence());
        }
        requests.lock().silent_until = Some(Instant::now());
        let links = async |handle: Handle| {
            use futures::TryStreamExt;
            handle.link().get().execute().try_collect::<Vec<_>>().await
        };
        let requests = requests.with_deadline(Duration::from_secs(20));
        assert!(!requests.run("reading links", links).await.unwrap().is_empty(), "a new connection serves");
    }
}
