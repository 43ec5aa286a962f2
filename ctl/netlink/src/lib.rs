//! rtnetlink as a daemon needs it: requests that end, and notifications that cannot hold them up.
//!
//! A netlink socket that overruns loses what the kernel would have queued next, the answer to a request included. So requests
//! and notifications have sockets of their own: [`Requests`], each with a deadline, and [`Notices`], where the kernel's
//! receive buffer is the bound and an overrun is a notice of its own, [`Notice::Lost`].
#![forbid(unsafe_code)]

mod notices;
mod requests;

pub use notices::{Change, Notice, Notices, RECEIVE_BUFFER, read};
pub use requests::{DEADLINE, RequestError, Requests};
