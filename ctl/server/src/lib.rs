//! The control path: request, validate, commit, publish, answer.
//!
//! Read `commit.rs`, top to bottom. `service/` parses requests, `transaction/` validates, `state.rs` publishes to
//! the table, `confirm.rs` waits for the workers and answers. Modules import one way: service, commit, transaction,
//! state.
//!
//! A client that goes away before the commit thread has taken its request changes nothing; after that the request is
//! carried out, and a request id lets the client learn its answer.
#![forbid(unsafe_code)]

mod alarms;
mod answers;
mod author;
mod blocking;
mod budget;
mod clock;
mod commit;
mod confirm;
mod connection;
mod deadline;
mod diagnoses;
mod error;
mod exporters;
mod feed;
mod gather;
mod havips;
mod health;
mod hook;
mod ids;
mod job;
mod limits;
mod lists;
mod machines;
mod nodes;
mod received;
mod refusal;
mod refusals;
mod request;
mod restore;
mod server;
mod service;
mod serving;
mod shared;
mod snapshot;
mod socket;
mod state;
mod summary;
mod teps;
mod transaction;
mod watching;

pub use confirm::Observer;
pub use connection::CONNECTIONS;
pub use ctl_placement::MAX_WEIGHT;
pub use diagnoses::{DiagnosisCounter, HavipCounts};
pub use error::ServerError;
pub use exporters::ExporterConfig;
pub use hook::{CommitHook, Reporter};
pub use limits::HavipLimits;
pub use nodes::{ClusterNode, ClusterNodes, NodesError};
pub use refusal::{Problem, Refusal};
pub use server::{Server, ServerConfig};
pub use shared::Versions;
pub use socket::{SocketError, check_socket, is_served};
pub use state::Counts;
pub use transaction::NOTES;

/// Most requests that wait to be committed.
pub const QUEUE: usize = 4_096;
/// Most watches under way.
pub const WATCHES: usize = 128;
/// Most snapshots under way.
pub const SNAPSHOTS: usize = 16;
/// Most bytes that requests may hold while they are gathered and wait, all of them together.
///
/// A message counts with its length, and each change with its own size in memory: enough for one `apply` of a
/// million domains with 16 members each.
pub const STAGED_BYTES: usize = 512 << 20;
