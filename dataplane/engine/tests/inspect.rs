//! Announcements that are accepted, and those that are rejected: each case by a frame, as a worker gives it to its inspector.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bcast_domain::{
    Announcer, AnnouncerId, DomainPublisher, HeardTags, LastAnnounced, LearnedBindings, Mac, MemberList,
    Reader, RejectReason, Rejected, SILENCE_NS, StrictDomain, StrictReason, StrictRefusal, TepIndex, Vip,
    VipId, VipTable, VlanTags, Vni, table,
};
use engine::inspect::{ArpInspector, BURST, Inspection, KINDS, Violation, with_vips};
use wire::gratuitous::{Form, advertisement, garp};
use wire::{DropReason, MacAddr, checksum};

const HOLDER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const BACKUP: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x66];
const VIRTUAL: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const FOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 101);
const ORDINARY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
const SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);
const NOW: u64 = 1_000_000;
/// Tags of a claim or use without a tag.
const UNTAGGED: HeardTags = HeardTags::Used(VlanTags::NONE);

/// Two attached to all three, at endpoints 1 and 2; of the second address the backup's number is another.
fn vips() -> [Vip; 3] {
    let announcer = |mac, tep: u16, id| Announcer {
        mac: Mac::new(mac).unwrap(),
        tep: tep.into(),
        id: AnnouncerId::new(id).unwrap(),
    };
    let vip = |id, address: IpAddr| Vip {
        id: VipId::new(id).unwrap(),
        address,
        vrids: [51].into(),
        announcers: [announcer(HOLDER, 1, 10 * id), announcer(BACKUP, 2, 10 * id + 1)].into(),
        group: 0,
    };
    [vip(1, FOUR.into()), vip(2, OTHER.into()), vip(3, SIX.into())]
}

fn arp(source: [u8; 6], operation: u8, sender: ([u8; 6], Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let head = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation];
    let (mac, address) = sender;
    [&[0xff; 6][..], &source, &head, &mac, &address.octets(), &[0; 6], &target.octets(), &[0; 18]].concat()
}

fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

/// A VRRP advertisement of version 2 or 3, over IPv4.
fn advert(source: [u8; 6], version: u8, priority: u8, ttl: u8, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let addresses: Vec<u8> = addresses.iter().flat_map(Ipv4Addr::octets).collect();
    let count = u8::try_from(addresses.len() / 4).unwrap();
    // One second: in version 2 the low byte, in version 3 hundredths.
    let interval = if version == 2 { [0, 1] } else { [0, 100] };
    let mut message = [&[version << 4 | 1, 51, priority, count], &interval[..], &[0, 0], &addresses].concat();
    if version == 2 {
        message.extend([0; 8]);
    }
    let sum = !checksum::sum(&message);
    message[6..8].copy_from_slice(&sum.to_ne_bytes());
    let length = u16::try_from(20 + message.len()).unwrap().to_be_bytes();
    let mut ip =
        [&[0x45, 0xc0], &length[..], &[0, 0, 0, 0, ttl, 112, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18]].concat();
    let sum = !checksum::sum(&ip);
    ip[10..12].copy_from_slice(&sum.to_ne_bytes());
    [&[1, 0, 0x5e, 0, 0, 18], &source[..], &[8, 0], &ip, &message].concat()
}

/// A neighbour advertisement behind a destination options header.
fn hidden(source: [u8; 6]) -> Vec<u8> {
    let plain = advertisement(MacAddr(source), SIX);
    let mut frame = [&plain[..54], &[58, 0, 1, 4, 0, 0, 0, 0], &plain[54..]].concat();
    (frame[19], frame[20]) = (40, 60);
    frame
}

/// The same behind hop-by-hop options, of a packet that states no length: Linux goes by the frame's.
fn jumbo(source: [u8; 6]) -> Vec<u8> {
    let mut frame = hidden(source);
    (frame[18], frame[19], frame[20]) = (0, 0, 0);
    frame
}

/// A first fragment, of so many bytes, of a neighbour advertisement or (112) a VRRP advertisement that names `SIX`.
fn first_fragment(protocol: u8, len: u8) -> Vec<u8> {
    let plain = advertisement(MacAddr(STRANGER), SIX);
    let message = match protocol {
        112 => [&[0x31, 51, 255, 1, 0, 100, 0, 0][..], &SIX.octets()].concat(),
        _ => plain[54..].to_vec(),
    };
    let mut frame = [&plain[..54], &[protocol, 0, 0, 1, 0, 0, 0, 1], &message[..usize::from(len)]].concat();
    (frame[19], frame[20]) = (8 + len, 44);
    frame
}

/// A domain with virtual IPs, and one worker's inspector.
struct Rig {
    domains: DomainPublisher,
    reader: Reader<()>,
    /// VNI of the frames.
    vni: Vni,
    now_ns: u64,
    inspection: Arc<Inspection>,
    inspector: ArpInspector,
}

const GUARDED: Vni = Vni::new(1);
const PLAIN: Vni = Vni::new(2);

impl Rig {
    fn new() -> Self {
        let (mut domains, _array, readers) = table(());
        for vni in [GUARDED, PLAIN] {
            domains.set(vni, &[1, 2, 3].map(TepIndex::from)).unwrap();
        }
        domains.set_vip_table(GUARDED, Some(Arc::new(VipTable::new(vips()))));
        let inspection = Inspection::new();
        Self {
            domains,
            reader: readers.reader(),
            vni: GUARDED,
            now_ns: NOW,
            inspector: ArpInspector::new(inspection.clone()),
            inspection,
        }
    }

    /// Counted kind of one frame, or its violation. An accepted announcement is noted. An instance's mere presence counts for
    /// nothing here.
    fn read(&mut self, from: u16, frame: &[u8]) -> Option<Result<&'static str, Violation>> {
        let domain = self.reader.lookup(self.vni).unwrap();
        let mut inspected = self.inspector.inspect(self.now_ns);
        inspected.read(3, from.into(), domain, frame);
        inspected.finish();
        assert!((0..3).all(|index| self.inspector.finding(index).is_none()));
        let finding = self.inspector.finding(3);
        assert!(self.inspector.finding(4).is_none());
        let verdict = finding.map(|verdict| {
            verdict.map(|said| {
                self.inspector.note(said);
                KINDS[said.kind()]
            })
        });
        verdict.filter(|kind| *kind != Ok("presence"))
    }

    /// The virtual IPs of which something was noted.
    fn drained(&self) -> Vec<u32> {
        let mut all = Vec::new();
        self.inspection.board.drain(|vip| all.push(vip.get()));
        all
    }

    fn last(&self, announcer: u32) -> LastAnnounced {
        self.inspection.board.read(AnnouncerId::new(announcer).unwrap())
    }
}

fn claim(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    garp(MacAddr(mac), address, Form::Request).to_vec()
}

/// Announcer, and its latest announcements.
type Noted = (u32, LastAnnounced);

fn claimed(announcer: u32) -> Option<Noted> {
    let mac = if announcer.is_multiple_of(10) { HOLDER } else { BACKUP };
    Some((announcer, LastAnnounced { claim_ns: NOW, mac, tags: UNTAGGED, ..LastAnnounced::default() }))
}

