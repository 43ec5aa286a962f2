//! The overlay: hypervisors with their own Open vSwitch, and VMs behind it, by the rules of `docs/ovs.md`.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    lab::{GATEWAY, Host, Lab, NODE, mac_text},
    namespace::{self, Namespace},
    openflow::{Places, rules},
    process::{Process, run, wait_for},
};

/// Limit of a VM's packets, bytes of IP packet: leaves room for the tunnel on an underlay of 1,500.
const VM_MTU: u16 = 1450;

/// A hypervisor: a namespace with an Open vSwitch of its own, in userspace.
#[derive(Debug)]
pub struct Hypervisor {
    /// Machine; the underlay address is on the bridge `br-phy`.
    pub host: Host,
    folder: PathBuf,
    database: Process,
    switch: Process,
}

/// A virtual machine: a namespace with one interface, `eth0`.
#[derive(Debug)]
pub struct Vm {
    /// Namespace of the VM.
    pub namespace: Namespace,
    /// Address in its network, 198.19.0.0/16.
    pub address: Ipv4Addr,
    /// Address in fd00:13::/64, once it has been asked for: [`Vm::enable_ipv6`].
    pub address6: Ipv6Addr,
    /// MAC address of the VM.
    pub mac: [u8; 6],
    /// The network it is in.
    pub vni: u32,
    /// Port on the hypervisor: the same name on `br-int` and in the hypervisor's namespace.
    pub port: String,
    /// Index of the hypervisor, from 0.
    pub hypervisor: usize,
}

/// Hypervisors and their VMs.
#[derive(Debug)]
pub struct Overlay {
    /// Source of the hypervisors' knowledge of MAC addresses.
    pub places: Places,
    /// Hypervisors by number.
    pub hypervisors: Vec<Hypervisor>,
    /// VMs in the order in which they were started.
    pub vms: Vec<Vm>,
}

impl Hypervisor {
    /// A hypervisor without VMs, with the rules of its own.
    pub fn new(lab: &Lab, places: Places) -> Self {
        let host = lab.bare_machine();
        let folder = lab.folder().join(host.address.to_string());
        std::fs::create_dir(&folder).expect("the lab's folder is ours");
        let socket = folder.join("db.sock");
        let file = folder.join("conf.db");
        run(Command::new("ovsdb-tool").arg("create").arg(&file));
        let mut command = ovs(&host.namespace, &folder, "ovsdb-server");
        command.arg(&file).arg(format!("--remote=punix:{}", socket.display()));
        let database = Process::start(&mut command, &folder.join("ovsdb-server.out"));
        // The socket's file is there a moment before it listens.
        wait_for("ovsdb-server", || std::os::unix::net::UnixStream::connect(&socket).ok());
        let mut command = ovs(&host.namespace, &folder, "ovs-vswitchd");
        command.arg(format!("unix:{}", socket.display()));
        let switch = Process::start(&mut command, &folder.join("ovs-vswitchd.out"));

        let hypervisor = Self { host, folder, database, switch };
        hypervisor.vsctl("--no-wait init");
        hypervisor.vsctl("add-br br-phy -- set bridge br-phy datapath_type=netdev -- add-port br-phy eth0");
        hypervisor.vsctl(
            "add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=secure -- \
             add-port br-int gre0 -- set interface gre0 type=gre options:remote_ip=flow options:key=flow",
        );
        let Host { namespace, address, mac } = &hypervisor.host;
        // The bridge speaks for the machine: it has the port's MAC address, and the kernel, which would answer what
        // the port receives as well, is kept from seeing it.
        hypervisor.vsctl(&format!("set bridge br-phy other-config:hwaddr={}", mac_text(*mac)));
        run(namespace.command("nft").arg(
            "add table netdev shield; \
             add chain netdev shield port { type filter hook ingress device eth0 priority 0; policy drop; }",
        ));
        namespace.ip("link set dev br-phy up");
        match places {
            Places::Told => drop(namespace.ip(&format!("address add {address}/16 dev br-phy"))),
            Places::Learned => {
                // docs/ovs.md: hypervisors that learn reach each other through a router.
                namespace.ip(&format!("address add {address}/16 dev br-phy noprefixroute"));
                namespace.ip(&format!("route add {GATEWAY} dev br-phy"));
                namespace.ip(&format!("route add default via {GATEWAY}"));
            }
        }
        let tep = address.to_string();
        hypervisor.load(&rules(places, "hypervisor", &[("TEP", &tep)]));
        hypervisor
    }

