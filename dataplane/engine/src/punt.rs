//! Frames for the node itself, on their way from workers to the kernel, and back.
//!
//! Workers never make the TAP's system calls. They pass whole packet buffers through bounded queues to and from one thread of
//! the control side. Each class of frames has a queue, and a part of the rate ([`crate::punt_limits`]). Strangers fill no table of the kernel's:
//! their ARP requests are answered by the worker, and the number of those that the kernel may answer is bounded ([`crate::hosts`]).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bcast_domain::TepIndex;
use crossbeam::queue::ArrayQueue;
use wire::encap::Encap;
use wire::host::{Content, CopyError, CopyErrorKind, HostFrame, arp_reply, receiver};
use wire::view::{Arp, is_in_vlan};
use wire::{DropReason, MacAddr, NodeAddresses};

use crate::counters::NoMemory;
use crate::hosts::{KnownHosts, Network};
use crate::police::Ticks;
use crate::port::{Packet, Port};
use crate::punt_limits::{PuntClass, PuntLimits};
use crate::replicate::Transmitter;
use crate::teps::TepArray;

/// Frames of each class that wait on their way to the kernel, at most.
const TO_KERNEL: [usize; PuntClass::ALL.len()] = [512, 256, 256];
/// Frames that wait on their way from the kernel, at most.
const FROM_KERNEL: usize = 1024;

/// What became of a frame for the node itself that was not dropped: `bcast_punted_frames_total{kind=...}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PuntKind {
    /// Handed to the kernel: ARP and neighbour discovery of TEPs, next hops and hosts that the kernel sends to.
    Neighbours,
    /// Handed to the kernel: BGP and BFD.
    Routing,
    /// Handed to the kernel: all else for the node.
    Rest,
    /// Handed to the kernel: IPv4 to the port's MAC address for an address that is not the node's. It is another address of the host, or
    /// another host's; the kernel discards it then.
    Foreign,
    /// Answered by the node without the kernel: a stranger's ARP request.
    Answered,
    /// Taken by the node without the kernel: BFD of a TEP, in its tunnel.
    Bfd,
}

impl PuntKind {
    /// All kinds; `ALL[k as usize] == k`.
    pub const ALL: [Self; 6] =
        [Self::Neighbours, Self::Routing, Self::Rest, Self::Foreign, Self::Answered, Self::Bfd];

    /// Value of the metric's label `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Neighbours => "neighbours",
            Self::Routing => "routing",
            Self::Rest => "rest",
            Self::Foreign => "foreign",
            Self::Answered => "answered",
            Self::Bfd => "bfd",
        }
    }
}

/// The node on its link.
pub struct Identity {
    /// MAC address of the port.
    pub mac: MacAddr,
    /// The node's addresses.
    pub addresses: NodeAddresses,
    /// Networks of those addresses.
    pub networks: Vec<Network>,
    /// Strangers that may become neighbours in a minute; see [`crate::hosts::STRANGERS`].
    pub strangers: u64,
}

/// The last host that claimed one of the node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The node's address.
    pub address: Ipv4Addr,
    /// MAC address of the host.
    pub mac: MacAddr,
}

/// What workers and the TAP's thread share: queues, limits, and hosts that are known.
pub struct PuntQueues<K> {
    to_kernel: [ArrayQueue<K>; PuntClass::ALL.len()],
    /// Frames from the kernel.
    pub from_kernel: ArrayQueue<K>,
    identity: Identity,
    limits: PuntLimits,
    hosts: KnownHosts,
    /// [`Conflict`]: the MAC address, and above it the address's position among the node's, counted from 1. 0: none.
    conflict: AtomicU64,
}

