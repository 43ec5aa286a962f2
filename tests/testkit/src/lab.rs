//! The underlay: a switch in a namespace of its own, and machines on it.

use std::{
    cell::Cell,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::namespace::{self, Namespace};

/// Prefix of every lab's namespaces and folders.
const PREFIX: &str = "bcast-";
/// Labs of this process so far.
static LABS: AtomicU32 = AtomicU32::new(0);

/// The node's address on the underlay.
pub const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
/// The underlay's router, for hosts that do not take each other for neighbours.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 1);
/// The MAC address of the node's port.
pub const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 254];

/// A lab: the underlay switch, and the namespace in which the node will run.
#[derive(Debug)]
pub struct Lab {
    name: String,
    folder: PathBuf,
    hosts: Cell<u8>,
    vms: Cell<u8>,
    /// The switch; its ports are `hv1` and on, and `node`, where all that the node receives and sends can be seen. (On
    /// the node's own port it cannot: af_packet sends past what tcpdump taps.)
    pub switch: Namespace,
    /// Namespace of the node; its port is `eth0`, without an address.
    pub node: Namespace,
}

/// A machine on the underlay with one interface, `eth0`.
#[derive(Debug)]
pub struct Host {
    /// Namespace of the machine.
    pub namespace: Namespace,
    /// Address on the underlay, a TEP's.
    pub address: Ipv4Addr,
    /// MAC address on the underlay.
    pub mac: [u8; 6],
}

impl Lab {
    /// A lab that is removed when it is dropped.
    #[allow(clippy::new_without_default, reason = "it changes the machine")]
    pub fn new() -> Self {
        Self::named(fresh_name())
    }

    /// A lab of the given name.
    ///
    /// # Panics
    /// There is one already.
    pub fn named(name: String) -> Self {
        remove_leftovers();
        let folder = folder(&name);
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let switch = quiet(Namespace::new(format!("{name}-underlay")));
        switch.ip("link add br0 type bridge mcast_snooping 0");
        switch.ip(&format!("address add {GATEWAY}/16 dev br0"));
        switch.ip("link set dev br0 up");
        // What it forwards leaves by the way it came, which is meant: it tells nobody of a shorter one.
        for setting in ["ip_forward=1", "conf.all.send_redirects=0", "conf.br0.send_redirects=0"] {
            switch.run(&format!("sysctl -q -w net.ipv4.{setting}"));
        }
        // A switch, not a firewall: where br_netfilter is loaded, the bridge would drop bad IPv4. (-e: where it is.)
        switch.run("sysctl -q -e -w net.bridge.bridge-nf-call-iptables=0");
        let node = Namespace::new(format!("{name}-node"));
        let lab = Self { name, folder, hosts: Cell::new(0), vms: Cell::new(0), switch, node };
        lab.plug(&lab.node, "node", NODE_MAC);
        lab
    }

    /// The lab's name: what its namespaces' names start with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A folder for sockets, stores and logs, removed with the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The next free number for a virtual machine.
    pub(crate) fn next_vm(&self) -> u8 {
        self.vms.replace(self.vms.get() + 1) + 1
    }

    /// Adds a machine with an underlay address; without Open vSwitch it sends and sees raw frames only.
    pub fn host(&self) -> Host {
        let number = self.hosts.replace(self.hosts.get() + 1) + 1;
        let host = self.bare_host(number);
        host.namespace.ip(&format!("address add {}/16 dev eth0", host.address));
        host
    }

    /// The same, but the address is for someone else to set: Open vSwitch wants it on its own bridge, a daemon on its
    /// TAP.
    pub fn bare_machine(&self) -> Host {
        let number = self.hosts.replace(self.hosts.get() + 1) + 1;
        self.bare_host(number)
    }

    fn bare_host(&self, number: u8) -> Host {
        let mac = [2, 0, 0, 0, 0, number];
        let namespace = quiet(Namespace::new(format!("{}-hv{number}", self.name)));
        self.plug(&namespace, &format!("hv{number}"), mac);
        Host { namespace, address: Ipv4Addr::new(198, 18, 0, number), mac }
    }

    /// A cable from `eth0` of the namespace to the switch.
    fn plug(&self, namespace: &Namespace, port: &str, mac: [u8; 6]) {
        namespace::join(&self.switch, port, namespace, "eth0");
        namespace.ip(&format!("link set dev eth0 address {}", mac_text(mac)));
        self.switch.ip(&format!("link set dev {port} master br0"));
    }

    /// Pulls a host's cable out of the switch, or puts it back.
    pub fn set_plugged(&self, host: &Host, plugged: bool) {
        let [.., number] = host.address.octets();
        self.switch.ip(&format!("link set dev hv{number} {}", if plugged { "up" } else { "down" }));
    }

    /// Leaves the lab in place: `remove` of its name clears it away.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The namespaces remove themselves, but Open vSwitch may still write to its logs.
        remove(&self.name);
    }
}

/// A name that no other lab has, nor will have.
pub fn fresh_name() -> String {
    format!("{PREFIX}{}-{}", process::id(), LABS.fetch_add(1, Ordering::Relaxed))
}

/// Removes the lab of that name, if there is one, with all that runs in it.
pub fn remove(name: &str) {
    namespace::remove_all(&format!("{name}-"));
    let _ = fs::remove_dir_all(folder(name));
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

/// Removes the labs of processes that are gone.
pub fn remove_leftovers() {
    let folders = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let folders = folders.filter_map(|entry| entry.file_name().into_string().ok());
    for found in namespace::names().into_iter().chain(folders) {
        let mut parts = found.strip_prefix(PREFIX).into_iter().flat_map(|rest| rest.split('-'));
        let (Some(pid), Some(count)) = (parts.next(), parts.next()) else { continue };
        let numbers = pid.parse::<u32>().is_ok() && count.parse::<u32>().is_ok();
        if numbers && !Path::new("/proc").join(pid).exists() {
            remove(&format!("{PREFIX}{pid}-{count}"));
        }
    }
}

/// Without IPv6, and so without frames that nobody sent: counters of received frames can then be compared exactly.
fn quiet(namespace: Namespace) -> Namespace {
    for which in ["all", "default"] {
        namespace.run(&format!("sysctl -q -w net.ipv6.conf.{which}.disable_ipv6=1"));
    }
    namespace
}

/// `02:00:00:00:00:01`
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
