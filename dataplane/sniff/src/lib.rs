//! What frames say of virtual IPs: who may say so is heard, who may not is dropped.
//!
//! Only frames of domains with a [`Guard`] come here; to all others it is one test. The virtual IPs of a burst's frames are looked
//! up together, step by step, each step for all frames: so the cache misses overlap, as they do for domains.
//!
//! ```text
//!   list ──▶ guard ──▶ virtual IP, with its first speakers ──▶ cells of what is heard
//! ```
//!
//! No frame waits for an answer: the control side learns what was said later, from [`Heard`] and from a queue of what was
//! [`Refused`].
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;

use bcast_domain::{
    Found, Guard, Heard, Learned, MemberList, Refusal, Refused, Sought, SpeakerId, TepIndex, Utterance,
    VipId, vrid,
};
use crossbeam::queue::ArrayQueue;
use wire::announcement::{Kind, plain_arp};
use wire::{Announcement, DropReason, MacAddr, announcement};

/// Frames of a burst at most.
pub const BURST: usize = 32;
/// Addresses that one frame announces at most: those of a VRRP advertisement.
const ADDRESSES: usize = 255;
/// Refused announcements that wait for the control side, at most.
const REFUSED: usize = 4096;

/// Which of a burst's domains have virtual IPs: see [`bits`]. Their guards are on their way into the cache.
#[inline(always)]
pub fn guarded(domains: &[Option<&MemberList>; BURST]) -> u32 {
    let mut guarded = 0;
    for (bit, domain) in domains.iter().enumerate() {
        if domain.is_some_and(MemberList::prefetch_guard) {
            guarded |= 1 << bit;
        }
    }
    guarded
}

/// What workers and the control side share.
pub struct Ears {
    /// What was heard.
    pub heard: Heard,
    /// What was refused, oldest first.
    pub refused: ArrayQueue<Refused>,
}

impl Ears {
    /// Nothing was heard, nothing refused.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { heard: Heard::new(), refused: ArrayQueue::new(REFUSED) })
    }
}

/// Who says what about an address.
#[derive(Clone, Copy)]
struct Speech {
    kind: Kind,
    source: MacAddr,
    bound: MacAddr,
    from: TepIndex,
}

impl Speech {
    /// What is to be noted of it, if anything, where it is about this virtual IP.
    #[inline(always)]
    fn about(&self, vip: Found) -> Result<Option<(SpeakerId, Utterance)>, Refusal> {
        let Self { kind, source, bound, from } = *self;
        let speaker = |mac: MacAddr| vip.speaker(mac.0, from);
        match (kind, speaker(source)) {
            (Kind::Hidden, _) => Err(Refusal::Hidden),
            (Kind::Advert { .. }, None) => Err(Refusal::Advert),
            // Receivers ignore what is not sound, and so do we.
            (Kind::Advert { interval_cs, priority, sound, .. }, Some(speaker)) => {
                Ok(sound.then_some((speaker, Utterance::Advert { interval_cs, priority })))
            }
            (Kind::Claim | Kind::Use, None) => Err(Refusal::Stranger),
            (Kind::Claim, Some(speaker)) if bound == source => {
                Ok(Some((speaker, Utterance::Claim { vrid: vrid(source.0) })))
            }
            // A speaker has two MAC addresses where it has a virtual one.
            (Kind::Claim | Kind::Use, Some(one)) if bound == source || speaker(bound) == Some(one) => {
                Ok(Some((one, Utterance::Use)))
            }
            (Kind::Claim | Kind::Use, Some(_)) => Err(Refusal::Unsound),
        }
    }

    /// Its refusal.
    #[cold]
    fn refused(&self, vip: VipId, what: Refusal, at_ns: u64) -> Refused {
        // It would move what it names if its sender were attached.
        let claims = self.kind == Kind::Claim && self.bound == self.source;
        Refused { vip, mac: self.source.0, tep: self.from, what, claims, at_ns }
    }
}

/// What a frame says of virtual IPs, all of the same kind: to be noted once the frame is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    what: Utterance,
    /// Which virtual IPs, and who: a part of [`Sniffer::said`].
    from: usize,
    to: usize,
}

/// The kinds of announcements, as they are counted: the values of the metric's label.
pub const KINDS: [&str; 3] = ["claim", "use", "advert"];

impl Said {
    /// Which of [`KINDS`] it is.
    pub fn kind(self) -> usize {
        match self.what {
            Utterance::Claim { .. } => 0,
            Utterance::Use => 1,
            Utterance::Advert { .. } => 2,
        }
    }
}

