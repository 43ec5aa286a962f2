//! Open vSwitch with DPDK as a replicator: a GRE port for each member, a rule for each domain.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use bench::harness::frames::read_pcap;
use bench::harness::thread::Thread;
use bench::harness::{NODE, tep};
use testkit::lab::mac_text;
use testkit::namespace::Namespace;
use testkit::node::NEXT_HOP;
use testkit::process::{output, run};

use crate::candidate::{Candidate, lost, must_be_there, rate, settled, unexpected, wait};
use crate::check::{Outer, check};
use crate::peer::{Peer, command, hold, namespace, resume};
use crate::workload::Workload;

/// Name on the command line.
pub const NAME: &str = "ovs";
const PROGRAM: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// The MAC address that frames for the node are sent to.
const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Gateway to all TEPs: one neighbour is enough, and less to look up.
const GATEWAY: &str = "198.18.0.1";

/// An Open vSwitch of its own: files, database and namespace.
pub struct Ovs {
    copies: f64,
    worker: Option<Thread>,
    // In the order in which they go.
    switch: Peer,
    _database: Peer,
    folder: tempfile::TempDir,
    namespace: Namespace,
}

impl Ovs {
    /// Starts it with the workload's domains, each frame making so many copies, on a port that reads a capture file for
    /// ever; and holds it.
    pub fn start(workload: &Workload, copies: u32, pcap: &Path) -> Result<Self> {
        let mut ovs = Self::prepare(workload, copies.into())?;
        ovs.add_port(&format!("net_pcap0,rx_pcap={},infinite_rx=1", pcap.display()));
        ovs.worker =
            Some(Thread::find(ovs.switch.child.id(), "pmd").context("Open vSwitch's forwarding thread")?);
        // Each flow is translated at its first frame, which takes milliseconds where it has hundreds of outputs. They
        // are all there, with the one of the tunnel itself, before anything is measured.
        until("Open vSwitch's flows", || ovs.flows().is_some_and(|flows| flows > workload.domains.len()))?;
        hold(ovs.switch.child.id())?;
        Ok(ovs)
    }

    fn prepare(workload: &Workload, copies: f64) -> Result<Self> {
        must_be_there(NAME, PROGRAM)?;
        let namespace = namespace(NAME);
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let path = folder.path();
        run(Command::new("ovsdb-tool").arg("create").arg(path.join("conf.db")).arg(SCHEMA));
        let socket = format!("unix:{}", path.join("db.sock").display());
        let mut command = quiet(&namespace, path, "ovsdb-server");
        let database = Peer::start(command.arg(path.join("conf.db")).arg(format!("--remote=p{socket}")))?;
        until("ovsdb-server's socket", || path.join("db.sock").exists())?;
        let vsctl = |line: &str| vsctl(path, line);
        vsctl("--no-wait init");
        vsctl(
            "--no-wait set open . other_config:dpdk-init=true other_config:dpdk-lcore-mask=0x1 \
             other_config:pmd-cpu-mask=0x2 other_config:per-port-memory=true \
             other_config:max-idle=100000000 other_config:max-revalidator=100000000",
        );
        let extra = "other_config:dpdk-extra=\"--in-memory --no-pci -m 256\"";
        run(ovs_command(path, "ovs-vsctl").args(["--no-wait", "set", "open", ".", extra]));
        let switch = Peer::start(quiet(&namespace, path, PROGRAM).arg(&socket))?;
        let ovs = Self { copies, worker: None, switch, _database: database, folder, namespace };
        until("ovs-vswitchd", || ovs.appctl("version").is_some())?;
        ovs.make_bridges(workload)?;
        Ok(ovs)
    }

    fn make_bridges(&self, workload: &Workload) -> Result<()> {
        let mac = mac_text(NODE_MAC);
        let bridge = "datapath_type=netdev fail_mode=secure";
        self.vsctl(&format!(
            "add-br br-phy -- set bridge br-phy {bridge} other-config:hwaddr=\"{mac}\" -- \
             add-br br-int -- set bridge br-int {bridge}"
        ));
        self.namespace.ip(&format!("address add {NODE}/24 dev br-phy"));
        self.namespace.ip("link set dev br-phy up");
        let mut ports = String::from("--no-wait");
        for number in 0..workload.teps {
            let (name, port) = (format!("g{number}"), number + 1);
            let _ = write!(
                ports,
                " -- add-port br-int {name} -- set interface {name} type=gre ofport_request={port}"
            );
            let _ = write!(ports, " options:remote_ip={} options:key=flow", tep(number));
        }
        self.vsctl(ports.trim_start_matches("--no-wait -- "));
        // `output` leaves out the port that a frame came from.
        let rules = workload.domains.iter().map(|domain| {
            let outputs: Vec<_> = domain.members().map(|member| format!("output:{}", member + 1)).collect();
            format!("tun_id={},actions={}\n", domain.vni, outputs.join(","))
        });
        self.rules("br-int", &rules.collect::<String>())?;
        self.rules("br-phy", "in_port=LOCAL,actions=output:1\nin_port=1,actions=LOCAL\n")?;
        let hop = mac_text(NEXT_HOP);
        for line in [
            format!("ovs/route/add 198.19.0.0/16 br-phy {GATEWAY}"),
            format!("tnl/neigh/set br-phy {GATEWAY} {hop}"),
        ] {
            self.appctl(&line).with_context(|| format!("Open vSwitch refuses {line}"))?;
        }
        Ok(())
    }