impl<K> PuntQueues<K> {
    /// Queues without frames.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(identity: Identity) -> Result<Arc<Self>, NoMemory> {
        Ok(Arc::new(Self {
            to_kernel: TO_KERNEL.map(ArrayQueue::new),
            from_kernel: ArrayQueue::new(FROM_KERNEL),
            limits: PuntLimits::new()?,
            hosts: KnownHosts::new(&identity.networks, identity.strangers),
            conflict: AtomicU64::new(0),
            identity,
        }))
    }

    /// Frames for the kernel, the most important ones first.
    pub fn for_kernel(&self) -> impl Iterator<Item = K> + '_ {
        std::iter::from_fn(|| self.to_kernel.iter().find_map(ArrayQueue::pop))
    }

    /// True if nothing waits for the kernel.
    pub fn is_idle(&self) -> bool {
        self.to_kernel.iter().all(ArrayQueue::is_empty)
    }

    /// Takes in a frame that the kernel sends: of its receiver the kernel has an entry.
    pub fn note_kernel_frame(&self, frame: &[u8], now: Ticks) {
        if let Some(host) = receiver(frame) {
            self.hosts.note(host, now);
        }
    }

    /// The last host that claimed one of the node's addresses.
    pub fn conflict(&self) -> Option<Conflict> {
        let word = self.conflict.load(Relaxed).to_be_bytes();
        let [_, position, mac @ ..] = word;
        let address = self.identity.addresses.iter().nth(usize::from(position).checked_sub(1)?)?;
        Some(Conflict { address, mac: MacAddr(mac) })
    }

    fn note_conflict(&self, Conflict { address, mac: MacAddr([a, b, c, d, e, f]) }: Conflict) {
        let position = self.identity.addresses.iter().position(|own| own == address).unwrap_or_default();
        let position = u8::try_from(position + 1).unwrap_or_default();
        self.conflict.store(u64::from_be_bytes([0, position, a, b, c, d, e, f]), Relaxed);
    }
}

/// A frame that the node takes for itself.
pub struct Taken {
    /// What becomes of it.
    pub kind: PuntKind,
    /// Answer to the frame, where the node answers it.
    pub answer: Option<[u8; 60]>,
}

/// What a frame for the node tells the node itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Another host claims an address of the node's.
    pub conflict: bool,
    /// A copy to this TEP did not arrive.
    pub copy_error: Option<(TepIndex, CopyErrorKind)>,
}

/// A worker's end of the punt.
pub struct PuntPort<K> {
    queues: Option<Arc<PuntQueues<K>>>,
    /// True for the one worker that sends the kernel's frames.
    sends: bool,
}

impl<K: Packet> PuntPort<K> {
    /// End of worker number `worker`; no queues: there is no TAP.
    pub fn new(queues: Option<Arc<PuntQueues<K>>>, worker: usize) -> Self {
        Self { queues, sends: worker == 0 }
    }

    /// Takes a frame for the node itself, unless `rate` (frames a second of the whole node), the queue or its sender forbids. Redirects never
    /// get to the kernel: the TAP's own setting does not keep the host from following those of IPv4 while `conf/all/accept_redirects`, which
    /// is the host's, allows it.
    ///
    /// # Errors
    /// Why the frame was freed.
    pub fn offer<E: Encap>(
        &self,
        packet: K,
        (teps, rate): (&TepArray<E>, u32),
        now: Ticks,
    ) -> (News, Result<Taken, DropReason>) {
        let frame = packet.data();
        if wire::redirect::is_redirect(frame) {
            return (News::default(), Err(DropReason::PuntRedirect));
        }
        let Some(queues) = &self.queues else { return (News::default(), Err(DropReason::PuntOff)) };
        let read = HostFrame::read(frame);
        let news = queues.news(&read, teps);
        let decided = queues.decide(frame, &read, teps, now).and_then(|(kind, class)| {
            let source = read.sender.map_or_else(|| mac_bits(frame.get(6..12)), address_bits);
            let answer = match (kind, read.content) {
                (PuntKind::Answered, Content::Arp(request)) => Some(arp_reply(request, queues.identity.mac)),
                _ => None,
            };
            let admitted = queues.limits.admits(class, source, rate, now);
            admitted.then_some((Taken { kind, answer }, class)).ok_or(DropReason::PuntLimited)
        });
        let taken = match decided {
            Ok((taken, class)) if taken.answer.is_none() => {
                let queued = queues.to_kernel[class as usize].push(packet);
                queued.map(|()| taken).map_err(|_| DropReason::PuntLimited)
            }
            decided => decided.map(|(taken, _)| taken),
        };
        (news, taken)
    }

    /// Sends up to a burst of the kernel's frames. Says whether there were any.
    pub fn send_kernel_frames<P: Port<Packet = K>>(&mut self, tx: &mut Transmitter<P>) -> bool {
        match &self.queues {
            Some(queues) if self.sends && !queues.from_kernel.is_empty() => {
                tx.send_plain(std::iter::from_fn(|| queues.from_kernel.pop())) > 0
            }
            _ => false,
        }
    }
}