fn used(announcer: u32) -> Option<Noted> {
    Some((announcer, LastAnnounced { use_ns: NOW, tags: UNTAGGED, ..LastAnnounced::default() }))
}

#[test]
fn those_who_are_attached_are_heard() {
    let reply = garp(MacAddr(BACKUP), FOUR, Form::Reply);
    let six = advertisement(MacAddr(HOLDER), SIX);
    let claimed_as = |announcer, mac| {
        let last = LastAnnounced { claim_ns: NOW, mac, tags: UNTAGGED, ..LastAnnounced::default() };
        Some((announcer, last))
    };
    let advertised = |priority| {
        let tags = HeardTags::Advert(VlanTags::NONE);
        let last =
            LastAnnounced { advert_ns: NOW, interval_cs: 100, priority, tags, ..LastAnnounced::default() };
        Some((10, last))
    };
    /// Description, from where, frame, what it counts as, what is noted.
    type Case = (&'static str, u16, Vec<u8>, Option<&'static str>, Option<Noted>);
    let cases: [Case; 18] = [
        ("a gratuitous request", 1, claim(HOLDER, FOUR), Some("claim"), claimed(10)),
        ("a gratuitous reply", 2, reply.to_vec(), Some("claim"), claimed(11)),
        ("of another address", 1, claim(HOLDER, OTHER), Some("claim"), claimed(20)),
        (
            "with priority tag",
            1,
            tagged(&claim(HOLDER, FOUR), &[[0x81, 0, 0, 0]]),
            Some("claim"),
            claimed(10),
        ),
        (
            "with two tags",
            1,
            tagged(&claim(HOLDER, FOUR), &[[0x88, 0xa8, 0, 5], [0x81, 0, 0, 7]]),
            Some("claim"),
            claimed(10).map(|(announcer, last)| {
                let tags = HeardTags::Used(VlanTags::NONE.with(0x88a8, 5).with(0x8100, 7));
                (announcer, LastAnnounced { tags, ..last })
            }),
        ),
        ("from the virtual MAC", 1, claim(VIRTUAL, FOUR), Some("claim"), claimed_as(10, VIRTUAL)),
        ("an ordinary request", 1, arp(HOLDER, 1, (HOLDER, FOUR), ORDINARY), Some("use"), used(10)),
        (
            "its virtual MAC in a frame from its own",
            1,
            arp(HOLDER, 1, (VIRTUAL, FOUR), FOUR),
            Some("claim"),
            claimed_as(10, VIRTUAL),
        ),
        (
            "a virtual MAC of the other family, as CARP has it",
            1,
            advertisement(MacAddr(VIRTUAL), SIX).to_vec(),
            Some("claim"),
            claimed_as(30, VIRTUAL),
        ),
        ("an unsolicited advertisement", 1, six.to_vec(), Some("claim"), claimed(30)),
        ("VRRP version 2", 1, advert(HOLDER, 2, 100, 255, &[FOUR]), Some("advert"), advertised(100)),
        ("VRRP version 3", 1, advert(HOLDER, 3, 255, 255, &[FOUR]), Some("advert"), advertised(255)),
        ("VRRP that resigns", 1, advert(VIRTUAL, 3, 0, 255, &[FOUR]), Some("advert"), advertised(0)),
        ("VRRP that nobody believes", 1, advert(HOLDER, 3, 100, 254, &[FOUR]), None, None),
        ("a probe", 1, arp(HOLDER, 1, (HOLDER, Ipv4Addr::UNSPECIFIED), FOUR), None, None),
        ("somebody asks for it", 3, arp(STRANGER, 1, (STRANGER, ORDINARY), FOUR), None, None),
        ("no virtual IP", 3, claim(STRANGER, ORDINARY), None, None),
        ("no announcement", 1, [&[0xff; 6][..], &HOLDER, &[0x88, 0xb5], &[0; 46]].concat(), None, None),
    ];
    for (case, from, frame, kind, noted) in cases {
        let mut rig = Rig::new();
        assert_eq!(rig.read(from, &frame), kind.map(Ok), "{case}");
        let vips: Vec<u32> = noted.iter().map(|(announcer, _)| announcer / 10).collect();
        assert_eq!(rig.drained(), vips, "{case}");
        if let Some((announcer, last)) = noted {
            assert_eq!(rig.last(announcer), last, "{case}");
        }
    }
}

/// Linux' CLUSTERIP and Windows NLB: each machine's frames have a source of its own, and bind the address to a multicast MAC
/// address that all share.
#[test]
fn instances_of_a_shared_multicast_mac_are_known_by_it_whatever_their_frames_come_from() {
    let attached = |shared| {
        let [mut vip, ..] = vips();
        vip.announcers[0].mac = Mac::new(shared).unwrap();
        vip.announcers[1].mac = Mac::new(shared).unwrap();
        VipTable::new([vip])
    };
    for shared in [[1, 0, 0x5e, 0x20, 1, 1], [3, 0xbf, 10, 0, 0, 100]] {
        let claims = |tep: u16| {
            let mut rig = Rig::new();
            rig.domains.set_vip_table(GUARDED, Some(Arc::new(attached(shared))));
            let kind = rig.read(tep, &arp(STRANGER, 1, (shared, FOUR), FOUR));
            (kind, rig.drained(), [10, 11].map(|announcer| rig.last(announcer).mac == shared))
        };
        assert_eq!(claims(1), (Some(Ok("claim")), vec![1], [true, false]));
        assert_eq!(claims(2), (Some(Ok("claim")), vec![1], [false, true]));
        let (kind, noted, last) = claims(3);
        assert!(matches!(kind, Some(Err(_))), "nobody is attached there: {kind:?}");
        assert_eq!((noted, last), (vec![], [false, false]));
        let mut rig = Rig::new();
        rig.domains.set_vip_table(GUARDED, Some(Arc::new(attached(shared))));
        let other = rig.read(1, &arp(STRANGER, 1, ([3, 0xbf, 1, 2, 3, 4], FOUR), FOUR));
        assert!(matches!(other, Some(Err(_))), "another multicast MAC address is a stranger's: {other:?}");
    }
}

