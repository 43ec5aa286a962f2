//! Devices and ports: what they tell, and what they refuse.
// Clippy knows tests, but not their helpers.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use dpdk::{BATCH, DeviceSpec, Eal, Link, Mempool, Port, PortConfig, TxBatch};
use std::{path::Path, process::Command, time::Duration};

fn attach(eal: &Eal, device: &str) -> Result<String, String> {
    eal.attach(&device.parse::<DeviceSpec>().unwrap(), 1).map_err(|error| error.to_string())
}

fn open(eal: &Eal, device: &str) -> Port {
    Port::open(eal, &attach(eal, device).unwrap()).unwrap()
}

#[test]
fn a_device_that_cannot_be_opened_says_what_to_do_in_one_line() {
    let eal = eal();
    for (device, words) in [
        (
            "af_packet:nosuch0",
            "af_packet:nosuch0: there is no interface nosuch0 in this network namespace: see `ip link`",
        ),
        ("af_xdp:nosuch0", "af_xdp:nosuch0: there is no interface nosuch0"),
        ("tap:lo", "tap:lo: the interface lo is there already: choose another name"),
        ("pci:ffff:ff:1f.7", "pci:ffff:ff:1f.7: there is no such PCI device: see `dpdk-devbind.py"),
        ("pcap:/nosuch/in.pcap,", "cannot read /nosuch/in.pcap: No such file"),
        ("pcap:,/nosuch/out.pcap", "cannot write /nosuch/out.pcap: No such file"),
        ("pcap:/etc/hostname,", "pcap:/etc/hostname,: DPDK's driver refused it: "),
        ("vdev:net_nosuch0", "DPDK's driver net_nosuch is not installed: `apt install librte-net-nosuch"),
        ("vdev:nosuch0", "vdev:nosuch0: DPDK's driver refused it: "),
        ("vdev:net_null0,nosuch=1", "vdev:net_null0,nosuch=1: DPDK's driver refused it: "),
    ] {
        let error = attach(&eal, device).unwrap_err();
        assert!(error.contains(words), "{device}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    attach(&eal, "vdev:net_null0,no-rx=1").unwrap();
}

/// Without the capabilities, root or not: the test runs itself again with them dropped.
#[test]
fn without_permission_it_says_which_capabilities_are_missing() {
    const INNER: &str = "BCAST_TEST_UNPRIVILEGED";
    if std::env::var_os(INNER).is_some() {
        let eal = eal();
        let error = attach(&eal, "af_packet:lo").unwrap_err();
        assert_eq!(
            error,
            "af_packet:lo: not permitted: run as root, or add the capabilities CAP_NET_ADMIN, CAP_NET_RAW"
        );
        let error = attach(&eal, "tap:dtap0").unwrap_err();
        assert_eq!(error, "tap:dtap0: not permitted: run as root, or add the capabilities CAP_NET_ADMIN");
        return;
    }
    let output = Command::new("setpriv")
        .args(["--bounding-set=-net_raw,-net_admin", "--inh-caps=-all", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "without_permission_it_says_which_capabilities_are_missing", "--nocapture"])
        .env(INNER, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_pci_device_of_the_kernel_is_not_taken_from_it() {
    let eal = eal();
    let devices = Path::new("/sys/bus/pci/devices").read_dir().into_iter().flatten();
    for device in devices.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        let error = attach(&eal, &format!("pci:{device}")).unwrap_err();
        assert!(error.contains("which DPDK cannot use: `dpdk-devbind.py -b vfio-pci"), "{error}");
    }
}

#[test]
fn a_port_opens_by_name_and_only_once() {
    let eal = eal();
    let error = |name: &str| Port::open(&eal, name).err().unwrap().to_string();
    assert_eq!(error("net_null9"), "there is no port \"net_null9\": attach its device first");
    let port = open(&eal, "vdev:net_null0,no-rx=1");
    assert_eq!(port.name(), "net_null0");
    assert_eq!(error("net_null0"), "port \"net_null0\" is open already");
    drop(port);
    assert!(error("net_null0").starts_with("there is no port"), "closed devices are gone");
}

#[test]
fn a_virtual_port_can_be_closed_and_attached_again() {
    let eal = eal();
    let pool = pool(&eal);
    for _ in 0..3 {
        drop(start(&eal, &pool, "vdev:net_null0,no-rx=1", &PortConfig::default()));
    }
}

#[test]
fn a_config_that_does_not_suit_the_port_is_refused_by_name_and_value() {
    let eal = eal();
    let (pool, small) = (pool(&eal), Mempool::new(&eal, "small", 127, 0, 1517).unwrap());
    let port = open(&eal, "pcap:,/dev/null");
    let good = PortConfig::default();
    let pools = std::slice::from_ref(&pool);
    let two = [pool.clone(), pool.clone()];
    for (config, pools, words) in [
        (
            PortConfig { rx_queues: 2, ..good.clone() },
            &two[..],
            "(driver net_pcap) has 1 receive queues, not 2",
        ),
        (PortConfig { rx_queues: 0, ..good.clone() }, &[][..], "has 1 receive queues, not 0"),
        (PortConfig { tx_queues: 99, ..good.clone() }, pools, "has 1 transmit queues, not 99"),
        (good.clone(), &two[..], "2 pools for 1 receive queues: give one for each"),
        (good.clone(), &[small][..], "an mbuf holds 1517 bytes, and a frame at this mtu has 1518"),
    ] {
        let error = port.configure(&config, pools).err().expect(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    let _queues = port.configure(&good, pools).unwrap();
    let twice = port.configure(&good, pools).err().unwrap().to_string();
    assert!(twice.contains("is configured already"), "{twice}");
}

#[test]
fn drivers_are_known_by_what_they_can_do() {
    let eal = eal();
    // (device, driver, takes chains without advertising it)
    for (device, driver, by_name) in [
        ("vdev:net_null0,no-rx=1", "net_null", true),
        ("vdev:net_ring0", "net_ring", false),
        ("pcap:,/dev/null", "net_pcap", true),
    ] {
        let port = open(&eal, device);
        let can = port.capabilities();
        assert_eq!(can.driver, driver);
        assert_eq!(can.chains_by_name, by_name, "{device}");
        assert!(can.chains() && can.synchronous_tx, "{device}");
        assert!(can.max_mtu >= 1500 && can.max_frame >= 1518, "{device}");
        assert_eq!(port.drain_time(&PortConfig::default()), Duration::ZERO, "{device}");
    }
}

#[test]
fn what_is_transmitted_is_counted() {
    let eal = eal();
    let pool = pool(&eal);
    let (port, mut queues) = start(&eal, &pool, "vdev:net_null0,no-rx=1", &PortConfig::default());
    let mut batch = TxBatch::new();
    assert!(batch.copies(&pool, BATCH, &[0; 60], &heads(head)));
    assert_eq!(queues.tx[0].transmit(&mut batch), BATCH);
    let stats = port.stats().unwrap();
    assert_eq!((stats.tx_frames, stats.rx_frames, stats.missed), (64, 0, 0));
    let xstats = port.xstats().unwrap();
    let of = |name: &str| xstats.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    assert_eq!(of("tx_good_packets"), Some(64));
    assert_eq!(of("rx_missed_errors"), Some(0));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn its_mac_and_link_can_be_read() {
    let eal = eal();
    let pool = pool(&eal);
    let (port, _queues) = start(&eal, &pool, "vdev:net_null0,no-rx=1", &PortConfig::default());
    assert_eq!(port.link().unwrap(), Link { up: true, speed_mbps: Some(10_000) });
    let mac = [2, 0, 0, 0, 0, 9];
    port.set_mac(mac).unwrap();
    assert_eq!(port.mac().unwrap(), mac);
    assert!(
        port.set_mac([1, 0, 0, 0, 0, 9]).unwrap_err().to_string().contains("cannot set its MAC address"),
        "multicast"
    );
}

#[test]
fn frames_of_a_pcap_file_are_received_in_order() {
    let eal = eal();
    let pool = pool(&eal);
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
    let frames: Vec<Vec<u8>> = (0..200).map(|i| payload(14 + i * 7)).collect();
    write_pcap(&input, &frames);
    let device = format!("pcap:{},{}", input.display(), output.display());
    let (port, mut queues) = start(&eal, &pool, &device, &PortConfig::default());
    assert!(drain(&mut queues.rx[0]) == frames);
    assert_eq!(port.stats().unwrap().rx_frames, 200);
    drop((port, queues));
    assert_eq!(pool.in_use(), 0);
    assert_eq!(read_pcap(&output).len(), 0);
}
