//! Announcements that the node itself makes for the holders of virtual IPs.
//!
//! The control side writes each as the frame that the holder's hypervisor would have sent, and one worker takes it as received. So the
//! members of the moment get it, but for the holder's TEP, and all counters add up.

use std::net::IpAddr;

use ctl_server::Holding;
use engine::local::LocalFrames;
use wire::MacAddr;
use wire::gratuitous::{Form, advertisement, garp};

/// Announces an address in each form that there is, all or none. False if too much waits, or no buffer is free.
pub fn announce(frames: &LocalFrames, holding: &Holding) -> bool {
    let mac = MacAddr(holding.mac);
    let send = |inner: &[&[u8]]| frames.send(holding.vni, holding.tep, inner);
    match holding.address {
        IpAddr::V4(address) => send(&[&garp(mac, address, Form::Request), &garp(mac, address, Form::Reply)]),
        IpAddr::V6(address) => send(&[&advertisement(mac, address)]),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use dpdk::{BURST, Burst, Eal, EalConfig, Mempool};
    use wire::{NodeAddresses, parse};

    use super::*;

    const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);

    fn holding(address: IpAddr) -> Holding {
        let tep = Ipv4Addr::new(198, 18, 0, 1).try_into().unwrap();
        Holding { vni: 5001.into(), address, mac: [0x52, 0x54, 0, 0, 0, 1], tep }
    }

    #[test]
    fn each_form_comes_to_the_worker_as_the_holders_hypervisor_would_have_sent_it_and_the_queue_is_bounded() {
        let config = EalConfig { hugepages: false, memory_mb: 64, ..EalConfig::default() };
        let eal = Eal::init(&config).unwrap();
        let pool = Mempool::new(&eal, "kernel", 2047, 0, dpdk::MIN_DATA_ROOM).unwrap();
        let announcer = LocalFrames::new(NODE, pool.clone());
        let mut burst = Burst::new();
        assert!(!announcer.fill(&mut burst));

        let (four, six) = ("10.0.0.100".parse().unwrap(), "fd00::100".parse().unwrap());
        let mac = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
        assert!(
            announce(&announcer, &holding(IpAddr::V4(four)))
                && announce(&announcer, &holding(IpAddr::V6(six)))
        );
        assert!(announcer.fill(&mut burst));
        let expected = [
            garp(mac, four, Form::Request).to_vec(),
            garp(mac, four, Form::Reply).to_vec(),
            advertisement(mac, six).to_vec(),
        ];
        assert_eq!(burst.len(), expected.len());
        let node = NodeAddresses::new(&[NODE]).unwrap();
        for ((_, mbuf), inner) in burst.iter().zip(&expected) {
            let read = parse(mbuf.data(), &node).unwrap();
            assert_eq!((read.source, read.key), (Ipv4Addr::new(198, 18, 0, 1), 5001));
            assert_eq!(read.inner(mbuf.data()), Ok(&inner[..]));
        }

        // Two frames each.
        let taken = (0..2000).take_while(|_| announce(&announcer, &holding(IpAddr::V4(four)))).count();
        assert_eq!(taken, 512);
        assert!(!announce(&announcer, &holding(IpAddr::V6(six))));
        assert!(announcer.fill(&mut burst));
        assert_eq!(burst.len(), BURST);
        assert!(announce(&announcer, &holding(IpAddr::V6(six))), "there is room again");
        drop((burst, announcer));
        assert_eq!(pool.in_use(), 0);
    }
}