    /// `ovs-vsctl <line>`, split at blanks; returns when the switch has done it.
    pub fn vsctl(&self, line: &str) -> String {
        let mut command = ovs(&self.host.namespace, &self.folder, "ovs-vsctl");
        run(command
            .arg(format!("--db=unix:{}", self.folder.join("db.sock").display()))
            .args(line.split_whitespace()))
    }

    /// `ovs-ofctl <line>`, split at blanks.
    pub fn ofctl(&self, line: &str) -> String {
        run(ovs(&self.host.namespace, &self.folder, "ovs-ofctl").args(line.split_whitespace()))
    }

    /// `ovs-appctl <line>` for its switch, split at blanks.
    pub fn appctl(&self, line: &str) -> String {
        let socket = self.folder.join(format!("ovs-vswitchd.{}.ctl", self.switch.id()));
        let mut command = ovs(&self.host.namespace, &self.folder, "ovs-appctl");
        run(command.arg("-t").arg(socket).args(line.split_whitespace()))
    }

    /// Runs commands in a shell on the hypervisor, which reads them from its standard input.
    pub fn shell(&self, commands: &str) {
        feed(&mut ovs(&self.host.namespace, &self.folder, "sh"), commands);
    }

    /// Ends the switch without warning; its datapath goes with it.
    pub fn kill_switch(&mut self) {
        self.switch.kill();
    }

    /// Loads OpenFlow rules, one a line, into `br-int`.
    pub fn load(&self, rules: &str) {
        let mut command = ovs(&self.host.namespace, &self.folder, "ovs-ofctl");
        feed(command.args(["add-flows", "br-int", "-"]), rules);
    }

    fn keep(self) {
        self.database.keep();
        self.switch.keep();
        self.host.namespace.keep();
    }
}

impl Vm {
    /// Entry of its kernel's neighbour cache for the address: a MAC address.
    pub fn neighbour(&self, address: impl Into<IpAddr>) -> Option<String> {
        let entry = self.namespace.ip(&format!("neighbour show {} dev eth0", address.into()));
        let mut words = entry.split_whitespace().skip_while(|word| *word != "lladdr");
        words.nth(1).map(str::to_owned)
    }

    /// Puts a MAC address into its neighbour cache, as if it had been learned.
    pub fn set_neighbour(&self, address: impl Into<IpAddr>, mac: [u8; 6]) {
        let (address, mac) = (address.into(), mac_text(mac));
        self.namespace.ip(&format!("neighbour replace {address} lladdr {mac} dev eth0 nud stale"));
    }

    /// Gives it its IPv6 address, without asking around whether another has it.
    pub fn enable_ipv6(&self) {
        self.namespace.ip(&format!("address add {}/64 dev eth0 nodad", self.address6));
    }
}

/// Runs a command with this text as its standard input.
fn feed(command: &mut Command, text: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut input = child.stdin.take().expect("it is piped");
    // A command that fails early leaves the rest unread; its status tells.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("a child can be waited for");
    assert!(output.status.success(), "{}\nrefused:\n{text}", String::from_utf8_lossy(&output.stderr));
}

/// An Open vSwitch program with this hypervisor's folders.
fn ovs(namespace: &Namespace, folder: &Path, program: &str) -> Command {
    let mut command = namespace.command(program);
    for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"] {
        command.env(variable, folder);
    }
    command
}

impl Overlay {
    /// As many hypervisors as `vms` has entries; each entry lists the networks of that hypervisor's VMs.
    pub fn new(lab: &Lab, places: Places, vms: &[&[u32]]) -> Self {
        let hypervisors = vms.iter().map(|_| Hypervisor::new(lab, places)).collect();
        let mut overlay = Self { places, hypervisors, vms: Vec::new() };
        for (hypervisor, networks) in vms.iter().enumerate() {
            for vni in *networks {
                overlay.add_vm(lab, hypervisor, *vni);
            }
        }
        overlay
    }

