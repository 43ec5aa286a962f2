//! The control path: request, validate, commit, publish, answer.
//!
//! Read `commit.rs`, top to bottom. `service.rs` parses what comes in, `stage.rs` validates, `state.rs` publishes to
//! the table, `confirm.rs` waits for the workers and answers.
//!
//! A client that goes away before the commit thread has taken its request changes nothing; after that the request is
//! carried out, and a request id lets the client learn its answer.
#![forbid(unsafe_code)]

mod answers;
mod blocking;
mod budget;
mod clock;
mod commit;
mod confirm;
mod connection;
mod deadline;
mod exporters;
mod feed;
mod havips;
mod health;
mod hook;
mod ids;
mod limits;
mod machines;
mod node;
mod received;
mod refusal;
mod request;
mod restore;
mod server;
mod service;
mod snapshot;
mod socket;
mod state;
mod teps;
mod transaction;
mod watching;
mod write_set;

pub use budget::STAGED_BYTES;
pub use clock::Moment;
pub use confirm::Observer;
pub use connection::CONNECTIONS;
pub use exporters::ExporterConfig;
pub use hook::{CommitHook, Reporter};
pub use node::{DomainCounters, Holding, NextHop, Node, NodeStats, TepRefusal};
pub use refusal::{Problem, Refusal};
pub use server::{HavipLimits, Server, ServerConfig, ServerError, Versions};
pub use socket::SocketError;
pub use state::Counts;
pub use transaction::NOTES;

/// Most requests that wait to be committed.
pub const QUEUE: usize = 4_096;
/// Most watches under way.
pub const WATCHES: usize = 128;
/// Most snapshots under way.
pub const SNAPSHOTS: usize = 16;