/// Why an announcement's frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// It names a virtual IP, and must not. The control side is to be [told](Sniffer::report).
    Refused(Refused),
    /// It would move an address of a strict domain from another who has it.
    Strict,
    /// A fragment that leaves open which address it names: it could be any virtual IP. `vrrp`: in an advertisement.
    Cut {
        /// Whether it is VRRP.
        vrrp: bool,
    },
}

impl Unheard {
    /// What its frame counts as.
    pub fn reason(self) -> DropReason {
        match self {
            Self::Refused(Refused { what: Refusal::Advert, .. }) | Self::Cut { vrrp: true } => {
                DropReason::VrrpSpoof
            }
            Self::Refused(_) | Self::Strict | Self::Cut { vrrp: false } => DropReason::GarpSpoof,
        }
    }
}

/// What was found in a frame: what it says, or why it is dropped.
type Finding = Result<Said, Unheard>;

/// A worker's part: it judges a burst's frames all at once, and is then asked about one after the other.
pub struct Sniffer {
    ears: Arc<Ears>,
    /// By frame: who says what, and of which address.
    speeches: [(Speech, Sought); BURST],
    /// By frame, where the bit of `found` is set.
    findings: [Option<Finding>; BURST],
    found: u32,
    /// Which virtual IPs the burst's frames name, and who speaks. It has room for all that a burst can name, so it never grows.
    said: Vec<(VipId, SpeakerId)>,
    /// When the burst came, by the node's clock.
    now_ns: u64,
}

impl Sniffer {
    /// For one worker.
    pub fn new(ears: Arc<Ears>) -> Self {
        let said = Vec::with_capacity(BURST * ADDRESSES);
        let none = Speech {
            kind: Kind::Use,
            source: MacAddr::ZERO,
            bound: MacAddr::ZERO,
            from: TepIndex::default(),
        };
        let speeches = [(none, Sought::default()); BURST];
        Self { ears, speeches, findings: [None; BURST], found: 0, said, now_ns: 0 }
    }

    /// Forgets the last burst, where there is nothing to [`listen`](Self::listen) to.
    #[inline(always)]
    pub fn forget(&mut self) {
        self.found = 0;
    }

    /// Listens to a burst that comes at `now_ns` by the node's clock.
    ///
    /// Nothing is noted yet: a frame that is dropped for another reason has announced nothing.
    #[inline(always)]
    pub fn listen<'b>(&mut self, now_ns: u64) -> Listening<'_, 'b> {
        self.forget();
        self.said.clear();
        self.now_ns = now_ns;
        Listening { sniffer: self, asked: 0, domains: [None; BURST] }
    }

    /// What the frame with this number says of virtual IPs, if anything; or why it is to be dropped.
    #[inline(always)]
    pub fn finding(&self, index: usize) -> Option<Result<Said, Unheard>> {
        if self.found >> index & 1 == 0 { None } else { *self.findings.get(index)? }
    }

    /// Notes what an accepted frame said.
    #[inline(always)]
    pub fn note(&self, said: Said) {
        for &(vip, speaker) in self.said.get(said.from..said.to).unwrap_or_default() {
            self.ears.heard.note(vip, speaker, said.what, self.now_ns);
        }
    }

    /// Refuses a frame that does not tell of which address it speaks.
    #[cold]
    fn cut(&mut self, index: usize, kind: Kind) {
        let vrrp = matches!(kind, Kind::Advert { .. });
        self.findings[index % BURST] = Some(Err(Unheard::Cut { vrrp }));
        self.found |= 1 << (index % BURST);
    }

    /// Judges what a frame says of an address of a strict domain that is no virtual IP. False if it may not.
    #[cold]
    fn judge_strictly(
        &mut self,
        index: usize,
        speech: &Speech,
        address: IpAddr,
        domain: &MemberList,
        learned: &Learned,
    ) -> bool {
        let gone = |tep| domain.position(tep).is_none();
        let may = match speech.kind {
            Kind::Claim | Kind::Use => learned.admit(address, speech.bound.0, speech.from, self.now_ns, gone),
            // No cache believes an advertisement.
            Kind::Advert { .. } => true,
            Kind::Hidden => false,
        };
        if !may {
            self.findings[index % BURST] = Some(Err(Unheard::Strict));
            self.found |= 1 << (index % BURST);
        }
        may
    }

    /// Tells the control side what was refused; false if too much waits for it already.
    pub fn report(&self, refused: Refused) -> bool {
        self.ears.refused.push(refused).is_ok()
    }

    /// Judges what a frame says of one virtual IP, beside what it says of others. False if it may not.
    #[inline(always)]
    fn judge(&mut self, index: usize, speech: &Speech, vip: Found) -> bool {
        let index = index % BURST;
        match speech.about(vip) {
            Ok(Some((speaker, what))) => {
                self.ears.heard.prefetch(vip.id(), speaker);
                let to = self.said.len() + 1;
                let from = match self.findings[index] {
                    Some(Ok(said)) if self.found >> index & 1 == 1 => said.from,
                    _ => self.said.len(),
                };
                self.said.push((vip.id(), speaker));
                self.findings[index] = Some(Ok(Said { what, from, to }));
            }
            Ok(None) => return true,
            Err(what) => {
                let refused = speech.refused(vip.id(), what, self.now_ns);
                self.findings[index] = Some(Err(Unheard::Refused(refused)));
            }
        }
        self.found |= 1 << index;
        matches!(self.findings[index], Some(Ok(_)))
    }
}