#[test]
fn those_who_are_not_are_refused_and_nothing_is_noted() {
    let other_virtual = [0, 0, 0x5e, 0, 1, 52];
    let (spoof, vrrp) = (DropReason::GarpSpoof, DropReason::VrrpSpoof);
    let all = [FOUR, OTHER, ORDINARY];
    /// Description, from where, frame; the virtual IP, what was refused, whether it claims, what the frame is dropped for.
    type Case = (&'static str, u16, Vec<u8>, (u32, RejectReason, bool, DropReason));
    let cases: [Case; 15] = [
        ("a stranger's claim", 3, claim(STRANGER, FOUR), (1, RejectReason::Unattached, true, spoof)),
        (
            "with a tag",
            3,
            tagged(&claim(STRANGER, FOUR), &[[0x81, 0, 0, 0]]),
            (1, RejectReason::Unattached, true, spoof),
        ),
        (
            "a stranger on the holder's hypervisor",
            1,
            claim(STRANGER, FOUR),
            (1, RejectReason::Unattached, true, spoof),
        ),
        (
            "the holder's MAC at another endpoint",
            3,
            claim(HOLDER, FOUR),
            (1, RejectReason::Unattached, true, spoof),
        ),
        (
            "a claim in a VLAN",
            3,
            tagged(&claim(STRANGER, FOUR), &[[0x81, 0, 0, 7]]),
            (1, RejectReason::Unattached, true, spoof),
        ),
        (
            "an ordinary request",
            3,
            arp(STRANGER, 1, (STRANGER, OTHER), ORDINARY),
            (2, RejectReason::Unattached, false, spoof),
        ),
        (
            "an ordinary request with the holder's MAC inside",
            3,
            arp(STRANGER, 1, (HOLDER, FOUR), ORDINARY),
            (1, RejectReason::Unattached, false, spoof),
        ),
        (
            "one who is attached, for a MAC that is not",
            1,
            arp(HOLDER, 1, (STRANGER, FOUR), FOUR),
            (1, RejectReason::Unsound, false, spoof),
        ),
        (
            "one who is attached, for the MAC of another who is",
            1,
            arp(HOLDER, 2, (BACKUP, FOUR), FOUR),
            (1, RejectReason::Unsound, false, spoof),
        ),
        (
            "a virtual MAC of no stated id",
            1,
            claim(other_virtual, FOUR),
            (1, RejectReason::Unattached, true, spoof),
        ),
        (
            "a stranger's advertisement",
            3,
            advertisement(MacAddr(STRANGER), SIX).to_vec(),
            (3, RejectReason::Unattached, true, spoof),
        ),
        ("discovery that hides", 1, hidden(HOLDER), (3, RejectReason::Hidden, false, spoof)),
        (
            "discovery that hides in a packet without a length",
            1,
            jumbo(HOLDER),
            (3, RejectReason::Hidden, false, spoof),
        ),
        ("VRRP", 3, advert(STRANGER, 2, 255, 255, &[FOUR]), (1, RejectReason::Advert, false, vrrp)),
        (
            "VRRP that nobody believes, of several",
            3,
            advert(STRANGER, 3, 255, 9, &[all[2], all[1], all[0]]),
            (2, RejectReason::Advert, false, vrrp),
        ),
    ];
    for (case, from, frame, (vip, reason, claims, dropped)) in cases {
        let mut rig = Rig::new();
        let Some(Err(violation)) = rig.read(from, &frame) else { panic!("{case}: it was not refused") };
        let Violation::Rejected(refused) = violation else { panic!("{case}: {violation:?}") };
        let mac = frame[6..12].try_into().unwrap();
        let (vip, tep) = (VipId::new(vip).unwrap(), from.into());
        let bound = wire::announcement(&frame).unwrap().bound.0;
        let tags = if case == "a claim in a VLAN" { VlanTags::NONE.with(0x8100, 7) } else { VlanTags::NONE };
        assert_eq!(refused, Rejected { vip, mac, bound, tep, reason, claims, tags, at_ns: NOW }, "{case}");
        assert_eq!(violation.reason(), dropped, "{case}");
        assert!(rig.drained().is_empty(), "{case}");
        assert!(rig.inspector.report(violation), "{case}");
        assert_eq!(rig.inspection.rejected.pop(), Some(refused), "{case}");
    }
}

#[test]
fn a_fragment_that_ends_before_or_amid_an_address_is_dropped() {
    for (protocol, len, expected) in [
        (58, 0, Some(DropReason::GarpSpoof)),
        (58, 8, Some(DropReason::GarpSpoof)),
        (58, 16, Some(DropReason::GarpSpoof)),
        (58, 24, Some(DropReason::GarpSpoof)),
        (112, 0, Some(DropReason::VrrpSpoof)),
        (112, 16, Some(DropReason::VrrpSpoof)),
        (112, 24, Some(DropReason::VrrpSpoof)),
        // The address is in the next one, whole; but none says that the two belong together.
        (112, 8, Some(DropReason::VrrpSpoof)),
    ] {
        let mut rig = Rig::new();
        let board = rig.read(3, &first_fragment(protocol, len));
        let dropped = board.map(|verdict| verdict.unwrap_err().reason());
        assert_eq!(dropped, expected, "protocol {protocol}, {len} bytes");
    }
}

/// A first fragment of a VRRP advertisement over IPv4 that states one more address than it has.
fn cut_advert(addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut frame = advert(STRANGER, 3, 255, 255, addresses);
    frame[20] = 0x20;
    frame[34 + 3] += 1;
    frame
}

#[test]
fn a_cut_first_fragment_is_reported_of_the_virtual_ip_that_it_names_else_of_any_of_its_address_family() {
    let mut two = first_fragment(112, 24);
    two[65] = 2;
    let mut headless = hidden(STRANGER)[..62].to_vec();
    (headless[19], headless[20], headless[54]) = (8, 44, 60);
    (headless[56], headless[57]) = (0, 1);
    /// Description, frame, virtual IP of the report, whether it could be any other, drop reason.
    type Case = (&'static str, Vec<u8>, u32, bool, DropReason);
    let (spoof, vrrp) = (DropReason::GarpSpoof, DropReason::VrrpSpoof);
    let cases: [Case; 7] = [
        ("VRRP that names none", cut_advert(&[]), 1, true, vrrp),
        ("VRRP that names another", cut_advert(&[ORDINARY]), 1, true, vrrp),
        ("VRRP that names one", cut_advert(&[ORDINARY, OTHER]), 2, false, vrrp),
        ("VRRP over IPv6 that names none", first_fragment(112, 8), 3, true, vrrp),
        ("VRRP over IPv6 that names one", two, 3, false, vrrp),
        // Its sender is the virtual IP.
        ("neighbour discovery", first_fragment(58, 8), 3, false, spoof),
        ("a header chain without an end", headless, 3, false, spoof),
    ];
    for (case, frame, vip, any, reason) in cases {
        for attached in [false, true] {
            let (mut rig, mut frame) = (Rig::new(), frame.clone());
            if attached {
                frame[6..12].copy_from_slice(&HOLDER);
            }
            let Some(Err(violation)) = rig.read(1, &frame) else { panic!("{case} is accepted") };
            assert_eq!(violation.reason(), reason, "{case}");
            assert!(rig.inspector.report(violation));
            let refused = rig.inspection.rejected.pop().expect(case);
            assert_eq!((refused.vip.get(), refused.reason), (vip, RejectReason::Cut { any }), "{case}");
            assert_eq!((refused.mac.to_vec(), refused.claims), (frame[6..12].to_vec(), false), "{case}");
            // In a domain without a virtual IP of that family none is concerned; a strict one tells of discovery itself.
            let [four, _, six] = vips();
            let other_family = if vip == 3 { four } else { six };
            let strict = StrictDomain::new(GUARDED, Arc::default());
            let vip_table = VipTable::new([other_family]).strict(strict);
            rig.domains.set_vip_table(GUARDED, Some(Arc::new(vip_table)));
            let Some(Err(violation)) = rig.read(1, &frame) else { panic!("{case} is accepted") };
            assert_eq!(violation.reason(), reason, "{case}");
            assert!(rig.inspector.report(violation));
            assert_eq!(rig.inspection.rejected.pop(), None, "{case}");
            let told = rig.inspection.refused.pop().map(|refusal| (refusal.address, refusal.reason));
            let hidden = (reason == spoof).then_some((SIX.into(), StrictReason::Hidden));
            assert_eq!(told, hidden, "{case}");
        }
    }
}

#[test]
fn an_advert_speaks_for_all_the_addresses_that_it_lists() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(1, &advert(HOLDER, 3, 100, 255, &[FOUR, ORDINARY, OTHER])), Some(Ok("advert")));
    assert_eq!(rig.drained(), [1, 2]);
    assert_eq!((rig.last(10).advert_ns, rig.last(20).advert_ns), (NOW, NOW));
    // As many as one can list, all of them the same.
    let most = vec![FOUR; 255];
    assert_eq!(rig.read(1, &advert(HOLDER, 3, 100, 255, &most)), Some(Ok("advert")));
}

