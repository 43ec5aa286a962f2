//! What is measured as replication is replication.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::collections::HashSet;

use bench::NODE;
use micro::replicate::Replicator;
use wire::{OVERHEAD, header::Tunnel};
use zerocopy::FromBytes;

#[test]
fn copies_and_chains_carry_the_headers_of_their_members_and_give_all_buffers_back() {
    let mut replicator = Replicator::new(false).unwrap();
    let cases = [
        ("copied", 60, 8, OVERHEAD + 60),
        ("copied, longest", 256, 64, OVERHEAD + 256),
        ("chained", 1400, 64, OVERHEAD),
    ];
    for (what, inner_len, copies, first_segment) in cases {
        let frames = replicator.sample(copies, inner_len).unwrap();
        assert_eq!(frames.len(), copies, "{what}");
        let mut destinations = HashSet::new();
        for frame in &frames {
            assert_eq!(frame.len(), first_segment, "{what}");
            let (tunnel, inner) = Tunnel::ref_from_prefix(frame).unwrap();
            assert_eq!((tunnel.ipv4.source(), tunnel.key.get()), (NODE, 1), "{what}");
            assert!(wire::checksum::verifies(zerocopy::IntoBytes::as_bytes(&tunnel.ipv4)), "{what}");
            destinations.insert(tunnel.ipv4.destination());
            assert!(inner.is_empty() || inner.starts_with(&[0xff; 6]), "{what}");
        }
        assert_eq!(destinations.len(), copies, "{what}: each to another member");
        for fan_out in [1, 64, 65, 512] {
            replicator.replicate(10, fan_out, inner_len).unwrap();
        }
        assert_eq!(replicator.mbufs_in_use(), 0, "{what}");
    }
}
