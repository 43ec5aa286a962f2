//! Requests to the kernel, each with a deadline.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rtnetlink::Handle;
use thiserror::Error;
use tokio::task::AbortHandle;

/// Time that the kernel has for one request and all of its answers.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// A request failed.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The kernel refused.
    #[error("{what} failed: {error}")]
    Refused {
        /// The request, as the subject of a sentence.
        what: &'static str,
        /// The kernel's answer.
        error: rtnetlink::Error,
    },
    /// The kernel did not answer in time.
    #[error("{what} failed: the kernel did not answer within {seconds} s", seconds = .deadline.as_secs_f32())]
    NoAnswer {
        /// The request, as the subject of a sentence.
        what: &'static str,
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
    connection: Mutex<Option<Connection>>,
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
        let connection = Mutex::new(Some(connect(strict)?));
        Ok(Self { strict, deadline: DEADLINE, connection })
    }

    /// The same connection with another deadline for each request.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Runs one request. `what` names it in errors, as the subject of a sentence.
    ///
    /// # Errors
    /// The kernel refused, or did not answer by the deadline.
    pub async fn run<T>(
        &self,
        what: &'static str,
        request: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>,
    ) -> Result<T, RequestError> {
        let handle = self.handle()?;
        match tokio::time::timeout(self.deadline, request(handle)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                // The connection has ended: the next request opens a new one.
                if matches!(error, rtnetlink::Error::RequestFailed) {
                    self.close();
                }
                Err(RequestError::Refused { what, error })
            }
            Err(_) => {
                self.close();
                Err(RequestError::NoAnswer { what, deadline: self.deadline })
            }
        }
    }

    fn handle(&self) -> io::Result<Handle> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match slot.take() {
            Some(connection) => connection,
            None => connect(self.strict)?,
        };
        Ok(slot.insert(connection).handle.clone())
    }

    fn close(&self) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn connect(strict: bool) -> io::Result<Connection> {
    let (connection, handle, _) = match strict {
        true => rtnetlink::new_connection_with_strict_check()?,
        false => rtnetlink::new_connection()?,
    };
    Ok(Connection { handle, task: tokio::spawn(connection).abort_handle() })
}
