//! The control contract of a bcast node: protobuf messages ([`proto`]), the validated model ([`model`]) and the
//! client ([`client`]).
//!
//! Messages are parsed once, at the border, into the model, whose types cannot hold a wrong value; everything behind
//! the border works on the model alone. The model checks what can be known without the node's state; the rest
//! (is that TEP registered?) is the control path's.
#![forbid(unsafe_code)]

pub mod client;
mod codec;
pub mod json;
pub mod legacy;
pub mod model;
mod patience;

pub use client::{Client, ClientError};

/// The messages, the client and the server trait, as generated from `proto/bcast.proto`. As JSON their addresses, MACs
/// and enums are text.
#[allow(missing_docs, clippy::all)]
pub mod proto {
    tonic::include_proto!("bcast.v1");
}

/// Compiled descriptor of the contract, for reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bcast.v1.desc"));
/// Trailer of an answer with status `DEADLINE_EXCEEDED`: the revision that is durable but not yet confirmed.
pub const REVISION_TRAILER: &str = "bcast-revision";
/// Metadata of a request that changes something: its reason, UTF-8.
pub const REASON_METADATA: &str = "bcast-reason-bin";
/// Domain of the error details (`google.rpc.ErrorInfo`).
pub const ERROR_DOMAIN: &str = "bcast";
/// Key in the metadata of an `ErrorInfo`: the number of the bad change or entry, from 1.
pub const POSITION: &str = "position";
