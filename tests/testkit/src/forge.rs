//! Announcements of addresses, true and forged, as scapy makes them.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::Command,
};

use crate::{
    keepalived::{VIP, VIP6},
    lab::{Host, mac_text},
    overlay::Vm,
    process::run,
    sender::Sender,
};

const SCRIPT: &str = include_str!("forge.py");
/// Debian's, which sees its packages.
const PYTHON: &str = "/usr/bin/python3";
/// An address of the VMs' network that none of them has.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 9);
/// The VMs' gateway, if they had one.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 254);

/// A frame that announces [`VIP`] or [`VIP6`], or nearly does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Name, such as `GARP request in VLAN 0`.
    pub name: String,
    /// Result if its source is not attached.
    pub from_unattached: FromUnattached,
    /// Kind if its source is attached.
    pub from_announcer: FromAnnouncer,
    /// The inner frame.
    pub bytes: Vec<u8>,
}

/// Result of a frame from a MAC address and TEP that are not attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromUnattached {
    /// It is dropped for this reason.
    Dropped(&'static str),
    /// It is ordinary broadcast.
    Passes,
}

/// Kind of a frame from a MAC address and TEP that are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromAnnouncer {
    /// It moves the address.
    Claim,
    /// It binds the address if nobody has it.
    Use,
    /// The same, by VRRP.
    Advert,
    /// Ordinary broadcast.
    Nothing,
    /// Dropped even so.
    Dropped,
}

/// All of them, with this source.
pub fn announcements(source: [u8; 6]) -> Vec<Announcement> {
    let arguments = [
        IpAddr::from(VIP),
        VIP6.into(),
        NOBODY.into(),
        "fd00:13::9".parse().expect("it is one"),
        GATEWAY.into(),
    ];
    let mut command = Command::new(PYTHON);
    command.arg("-c").arg(SCRIPT).arg(mac_text(source)).args(arguments.map(|address| address.to_string()));
    run(&mut command).lines().map(parse).collect()
}

/// Announcement with this name.
pub fn announcement(source: [u8; 6], name: &str) -> Announcement {
    let found = announcements(source).into_iter().find(|announcement| announcement.name == name);
    found.unwrap_or_else(|| panic!("forge.py makes no {name:?}"))
}

fn parse(line: &str) -> Announcement {
    let words: Vec<_> = line.split('\t').collect();
    let [name, stranger, speaker, frame] = words[..] else { panic!("forge.py says {line:?}") };
    let from_unattached = match stranger {
        "garp_spoof" => FromUnattached::Dropped("garp_spoof"),
        "vrrp_spoof" => FromUnattached::Dropped("vrrp_spoof"),
        "passes" => FromUnattached::Passes,
        _ => panic!("forge.py says {line:?}"),
    };
    let from_announcer = match speaker {
        "claim" => FromAnnouncer::Claim,
        "use" => FromAnnouncer::Use,
        "advert" => FromAnnouncer::Advert,
        "nothing" => FromAnnouncer::Nothing,
        "garp_spoof" => FromAnnouncer::Dropped,
        _ => panic!("forge.py says {line:?}"),
    };
    let octets = (0..frame.len()).step_by(2).map(|at| u8::from_str_radix(&frame[at..at + 2], 16));
    let bytes = octets.collect::<Result<_, _>>().expect("forge.py writes hexadecimal digits");
    Announcement { name: name.to_owned(), from_unattached, from_announcer, bytes }
}

/// Sender of inner frames, as the hypervisor of a VM puts them on the underlay.
#[derive(Debug)]
pub struct FrameSender {
    sender: Sender,
    host: (Ipv4Addr, [u8; 6]),
    vni: u32,
}

impl FrameSender {
    /// Sends on the underlay as this hypervisor, or raw host, would for one of its VMs in the network.
    pub fn new(host: &Host, vni: u32) -> Self {
        Self { sender: Sender::new(&host.namespace, "eth0"), host: (host.address, host.mac), vni }
    }

    /// Sends an inner frame.
    pub fn send(&self, inner: &[u8]) {
        let (address, mac) = self.host;
        self.sender.send(&crate::frame::overlay_from(address, mac, self.vni, inner));
    }
}

/// Form of `arping`'s announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arping {
    /// By a request: `arping -U`.
    Request,
    /// By a reply: `arping -A` of iputils, `arping -U -P` of the other one, which is used here.
    Reply,
}

/// Says once, by `arping` on the VM, that it has [`VIP`].
pub fn arping(vm: &Vm, form: Arping) {
    let form = if form == Arping::Reply { "-U -P" } else { "-U" };
    // Nobody answers, and so it fails.
    vm.namespace.succeeds(&format!("arping -q -i eth0 {form} -c 1 -w 1 -S {VIP} {VIP}"));
}
