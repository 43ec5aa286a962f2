//! Each form of announcement that scapy makes, from an instance that is attached: does it move a virtual IP, bind one that nobody
//! has, or neither?

use std::{cell::Cell, net::IpAddr};

use testkit::{
    forge::{self, Announcement, FrameSender, FromAnnouncer},
    keepalived::{VIP, VIP6},
    lab::{Host, Lab, mac_text},
    node::{Config, Metrics, Node},
};

const VNI: u32 = 5001;
const DROPS: &str = "bcast_drops_total";
const INSTANCES: [&str; 2] = ["vm1", "vm2"];
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
/// The virtual IPs that forms are about.
const NAMES: [&str; 2] = ["four", "six"];
/// And one that they are not about: when it moves, all that was said before has been decided.
const FENCE: &str = "fence";
const FENCE_ADDRESS: [u8; 4] = [198, 19, 0, 50];

/// Two instances on a host each, both attached to all virtual IPs.
struct Stage<'lab> {
    hosts: [Host; 2],
    node: Node<'lab>,
    senders: [FrameSender; 2],
    sent: Cell<u64>,
    /// Frames that move the fence to each.
    fence: [Vec<u8>; 2],
    fences: Cell<usize>,
}

impl<'lab> Stage<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        let hosts = [lab.host(), lab.host()];
        let node = Node::start(lab, &Config::new(lab.folder()).set("havip.flap_moves", 10_000));
        node.serve(VNI, &hosts.each_ref().map(|host| host.address));
        let senders = hosts.each_ref().map(|host| FrameSender::new(host, VNI));
        let fence = MACS.map(|mac| {
            let mut garp = forge::announcement(mac, "GARP request").bytes;
            // ARP's sender and target.
            for at in [28, 38] {
                garp[at..at + 4].copy_from_slice(&FENCE_ADDRESS);
            }
            garp
        });
        let stage = Self { hosts, node, senders, sent: Cell::new(0), fence, fences: Cell::new(0) };
        let addresses = [VIP.into(), VIP6.into(), IpAddr::from(FENCE_ADDRESS)];
        for (name, address) in NAMES.into_iter().chain([FENCE]).zip(addresses) {
            stage.node.create_havip(name, VNI, address, "");
            stage.attach(name);
        }
        stage
    }

    fn attach(&self, name: &str) {
        for (instance, (mac, host)) in INSTANCES.iter().zip(MACS.iter().zip(&self.hosts)) {
            let (mac, tep) = (mac_text(*mac), host.address);
            self.node.must(&format!("havip attach {name} --instance {instance} --mac {mac} --tep {tep}"));
        }
    }

    fn send(&self, who: usize, frame: &[u8]) {
        self.senders[who].send(frame);
        self.sent.set(self.sent.get() + 1);
    }

    /// Waits until all that was said has been counted, and decided.
    fn settle(&self) -> Metrics {
        let who = self.fences.replace(self.fences.get() + 1) % 2;
        self.send(who, &self.fence[who]);
        self.node.wait_havip(FENCE, "moved", |fence| {
            fence.holder().is_some_and(|holder| holder.instance == INSTANCES[who])
        });
        self.node.wait_metrics("the counters of all that was sent", |metrics| {
            metrics.sum("bcast_rx_accepted_total") + refused(metrics) == self.sent.get()
        })
    }

    fn holders(&self) -> [Option<String>; 2] {
        NAMES.map(|name| self.node.havip(name).holder().map(|holder| holder.instance))
    }

    fn moves(&self) -> [u64; 2] {
        NAMES.map(|name| self.node.havip(name).moves())
    }
}

fn refused(metrics: &Metrics) -> u64 {
    metrics.reason(DROPS, "garp_spoof") + metrics.reason(DROPS, "vrrp_spoof")
}

/// The forms, as the second instance says them, each with the place of what it is about in [`NAMES`].
fn forms() -> Vec<(Announcement, usize)> {
    // IPv6 multicast addresses begin so (RFC 2464 section 7).
    let about = |form: Announcement| {
        let about = usize::from(form.bytes[..2] == [0x33, 0x33]);
        (form, about)
    };
    forge::announcements(MACS[1]).into_iter().map(about).collect()
}

#[test]
fn a_claim_moves_a_virtual_ip_that_another_has_and_nothing_else_does() {
    let lab = Lab::new();
    let stage = Stage::new(&lab);
    let first = ["GARP request", "NA"].map(|name| forge::announcement(MACS[0], name).bytes);
    for (form, about) in forms() {
        first.iter().for_each(|frame| stage.send(0, frame));
        let before = refused(&stage.settle());
        assert_eq!(stage.holders(), [Some("vm1".to_owned()), Some("vm1".to_owned())]);
        let mut expected = stage.moves();
        stage.send(1, &form.bytes);
        let after = refused(&stage.settle());
        expected[about] += u64::from(form.from_announcer == FromAnnouncer::Claim);
        assert_eq!(stage.moves(), expected, "{form:?}");
        assert_eq!(after - before, u64::from(form.from_announcer == FromAnnouncer::Dropped), "{form:?}");
    }
}

#[test]
fn a_claim_a_use_or_an_advert_binds_a_virtual_ip_that_nobody_has_and_nothing_else_does() {
    let lab = Lab::new();
    let stage = Stage::new(&lab);
    for (form, about) in forms() {
        for name in NAMES {
            INSTANCES.iter().for_each(|vm| {
                drop(stage.node.must(&format!("havip detach {name} --instance {vm} --if-exists")))
            });
            stage.attach(name);
        }
        assert_eq!(stage.holders(), [None, None]);
        stage.send(1, &form.bytes);
        stage.settle();
        let mut expected = [None, None];
        let binds =
            [FromAnnouncer::Claim, FromAnnouncer::Use, FromAnnouncer::Advert].contains(&form.from_announcer);
        expected[about] = binds.then(|| "vm2".to_owned());
        assert_eq!(stage.holders(), expected, "{form:?}");
    }
}
