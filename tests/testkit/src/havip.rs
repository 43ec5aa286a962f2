//! Virtual IPs as `bcastctl` makes and shows them.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
};

use serde_json::Value;

use crate::{
    lab::{Lab, mac_text},
    node::{Config, Node, binary},
    openflow::Places,
    overlay::{Overlay, Vm},
    process::{Process, wait_for},
};

/// Network of [`cloud`].
pub const VNI: u32 = 5001;
/// HAVIP of [`cloud`].
pub const WEB: &str = "web";

/// Three hypervisors with a VM each in network [`VNI`], and the HAVIP [`WEB`], to which the first two VMs are attached; `options`
/// are further words of the command line that creates it.
pub fn cloud<'lab>(
    lab: &'lab Lab,
    places: Places,
    address: impl Into<IpAddr>,
    options: &str,
) -> (Overlay, Node<'lab>) {
    let (overlay, node) = bare_cloud(lab, places);
    node.create_havip(WEB, VNI, address, options);
    overlay.vms[..2].iter().for_each(|vm| node.attach(WEB, &overlay, vm));
    (overlay, node)
}

/// The same without a HAVIP.
pub fn bare_cloud(lab: &Lab, places: Places) -> (Overlay, Node<'_>) {
    let overlay = Overlay::new(lab, places, &[&[VNI], &[VNI], &[VNI]]);
    for vm in &overlay.vms {
        vm.enable_ipv6();
        // Keepalived's manual asks for this: no interface answers for, or announces, another one's address.
        vm.namespace.run("sysctl -q -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2");
    }
    let config = Config::new(lab.folder()).set("replication.outer_source", places.outer_source());
    let node = Node::start(lab, &config);
    if places == Places::Told {
        overlay.introduce();
    }
    node.serve(VNI, &overlay.teps());
    (overlay, node)
}

/// `bcastctl havip show NAME -o json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Havip(Value);

/// Present or former holder of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The instance: in a lab the VM's port, such as `vm1`.
    pub instance: String,
    /// MAC address of the instance.
    pub mac: String,
    /// The underlay address of its hypervisor.
    pub tep: String,
}

impl Havip {
    /// `unbound`, `bound`, `frozen`, `conflict`.
    pub fn state(&self) -> &str {
        self.text("state")
    }

    /// Why it is bound as it is; empty while nothing has happened.
    pub fn why(&self) -> &str {
        self.0["why"].as_str().unwrap_or_default()
    }

    /// Present holder.
    pub fn holder(&self) -> Option<Holder> {
        holder(&self.0["holder"])
    }

    /// Former holder.
    pub fn previous(&self) -> Option<Holder> {
        holder(&self.0["previous"])
    }

    /// Number of changes of the holder.
    pub fn moves(&self) -> u64 {
        self.number("moves")
    }

    /// The number of its binding, which only grows.
    pub fn generation(&self) -> u64 {
        self.number("generation")
    }

    /// Diagnosis, in one text.
    pub fn diagnosis(&self) -> String {
        self.0["diagnosis"].to_string()
    }

    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("no text {key:?} in {:#}", self.0))
    }

    fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_else(|| panic!("no number {key:?} in {:#}", self.0))
    }
}

fn holder(value: &Value) -> Option<Holder> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Some(Holder { instance: text("instance")?, mac: text("mac")?, tep: text("tep")? })
}

impl Node<'_> {
    /// Makes a HAVIP of the VMs' network; `options` are further words of the command line.
    pub fn create_havip(&self, name: &str, vni: u32, address: impl Into<IpAddr>, options: &str) {
        let address = address.into();
        let subnet = if address.is_ipv4() { "198.19.0.0/16" } else { "fd00:13::/64" };
        self.must(&format!(
            "havip create {name} --vni {vni} --subnet {subnet} --address {address} {options}"
        ));
    }

    /// Attaches a VM by the name of its port, where it is.
    pub fn attach(&self, name: &str, overlay: &Overlay, vm: &Vm) {
        self.attach_at(name, vm, &[overlay.hypervisors[vm.hypervisor].host.address]);
    }

    /// Attaches a VM at one TEP, or at two while it migrates.
    pub fn attach_at(&self, name: &str, vm: &Vm, teps: &[Ipv4Addr]) {
        let teps: String = teps.iter().map(|tep| format!(" --tep {tep}")).collect();
        let (instance, mac) = (&vm.port, mac_text(vm.mac));
        self.must(&format!("havip attach {name} --instance {instance} --mac {mac}{teps}"));
    }

    /// The HAVIP as it is now.
    pub fn havip(&self, name: &str) -> Havip {
        let text = self.must(&format!("-o json havip show {name}"));
        Havip(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// Waits until the HAVIP is as it shall be, and gives it.
    pub fn wait_havip(&self, name: &str, what: &str, mut enough: impl FnMut(&Havip) -> bool) -> Havip {
        let mut last = None;
        let probe = || {
            let havip = self.havip(name);
            let found = enough(&havip).then(|| havip.clone());
            last = Some(havip);
            found
        };
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait_for(what, probe)));
        waited.unwrap_or_else(|panic| {
            eprintln!("{name} at last: {last:#?}");
            std::panic::resume_unwind(panic)
        })
    }

    /// Waits until the VM holds the HAVIP, and checks that it is shown with its own MAC address and its hypervisor.
    pub fn wait_holder(&self, name: &str, overlay: &Overlay, vm: &Vm) -> Havip {
        let shall = Holder {
            instance: vm.port.clone(),
            mac: mac_text(vm.mac),
            tep: overlay.hypervisors[vm.hypervisor].host.address.to_string(),
        };
        let what = format!("{name} held by {shall:?}");
        self.wait_havip(name, &what, |havip| {
            havip.holder().as_ref() == Some(&shall) && havip.state() == "bound"
        })
    }

    /// Events of a HAVIP, the oldest first: each with its kind.
    pub fn history(&self, name: &str) -> Vec<(String, Value)> {
        let text = self.must(&format!("-o json havip history {name}"));
        events(&text)
    }

    /// Starts `bcastctl watch` from the first revision on; its log has one JSON object a line.
    pub fn watch(&self, log: &Path) -> Process {
        let mut command = Command::new(binary("bcastctl"));
        Process::start(command.arg("--socket").arg(self.socket()).args(["watch", "--from", "1"]), log)
    }
}

/// Events in JSON: an array, or one object a line.
pub fn events(text: &str) -> Vec<(String, Value)> {
    let values = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(values)) => values,
        _ => text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
    };
    let kind = |value: &Value| value["kind"].as_str().unwrap_or_default().to_owned();
    values.into_iter().map(|value| (kind(&value), value)).collect()
}
