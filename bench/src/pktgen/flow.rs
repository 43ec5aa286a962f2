//! Plans of frames and their receivers: streams, each of many flows.

use std::net::Ipv4Addr;
use std::ops::Range;

/// Frames per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl Rate {
    /// Unlimited rate: more than any sender makes.
    pub const MAX: Self = Self(1_000_000_000);
}

/// The TEPs that this program plays: consecutive addresses, known by their place.
#[derive(Clone, Copy, Debug)]
pub struct Teps {
    first: u32,
    count: u32,
}

impl Teps {
    /// `count` addresses from `first` on.
    pub fn new(first: Ipv4Addr, count: u32) -> Self {
        Self { first: first.to_bits(), count }
    }

    /// Number of TEPs.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The address of a place.
    pub fn address(self, place: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.wrapping_add(place))
    }

    /// The place of an address, if it is one of them.
    #[inline]
    pub fn place(self, address: Ipv4Addr) -> Option<u32> {
        let place = address.to_bits().wrapping_sub(self.first);
        (place < self.count).then_some(place)
    }
}

/// Frames of one source for one domain, numbered from 0 on.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The domain.
    pub vni: u32,
    /// The TEP that sends; by place, as all here.
    pub source: u32,
    /// The domain's members, and behind them those that are watched.
    pub teps: Range<u32>,
    /// From here on TEPs may get copies but need not: they join or leave meanwhile.
    pub watched_from: u32,
    /// Place of its stream in the plan.
    pub stream: usize,
    /// Place of its members' first account.
    pub accounts: usize,
}

impl Flow {
    /// TEPs that must get a copy of every frame.
    pub fn receivers(&self) -> impl Iterator<Item = u32> + use<> {
        let source = self.source;
        (self.teps.start..self.watched_from).filter(move |&tep| tep != source)
    }

    /// Copies that each frame must make.
    pub fn fan_out(&self) -> u64 {
        let members = u64::from(self.watched_from - self.teps.start);
        members - u64::from((self.teps.start..self.watched_from).contains(&self.source))
    }
}

/// A domain, as a stream sends to it: the first argument of a [`Flow`].
#[derive(Clone, Debug)]
pub struct Domain {
    pub vni: u32,
    pub members: Range<u32>,
    /// TEPs right behind the members that join or leave.
    pub watched: u32,
    /// TEP that sends.
    pub source: u32,
}

impl Domain {
    /// Nobody joins or leaves; the source is one of the members, another one for each VNI.
    pub fn plain(vni: u32, members: Range<u32>) -> Self {
        let source = members.start + vni % (members.end - members.start).max(1);
        Self { vni, members, watched: 0, source }
    }
}

/// Flows of one shape and rate, sent in turns.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Name in the report.
    pub name: &'static str,
    /// The inner frame, its trailer left open.
    pub inner: Vec<u8>,
    /// Frames per second of all its flows together.
    pub rate: Rate,
    /// Frames in all; none: until the run ends.
    pub frames: Option<u64>,
    /// Places of its flows in the plan.
    pub flows: Range<usize>,
    /// Bytes from the start of the inner frame that each copy is compared in. All of them, unless a flood must be
    /// received faster than that.
    pub compared: usize,
    /// True if the node has its domains; otherwise all its frames are dropped.
    pub registered: bool,
}

/// All that one run sends.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The TEPs that there are.
    pub teps: Teps,
    /// Address of the node.
    pub node: Ipv4Addr,
    /// Streams in the order of their additions.
    pub streams: Vec<Stream>,
    /// Flows of all streams.
    pub flows: Vec<Flow>,
    /// Accounts that the flows need.
    pub accounts: usize,
}

impl Plan {
    /// Plan without streams.
    pub fn new(teps: Teps, node: Ipv4Addr) -> Self {
        Self { teps, node, streams: Vec::new(), flows: Vec::new(), accounts: 0 }
    }

    /// Adds a stream of one flow for each domain, all of them registered.
    pub fn add(
        &mut self,
        name: &'static str,
        inner: Vec<u8>,
        rate: Rate,
        domains: impl IntoIterator<Item = Domain>,
    ) -> &mut Stream {
        let (start, stream) = (self.flows.len(), self.streams.len());
        for Domain { vni, members, watched, source } in domains {
            let teps = members.start..members.end + watched;
            let accounts = self.accounts;
            self.accounts += teps.len();
            self.flows.push(Flow { vni, source, teps, watched_from: members.end, stream, accounts });
        }
        let flows = start..self.flows.len();
        let compared = inner.len();
        self.streams.push(Stream { name, inner, rate, frames: None, flows, compared, registered: true });
        let last = self.streams.len() - 1;
        &mut self.streams[last]
    }

    /// Copies that each frame of a flow must make.
    pub fn copies(&self, flow: &Flow) -> u64 {
        if self.streams[flow.stream].registered { flow.fan_out() } else { 0 }
    }

    /// The flows whose domains shall exist.
    pub fn registered(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(|flow| self.streams[flow.stream].registered)
    }
}
