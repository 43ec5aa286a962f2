//! Connections to the daemon.

use std::path::PathBuf;
use std::time::Duration;

use ctl_api::model::Reason;
use ctl_api::{Client, ClientError};

/// The daemon, and how it is asked.
pub struct Daemon {
    /// Path of its socket.
    pub socket: PathBuf,
    /// Time for which it may give no sign.
    pub patience: Duration,
    /// Reason of changes.
    pub reason: Option<Reason>,
}

impl Daemon {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn connect(&self) -> Result<Client, ClientError> {
        let client = Client::connect_with(&self.socket, Some(self.patience)).await?;
        Ok(client.with_reason(self.reason.clone()))
    }
}
