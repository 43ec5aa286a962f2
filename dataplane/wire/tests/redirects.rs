//! ICMP redirects, and what is none.

#![allow(clippy::expect_used, reason = "tests")]

use wire::redirect::is_redirect;

/// An Ethernet frame with these tags and this payload.
fn frame(tags: &[[u8; 4]], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let addresses = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
    [&addresses[..], &tags.concat(), &ethertype.to_be_bytes(), packet].concat()
}

/// An IPv4 packet of this protocol, with these fragment bits and options.
fn ipv4(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).expect("few");
    let length = u16::try_from(20 + options.len() + payload.len()).expect("short").to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let start = [0x40 | words, 0, length[0], length[1], 0, 9, high, low, 255, protocol, 0, 0];
    [&start[..], &[198, 18, 0, 1], &[198, 18, 0, 254], options, payload].concat()
}

/// An IPv6 packet that begins with this header.
fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
    let start = [0x60, 0, 0, 0, length[0], length[1], next, 255];
    [&start[..], &[0xfe; 16], &[0xfe; 16], payload].concat()
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// A redirect to another gateway, and the start of the packet that it is about; of IPv6 as well.
const REDIRECT: [u8; 36] = [5; 36];
const REDIRECT6: [u8; 40] = [137; 40];
/// An option of one kind or another, 4 bytes.
const OPTION: [u8; 4] = [148, 4, 0, 0];
const PRIORITY: [u8; 4] = [0x81, 0, 0xe0, 0];
const VLAN: [u8; 4] = [0x81, 0, 0, 7];
const PROVIDER: [u8; 4] = [0x88, 0xa8, 0, 0];

#[test]
fn a_redirect_is_found_behind_tags_options_and_in_a_first_fragment() {
    let plain = ipv4(ICMP, 0, &[], &REDIRECT);
    let of_ipv6 = ipv6(ICMPV6, &REDIRECT6);
    let behind = |header: &[u8]| [header, &REDIRECT6].concat();
    let cases = [
        ("plain", frame(&[], 0x0800, &plain)),
        ("padded", frame(&[], 0x0800, &[&plain[..], &[0; 20]].concat())),
        ("don't fragment", frame(&[], 0x0800, &ipv4(ICMP, 0x4000, &[], &REDIRECT))),
        ("a first fragment", frame(&[], 0x0800, &ipv4(ICMP, 0x2000, &[], &REDIRECT[..8]))),
        ("nothing but the type", frame(&[], 0x0800, &ipv4(ICMP, 0, &[], &[5]))),
        ("an option", frame(&[], 0x0800, &ipv4(ICMP, 0, &OPTION, &REDIRECT))),
        ("forty bytes of options", frame(&[], 0x0800, &ipv4(ICMP, 0x2000, &OPTION.repeat(10), &REDIRECT))),
        ("a priority tag", frame(&[PRIORITY], 0x0800, &plain)),
        ("a VLAN", frame(&[VLAN], 0x0800, &plain)),
        ("a provider's tag", frame(&[PROVIDER], 0x0800, &plain)),
        ("five tags", frame(&[PRIORITY, PROVIDER, PRIORITY, PRIORITY, VLAN], 0x0800, &plain)),
        ("IPv6", frame(&[], 0x86dd, &of_ipv6)),
        ("IPv6 with a tag", frame(&[PRIORITY, PRIORITY, PRIORITY], 0x86dd, &of_ipv6)),
        ("IPv6, hop by hop", frame(&[], 0x86dd, &ipv6(0, &behind(&[ICMPV6, 0, 1, 4, 0, 0, 0, 0])))),
        ("IPv6, destination options", frame(&[], 0x86dd, &ipv6(60, &behind(&[ICMPV6, 0, 1, 4, 0, 0, 0, 0])))),
        ("IPv6, an atomic fragment", frame(&[], 0x86dd, &ipv6(44, &behind(&[ICMPV6, 0, 0, 0, 0, 0, 0, 9])))),
        ("IPv6, a first fragment", frame(&[], 0x86dd, &ipv6(44, &behind(&[ICMPV6, 0, 0, 1, 0, 0, 0, 9])))),
    ];
    for (what, frame) in cases {
        assert!(is_redirect(&frame), "{what}");
        // What is cut off is not found, and nothing panics.
        for len in 0..frame.len() {
            let cut = is_redirect(&frame[..len]);
            assert!(!cut || what == "padded", "{what}, {len} bytes");
        }
    }
}

#[test]
fn what_a_host_and_its_routing_daemons_need_is_no_redirect() {
    let cases = [
        ("echo", frame(&[], 0x0800, &ipv4(ICMP, 0, &[], &[8; 36]))),
        ("fragmentation needed", frame(&[], 0x0800, &ipv4(ICMP, 0, &[], &[3; 36]))),
        ("a later fragment", frame(&[], 0x0800, &ipv4(ICMP, 1, &[], &REDIRECT))),
        ("UDP", frame(&[], 0x0800, &ipv4(17, 0, &[], &REDIRECT))),
        ("ICMP of IPv6 in IPv4", frame(&[], 0x0800, &ipv4(ICMPV6, 0, &[], &REDIRECT6))),
        ("no message", frame(&[], 0x0800, &ipv4(ICMP, 0, &OPTION, &[]))),
        ("another version", frame(&[], 0x0800, &ipv6(ICMPV6, &REDIRECT6))),
        ("ARP", frame(&[], 0x0806, &ipv4(ICMP, 0, &[], &REDIRECT))),
        ("a router's advertisement", frame(&[], 0x86dd, &ipv6(ICMPV6, &[134; 40]))),
        ("a neighbour's", frame(&[PRIORITY], 0x86dd, &ipv6(ICMPV6, &[136; 32]))),
        (
            "a later fragment of IPv6",
            frame(&[], 0x86dd, &ipv6(44, &[&[58, 0, 0, 9, 0, 0, 0, 1], &REDIRECT6[..]].concat())),
        ),
        ("ICMP of IPv4 in IPv6", frame(&[], 0x86dd, &ipv6(ICMP, &REDIRECT))),
        ("headers past the end", frame(&[], 0x86dd, &ipv6(60, &[58, 200, 137, 137]))),
        ("nothing", Vec::new()),
    ];
    for (what, frame) in cases {
        assert!(!is_redirect(&frame), "{what}");
    }
}