#[test]
fn a_burst_is_judged_at_once_and_noted_frame_by_frame() {
    let mut rig = Rig::new();
    let lists = |vni| rig.reader.lookup(vni);
    let mut domains: [Option<&MemberList>; BURST] = [None; BURST];
    (domains[0], domains[1], domains[3], domains[31]) =
        (lists(GUARDED), lists(PLAIN), lists(GUARDED), lists(GUARDED));
    assert_eq!(with_vips(&domains), 1 | 1 << 3 | 1 << 31);

    let domain = lists(GUARDED).unwrap();
    let frames = [claim(HOLDER, FOUR), claim(STRANGER, FOUR), claim(BACKUP, OTHER), claim(BACKUP, FOUR)];
    let sniffs = [(0, 1, &frames[0][..]), (3, 3, &frames[1]), (7, 2, &frames[2]), (31, 2, &frames[3])];
    let mut inspected = rig.inspector.inspect(NOW);
    for (index, from, inner) in sniffs {
        inspected.read(index, TepIndex::from(from), domain, inner);
    }
    inspected.finish();
    assert!(rig.drained().is_empty(), "nothing is noted yet");
    assert!(rig.inspector.finding(1).is_none());
    assert!(rig.inspector.finding(3).unwrap().is_err());
    // The third was dropped for another reason; nobody asks.
    let last = rig.inspector.finding(31).unwrap().unwrap();
    rig.inspector.note(last);
    assert_eq!(rig.drained(), [1]);
    assert_eq!((rig.last(10), rig.last(21)), (LastAnnounced::default(), LastAnnounced::default()));
    assert_eq!(rig.last(11).claim_ns, NOW);

    rig.inspector.forget();
    assert!((0..BURST).all(|index| rig.inspector.finding(index).is_none()));
}

#[test]
fn what_was_refused_waits_in_a_bounded_queue() {
    let mut rig = Rig::new();
    let Some(Err(Violation::Rejected(refused))) = rig.read(3, &claim(STRANGER, FOUR)) else {
        panic!("it was not refused")
    };
    assert_eq!((0..5000).filter(|_| rig.inspector.report(Violation::Rejected(refused))).count(), 4096);
    assert_eq!(rig.inspection.rejected.pop(), Some(refused));
    assert!(rig.inspector.report(Violation::Rejected(refused)));
}

#[test]
fn in_a_strict_domain_an_address_stays_with_who_has_it_until_that_one_is_gone_or_silent() {
    let mut rig = Rig::new();
    let learned = Arc::new(LearnedBindings::new());
    let strict = |vips: Vec<Vip>| {
        Some(Arc::new(VipTable::new(vips).strict(StrictDomain::new(GUARDED, Arc::clone(&learned)))))
    };
    rig.domains.set_vip_table(GUARDED, strict(vips().into()));
    let refused = |address: IpAddr, mac, tep: u16, reason| {
        let refusal = StrictRefusal { vni: GUARDED, address, mac, tep: tep.into(), reason };
        Some(Err(Violation::Strict(refusal)))
    };
    let taken = |mac, tep| refused(ORDINARY.into(), mac, tep, StrictReason::OtherOwner);
    let seven: IpAddr = "fd00::7".parse().unwrap();
    let request = |mac| arp(mac, 1, (mac, ORDINARY), OTHER);
    let advertised = |mac| advertisement(MacAddr(mac), "fd00::7".parse().unwrap()).to_vec();
    let wrong_bound = arp(BACKUP, 1, (STRANGER, ORDINARY), ORDINARY);
    let steps = [
        ("the first has it", 1, claim(HOLDER, ORDINARY), None),
        ("and uses it", 1, request(HOLDER), None),
        ("another claims it", 2, claim(BACKUP, ORDINARY), taken(BACKUP, 2)),
        ("or only uses it", 2, request(BACKUP), taken(BACKUP, 2)),
        ("with a tag", 2, tagged(&request(BACKUP), &[[0x81, 0, 0, 0]]), taken(BACKUP, 2)),
        ("or binds it to a third", 2, wrong_bound, taken(STRANGER, 2)),
        ("the same MAC elsewhere", 2, claim(HOLDER, ORDINARY), taken(HOLDER, 2)),
        ("IPv6", 2, advertised(BACKUP), None),
        ("IPv6, another", 1, advertised(HOLDER), refused(seven, HOLDER, 1, StrictReason::OtherOwner)),
        ("a virtual IP is not learnt", 1, claim(HOLDER, FOUR), Some(Ok("claim"))),
        ("and moves", 2, claim(BACKUP, FOUR), Some(Ok("claim"))),
        ("an advertisement of it moves no cache", 2, advert(BACKUP, 3, 100, 255, &[ORDINARY]), None),
        ("discovery that hides", 2, hidden(BACKUP), Some(Err(refused_hidden()))),
    ];
    for (step, from, frame, expected) in steps {
        assert_eq!(rig.read(from, &frame), expected, "{step}");
    }
    let Some(Err(violation)) = taken(BACKUP, 2) else { panic!() };
    assert_eq!(violation.reason(), DropReason::GarpSpoof);
    assert!(rig.inspector.report(violation));
    assert_eq!(rig.inspection.refused.pop().map(Violation::Strict), Some(violation));
    assert_eq!(learned.len(), 2);

    // What was learnt outlives a change of the VIP table.
    rig.domains.set_vip_table(GUARDED, strict(Vec::new()));
    assert_eq!(rig.read(2, &claim(BACKUP, ORDINARY)), taken(BACKUP, 2));
    // Silent for an hour, and a moment more.
    rig.now_ns += SILENCE_NS;
    assert_eq!(rig.read(2, &claim(BACKUP, ORDINARY)), taken(BACKUP, 2));
    rig.now_ns += 1;
    assert_eq!(rig.read(2, &claim(BACKUP, ORDINARY)), None);
    assert_eq!(rig.read(1, &claim(HOLDER, ORDINARY)), taken(HOLDER, 1), "now it is the other's");
    // Its endpoint leaves.
    rig.domains.set(GUARDED, &[1, 3].map(TepIndex::from)).unwrap();
    assert_eq!(rig.read(1, &claim(HOLDER, ORDINARY)), None);
}

