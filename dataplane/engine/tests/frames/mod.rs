//! The table of frames that a node drops, with the reason of each. Written byte by byte, without the code under test: it is the second
//! opinion. The same table runs on the fake port, on capture files, and on a node with a real device.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "each test uses its own part"
)]

use std::net::Ipv4Addr;

use wire::DropReason;

/// Offsets of an overlay frame without IP options.
pub mod at {
    pub const IP: usize = 14;
    pub const GRE: usize = IP + 20;
    pub const INNER: usize = GRE + 8;
}

/// Addresses and domains of the node under test. The TEP is a member of `vni`, and no member of `other_vni`.
pub struct Parties {
    pub node: Ipv4Addr,
    pub node_mac: [u8; 6],
    pub tep: Ipv4Addr,
    pub tep_mac: [u8; 6],
    pub vni: u32,
    pub other_vni: u32,
}

/// State in which a node drops a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Any node.
    Any,
    /// One that sees fragments: DPDK's af_packet has the kernel reassemble them.
    Fragments,
    /// `vni` has a virtual IP, [`VIP`], that the frame's source may not announce.
    VirtualIp,
    /// One frame or copy a second by this limit, and one has passed already.
    Limited(&'static str),
    /// The domain has more than half of the copies that may wait, and two of its frames wait already.
    Queued,
    /// No frames for the kernel, or no TAP.
    PuntRate,
    NoTap,
    /// The TEP has sent as much BFD as it may at once.
    BfdRate,
    /// No stranger of the node's link gets through to the kernel.
    Strangers,
}

/// A frame that is dropped.
pub struct Case {
    pub what: &'static str,
    pub state: State,
    pub frame: Vec<u8>,
}

/// The virtual IP of [`State::VirtualIp`].
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

pub fn ethernet(destination: [u8; 6], source: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &ethertype.to_be_bytes(), payload].concat()
}

/// A broadcast frame of `len` bytes of a protocol that is none, with a number in it.
pub fn broadcast(number: u32, len: usize) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], [2, 0, 0, 0, 9, 9], 0x88b5, &number.to_be_bytes());
    frame.resize(len, 0xa5);
    frame
}

/// The number of a [`broadcast`] frame.
pub fn number(inner: &[u8]) -> u32 {
    u32::from_be_bytes(inner[14..18].try_into().unwrap())
}

/// Gratuitous ARP, broadcast: `address` is at `mac`.
pub fn garp(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let arp = [0, 1, 8, 0, 6, 4, 0, 1];
    let address = address.octets();
    ethernet([0xff; 6], mac, 0x0806, &[&arp[..], &mac, &address, &[0; 6], &address, &[0; 18]].concat())
}

/// An ARP probe for an address (RFC 5227 section 1.1).
pub fn probe(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let arp = [0, 1, 8, 0, 6, 4, 0, 1];
    let target = address.octets();
    ethernet([0xff; 6], mac, 0x0806, &[&arp[..], &mac, &[0; 4], &[0; 6], &target, &[0; 18]].concat())
}

/// A first fragment of IPv6 with destination options, of which the next header would be in the next fragment.
fn cut_chain(mac: [u8; 6]) -> Vec<u8> {
    let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12];
    let head = [0x60, 0, 0, 0, 0, 16, 44, 255];
    let (fragment, options) = ([60, 0, 0, 1, 0, 0, 0, 9], [112, 1, 1, 4, 0, 0, 0, 0]);
    let packet = [&head[..], &address(2), &group, &fragment, &options].concat();
    ethernet([0x33, 0x33, 0, 0, 0, 0x12], mac, 0x86dd, &packet)
}

/// A first fragment of an advertisement that has no more than its first eight bytes.
fn cut_advert(mac: [u8; 6]) -> Vec<u8> {
    let group = Ipv4Addr::new(224, 0, 0, 18);
    let mut packet = ipv4(Ipv4Addr::new(10, 0, 0, 2), group, 112, &[0x31, 51, 200, 1, 0, 100, 0, 0]);
    (packet[6], packet[8]) = (0x20, 255);
    seal(&mut packet, 20);
    ethernet([1, 0, 0x5e, 0, 0, 18], mac, 0x0800, &packet)
}

