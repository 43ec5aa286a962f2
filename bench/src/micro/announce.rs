//! Cost of an announcement of a virtual IP beyond the same frame in a domain without virtual IPs.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use bcast_domain::{
    Announcer, AnnouncerId, DomainPublisher, Mac, MemberList, Reader, TepIndex, Vip, VipId, VipTable, Vni,
    table_with_capacity,
};
use engine::inspect::{ArpInspector, Inspection, with_vips};
use wire::{
    FrameHeader, MacAddr, NodeAddresses, Outer, Template,
    gratuitous::{Form, garp},
};

use super::Turns;
use super::clock;
use super::results::AnnounceRow;
use super::work::{self, BURST};
use crate::harness::{NODE, Spread, tep};

/// Members of each domain.
const MEMBERS: u16 = 16;
/// Attached instances of each virtual IP.
const SPEAKERS: u32 = 2;
/// Interval at which the control side drains the announcements.
const DRAIN: Duration = Duration::from_millis(1);

/// Virtual IP number `number`: its domain, its address there, and its holder's MAC and endpoint.
fn vip(number: u32, per_domain: u32) -> Result<(Vni, Vip)> {
    let (domain, place) = (number / per_domain, number % per_domain);
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + place));
    let announcers = (0..SPEAKERS).map(|announcer| {
        let id = SPEAKERS * number + announcer;
        let [.., a, b, c] = id.to_be_bytes();
        // The instances are behind the first members.
        let tep = TepIndex::from(u16::try_from(announcer).unwrap_or(0));
        Ok(Announcer { mac: Mac::new([0x52, 0x54, 0, a, b, c])?, tep, id: AnnouncerId::new(id)? })
    });
    let announcers = announcers.collect::<Result<_>>()?;
    Ok((
        Vni::new(work::vni(domain)),
        Vip { id: VipId::new(number)?, address, vrids: [].into(), announcers, group: 0 },
    ))
}

/// Domains with virtual IPs, the same domains without, and a worker's parts.
pub struct Announcements {
    havips: u32,
    per_domain: u32,
    node: NodeAddresses,
    readers: [Reader<()>; 2],
    _publishers: [DomainPublisher; 2],
    inspection: Arc<Inspection>,
    inspector: ArpInspector,
    /// The frames of a burst, written anew for each.
    frames: [Vec<u8>; BURST],
    state: u64,
    announced: usize,
}

impl Announcements {
    /// Tables of `havips` virtual IPs, `per_domain` of them in each domain.
    pub fn new(havips: u32, per_domain: u32) -> Result<Self> {
        let domains = havips.div_ceil(per_domain);
        let members: Vec<TepIndex> = (0..MEMBERS).map(TepIndex::from).collect();
        let (mut with, _, with_vips) = table_with_capacity((), domains as usize);
        let (mut without, _, plain) = table_with_capacity((), domains as usize);
        let mut numbers = 0..havips;
        for domain in 0..domains {
            let vni = Vni::new(work::vni(domain));
            let vips =
                numbers.by_ref().take(per_domain as usize).map(|number| Ok(vip(number, per_domain)?.1));
            let vip_table = VipTable::new(vips.collect::<Result<Vec<_>>>()?);
            for table in [&mut with, &mut without] {
                table.set(vni, &members)?;
            }
            with.set_vip_table(vni, Some(Arc::new(vip_table)));
        }
        let inspection = Inspection::new();
        Ok(Self {
            havips,
            per_domain,
            node: NodeAddresses::new(&[NODE])?,
            readers: [with_vips.reader(), plain.reader()],
            _publishers: [with, without],
            inspector: ArpInspector::new(Arc::clone(&inspection)),
            inspection,
            frames: Default::default(),
            state: 1,
            announced: 0,
        })
    }

    /// Writes the next burst: gratuitous ARP of random virtual IPs, from their holders.
    fn next_burst(&mut self) -> Result<()> {
        let to_node = Template::new(MacAddr::ZERO, Some(MacAddr::ZERO), NODE);
        for frame in &mut self.frames {
            let number = work::random(&mut self.state) % u64::from(self.havips.max(1));
            let (vni, vip) = vip(u32::try_from(number).unwrap_or(0), self.per_domain)?;
            let (Some(holder), IpAddr::V4(address)) = (vip.announcers.first(), vip.address) else { continue };
            let inner = garp(MacAddr(holder.mac.octets()), address, Form::Request);
            let len = u16::try_from(inner.len()).unwrap_or(0);
            let header = FrameHeader::new(tep(holder.tep.get()), 0, vni.get(), len).head(&to_node);
            frame.clear();
            frame.extend(header.to_bytes());
            frame.extend(inner);
        }
        Ok(())
    }