#[test]
fn a_gateway_is_at_all_teps_and_a_stated_subnet_keeps_other_addresses_out() {
    let mut rig = Rig::new();
    let gateway = Ipv4Addr::new(10, 9, 0, 1);
    let strict = StrictDomain {
        subnets: [("10.9.0.0".parse().unwrap(), 16), ("fd09::".parse().unwrap(), 64)].into(),
        gateways: [(gateway.into(), HOLDER)].into(),
        ..StrictDomain::new(GUARDED, Arc::default())
    };
    let learned = Arc::clone(&strict.learned);
    rig.domains.set_vip_table(GUARDED, Some(Arc::new(VipTable::new([]).strict(strict))));
    let advertised = |mac, address: &str| advertisement(MacAddr(mac), address.parse().unwrap()).to_vec();
    let (outside, wrong) = (Some(StrictReason::OutsideSubnets), Some(StrictReason::GatewayMac));
    let steps = [
        ("another before the gateway spoke", 1, claim(BACKUP, gateway), wrong),
        ("the gateway", 1, claim(HOLDER, gateway), None),
        ("the gateway at another TEP", 2, claim(HOLDER, gateway), None),
        ("another", 2, claim(BACKUP, gateway), wrong),
        ("another use", 2, arp(BACKUP, 1, (BACKUP, gateway), OTHER), wrong),
        ("first of the subnet", 1, claim(BACKUP, Ipv4Addr::new(10, 9, 0, 0)), None),
        ("last of the subnet", 1, claim(BACKUP, Ipv4Addr::new(10, 9, 255, 255)), None),
        ("before it", 1, claim(BACKUP, Ipv4Addr::new(10, 8, 255, 255)), outside),
        ("behind it", 1, claim(BACKUP, Ipv4Addr::new(10, 10, 0, 0)), outside),
        ("in the IPv6 subnet", 1, advertised(BACKUP, "fd09::5"), None),
        ("not in it", 1, advertised(BACKUP, "fd09:0:0:1::5"), outside),
        ("link-local", 1, advertised(BACKUP, "fe80::5"), None),
    ];
    for (step, from, frame, expected) in steps {
        let got = rig.read(from, &frame).map(|finding| match finding {
            Err(Violation::Strict(refusal)) => refusal.reason,
            other => panic!("{step}: {other:?}"),
        });
        assert_eq!(got, expected, "{step}");
    }
    assert_eq!(learned.len(), 4, "a gateway is not learned");
}

#[test]
fn in_a_strict_domain_a_virtual_ip_without_announcers_refuses_nobody() {
    let open = |vip: Vip| Vip { announcers: [].into(), ..vip };
    let strict = StrictDomain {
        subnets: [("10.9.0.0".parse().unwrap(), 16)].into(),
        gateways: [(OTHER.into(), HOLDER)].into(),
        ..StrictDomain::new(GUARDED, Arc::default())
    };
    let learned = Arc::clone(&strict.learned);
    let mut rig = Rig::new();
    rig.domains.set_vip_table(GUARDED, Some(Arc::new(VipTable::new(vips().map(open)).strict(strict))));
    // Two masters by turns, outside of the subnets, and one of them at a gateway's address.
    for (who, from) in [(HOLDER, 1), (BACKUP, 2), (STRANGER, 3), (HOLDER, 1)] {
        for address in [FOUR, OTHER] {
            assert_eq!(rig.read(from, &claim(who, address)), None);
            assert_eq!(rig.read(from, &arp(who, 1, (who, address), ORDINARY)), None);
        }
        assert_eq!(rig.read(from, &advertisement(MacAddr(who), SIX)), None);
        assert_eq!(rig.read(from, &advert(who, 3, 100, 255, &[FOUR, OTHER])), None);
        assert!(
            rig.read(from, &claim(who, ORDINARY)).is_some_and(|finding| finding.is_err()),
            "no virtual IP's"
        );
    }
    assert!(learned.is_empty(), "nor is anything learned of them");
    let hides = rig.read(2, &hidden(BACKUP));
    assert!(matches!(
        hides,
        Some(Err(Violation::Strict(StrictRefusal { reason: StrictReason::Hidden, .. })))
    ));
}

/// IPv6 fragments of a message of this protocol, so many bytes each, from `SIX` to all nodes; later ones state `later`.
fn fragments(source: [u8; 6], protocol: u8, later: u8, message: &[u8], size: u16) -> Vec<Vec<u8>> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let parts = message.chunks(size.into());
    let last = parts.len() - 1;
    let frame = |(place, part): (u16, &[u8])| {
        let offset = (place * size) | u16::from(usize::from(place) < last);
        let next = if place == 0 { protocol } else { later };
        let body = [&[next, 0][..], &offset.to_be_bytes(), &[0, 0, 0, 9], part].concat();
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let head = [&[0x60, 0, 0, 0], &length[..], &[44, 255], &SIX.octets(), &all_nodes].concat();
        [&[0x33, 0x33, 0, 0, 0, 1][..], &source, &[0x86, 0xdd], &head, &body].concat()
    };
    (0..).zip(parts).map(frame).collect()
}

#[test]
fn a_large_multicast_ping_passes_and_neighbour_discovery_in_fragments_does_not() {
    let strict =
        |vips: &[Vip]| VipTable::new(vips.iter().cloned()).strict(StrictDomain::new(GUARDED, Arc::default()));
    let echo = [&[128, 0, 0, 0, 0, 7, 0, 1][..], &[0xab; 4000]].concat();
    let advertisement = [&advertisement(MacAddr(STRANGER), SIX)[54..], &[14, 190][..], &[0; 1518]].concat();
    let one = &vips()[2..];
    /// Description, virtual IPs, sender and its TEP, the message, what its later fragments state, which of the fragments are refused.
    type Case<'c> = (&'static str, &'c [Vip], ([u8; 6], u16), &'c [u8], u8, &'c [bool]);
    let cases: [Case<'_>; 7] = [
        ("a ping", &[], (STRANGER, 3), &echo, 58, &[false; 3]),
        ("the holder's ping from its virtual IP", one, (HOLDER, 1), &echo, 58, &[false; 3]),
        ("a stranger's ping from a virtual IP", one, (STRANGER, 3), &echo, 58, &[false, true, true]),
        ("an advertisement", &[], (STRANGER, 3), &advertisement, 58, &[true, false]),
        ("one whose later fragments lie", &[], (STRANGER, 3), &advertisement, 17, &[true, false]),
        ("a stranger's for a virtual IP", one, (STRANGER, 3), &advertisement, 58, &[true, true]),
        ("the holder's own", one, (HOLDER, 1), &advertisement, 58, &[true, false]),
    ];
    for (case, vips, (who, from), message, later, refused) in cases {
        let mut rig = Rig::new();
        rig.domains.set_vip_table(GUARDED, Some(Arc::new(strict(vips))));
        let frames = fragments(who, 58, later, message, 1448);
        let findings: Vec<_> = frames.iter().map(|frame| rig.read(from, frame)).collect();
        let is_refused =
            |finding: &Option<Result<_, _>>| finding.as_ref().is_some_and(|found| found.is_err());
        assert_eq!(findings.iter().map(is_refused).collect::<Vec<_>>(), refused, "{case}: {findings:?}");
    }
    // IPv4 has no neighbour discovery: a ping of any size announces nothing.
    let mut rig = Rig::new();
    rig.domains.set_vip_table(GUARDED, Some(Arc::new(strict(one))));
    for offset in [0x2000_u16, 0x20b9, 0x0172] {
        let head =
            [&[0x45, 0, 5, 220, 0, 9], &offset.to_be_bytes()[..], &[1, 1, 0, 0, 10, 0, 0, 7, 224, 0, 0, 1]];
        let frame = [&[1, 0, 0x5e, 0, 0, 1][..], &STRANGER, &[8, 0], &head.concat(), &[10; 1480]].concat();
        assert_eq!(rig.read(3, &frame), None, "offset {offset:#x}");
    }
}

