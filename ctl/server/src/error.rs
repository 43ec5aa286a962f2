//! Errors of the start.

use std::io;

use ctl_store::StoreError;
use ctl_webhook::LedgerError;
use thiserror::Error;

use crate::socket::SocketError;

/// Why the server does not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The events that webhooks have still to tell cannot be read.
    #[error("cannot read the events for webhooks: {0}")]
    Webhooks(LedgerError),
    /// No thread, no place in the runtime, or no netlink socket for routes.
    #[error("cannot start the control path: {0}")]
    Start(#[from] io::Error),
}