impl<K> PuntQueues<K> {
    /// What a frame tells the node, before anything limits it.
    fn news<E: Encap>(&self, read: &HostFrame<'_>, teps: &TepArray<E>) -> News {
        let Identity { mac, addresses, .. } = &self.identity;
        match read.content {
            Content::Arp(arp) if addresses.contains(arp.sender()) && arp.sender_mac != *mac => {
                self.note_conflict(Conflict { address: arp.sender(), mac: arp.sender_mac });
                News { conflict: true, copy_error: None }
            }
            Content::CopyError(CopyError { from, to, kind }) if addresses.contains(from) => {
                News { conflict: false, copy_error: teps.find(to).map(|tep| (tep, kind)) }
            }
            _ => News::default(),
        }
    }

    /// What becomes of a frame that is within the limits.
    fn decide<E: Encap>(
        &self,
        frame: &[u8],
        read: &HostFrame<'_>,
        teps: &TepArray<E>,
        now: Ticks,
    ) -> Result<(PuntKind, PuntClass), DropReason> {
        let known = read.sender.is_some_and(|sender| {
            let is_hop = match sender {
                IpAddr::V4(address) => teps.find(address).is_some() || teps.is_gateway(sender),
                IpAddr::V6(_) => teps.is_gateway(sender),
            };
            is_hop || self.hosts.knows(sender, now)
        });
        if let Content::Arp(arp) = read.content {
            return match self.is_request_of_stranger(frame, arp, known) {
                true if is_answerable(arp) => Ok((PuntKind::Answered, PuntClass::Rest)),
                true => Err(DropReason::PuntStranger),
                false if known => Ok((PuntKind::Neighbours, PuntClass::Neighbours)),
                false => Ok((PuntKind::Rest, PuntClass::Rest)),
            };
        }
        let to_all = read.destination.is_some_and(|to| self.hosts.is_broadcast(to));
        if let Some(sender) = read.sender
            && read.may_be_answered
            && !(known || to_all)
            && self.hosts.is_on_link(sender)
            && !self.hosts.admits(sender, now)
        {
            return Err(DropReason::PuntStranger);
        }
        let class = PuntClass::of(&read.content, known);
        let kind = match class {
            PuntClass::Neighbours => PuntKind::Neighbours,
            PuntClass::Routing => PuntKind::Routing,
            PuntClass::Rest if self.is_foreign(frame, read) && !to_all => PuntKind::Foreign,
            PuntClass::Rest => PuntKind::Rest,
        };
        Ok((kind, class))
    }

    /// True for a request by which the kernel would make a neighbour entry of a host that nobody knows.
    fn is_request_of_stranger(&self, frame: &[u8], arp: &Arp, known: bool) -> bool {
        let Identity { mac, addresses, .. } = &self.identity;
        let to = destination_mac(frame);
        let request = arp.operation.get() == Arp::REQUEST && addresses.contains(arp.target());
        // What is for another host's MAC address, or in a VLAN, the kernel does not look at.
        request
            && !known
            && !addresses.contains(arp.sender())
            && (to.is_multicast() || to == *mac)
            && !is_in_vlan(frame)
    }

    /// IPv4 to the port's MAC address and one host, which is not the node by its addresses.
    fn is_foreign(&self, frame: &[u8], read: &HostFrame<'_>) -> bool {
        let Identity { mac, addresses, .. } = &self.identity;
        read.destination.is_some_and(|to| read.may_be_answered && !addresses.contains(to))
            && destination_mac(frame) == *mac
    }
}

/// True if a request can be answered: its sender can be a host.
fn is_answerable(arp: &Arp) -> bool {
    let (mac, from) = (arp.sender_mac, arp.sender());
    !(mac.is_multicast() || mac.is_zero() || from.is_multicast() || from.is_broadcast() || from.is_loopback())
}

fn destination_mac(frame: &[u8]) -> MacAddr {
    frame.first_chunk().map_or(MacAddr::ZERO, |bytes| MacAddr(*bytes))
}

fn mac_bits(bytes: Option<&[u8]>) -> u64 {
    bytes.unwrap_or_default().iter().fold(1 << 48, |bits, &byte| bits << 8 | u64::from(byte))
}

/// An address as a source of shares: of IPv6 both halves in one.
fn address_bits(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments().map(u64::from);
            (a << 48 | b << 32 | c << 16 | d).rotate_left(17) ^ (e << 48 | f << 32 | g << 16 | h)
        }
    }
}