/// Violation of [`hidden`].
fn refused_hidden() -> Violation {
    let vip = VipId::new(3).unwrap();
    let (mac, tep, reason) = (BACKUP, TepIndex::from(2), RejectReason::Hidden);
    Violation::Rejected(Rejected {
        vip,
        mac,
        bound: mac,
        tep,
        reason,
        claims: false,
        tags: VlanTags::NONE,
        at_ns: NOW,
    })
}

/// A reverse ARP request for itself, as a hypervisor sends it for an instance that has arrived.
fn reverse(mac: [u8; 6]) -> Vec<u8> {
    let mut frame = arp(mac, 3, (mac, Ipv4Addr::UNSPECIFIED), Ipv4Addr::UNSPECIFIED);
    frame[12..14].copy_from_slice(&[0x80, 0x35]);
    frame
}

#[test]
fn an_instance_that_arrives_or_is_merely_heard_is_noted_for_all_that_it_may_announce() {
    let arrival = LastAnnounced { arrival_ns: NOW, ..LastAnnounced::default() };
    let presence = LastAnnounced { presence_ns: NOW, ..LastAnnounced::default() };
    // In which VLAN their addresses are is not known by these.
    let elsewhere = |last| LastAnnounced { tags: HeardTags::Elsewhere, ..last };
    const ALL: [u32; 3] = [1, 2, 3];
    let one = [11, 21, 31];
    /// Description, from where, frame, what is noted of the backup's announcers, the virtual IPs to be decided about.
    type Case = (&'static str, u16, Vec<u8>, LastAnnounced, &'static [u32]);
    let cases: [Case; 8] = [
        ("reverse ARP", 2, reverse(BACKUP), arrival, &ALL),
        ("with a tag", 2, tagged(&reverse(BACKUP), &[[0x81, 0, 0, 9]]), elsewhere(arrival), &ALL),
        ("from where it is not attached", 1, reverse(BACKUP), LastAnnounced::default(), &[]),
        ("of one that is not attached", 2, reverse(STRANGER), LastAnnounced::default(), &[]),
        ("its own address", 2, claim(BACKUP, ORDINARY), presence, &[]),
        (
            "its own address, with a tag",
            2,
            tagged(&claim(BACKUP, ORDINARY), &[[0x81, 0, 0, 9]]),
            elsewhere(presence),
            &[],
        ),
        ("an election of its own", 2, advert(BACKUP, 3, 100, 255, &[ORDINARY, ORDINARY]), presence, &[]),
        ("somebody else's address", 2, claim(STRANGER, ORDINARY), LastAnnounced::default(), &[]),
    ];
    for (case, from, frame, noted, vips) in cases {
        let mut rig = Rig::new();
        assert!(!matches!(rig.read(from, &frame), Some(Err(_))), "{case}");
        assert!(one.iter().all(|&announcer| rig.last(announcer) == noted), "{case}");
        assert_eq!(rig.drained(), vips, "{case}");
    }
}

/// Times of presence of the announcers with these numbers, of all virtual IPs.
fn present(rig: &Rig, announcers: [u32; 3]) -> [u64; 3] {
    announcers.map(|announcer| rig.last(announcer).presence_ns)
}

#[test]
fn a_frame_of_an_attached_instance_that_says_no_word_of_a_virtual_ip_is_its_presence_at_all() {
    let (of_holder, of_backup) = ([10, 20, 30], [11, 21, 31]);
    let unspecified = Ipv4Addr::UNSPECIFIED;
    /// Description, frame of the holder, virtual IPs about which it says a word. Elsewhere the control side adds it up.
    type Case = (&'static str, Vec<u8>, &'static [u32]);
    let cases: [Case; 11] = [
        ("a claim", claim(HOLDER, FOUR), &[1]),
        ("a claim, tagged", tagged(&claim(HOLDER, OTHER), &[[0x81, 0, 0, 9]]), &[2]),
        ("a use", arp(HOLDER, 1, (HOLDER, FOUR), ORDINARY), &[1]),
        ("with a virtual MAC", claim(VIRTUAL, FOUR), &[1]),
        ("neighbour discovery", advertisement(MacAddr(HOLDER), SIX).to_vec(), &[3]),
        ("an advert of two", advert(VIRTUAL, 3, 100, 255, &[FOUR, OTHER]), &[1, 2]),
        ("an advert that nobody believes", advert(HOLDER, 3, 100, 254, &[FOUR]), &[]),
        ("the same of two", advert(HOLDER, 3, 100, 254, &[FOUR, OTHER]), &[]),
        ("a probe", arp(HOLDER, 1, (HOLDER, unspecified), FOUR), &[]),
        ("a probe for another", arp(HOLDER, 1, (HOLDER, unspecified), ORDINARY), &[]),
        ("a virtual MAC, another address", claim(VIRTUAL, ORDINARY), &[]),
    ];
    for (case, frame, words) in cases {
        let mut rig = Rig::new();
        assert!(!matches!(rig.read(1, &frame), Some(Err(_))), "{case}");
        let presence = if words.is_empty() { [NOW; 3] } else { [0; 3] };
        assert_eq!((present(&rig, of_holder), present(&rig, of_backup)), (presence, [0; 3]), "{case}");
        assert_eq!(rig.drained(), words, "{case}: presence decides nothing");
    }
    // What is refused is nobody's presence.
    let mut rig = Rig::new();
    assert!(matches!(rig.read(1, &hidden(HOLDER)), Some(Err(_))));
    assert!(matches!(rig.read(3, &claim(HOLDER, FOUR)), Some(Err(_))));
    assert_eq!(present(&rig, of_holder), [0; 3]);
}

/// An advert of the Common Address Redundancy Protocol, or one of VRRP that lists no address.
fn nameless(source: [u8; 6], is_carp: bool) -> Vec<u8> {
    let seven: Vec<Ipv4Addr> = (1..=7).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    let mut frame = advert(source, 2, 0, 255, if is_carp { &seven } else { &[] });
    if is_carp {
        // It has no authentication data behind.
        frame.truncate(frame.len() - 8);
        frame[17] -= 8;
    }
    frame
}

