//! Frames that the node makes itself, on their way from the control side to a worker.
//!
//! A frame *into a domain* is written as a TEP would have sent it, and taken as received: so the members of the moment get it, but for
//! that TEP, and all counters add up. A frame *to one TEP* goes nowhere else.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bcast_domain::{Tep, VlanTags, Vni};
use crossbeam::queue::ArrayQueue;
use wire::gratuitous::{Form, advertisement, garp};
use wire::{FrameHeader, MacAddr, Template};

use crate::port::{BURST, Burst};

/// Frames that wait for the worker, at most, of each kind. They take the buffers of the kernel's frames, and cannot take all of them.
const QUEUE: usize = 1024;

/// A frame to one TEP.
pub struct Unicast<K> {
    /// TEP that gets it.
    pub tep: Tep,
    /// VNI of the outer header.
    pub vni: Vni,
    /// The inner frame, and nothing else.
    pub packet: K,
}

/// Writes bytes into a fresh packet buffer; `None`: no buffer is free, or they do not fit.
pub type Allocate<K> = Box<dyn Fn(&[u8]) -> Option<K> + Send + Sync>;

/// Queues of such frames.
pub struct LocalFrames<K> {
    received: ArrayQueue<K>,
    unicast: ArrayQueue<Unicast<K>>,
    allocate: Allocate<K>,
    /// Template of frames that hypervisors send to the node.
    to_node: Template,
}

impl<K> LocalFrames<K> {
    /// Empty queues of the node with this address.
    pub fn new(node: Ipv4Addr, allocate: Allocate<K>) -> Arc<Self> {
        // Nobody looks at the MAC addresses of what was received.
        let to_node = Template::new(MacAddr::ZERO, Some(MacAddr::ZERO), node);
        Arc::new(Self {
            received: ArrayQueue::new(QUEUE),
            unicast: ArrayQueue::new(QUEUE),
            allocate,
            to_node,
        })
    }

    /// Announces an address for its holder, in each form that there is, as the holder's hypervisor would have sent it: all or none. False
    /// if too much waits, or no buffer is free.
    ///
    /// `tags` are the VLAN tags that the holder's own announcements have; where they are too many to be known, nothing is announced,
    /// as it could reach another VLAN.
    pub fn announce(&self, vni: Vni, tep: Tep, mac: MacAddr, tags: VlanTags, address: IpAddr) -> bool {
        let frames = match address {
            IpAddr::V4(address) => [Form::Request, Form::Reply]
                .map(|form| tagged(&garp(mac, address, form), tags))
                .into_iter()
                .collect(),
            IpAddr::V6(address) => tagged(&advertisement(mac, address), tags).map(|frame| vec![frame]),
        };
        let Some(mut frames): Option<Vec<Vec<u8>>> = frames else { return true };
        if mac.is_multicast() {
            frames.iter_mut().for_each(|frame| make_source_unicast(frame));
        }
        self.send(vni, tep, &frames.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// Queues inner frames as the TEP would have sent them into the domain, all or none. False if too much waits, or no buffer is free.
    /// Only one thread of the control side may call it.
    pub fn send(&self, vni: Vni, tep: Tep, inner: &[&[u8]]) -> bool {
        if self.received.len() + inner.len() > self.received.capacity() {
            return false;
        }
        let frames: Option<Vec<K>> = inner.iter().map(|inner| self.frame(vni, tep, inner)).collect();
        frames.is_some_and(|frames| frames.into_iter().all(|frame| self.received.push(frame).is_ok()))
    }

    fn frame(&self, vni: Vni, tep: Tep, inner: &[u8]) -> Option<K> {
        let len = u16::try_from(inner.len()).ok()?;
        let header = FrameHeader::new(tep.address(), 0, vni.get(), len).head(&self.to_node);
        (self.allocate)(&[header.bytes(), inner].concat())
    }

    /// Queues an inner frame to one TEP. False if too much waits, or no buffer is free.
    pub fn send_to(&self, tep: Tep, vni: Vni, inner: &[u8]) -> bool {
        let room = self.unicast.len() < self.unicast.capacity();
        let packet = if room { (self.allocate)(inner) } else { None };
        packet.is_some_and(|packet| self.unicast.push(Unicast { tep, vni, packet }).is_ok())
    }

    /// Puts up to a burst of the frames into domains into an empty burst. For the worker. Says whether there were any.
    #[inline(always)]
    pub fn fill(&self, burst: &mut impl Burst<K>) -> bool {
        !self.received.is_empty() && self.take(burst)
    }

    #[cold]
    fn take(&self, burst: &mut impl Burst<K>) -> bool {
        burst.clear();
        while burst.len() < BURST
            && let Some(frame) = self.received.pop()
        {
            // The burst has room.
            drop(burst.push(frame));
        }
        burst.len() > 0
    }

    /// Takes the oldest frame to one TEP. For the worker.
    #[inline(always)]
    pub fn take_unicast(&self) -> Option<Unicast<K>> {
        if self.unicast.is_empty() { None } else { self.unicast.pop() }
    }
}

/// Makes the source of a frame a locally administered address of one interface: bridges drop frames from a multicast address.
fn make_source_unicast(frame: &mut [u8]) {
    if let Some(first) = frame.get_mut(size_of::<MacAddr>()) {
        *first = *first & !1 | 2;
    }
}

/// The frame with these tags behind its MAC addresses; `None` where they are not known.
fn tagged(frame: &[u8], tags: VlanTags) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(2 * size_of::<MacAddr>())?;
    let tags = tags.tags()?.flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()]).flatten();
    Some(addresses.iter().copied().chain(tags).chain(rest.iter().copied()).collect())
}
