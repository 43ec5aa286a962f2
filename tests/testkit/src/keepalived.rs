//! Keepalived on a VM.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use crate::{overlay::Vm, process::Process};

/// The virtual IP address that the VMs of a lab hand over.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 100);
/// And another one, of the VMs' IPv6 network.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x13, 0, 0, 0, 0, 0, 0x64);
/// The virtual router's number; the last byte of its virtual MAC address.
pub const ROUTER: u8 = 51;
/// The virtual MAC address of that router, RFC 9568 section 7.3.
pub const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, ROUTER];

/// Settings of Keepalived.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// 2 or 3.
    pub version: u8,
    /// Seconds between adverts.
    pub interval: f32,
    /// 1..=254; the highest becomes master.
    pub priority: u8,
    /// Keep the virtual IP after the other one is back.
    pub nopreempt: bool,
    /// True if the virtual MAC address is used.
    pub virtual_mac: VirtualMac,
    /// The virtual address: [`VIP`], [`VIP6`].
    pub address: IpAddr,
    /// Further addresses with their prefix lengths, of either family, that no advert lists (`virtual_ipaddress_excluded`).
    pub excluded: &'static [&'static str],
    /// Adverts go to this address alone, not to VRRP's multicast group.
    pub peer: Option<Ipv4Addr>,
    /// A master that hears a lesser one announces its addresses anew.
    pub reasserts: bool,
    /// It gives up when its interface loses the carrier.
    pub tracks_carrier: bool,
}

/// Use of the virtual MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualMac {
    /// Nothing.
    Unused,
    /// The virtual IP address; adverts come from the interface's own.
    Service,
    /// Adverts as well.
    All,
}

impl Settings {
    /// VRRPv3 with an advert each 0.1 s; whoever is master stays it.
    pub const FAST: Self = Self {
        version: 3,
        interval: 0.1,
        priority: 100,
        nopreempt: true,
        virtual_mac: VirtualMac::Unused,
        address: IpAddr::V4(VIP),
        excluded: &[],
        peer: None,
        reasserts: true,
        tracks_carrier: true,
    };
    /// The same by VRRPv2, which counts whole seconds.
    pub const OLD: Self = Self { version: 2, interval: 1.0, ..Self::FAST };
}

/// A running Keepalived.
#[derive(Debug)]
pub struct Keepalived {
    process: Process,
}

impl Keepalived {
    /// Starts Keepalived on the VM.
    pub fn start(vm: &Vm, settings: Settings, folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let file = folder.join("keepalived.conf");
        fs::write(&file, configuration(vm, settings)).expect("the folder is ours");
        let at = |name: &str| folder.join(name).display().to_string();
        let line = format!(
            "keepalived --vrrp --dont-fork --log-console --log-detail --use-file {} --pid {} --vrrp_pid {}",
            file.display(),
            at("pid"),
            at("vrrp.pid"),
        );
        Self { process: vm.namespace.start(&line, &folder.join("log")) }
    }

    /// Waits until it has entered a state (`MASTER`, `BACKUP`, `FAULT`) so many times since it started.
    pub fn wait_entered(&mut self, state: &str, times: usize) {
        self.process.wait_for_lines(&entering(state), times);
    }

    /// Number of times that it has entered that state since it started.
    pub fn entered(&self, state: &str) -> usize {
        self.process.log().lines().filter(|line| line.contains(&entering(state))).count()
    }

    /// Log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Lets it run on after this value ends.
    pub fn keep(self) {
        self.process.keep();
    }
}

fn entering(state: &str) -> String {
    format!("Entering {state} STATE")
}

fn configuration(vm: &Vm, settings: Settings) -> String {
    let Settings { version, interval, priority, nopreempt, virtual_mac, address, peer, .. } = settings;
    let nopreempt = if nopreempt { "nopreempt" } else { "" };
    let virtual_mac = match virtual_mac {
        VirtualMac::Unused => "",
        VirtualMac::Service => "use_vmac vrrp\n    vmac_xmit_base",
        VirtualMac::All => "use_vmac vrrp",
    };
    let excluded = match settings.excluded {
        [] => String::new(),
        all => format!("virtual_ipaddress_excluded {{\n        {}\n    }}", all.join("\n        ")),
    };
    let prefix = if address.is_ipv4() { 16 } else { 64 };
    let tracking = if settings.tracks_carrier { "" } else { "dont_track_primary" };
    let reasserts = if settings.reasserts { "" } else { "vrrp_garp_lower_prio_repeat 0" };
    let own = vm.address;
    let peer = peer.map_or_else(String::new, |peer| {
        format!("unicast_src_ip {own}\n    unicast_peer {{\n        {peer}\n    }}")
    });
    format!(
        "global_defs {{
    vrrp_garp_master_delay 1
    {reasserts}
}}
vrrp_instance vip {{
    version {version}
    state BACKUP
    interface eth0
    virtual_router_id {ROUTER}
    priority {priority}
    advert_int {interval}
    {nopreempt}
    {virtual_mac}
    {tracking}
    {peer}
    virtual_ipaddress {{
        {address}/{prefix}
    }}
    {excluded}
}}
"
    )
}

/// True if the VM has the virtual address [`VIP`] now.
pub fn has_vip(vm: &Vm) -> bool {
    vm.namespace.ip("-4 address").contains(&format!("inet {VIP}/"))
}