#[test]
fn an_advert_that_names_no_address_is_a_sign_of_life_of_the_announcer_with_its_vrrp_id_at_its_tep() {
    let other_virtual = [0, 0, 0x5e, 0, 1, 52];
    for (case, from, source, heard) in [
        ("its virtual MAC", 1, VIRTUAL, Some([10, 20, 30])),
        ("the same at another TEP", 2, VIRTUAL, Some([11, 21, 31])),
        ("at a third", 3, VIRTUAL, None),
        ("its own MAC", 1, HOLDER, Some([10, 20, 30])),
        ("the other family's", 1, [0, 0, 0x5e, 0, 2, 51], Some([10, 20, 30])),
        ("of another VRRP id", 1, other_virtual, None),
        ("a stranger's", 1, STRANGER, None),
    ] {
        for is_carp in [true, false] {
            let mut rig = Rig::new();
            assert_eq!(rig.read(from, &nameless(source, is_carp)), None, "{case}: it is not refused");
            assert!(rig.drained().is_empty(), "{case}: it moves nothing");
            for announcers in [[10, 20, 30], [11, 21, 31]] {
                let expected = if heard == Some(announcers) { [NOW; 3] } else { [0; 3] };
                assert_eq!(present(&rig, announcers), expected, "{case}");
            }
        }
    }
    // Of one VRRP id that two instances have at one TEP each counts for its own virtual IP.
    let [mut four, mut other, six] = vips();
    other.announcers[0].mac = Mac::new(STRANGER).unwrap();
    four.announcers = four.announcers[..1].into();
    other.announcers = other.announcers[..1].into();
    let six = Vip { vrids: [].into(), ..six };
    let mut rig = Rig::new();
    rig.domains.set_vip_table(GUARDED, Some(Arc::new(VipTable::new([four, other, six]))));
    assert_eq!(rig.read(1, &nameless(VIRTUAL, true)), None);
    assert_eq!(present(&rig, [10, 20, 30]), [NOW, NOW, 0]);
}

#[test]
fn reverse_arp_of_an_instance_where_it_is_not_attached_yet_is_remembered_for_all_that_it_is_attached_to() {
    for (case, from, source, expected) in [
        ("the holder, at a third TEP", 3, HOLDER, &[1, 2, 3][..]),
        ("the backup, at the holder's", 1, BACKUP, &[1, 2, 3]),
        ("where it is attached", 1, HOLDER, &[]),
        ("one that is attached nowhere", 3, STRANGER, &[]),
    ] {
        let mut rig = Rig::new();
        let verdict = rig.read(from, &tagged(&reverse(source), &[[0x81, 0, 0, 9]]));
        assert!(!matches!(verdict, Some(Err(_))), "{case}: its frame is not dropped");
        let remembered: Vec<Rejected> = std::iter::from_fn(|| rig.inspection.rejected.pop()).collect();
        let tags = VlanTags::NONE.with(0x8100, 9);
        let (tep, reason) = (TepIndex::from(from), RejectReason::Arrival);
        let of = |&vip: &u32| {
            let (vip, mac) = (VipId::new(vip).unwrap(), source);
            Rejected { vip, mac, bound: mac, tep, reason, claims: false, tags, at_ns: NOW }
        };
        assert_eq!(remembered, expected.iter().map(of).collect::<Vec<_>>(), "{case}");
        assert_eq!(rig.drained().is_empty(), from != 1 || source != HOLDER, "{case}");
    }
}

#[test]
fn a_probe_for_a_virtual_ip_passes_from_attached_instances_alone() {
    let arp_probe = |mac| arp(mac, 1, (mac, Ipv4Addr::UNSPECIFIED), FOUR);
    for (case, from, frame, refused) in [
        ("the holder's", 1, arp_probe(HOLDER), false),
        ("the backup's", 2, arp_probe(BACKUP), false),
        ("a stranger's", 2, arp_probe(STRANGER), true),
        ("the holder's MAC elsewhere", 3, arp_probe(HOLDER), true),
        ("for another address", 3, arp(STRANGER, 1, (STRANGER, Ipv4Addr::UNSPECIFIED), ORDINARY), false),
        ("duplicate address detection", 3, solicitation(STRANGER), true),
        ("the holder's own", 1, solicitation(HOLDER), false),
    ] {
        let mut rig = Rig::new();
        let verdict = rig.read(from, &frame);
        let is_refused = matches!(
            verdict,
            Some(Err(Violation::Rejected(Rejected { reason: RejectReason::Probe, claims: false, .. })))
        );
        assert_eq!((is_refused, verdict.is_some()), (refused, refused), "{case}");
        assert!(rig.drained().is_empty(), "{case}");
    }
}

/// A neighbour solicitation for `SIX` from the unspecified address (RFC 4862 section 5.4.2).
fn solicitation(source: [u8; 6]) -> Vec<u8> {
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];
    let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &SIX.octets()].concat();
    let pseudo = checksum::add(checksum::sum(&group), checksum::pseudo_header(58, message.len()));
    let sum = !checksum::add(pseudo, checksum::sum(&message));
    message[2..4].copy_from_slice(&sum.to_ne_bytes());
    let head = [0x60, 0, 0, 0, 0, 24, 58, 255];
    [&[0x33, 0x33, 0xff, 0, 0, 1], &source[..], &[0x86, 0xdd], &head, &[0; 16], &group, &message].concat()
}

#[test]
fn instances_that_share_a_multicast_mac_are_known_by_it() {
    let shared = [0x03, 0xbf, 10, 0, 0, 100];
    let announcer = |tep, id| Announcer {
        mac: Mac::new(shared).unwrap(),
        tep: TepIndex::from(tep),
        id: AnnouncerId::new(id).unwrap(),
    };
    let [vip, ..] = vips();
    let vip = Vip { announcers: [announcer(1, 10), announcer(2, 11)].into(), ..vip };
    for (case, from, frame, expected) in [
        ("its reply", 1, arp(HOLDER, 2, (shared, FOUR), ORDINARY), Some(10)),
        ("another's", 2, arp(BACKUP, 2, (shared, FOUR), ORDINARY), Some(11)),
        ("where nobody is attached", 3, arp(STRANGER, 2, (shared, FOUR), ORDINARY), None),
        ("another multicast address", 1, arp(HOLDER, 2, ([1, 0, 0x5e, 1, 2, 3], FOUR), ORDINARY), None),
        ("its interface's own", 1, arp(HOLDER, 2, (HOLDER, FOUR), ORDINARY), None),
    ] {
        let mut rig = Rig::new();
        rig.domains.set_vip_table(GUARDED, Some(Arc::new(VipTable::new([vip.clone()]))));
        let verdict = rig.read(from, &frame);
        assert_eq!(matches!(verdict, Some(Ok("use"))), expected.is_some(), "{case}: {verdict:?}");
        assert_eq!(verdict.is_some_and(|verdict| verdict.is_err()), expected.is_none(), "{case}");
        for id in [10, 11] {
            assert_eq!(rig.last(id).use_ns > 0, expected == Some(id), "{case}");
        }
    }
}