    /// A worker's first steps with a burst: verdict, lookup, membership, class, and what is announced.
    #[inline(never)]
    fn forward(&mut self, with_guards: bool) {
        let reader = &self.readers[usize::from(!with_guards)];
        let outers: [Option<Outer>; BURST] =
            std::array::from_fn(|at| wire::parse(&self.frames[at], &self.node).ok());
        let vnis = outers.each_ref().map(|outer| Vni::new(outer.as_ref().map_or(0, |outer| outer.key)));
        let mut domains = [None; BURST];
        reader.lookup_bulk(&vnis, &mut domains);
        match with_vips(&domains) {
            0 => self.inspector.forget(),
            with_vips => inspect(&mut self.inspector, &self.frames, &outers, &domains, with_vips),
        }
        for (index, (outer, domain)) in outers.iter().zip(&domains).enumerate() {
            let (Some(outer), Some(domain)) = (outer, domain) else { continue };
            let position = domain.position(source(outer));
            let inner = outer.inner(&self.frames[index]);
            let _ = black_box((position, inner.map(wire::Class::of)));
            if let Some(Ok(finding)) = self.inspector.finding(index) {
                self.inspector.note(*finding);
                self.announced += 1;
            }
        }
    }

    /// CPU time of a frame in nanoseconds: of one that announces a virtual IP, and of the same in a domain without any.
    fn turn(&mut self, turn: Duration, overhead: u64) -> Result<[f64; 2]> {
        let (mut spent, mut bursts) = ([0_u64; 2], 0_usize);
        let enough = 2 * u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
        self.announced = 0;
        while spent.iter().sum::<u64>() < enough {
            self.next_burst()?;
            bursts += 1;
            // Each comes first in turns, as the frames are warmer for the second.
            let order = if bursts.is_multiple_of(2) { [true, false] } else { [false, true] };
            for with_guards in order {
                let before = clock::cpu_ns();
                self.forward(with_guards);
                spent[usize::from(!with_guards)] += (clock::cpu_ns() - before).saturating_sub(overhead);
                self.readers.iter_mut().for_each(Reader::quiesce);
            }
        }
        let frames = bursts * BURST;
        if self.announced != frames {
            bail!("of {frames} announcements {} were heard", self.announced);
        }
        Ok(spent.map(|ns| ns as f64 / frames as f64))
    }

    /// Measures so many rounds of so much CPU time each, while a thread beside takes what was heard.
    pub fn measure(&mut self, turns: Turns) -> Result<AnnounceRow> {
        let overhead = clock::overhead_ns();
        let (stop, inspection) = (AtomicBool::new(false), Arc::clone(&self.inspection));
        let rounds = thread::scope(|scope| {
            scope.spawn(|| {
                turns.cores.enter_beside();
                while !stop.load(Ordering::Relaxed) {
                    inspection.board.drain(|vip| _ = black_box(vip));
                    thread::sleep(DRAIN);
                }
            });
            // One more, to warm up.
            let rounds: Result<Vec<_>> =
                (0..=turns.rounds).map(|_| self.turn(turns.turn, overhead)).collect();
            stop.store(true, Ordering::Relaxed);
            rounds
        })?;
        let measured = rounds.get(1..).unwrap_or_default();
        let spread = |of: &dyn Fn(&[f64; 2]) -> f64| Spread::of(measured.iter().map(of).collect());
        Ok(AnnounceRow {
            havips: self.havips,
            per_domain: self.per_domain,
            ns_with: spread(&|round| round[0]),
            ns_without: spread(&|round| round[1]),
            ns_beyond: spread(&|round| round[0] - round[1]),
        })
    }
}

/// The index of the endpoint that a frame came from: the other way round than [`tep`], of its first ones.
fn source(outer: &Outer) -> TepIndex {
    let [.., last] = outer.source.octets();
    TepIndex::from(u16::from(last.wrapping_sub(1)))
}

#[inline(never)]
fn inspect(
    inspector: &mut ArpInspector,
    frames: &[Vec<u8>; BURST],
    outers: &[Option<Outer>; BURST],
    domains: &[Option<&MemberList>; BURST],
    with_vips: u32,
) {
    let mut listening = inspector.inspect(1);
    for index in engine::inspect::bits(with_vips) {
        if let Some(outer) = &outers[index]
            && let Some(domain) = domains[index]
            && let Some(inner) = frames[index].get(outer.inner_range())
        {
            listening.read(index, source(outer), domain, inner);
        }
    }
    listening.finish();
}