    /// Starts a VM on the hypervisor of that number.
    pub fn add_vm(&mut self, lab: &Lab, hypervisor: usize, vni: u32) -> &Vm {
        let number = lab.next_vm();
        let vm = Vm {
            namespace: Namespace::new(format!("{}-vm{number}", lab.name())),
            address: Ipv4Addr::new(198, 19, 0, number),
            address6: Ipv6Addr::new(0xfd00, 0x13, 0, 0, 0, 0, 0, number.into()),
            mac: [2, 0, 0, 0, 1, number],
            vni,
            port: format!("vm{number}"),
            hypervisor,
        };
        let host = &self.hypervisors[hypervisor].host;
        namespace::join(&host.namespace, &vm.port, &vm.namespace, "eth0");
        vm.namespace.ip(&format!("link set dev eth0 address {} mtu {VM_MTU}", mac_text(vm.mac)));
        vm.namespace.ip(&format!("address add {}/16 dev eth0", vm.address));
        self.hypervisors[hypervisor].vsctl(&format!("add-port br-int {}", vm.port));
        self.vms.push(vm);
        self.tell(self.vms.len() - 1);
        &self.vms[self.vms.len() - 1]
    }

    /// Moves a VM to another hypervisor, as a live migration does: its interface keeps addresses and programs. The
    /// hypervisors' rules follow at once.
    pub fn migrate(&mut self, vm: usize, to: usize) {
        let (old, new) = (&self.hypervisors[self.vms[vm].hypervisor], &self.hypervisors[to]);
        let port = self.vms[vm].port.clone();
        old.vsctl(&format!("del-port br-int {port}"));
        old.host.namespace.ip(&format!("link set dev {port} netns {}", new.host.namespace.name()));
        new.host.namespace.run(&format!("ethtool -K {port} tx off"));
        new.host.namespace.ip(&format!("link set dev {port} up"));
        new.vsctl(&format!("add-port br-int {port}"));
        self.vms[vm].hypervisor = to;
        self.tell(vm);
    }

    /// Rules that a controller would add when a VM starts: its own hypervisor's, and its place to all others.
    fn tell(&self, vm: usize) {
        let vm = &self.vms[vm];
        let local = self.vms.iter().filter(|other| other.hypervisor == vm.hypervisor && other.vni == vm.vni);
        let flood = local.map(|vm| format!("output:{}", vm.port)).collect::<Vec<_>>().join(",");
        let (vni, mac) = (vm.vni.to_string(), mac_text(vm.mac));
        let (node, tep) = (NODE.to_string(), self.hypervisors[vm.hypervisor].host.address.to_string());
        let values = BTreeMap::from([
            ("NODE", node.as_str()),
            ("VNI", &vni),
            ("FLOOD", &flood),
            ("VM_PORT", &vm.port),
            ("VM_MAC", &mac),
            ("VM_TEP", &tep),
        ]);
        let values: Vec<_> = values.into_iter().collect();
        for (number, hypervisor) in self.hypervisors.iter().enumerate() {
            if number == vm.hypervisor {
                hypervisor.load(&rules(self.places, "network", &values));
                hypervisor.load(&rules(self.places, "vm", &values));
            } else {
                hypervisor.load(&rules(self.places, "remote-vm", &values));
            }
        }
    }

    /// The hypervisors' addresses: the TEPs.
    pub fn teps(&self) -> Vec<Ipv4Addr> {
        self.hypervisors.iter().map(|hypervisor| hypervisor.host.address).collect()
    }

    /// Lets the hypervisors find each other, and the node, on the underlay. Open vSwitch's userspace datapath knows a MAC address
    /// from an ARP reply alone, and drops the first packet to whom it has to ask for: a second for a VM's ping, and an
    /// announcement that is not made twice.
    pub fn introduce(&self) {
        for from in &self.hypervisors {
            let own = from.host.address;
            for to in self.teps().into_iter().chain([NODE]).filter(|to| *to != own) {
                from.host.namespace.run(&format!("arping -q -i br-phy -C 1 -c 10 {to}"));
            }
        }
    }

    /// Cuts a VM's cable at the hypervisor, or mends it: the VM sees its carrier go or come.
    pub fn set_connected(&self, vm: &Vm, connected: bool) {
        let host = &self.hypervisors[vm.hypervisor].host;
        host.namespace.ip(&format!("link set dev {} {}", vm.port, if connected { "up" } else { "down" }));
    }

    /// Lets everything run on after this value ends.
    pub fn keep(self) {
        self.hypervisors.into_iter().for_each(Hypervisor::keep);
        self.vms.into_iter().for_each(|vm| vm.namespace.keep());
    }
}