/// A VRRP advertisement of version 3 that lists an address (RFC 9568 section 5.2).
pub fn advert(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let source = Ipv4Addr::new(10, 0, 0, 2);
    let group = Ipv4Addr::new(224, 0, 0, 18);
    let mut message = [&[0x31, 51, 200, 1, 0, 100, 0, 0][..], &address.octets()].concat();
    let pseudo = [&source.octets()[..], &group.octets(), &[0, 112, 0, 12]].concat();
    let sum = checksum(&[pseudo, message.clone()].concat()).to_be_bytes();
    message[6..8].copy_from_slice(&sum);
    let mut packet = ipv4(source, group, 112, &message);
    packet[8] = 255;
    seal(&mut packet, 20);
    ethernet([1, 0, 0x5e, 0, 0, 18], mac, 0x0800, &packet)
}

pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn seal(packet: &mut [u8], len: usize) {
    packet[10..12].fill(0);
    let sum = checksum(&packet[..len]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
}

pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let head = [0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    let mut packet = [&head[..], &source.octets(), &destination.octets(), payload].concat();
    seal(&mut packet, 20);
    packet
}

/// Destination of BFD in tunnels.
pub const BFD_MAC: [u8; 6] = [0x00, 0x23, 0x20, 0, 0, 1];

/// BFD from 169.254.1.1 as Open vSwitch sends it: state Down, my discriminator 1, and this of the receiver's.
pub fn bfd(destination: [u8; 6], your_discriminator: u32) -> Vec<u8> {
    let your = your_discriminator.to_be_bytes();
    let control =
        [&[0x20, 0x40, 3, 24, 0, 0, 0, 1][..], &your, &[0, 0x0f, 0x42, 0x40].repeat(2), &[0; 4]].concat();
    let udp = [&[0xc0, 0, 0x0e, 0xc8, 0, 32, 0, 0][..], &control].concat();
    let mut packet = ipv4(Ipv4Addr::new(169, 254, 1, 1), Ipv4Addr::new(169, 254, 1, 0), 17, &udp);
    packet[8] = 255;
    seal(&mut packet, 20);
    ethernet(destination, [2, 0, 0, 0, 9, 9], 0x0800, &packet)
}

impl Parties {
    /// `inner` from a TEP, as Open vSwitch sends it.
    pub fn overlay_from(&self, source: Ipv4Addr, vni: u32, inner: &[u8]) -> Vec<u8> {
        let gre = [&[0x20, 0, 0x65, 0x58], &vni.to_be_bytes()[..], inner].concat();
        ethernet(self.node_mac, self.tep_mac, 0x0800, &ipv4(source, self.node, 47, &gre))
    }

    /// `inner` from the TEP into `vni`.
    pub fn overlay(&self, inner: &[u8]) -> Vec<u8> {
        self.overlay_from(self.tep, self.vni, inner)
    }

    fn gre(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(self.node_mac, self.tep_mac, 0x0800, &ipv4(self.tep, self.node, 47, payload))
    }

    /// A frame for the node itself that nobody answers.
    pub fn for_the_node(&self) -> Vec<u8> {
        ethernet(self.node_mac, self.tep_mac, 0x88b5, &[0; 46])
    }

    /// An ARP request for the node, by a sender whose MAC address is made of its own.
    pub fn request(&self, from: Ipv4Addr) -> Vec<u8> {
        let [_, b, c, d] = from.octets();
        let mac = [2, 1, 0, b, c, d];
        let arp = [0, 1, 8, 0, 6, 4, 0, 1];
        let parts = [&arp[..], &mac, &from.octets(), &[0; 6], &self.node.octets(), &[0; 18]];
        ethernet([0xff; 6], mac, 0x0806, &parts.concat())
    }

    /// A neighbour solicitation of IPv6 (RFC 4861 section 4.3) by fe80::77 for fe80::fe.
    pub fn solicitation() -> Vec<u8> {
        let address = |last| [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let head = [0x60, 0, 0, 0, 0, 24, 58, 255];
        let message = [135, 0, 0, 0, 0, 0, 0, 0];
        [&head[..], &address(0x77), &address(0xfe), &message, &address(0xfe)].concat()
    }

    /// An ICMP redirect of IPv4 (RFC 792) to the node.
    fn redirect(&self) -> Vec<u8> {
        let about = ipv4(self.node, Ipv4Addr::new(203, 0, 113, 9), 17, &[0, 9, 0, 9, 0, 8, 0, 0]);
        let mut message = [&[5, 1, 0, 0, 198, 18, 0, 2][..], &about].concat();
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        ethernet(self.node_mac, self.tep_mac, 0x0800, &ipv4(self.tep, self.node, 1, &message))
    }

    /// One of IPv6 (RFC 4861 section 4.5).
    fn redirect6(&self) -> Vec<u8> {
        let addresses = [[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]; 4].concat();
        let (ends, body) = addresses.split_at(32);
        let head = [0x60, 0, 0, 0, 0, 40, 58, 255];
        let packet = [&head[..], ends, &[137, 0, 0, 0, 0, 0, 0, 0], body].concat();
        ethernet(self.node_mac, self.tep_mac, 0x86dd, &packet)
    }

    /// Frames that are dropped for this reason.
    ///
    /// No wildcard: a reason that is new does not compile without frames.
    pub fn frames(&self, reason: DropReason) -> Vec<Case> {
        let good = self.overlay(&broadcast(1, 60));
        let any = |what, frame| Case { what, state: State::Any, frame };
        let patch = |what, offset: usize, bytes: &[u8]| {
            let mut frame = good.clone();
            frame[offset..offset + bytes.len()].copy_from_slice(bytes);
            seal(&mut frame[at::IP..], 20);
            any(what, frame)
        };
        let source = |what, address: [u8; 4]| {
            any(what, self.overlay_from(address.into(), self.vni, &broadcast(1, 60)))
        };
        let inner = |what, inner: &[u8]| any(what, self.overlay(inner));
        let addressed =
            |what, destination, source| inner(what, &ethernet(destination, source, 0x0800, &[0; 46]));
        let limited = |what| Case { what, state: State::Limited(what), frame: good.clone() };
        let vip = |what, inner: &[u8]| Case { what, state: State::VirtualIp, frame: self.overlay(inner) };
        let stranger = [0x52, 0x54, 0, 0, 0, 0x66];
        match reason {
            DropReason::Runt => vec![
                any("13 bytes", good[..13].to_vec()),
                any("IPv4 and nothing else", good[..at::IP].to_vec()),
                any("19 bytes of IPv4 header", good[..at::IP + 19].to_vec()),
            ],
            DropReason::OuterVlan => {
                [("VLAN 100", [0x81, 0, 0, 100]), ("a provider's VLAN", [0x88, 0xa8, 0, 1])]
                    .map(|(what, tag)| any(what, [&good[..12], &tag, &good[12..]].concat()))
                    .into()
            }
            DropReason::IpHeader => {
                let len = u8::try_from(good.len() - at::IP).unwrap();
                let (mut unsealed, mut options, mut long) = (good.clone(), good.clone(), good.clone());
                unsealed[at::IP + 10] ^= 1;
                options.splice(at::GRE..at::GRE, [1, 1, 1, 1]);
                (options[at::IP], options[at::IP + 3]) = (0x46, options[at::IP + 3] + 4);
                seal(&mut options[at::IP..], 24);
                long[at::IP] = 0x4f;
                seal(&mut long[at::IP..], 20);
                vec![
                    patch("version 6", at::IP, &[0x65]),
                    patch("a header of 16 bytes", at::IP, &[0x44]),
                    any("a header past the end", long[..at::IP + 24].to_vec()),
                    any("a wrong checksum", unsealed),
                    patch("a total length under the header's", at::IP + 2, &[0, 19]),
                    patch("a total length over the frame's", at::IP + 2, &[0, len + 1]),
                    patch("TTL 0", at::IP + 8, &[0]),
                    any("options", options),
                ]
            }
            DropReason::IpFragment => [("more fragments", [0x20, 0]), ("an offset", [0, 1])]
                .map(|(what, flags)| Case { state: State::Fragments, ..patch(what, at::IP + 6, &flags) })
                .into(),
            DropReason::IpSource => vec![
                source("0/8", [0, 1, 2, 3]),
                source("127/8", [127, 0, 0, 1]),
                source("multicast", [224, 0, 0, 18]),
                source("broadcast", [255; 4]),
                source("the node's own", self.node.octets()),
            ],
            DropReason::GreHeader => vec![
                any("3 bytes", self.gre(&[0x20, 0, 0x65])),
                any("6 bytes with a key", self.gre(&[0x20, 0, 0x65, 0x58, 0, 0])),
                patch("version 1", at::GRE + 1, &[1]),
                patch("a reserved bit", at::GRE, &[0x24]),
                patch("the routing bit", at::GRE, &[0x60]),
            ],
            DropReason::GreProtocol => vec![
                patch("IPv4 in GRE", at::GRE + 2, &[0x08, 0x00]),
                patch("ERSPAN", at::GRE + 2, &[0x88, 0xbe]),
            ],
            DropReason::GreNoKey => vec![patch("no key", at::GRE, &[0])],
            DropReason::TepUnknown => vec![source("a stranger", [198, 18, 0, 77])],
            DropReason::BfdRate => {
                let frame = self.overlay_from(self.tep, 0, &bfd(BFD_MAC, 0));
                vec![Case { what: "one packet too many", state: State::BfdRate, frame }]
            }
            // More forms are tested in dataplane/engine/bfd/tests/frames.rs.
            DropReason::BfdMalformed => {
                let key_0 = |what, inner: &[u8]| any(what, self.overlay_from(self.tep, 0, inner));
                let with = |what, at: usize, byte| {
                    let mut inner = bfd(BFD_MAC, 0);
                    inner[at] = byte;
                    seal(&mut inner[14..], 20);
                    key_0(what, &inner)
                };
                vec![
                    with("TTL 254", 22, 254),
                    with("another port", 37, 0xc9),
                    with("version 2", 42, 0x40),
                    with("state Up without the node's discriminator", 43, 0xc0),
                    key_0("a frame cut short", &bfd(BFD_MAC, 0)[..65]),
                ]
            }
            DropReason::BfdDiscarded => {
                let frame = self.overlay_from(self.tep, 0, &bfd(BFD_MAC, 0xdead_beef));
                vec![any("a session of an earlier run", frame)]
            }
            DropReason::VniUnknown => vec![
                any("no such domain", self.overlay_from(self.tep, u32::MAX, &broadcast(1, 60))),
                any("key 0", self.overlay_from(self.tep, 0, &broadcast(1, 60))),
                any("key 0 to another station", self.overlay_from(self.tep, 0, &bfd([2; 6], 0))),
            ],
            DropReason::TepNotMember => {
                vec![any("another's domain", self.overlay_from(self.tep, self.other_vni, &broadcast(1, 60)))]
            }
            DropReason::GreChecksum => {
                let header = [&[0xa0, 0, 0x65, 0x58, 0xde, 0xad, 0, 0][..], &self.vni.to_be_bytes()].concat();
                vec![any("a wrong checksum", self.gre(&[header, broadcast(1, 60)].concat()))]
            }
            DropReason::InnerRunt => vec![inner("13 bytes", &[0xff; 13]), inner("nothing", &[])],
            DropReason::InnerUnicast => vec![addressed("unicast", [2; 6], [2; 6])],
            DropReason::InnerReserved => {
                [("BPDU", 0), ("PAUSE", 1), ("LACP", 2), ("LLDP", 14), ("the last", 15)]
                    .map(|(what, last)| addressed(what, [1, 0x80, 0xc2, 0, 0, last], [2; 6]))
                    .into()
            }
            DropReason::InnerSource => vec![
                addressed("multicast", [0xff; 6], [1, 0, 0x5e, 0, 0, 1]),
                addressed("zero", [0xff; 6], [0; 6]),
            ],
            DropReason::InnerBfd => {
                let plain = bfd([0xff; 6], 0);
                let mut tagged = plain.clone();
                tagged.splice(12..12, [0x81, 0, 0, 42]);
                vec![
                    inner("broadcast BFD", &plain),
                    inner("multicast BFD", &bfd([1, 0, 0x5e, 0, 0, 1], 0)),
                    inner("broadcast BFD in a VLAN", &tagged),
                ]
            }
            DropReason::GarpSpoof => vec![
                vip("gratuitous ARP for a virtual IP", &garp(stranger, VIP)),
                vip("a probe for a virtual IP", &probe(stranger, VIP)),
                vip("a first fragment of IPv6 that ends amid its header chain", &cut_chain(stranger)),
            ],
            DropReason::VrrpSpoof => vec![
                vip("VRRP for a virtual IP", &advert(stranger, VIP)),
                vip("a first fragment of VRRP that ends before its address", &cut_advert(stranger)),
            ],
            DropReason::TepRate => vec![limited("tep_frames")],
            DropReason::DomainRate => vec![limited("domain_copies"), limited("domain_bits")],
            DropReason::NodeRate => vec![limited("node_copies")],
            DropReason::ControlRate => {
                let frame = self.overlay(&garp(stranger, Ipv4Addr::new(10, 0, 0, 7)));
                vec![Case { frame, ..limited("control_copies") }]
            }
            DropReason::FailoverRate => {
                let frame = self.overlay(&advert(stranger, Ipv4Addr::new(10, 0, 0, 7)));
                vec![Case { frame, ..limited("failover_copies") }]
            }
            DropReason::FanoutQueueFull => {
                vec![Case { what: "a third frame of a large domain", state: State::Queued, frame: good }]
            }
            // Many more forms are tested in dataplane/wire/tests/redirects.rs.
            DropReason::PuntRedirect => {
                let plain = self.redirect();
                let mut tagged = plain.clone();
                tagged.splice(12..12, [0x81, 0, 0xe0, 0]);
                vec![
                    any("a redirect", plain),
                    any("a redirect behind a priority tag", tagged),
                    any("a redirect of IPv6", self.redirect6()),
                ]
            }
            // More forms are tested in dataplane/wire/tests/host.rs.
            DropReason::PuntStranger => {
                let stranger = Ipv4Addr::new(198, 18, 0, 77);
                let to_node = |ethertype, packet: &[u8]| {
                    ethernet(self.node_mac, [2, 0, 0, 0, 0, 77], ethertype, packet)
                };
                let ping = ipv4(stranger, self.node, 1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
                let syn = [&[0x9c, 0x40, 0, 179][..], &[0; 8], &[0x50, 2, 0, 0, 0, 0, 0, 0]].concat();
                let solicitation = Self::solicitation();
                let mut no_host = self.request(stranger);
                no_host[22] |= 1;
                let state = |what, frame| Case { what, state: State::Strangers, frame };
                vec![
                    state("a ping", to_node(0x0800, &ping)),
                    state("BGP", to_node(0x0800, &ipv4(stranger, self.node, 6, &syn))),
                    state("a neighbour solicitation", to_node(0x86dd, &solicitation)),
                    any("a request whose sender's MAC address is no host's", no_host),
                ]
            }
            DropReason::PuntLimited => {
                vec![Case { state: State::PuntRate, ..any("no frames for the kernel", self.for_the_node()) }]
            }
            DropReason::PuntOff => {
                vec![Case { state: State::NoTap, ..any("no TAP", self.for_the_node()) }]
            }
        }
    }
}