    /// Adds the underlay's port: last, so that no frame comes before the rules.
    fn add_port(&self, device: &str) {
        let port = "add-port br-phy p0 -- set interface p0 type=dpdk ofport_request=1";
        self.vsctl(&format!("{port} options:dpdk-devargs={device}"));
    }

    fn rules(&self, bridge: &str, rules: &str) -> Result<()> {
        let path = self.folder.path();
        let file = path.join("rules");
        std::fs::write(&file, rules).context("Open vSwitch's rules")?;
        let mut command = ovs_command(path, "ovs-ofctl");
        run(command.args(["--bundle", "add-flows"]).arg(path.join(format!("{bridge}.mgmt"))).arg(file));
        Ok(())
    }

    fn vsctl(&self, line: &str) {
        vsctl(self.folder.path(), line);
    }

    /// Answer of the switch; `None` where it refuses, or is not there yet.
    fn appctl(&self, line: &str) -> Option<String> {
        let path = self.folder.path();
        let socket = path.join(format!("ovs-vswitchd-dpdk.{}.ctl", self.switch.child.id()));
        let mut command = ovs_command(path, "ovs-appctl");
        let answer = output(command.arg("-t").arg(socket).args(line.split_whitespace()));
        answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    /// Flows that are in the datapath.
    fn flows(&self) -> Option<usize> {
        let output = self.appctl("dpctl/show netdev@ovs-netdev")?;
        output.split("flows: ").nth(1)?.split_whitespace().next()?.parse().ok()
    }

    /// Frames received and sent by the underlay's port.
    fn counters(&self) -> Result<(f64, f64)> {
        let output = self.appctl("dpctl/show -s netdev@ovs-netdev").context("Open vSwitch's counters")?;
        let port = output.split(": p0 (").nth(1).unwrap_or_default();
        let count =
            |name| -> Option<f64> { port.split(name).nth(1)?.split_whitespace().next()?.parse().ok() };
        match (count("RX packets:"), count("TX packets:")) {
            (Some(received), Some(sent)) => Ok((received, sent)),
            _ => Err(unexpected(NAME, &output)),
        }
    }
}

impl Candidate for Ovs {
    fn name(&self) -> &str {
        "OVS-DPDK"
    }

    fn measure(&mut self, seconds: f64) -> Result<f64> {
        let worker = self.worker.as_ref().context("Open vSwitch has no forwarding thread")?;
        resume(self.switch.child.id())?;
        let cpu = || worker.cpu_ns().context("Open vSwitch's CPU time");
        let (before, cpu_before) = (self.counters()?, cpu()?);
        wait(seconds);
        let (after, cpu_after) = (self.counters()?, cpu()?);
        hold(self.switch.child.id())?;
        let (received, sent) = (after.0 - before.0, after.1 - before.1);
        // A burst may be on its way at either end.
        let missing = received * self.copies - sent;
        if missing > 0.05 * sent + 64.0 * self.copies || sent == 0.0 {
            return Err(lost(self.name(), missing, "copies that its port did not send", received));
        }
        Ok(rate(sent, cpu_after - cpu_before))
    }
}

/// Sends the workload once, into a file, and checks every frame of it. Gives how many they were.
pub fn checked(workload: &Workload, folder: &Path) -> Result<usize> {
    let (incoming, outgoing) = (folder.join("ovs-in.pcap"), folder.join("ovs.pcap"));
    workload.write(&incoming)?;
    let ovs = Ovs::prepare(workload, 0.0)?;
    ovs.add_port(&format!("net_pcap0,rx_pcap={},tx_pcap={}", incoming.display(), outgoing.display()));
    // The file was read before the rules knew the port. A change of the ring's size has both files opened again.
    until("Open vSwitch's port", || ovs.counters().is_ok_and(|(received, _)| received > 0.0))?;
    ovs.vsctl("set interface p0 options:n_rxq_desc=1024");
    settled(NAME, || ovs.counters())?;
    // The file is complete once the port is gone.
    ovs.vsctl("del-port br-phy p0");
    let sent = read_pcap(&outgoing).context("what Open vSwitch sent")?;
    let outer = Outer { node: NODE, source: NODE_MAC, next_hop: NEXT_HOP };
    check(workload, &outer, sent).context("OVS-DPDK")
}

fn ovs_command(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    with_folders(&mut command, folder);
    if program == "ovs-vsctl" {
        command.arg(format!("--db=unix:{}", folder.join("db.sock").display()));
    }
    command
}

fn vsctl(folder: &Path, line: &str) {
    run(ovs_command(folder, "ovs-vsctl").args(line.split_whitespace()));
}

/// A daemon in the namespace that says nothing here.
fn quiet(namespace: &Namespace, folder: &Path, program: &str) -> Command {
    let mut command = command("ip");
    command.args(["netns", "exec", namespace.name(), program]);
    with_folders(&mut command, folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn with_folders(command: &mut Command, folder: &Path) {
    for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"] {
        command.env(variable, folder);
    }
}

fn until(what: &'static str, mut ready: impl FnMut() -> bool) -> Result<()> {
    for _ in 0..3_000 {
        if ready() {
            return Ok(());
        }
        wait(0.02);
    }
    bail!("{what}: nothing in a minute")
}