/// A burst that is listened to.
pub struct Listening<'s, 'b> {
    sniffer: &'s mut Sniffer,
    /// Frames that announce one address, as bits, and their domains with their virtual IPs.
    asked: u32,
    domains: [Option<(&'b MemberList, &'b Guard)>; BURST],
}

impl<'b> Listening<'_, 'b> {
    /// Hears a frame of a domain, if that has virtual IPs or is strict: its number in the burst, where it came from, and the inner
    /// frame.
    #[inline(always)]
    pub fn hear(&mut self, index: usize, from: TepIndex, domain: &'b MemberList, inner: &[u8]) {
        match plain_arp(inner) {
            Some(announcement) => self.take(index, from, domain, &announcement),
            None => self.hear_rarer(index, from, domain, inner),
        }
    }

    fn hear_rarer(&mut self, index: usize, from: TepIndex, domain: &'b MemberList, inner: &[u8]) {
        if let Some(announcement) = announcement(inner) {
            self.take(index, from, domain, &announcement);
        }
    }

    #[inline(always)]
    fn take(&mut self, index: usize, from: TepIndex, domain: &'b MemberList, announcement: &Announcement) {
        let Some(guard) = domain.guard() else { return };
        let index = index % BURST;
        let Announcement { kind, source, bound, .. } = *announcement;
        let speech = Speech { kind, source, bound, from };
        if announcement.cut {
            return self.sniffer.cut(index, kind);
        }
        match announcement.only() {
            Some(address) => {
                self.sniffer.speeches[index] = (speech, Sought::new(address));
                self.domains[index] = Some((domain, guard));
                self.asked |= 1 << index;
            }
            None => self.several(index, &speech, domain, guard, announcement),
        }
    }

    /// Hears an announcement of several addresses: one after the other, up to the first that is refused.
    #[cold]
    fn several(
        &mut self,
        index: usize,
        speech: &Speech,
        domain: &MemberList,
        guard: &Guard,
        announcement: &Announcement,
    ) {
        let _refused = announcement.addresses().find(|&address| !match (
            guard.look_up(&Sought::new(address)),
            guard.learned(),
        ) {
            (Some(vip), _) => self.sniffer.judge(index, speech, vip),
            (None, Some(learned)) => self.sniffer.judge_strictly(index, speech, address, domain, learned),
            (None, None) => true,
        });
    }

    /// Judges them all.
    #[inline(always)]
    pub fn judge(self) {
        let Self { sniffer, asked, domains } = self;
        for index in bits(asked) {
            if let Some((_, guard)) = domains[index] {
                guard.prefetch(&sniffer.speeches[index].1);
            }
        }
        for index in bits(asked) {
            let (speech, sought) = sniffer.speeches[index];
            let Some((domain, guard)) = domains[index] else { continue };
            match guard.look_up(&sought) {
                Some(vip) => _ = sniffer.judge(index, &speech, vip),
                None => {
                    if let Some(learned) = guard.learned() {
                        sniffer.judge_strictly(index, &speech, sought.address(), domain, learned);
                    }
                }
            }
        }
    }
}

/// The numbers of the bits that are set, ascending.
#[inline(always)]
pub fn bits(mut of: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = of.trailing_zeros();
        of &= of.wrapping_sub(1);
        (bit < u32::BITS).then_some(bit as usize % BURST)
    })
}
