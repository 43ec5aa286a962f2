//! Frames that scapy makes get the verdict that the script states, and scapy reads our headers as we mean
//! them.
//!
//! Needs the Debian package python3-scapy; its absence is a failure, not a skip.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use common::{inner, judge, unhex};
use wire::{DropReason, FrameHeader, MacAddr, Rejection, Template};

/// Runs the script of verdicts and headers.
fn script(command: &str, input: &str) -> String {
    common::scapy("frames.py", &[command], input)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn scapys_frames_get_the_verdicts_that_scapys_script_states() {
    let printed = script("make", "");
    let mut seen = BTreeSet::new();
    for line in printed.lines() {
        let [name, verdict, key, body, frame] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("five fields: {line}");
        };
        let (frame, body) = (unhex(frame), unhex(body));
        let expected = match verdict {
            "accept" => Ok((key.parse().expect("a key"), body.as_slice())),
            "punt" => Err(Rejection::Punt),
            label => {
                let reason = DropReason::ALL.into_iter().find(|reason| reason.as_str() == label);
                Err(Rejection::Drop(reason.unwrap_or_else(|| panic!("no such reason: {label}"))))
            }
        };
        assert_eq!(judge(&frame), expected, "{name}: {}", hex(&frame));
        seen.insert(verdict);
    }
    // All that bytes decide, and the two that are no drops.
    assert_eq!(seen.len(), 13 + 2, "{seen:?}");
}

#[test]
fn scapy_reads_our_headers_as_we_mean_them() {
    let port = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);
    let next_hop = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
    let cases = [
        (0, 0, 14, [198, 18, 0, 1], [198, 18, 0, 254]),
        (0xb9, 5001, 60, [198, 18, 0, 1], [198, 18, 0, 254]),
        (0xff, u32::MAX, 1_472, [255, 255, 255, 255], [255, 255, 255, 255]),
        (0x03, 0x0102_0304, 8_972, [10, 0, 0, 1], [192, 0, 2, 1]),
    ];
    let mut input = String::new();
    let mut expected = String::new();
    for (tos, key, len, destination, source) in cases {
        let (destination, source) = (Ipv4Addr::from(destination), Ipv4Addr::from(source));
        let head =
            FrameHeader::new(source, tos, key, len).head(&Template::new(port, Some(next_hop), destination));
        let body = inner(usize::from(len));
        input += &format!("{}{}\n", hex(&head.to_bytes()), hex(&body));
        expected +=
            &format!("{next_hop} {port} {source} {destination} {tos} {} 0 DF 0 64 47\n", u32::from(len) + 28);
        expected += &format!("1 0 0 1 0 0 0 0 0 0x6558 {key} {}\n", hex(&body));
    }
    assert_eq!(script("dissect", &input), expected);
}