#[test]
fn one_that_is_known_by_its_own_and_by_a_shared_multicast_mac_is_present_by_both() {
    let shared = [0x03, 0xbf, 10, 0, 0, 100];
    let mut all = vips();
    all[0].announcers[0].mac = Mac::new(shared).unwrap();
    let mut rig = Rig::new();
    rig.domains.set_vip_table(GUARDED, Some(Arc::new(VipTable::new(all))));
    rig.read(1, &arp(HOLDER, 2, (HOLDER, ORDINARY), ORDINARY));
    assert_eq!(present(&rig, [10, 20, 30]), [0, NOW, NOW]);
    rig.read(1, &arp(HOLDER, 2, (shared, ORDINARY), ORDINARY));
    assert_eq!(present(&rig, [10, 20, 30]), [NOW; 3]);
}

#[test]
fn an_advert_counts_for_the_whole_group_of_what_it_lists() {
    let grouped = |groups: [u32; 3]| {
        let mut all = vips();
        all.iter_mut().zip(groups).for_each(|(vip, group)| vip.group = group);
        VipTable::new(all)
    };
    let single = advert(HOLDER, 3, 100, 255, &[FOUR]);
    let both = advert(HOLDER, 3, 100, 255, &[FOUR, OTHER]);
    for (groups, frame, noted) in [
        ([0, 0, 0], &single, vec![1]),
        ([7, 0, 7], &single, vec![1, 3]),
        ([7, 7, 7], &single, vec![1, 2, 3]),
        ([7, 7, 7], &both, vec![1, 2, 3]),
        ([7, 8, 8], &both, vec![1, 2, 3]),
        ([7, 8, 9], &single, vec![1]),
        ([0, 8, 8], &single, vec![1]),
    ] {
        let mut rig = Rig::new();
        rig.domains.set_vip_table(GUARDED, Some(Arc::new(grouped(groups))));
        assert_eq!(rig.read(1, frame), Some(Ok("advert")), "{groups:?}");
        assert_eq!(rig.drained(), noted, "{groups:?}");
        for vip in 1..=3 {
            let expected = if noted.contains(&vip) { NOW } else { 0 };
            assert_eq!(rig.last(10 * vip).advert_ns, expected, "{groups:?}, {vip}");
        }
        // A claim is of its address alone.
        rig.read(1, &claim(HOLDER, FOUR));
        assert_eq!(rig.drained(), [1], "{groups:?}");
    }
}

#[test]
fn the_vlan_of_a_group_is_told_for_each_of_its_addresses_alone() {
    let vlan = |id| VlanTags::NONE.with(0x8100, id);
    let in_vlan = |frame: &[u8], id| tagged(frame, &[[0x81, 0, 0, id]]);
    let mut all = vips();
    all.iter_mut().for_each(|vip| vip.group = 7);
    let mut rig = Rig::new();
    rig.domains.set_vip_table(GUARDED, Some(Arc::new(VipTable::new(all))));
    let heard = |rig: &Rig| [10, 20, 30].map(|announcer| rig.last(announcer).tags);
    rig.read(1, &advert(HOLDER, 3, 100, 255, &[FOUR]));
    assert_eq!(heard(&rig), [HeardTags::Advert(VlanTags::NONE), HeardTags::None, HeardTags::None]);
    rig.read(1, &in_vlan(&advert(HOLDER, 3, 100, 255, &[FOUR]), 5));
    assert_eq!(heard(&rig), [HeardTags::Advert(vlan(5)), HeardTags::Elsewhere, HeardTags::Elsewhere]);
    rig.read(1, &in_vlan(&claim(HOLDER, OTHER), 10));
    rig.read(1, &in_vlan(&advertisement(MacAddr(HOLDER), SIX), 20));
    let known = [HeardTags::Advert(vlan(5)), HeardTags::Used(vlan(10)), HeardTags::Used(vlan(20))];
    assert_eq!(heard(&rig), known);
    // Neither the election's adverts nor reverse ARP nor other addresses change what is known of an address.
    rig.read(1, &in_vlan(&advert(HOLDER, 3, 100, 255, &[FOUR]), 6));
    rig.read(1, &in_vlan(&reverse(HOLDER), 7));
    rig.read(1, &in_vlan(&claim(HOLDER, ORDINARY), 8));
    assert_eq!(heard(&rig), [HeardTags::Advert(vlan(6)), known[1], known[2]]);
    rig.read(1, &in_vlan(&advert(HOLDER, 3, 100, 255, &[FOUR, OTHER]), 9));
    assert_eq!(heard(&rig), [HeardTags::Advert(vlan(9)), known[1], known[2]]);
    assert_eq!(rig.last(30).advert_ns, NOW, "the advert itself counts for all");
}

#[test]
fn an_advert_of_several_is_dropped_only_if_its_sender_is_in_no_election_with_the_attached() {
    let announcer = |mac, tep, id| Announcer {
        mac: Mac::new(mac).unwrap(),
        tep: TepIndex::from(tep),
        id: AnnouncerId::new(id).unwrap(),
    };
    let [four, other, _] = vips();
    // The holder is attached to the first alone, the backup to both.
    let four = Vip { announcers: [announcer(HOLDER, 1, 10), announcer(BACKUP, 2, 11)].into(), ..four };
    let other = Vip { announcers: [announcer(BACKUP, 2, 21)].into(), ..other };
    // Nobody of the first is attached to this one.
    let apart = Vip { announcers: [announcer(STRANGER, 3, 21)].into(), ..other.clone() };
    let both = |mac| advert(mac, 3, 100, 255, &[OTHER, FOUR]);
    for (case, second, from, frame, noted) in [
        ("the holder lists both", &other, 1, both(HOLDER), Some(vec![1])),
        ("the backup lists both", &other, 2, both(BACKUP), Some(vec![1, 2])),
        ("a stranger lists both", &other, 3, both(STRANGER), None),
        ("the holder lists the other alone", &other, 1, advert(HOLDER, 3, 100, 255, &[OTHER]), None),
        ("the other is another election's", &apart, 1, both(HOLDER), None),
    ] {
        let mut rig = Rig::new();
        let vip_table = VipTable::new([four.clone(), second.clone()]);
        rig.domains.set_vip_table(GUARDED, Some(Arc::new(vip_table)));
        let verdict = rig.read(from, &frame);
        assert_eq!(verdict.map(|verdict| verdict.is_ok()), Some(noted.is_some()), "{case}");
        assert_eq!(rig.drained(), noted.unwrap_or_default(), "{case}");
    }
}

#[test]
fn a_virtual_ip_without_announcers_refuses_nobody() {
    let [vip, ..] = vips();
    let mut rig = Rig::new();
    let vip_table = VipTable::new([Vip { announcers: [].into(), ..vip }]);
    rig.domains.set_vip_table(GUARDED, Some(Arc::new(vip_table)));
    for frame in [claim(STRANGER, FOUR), advert(STRANGER, 3, 100, 255, &[FOUR])] {
        assert_eq!(rig.read(3, &frame), None);
    }
}
