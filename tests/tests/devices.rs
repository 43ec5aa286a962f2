//! Other DPDK devices carry the overlay as well.

use testkit::{
    lab::Lab,
    namespace::Namespace,
    node::{Config, Node},
    openflow::Places,
    overlay::Overlay,
};

const VNI: u32 = 5001;

fn vms_ping_through(device: &str, after_start: impl FnOnce(&Namespace)) {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI], &[VNI], &[VNI]]);
    // Where the port is no interface of the kernel's, the kernel would answer for the node's address on the cable as well, with
    // another MAC address.
    lab.node.run("sysctl -q -w net.ipv4.conf.all.arp_ignore=1");
    let node = Node::start(&lab, &Config::new(lab.folder()).set("port.device", device));
    after_start(&lab.node);
    node.serve(VNI, &overlay.teps());
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let to = overlay.vms[to].address;
        overlay.vms[from].namespace.run(&format!("ping -n -c 2 -i 0.2 -w 20 {to}"));
    }
}

#[test]
fn the_overlay_works_over_af_xdp() {
    vms_ping_through("af_xdp:eth0", |_| ());
}

#[test]
fn the_overlay_works_over_a_tap_device_of_dpdk() {
    vms_ping_through("vdev:net_tap0,iface=dtap0", |node| {
        // The TAP's other end is the node's kernel: a bridge there joins it to the cable. The port's MAC address is
        // not the bridge's business: frames to it must go on to the port.
        node.ip("link add br0 type bridge mcast_snooping 0");
        node.ip("link set dev dtap0 address 02:00:00:00:08:08");
        for line in
            ["set dev eth0 master br0", "set dev dtap0 master br0", "set dev dtap0 up", "set dev br0 up"]
        {
            node.ip(&format!("link {line}"));
        }
    });
}
