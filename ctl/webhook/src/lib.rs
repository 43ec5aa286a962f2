//! Webhooks: tells receivers over HTTP(S) what happened to virtual IPs, as CloudEvents 1.0.
//!
//! The commit thread stages rows with [`Outbox::stage`] before each transaction that moves something, writes them in that
//! transaction, and says [`Outbox::committed`] after it. So what has moved will be told, whatever dies in between. Each
//! receiver has a task of its own (`deliver.rs`) and a queue of its own (`queue.rs`), in which the events of one virtual IP are
//! in order; a row leaves the store once the receiver has answered 2xx, or goes to the dead letters after 24 hours.
//!
//! At least once: what was answered but not yet settled when the daemon was killed is sent again, with the same id.
#![forbid(unsafe_code)]

mod backoff;
mod config;
mod deliver;
mod event;
mod ledger;
mod outbox;
mod post;
mod queue;
mod receiver;
mod settle;
mod signature;

pub use backoff::Policy;
pub use config::{ConfigError, Endpoint, MAX_WEBHOOKS, WebhookConfig};
pub use ledger::{Ledger, LedgerError};
pub use outbox::Outbox;
pub use queue::MOST_LINES;
pub use receiver::{Status, UnknownReceiver, Webhooks};
