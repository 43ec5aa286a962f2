//! Keeps the kernel from answering what the port receives, where DPDK reads a network interface that the kernel sees too.
//!
//! With af_packet both get every frame: the kernel would answer ARP and ping a second time, and GRE with "protocol
//! unreachable". A netdev chain with policy drop at the interface's ingress stops it; packet sockets read before it. The table
//! has the flag `owner`, so it is gone when this socket is, however the daemon ends.
//!
//! The two messages are written out here, since no maintained crate speaks nf_tables with owner tables; names and numbers are
//! those of `linux/netfilter/nf_tables.h`.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

/// The socket that owns the table. Dropped: the kernel hears the interface again.
pub struct IngressDrop {
    _owner: Socket,
}

/// Why the kernel could not be kept off the port.
#[derive(Debug, thiserror::Error)]
pub enum IngressDropError {
    /// The socket failed.
    #[error("cannot talk to nf_tables: {0}")]
    Socket(#[from] io::Error),
    /// nf_tables refused the table.
    #[error(
        "nf_tables refused the ingress drop on {interface}: {error}; it takes the capability CAP_NET_ADMIN and a kernel with nf_tables netdev chains (CONFIG_NF_TABLES_NETDEV); is another bcastd on this port?"
    )]
    Refused {
        /// The port's interface.
        interface: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// nf_tables did not answer in time.
    #[error("nf_tables did not answer within {} s; see the kernel's log", ANSWER.as_secs())]
    NoAnswer,
    /// nf_tables did not answer as netlink does.
    #[error("nf_tables gave an answer that is no netlink acknowledgement")]
    Answer,
}

/// Time that nf_tables has for an answer.
const ANSWER: Duration = Duration::from_secs(5);

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 10 << 8;
const NEW_CHAIN: u16 = 10 << 8 | 3;
const ERROR: u16 = 2;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;

const FAMILY_NETDEV: u8 = 5;
const NESTED: u16 = 0x8000;
/// NFT_TABLE_F_OWNER
const OWNED: u32 = 2;
/// NF_NETDEV_INGRESS
const INGRESS: u32 = 0;
/// NF_DROP
const DROP: u32 = 0;

impl IngressDrop {
    /// Drops all that the kernel would receive on `interface`.
    ///
    /// # Errors
    /// nf_tables refuses.
    pub fn install(interface: &str) -> Result<Self, IngressDropError> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        let timeout = Some(ANSWER);
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, timeout)
            .map_err(io::Error::from)?;
        let batch = batch(&format!("bcast_{interface}"), interface);
        socket.send_to(&batch, &SocketAddr::new(0, 0), 0)?;
        // One acknowledgement a message; they may come in one datagram or two.
        let mut acknowledged = 0;
        while acknowledged < 2 {
            let (answer, _) = socket.recv_from_full().map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => IngressDropError::NoAnswer,
                _ => error.into(),
            })?;
            for code in acknowledgements(&answer) {
                match code? {
                    0 => acknowledged += 1,
                    errno => {
                        let error = io::Error::from_raw_os_error(errno.saturating_neg());
                        return Err(IngressDropError::Refused { interface: interface.into(), error });
                    }
                }
            }
        }
        Ok(Self { _owner: socket })
    }
}

/// The error codes (0 or -errno) of the acknowledgements in a datagram.
pub fn acknowledgements(mut bytes: &[u8]) -> impl Iterator<Item = Result<i32, IngressDropError>> {
    let mut done = false;
    std::iter::from_fn(move || {
        if bytes.is_empty() || done {
            return None;
        }
        let parsed = (|| {
            let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
            let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
            let code = i32::from_ne_bytes(bytes.get(16..20)?.try_into().ok()?);
            bytes = bytes.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
            (kind == ERROR).then_some(code)
        })();
        done = parsed.is_none();
        Some(parsed.ok_or(IngressDropError::Answer))
    })
}

/// Both messages, between the begin and the end of a batch.
fn batch(table: &str, interface: &str) -> Vec<u8> {
    let mut out = Vec::new();
    // The subsystem of a batch stands in the resource id, in network byte order.
    message(&mut out, BATCH_BEGIN, REQUEST, 0, 10, |_| {});
    message(&mut out, NEW_TABLE, REQUEST | ACK | CREATE | EXCLUSIVE, FAMILY_NETDEV, 0, |body| {
        attribute(body, 1, |value| string(value, table));
        attribute(body, 2, |value| number(value, OWNED));
    });
    message(&mut out, NEW_CHAIN, REQUEST | ACK | CREATE | EXCLUSIVE, FAMILY_NETDEV, 0, |body| {
        attribute(body, 1, |value| string(value, table));
        attribute(body, 3, |value| string(value, "ingress"));
        attribute(body, 4 | NESTED, |hook| {
            attribute(hook, 1, |value| number(value, INGRESS));
            attribute(hook, 2, |value| number(value, 0));
            attribute(hook, 3, |value| string(value, interface));
        });
        attribute(body, 5, |value| number(value, DROP));
        attribute(body, 7, |value| string(value, "filter"));
    });
    message(&mut out, BATCH_END, REQUEST, 0, 10, |_| {});
    out
}

/// A netlink message (struct nlmsghdr, struct nfgenmsg, attributes); all are multiples of four bytes.
fn message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    family: u8,
    resource: u16,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([0; 8]); // sequence number and port id: one question at a time, to the kernel
    out.extend([family, 0]);
    out.extend(resource.to_be_bytes());
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// An attribute (struct nlattr), padded to four bytes.
fn attribute(out: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 2]);
    out.extend(kind.to_ne_bytes());
    value(out);
    let length = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

fn number(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_chain_of_aligned_messages() {
        let batch = batch("bcast_eth0", "eth0");
        let mut kinds = Vec::new();
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            assert_eq!(length % 4, 0);
            kinds.push(u16::from_ne_bytes(rest[4..6].try_into().unwrap()));
            rest = &rest[length..];
        }
        assert_eq!(kinds, [BATCH_BEGIN, NEW_TABLE, NEW_CHAIN, BATCH_END]);
    }

    #[test]
    fn a_truncated_answer_is_an_error() {
        let refused = [36_u32.to_ne_bytes(), [2, 0, 0, 0], [0; 4], [0; 4], (-1_i32).to_ne_bytes()].concat();
        assert!(matches!(acknowledgements(&refused).collect::<Vec<_>>().as_slice(), [Ok(-1)]));
        for cut in 1..20 {
            assert!(
                matches!(acknowledgements(&refused[..cut]).next(), Some(Err(IngressDropError::Answer))),
                "{cut} bytes"
            );
        }
    }
}
