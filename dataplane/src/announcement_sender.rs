//! Announcements that the node itself makes for the holders of virtual IPs.
//!
//! The control side writes each as the frame that the holder's hypervisor would have sent, and one worker takes it as received. So the
//! members of the moment get it, but for the holder's TEP, and all counters add up.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use ctl_node::Holding;
use dpdk::{BURST, Burst, Mbuf, Mempool};
use wire::gratuitous::{Form, advertisement, garp};
use wire::{FrameHeader, MacAddr, Template};

/// Frames that wait for the worker, at most. They take the buffers of the kernel's frames, so that they cannot take all of them.
const QUEUE: usize = 1024;

/// The way of such frames to the worker that sends them.
pub struct AnnouncementSender {
    queue: ArrayQueue<Mbuf>,
    pool: Mempool,
    /// What hypervisors send to the node: the header's destination.
    to_node: Template,
}

impl AnnouncementSender {
    /// For the node with this address; frames are written into buffers of this pool.
    pub fn new(node: Ipv4Addr, pool: Mempool) -> Arc<Self> {
        // Nobody looks at the MAC addresses of what was received.
        let to_node = Template::new(MacAddr::ZERO, Some(MacAddr::ZERO), node);
        Arc::new(Self { queue: ArrayQueue::new(QUEUE), pool, to_node })
    }

    /// Announces an address in each form that there is, all or none. False if too much waits, or no buffer is free.
    pub fn announce(&self, holding: &Holding) -> bool {
        let mac = MacAddr(holding.mac);
        match holding.address {
            IpAddr::V4(address) => {
                self.send(holding, &[&garp(mac, address, Form::Request), &garp(mac, address, Form::Reply)])
            }
            IpAddr::V6(address) => self.send(holding, &[&advertisement(mac, address)]),
        }
    }

    fn send(&self, holding: &Holding, inner: &[&[u8]]) -> bool {
        // The one thread of the control side is the only one that fills the queue.
        if self.queue.len() + inner.len() > self.queue.capacity() {
            return false;
        }
        let frames: Option<Vec<Mbuf>> = inner.iter().map(|inner| self.frame(holding, inner)).collect();
        frames.is_some_and(|frames| frames.into_iter().all(|frame| self.queue.push(frame).is_ok()))
    }

    /// The frame that the holder's hypervisor would have sent.
    fn frame(&self, holding: &Holding, inner: &[u8]) -> Option<Mbuf> {
        let len = u16::try_from(inner.len()).ok()?;
        let header = FrameHeader::new(holding.tep.address(), 0, holding.vni.get(), len).head(&self.to_node);
        Mbuf::from_bytes(&self.pool, &[&header.to_bytes(), inner].concat())
    }

    /// Puts up to a burst of the frames that wait into an empty burst. For the worker. Says whether there were any.
    #[inline(always)]
    pub fn fill(&self, burst: &mut Burst) -> bool {
        !self.queue.is_empty() && self.take(burst)
    }

    #[cold]
    fn take(&self, burst: &mut Burst) -> bool {
        burst.clear();
        while burst.len() < BURST
            && let Some(frame) = self.queue.pop()
        {
            // The burst has room.
            drop(burst.push(frame));
        }
        !burst.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use dpdk::{Eal, EalConfig};
    use wire::{NodeAddresses, outer};

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
        let announcer = AnnouncementSender::new(NODE, pool.clone());
        let mut burst = Burst::new();
        assert!(!announcer.fill(&mut burst));

        let (four, six) = ("10.0.0.100".parse().unwrap(), "fd00::100".parse().unwrap());
        let mac = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
        assert!(
            announcer.announce(&holding(IpAddr::V4(four))) && announcer.announce(&holding(IpAddr::V6(six)))
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
            let read = outer(mbuf.data(), &node).unwrap();
            assert_eq!((read.source, read.key), (Ipv4Addr::new(198, 18, 0, 1), 5001));
            assert_eq!(read.inner(mbuf.data()), Ok(&inner[..]));
        }

        // Two frames each.
        let taken = (0..QUEUE).take_while(|_| announcer.announce(&holding(IpAddr::V4(four)))).count();
        assert_eq!(taken, QUEUE / 2);
        assert!(!announcer.announce(&holding(IpAddr::V6(six))));
        assert!(announcer.fill(&mut burst));
        assert_eq!(burst.len(), BURST);
        assert!(announcer.announce(&holding(IpAddr::V6(six))), "there is room again");
        drop((burst, announcer));
        assert_eq!(pool.in_use(), 0);
    }
}
