//! What frames say of virtual IPs: who may say so is heard, who may not is dropped.
//!
//! Only frames of domains with a [`Guard`] come here; to all others it is one test. The virtual IPs of a burst's frames are looked
//! up together, step by step, each step for all frames: so the cache misses overlap, as they do for domains.
//!
//! ```text
//!   list ──▶ guard ──▶ slot of its index ──▶ virtual IP ──▶ speakers ──▶ cells of what is heard
//! ```
//!
//! No frame waits for an answer: the control side learns what was said later, from [`Heard`] and from a queue of what was
//! [`Refused`].
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrayvec::ArrayVec;
use bcast_domain::{Guard, Heard, MemberList, Refusal, Refused, SpeakerId, TepIndex, Utterance, Vip, VipId};
use crossbeam::queue::ArrayQueue;
use wire::announcement::Kind;
use wire::{Announcement, DropReason, MacAddr, announcement};

/// Frames of a burst at most.
pub const BURST: usize = 32;
/// Addresses that one frame announces at most: those of a VRRP advertisement.
const ADDRESSES: usize = 255;
/// Refused announcements that wait for the control side, at most.
const REFUSED: usize = 4096;

/// Which of a burst's domains have virtual IPs, as bits. Their guards are on their way into the cache.
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

/// A frame of a domain with virtual IPs.
pub struct Sniff<'b> {
    /// Its number in the burst.
    pub index: usize,
    /// The inner frame.
    pub inner: &'b [u8],
    /// Where it came from.
    pub from: TepIndex,
    /// The virtual IPs of its domain.
    pub guard: &'b Guard,
}

/// A frame that announces something.
struct Reading<'b> {
    sniff: Sniff<'b>,
    announcement: Announcement<'b>,
}

impl<'b> Reading<'b> {
    /// The virtual IPs that it names.
    #[inline(always)]
    fn vips(&self) -> impl Iterator<Item = &'b Vip> + use<'b> {
        let guard = self.sniff.guard;
        self.announcement.addresses().filter_map(|address| guard.find(address))
    }

    /// Who says what of a virtual IP, if there is something to note.
    #[inline(always)]
    fn hear(&self, vip: &Vip) -> Result<Option<(SpeakerId, Utterance)>, Refusal> {
        let Announcement { kind, source, bound, .. } = self.announcement;
        let speaker = |mac: MacAddr| vip.speaker(mac.0, self.sniff.from);
        match (kind, speaker(source)) {
            (Kind::Hidden, _) => Err(Refusal::Hidden),
            (Kind::Advert { .. }, None) => Err(Refusal::Advert),
            // Receivers ignore what is not sound, and so do we.
            (Kind::Advert { interval_cs, priority, sound, .. }, Some(speaker)) => {
                Ok(sound.then_some((speaker, Utterance::Advert { interval_cs, priority })))
            }
            (Kind::Claim | Kind::Use, None) => Err(Refusal::Stranger),
            (Kind::Claim, Some(speaker)) if bound == source => Ok(Some((speaker, Utterance::Claim))),
            // A speaker has two MAC addresses where it has a virtual one.
            (Kind::Claim | Kind::Use, Some(one)) if bound == source || speaker(bound) == Some(one) => {
                Ok(Some((one, Utterance::Use)))
            }
            (Kind::Claim | Kind::Use, Some(_)) => Err(Refusal::Unsound),
        }
    }

    /// Whether it would move what it names if its sender were attached.
    fn claims(&self) -> bool {
        self.announcement.kind == Kind::Claim && self.announcement.bound == self.announcement.source
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
            Utterance::Claim => 0,
            Utterance::Use => 1,
            Utterance::Advert { .. } => 2,
        }
    }
}

/// What a refused announcement's frame is dropped for.
pub fn reason(refused: &Refused) -> DropReason {
    match refused.what {
        Refusal::Advert => DropReason::VrrpSpoof,
        Refusal::Stranger | Refusal::Unsound | Refusal::Hidden => DropReason::GarpSpoof,
    }
}

/// What was found in a frame.
struct Finding {
    index: usize,
    verdict: Result<Said, Refused>,
}

/// A worker's part: it judges a burst's frames all at once, and is then asked about one after the other.
pub struct Sniffer {
    ears: Arc<Ears>,
    findings: ArrayVec<Finding, BURST>,
    /// The first finding that was not asked for.
    next: usize,
    /// Which virtual IPs the burst's frames name, and who speaks. It has room for all that a burst can name, so it never grows.
    said: Vec<(VipId, SpeakerId)>,
    /// When the burst came, by the node's clock.
    now_ns: u64,
}

impl Sniffer {
    /// For one worker.
    pub fn new(ears: Arc<Ears>) -> Self {
        let said = Vec::with_capacity(BURST * ADDRESSES);
        Self { ears, findings: ArrayVec::new(), next: 0, said, now_ns: 0 }
    }

    /// Judges what the frames of a burst announce. They ascend in their numbers, and come at `now_ns` by the node's clock.
    ///
    /// Nothing is noted yet: a frame that is dropped for another reason has announced nothing.
    pub fn read<'b>(&mut self, frames: impl Iterator<Item = Sniff<'b>>, now_ns: u64) {
        self.forget();
        self.now_ns = now_ns;
        let mut readings = ArrayVec::<Reading<'b>, BURST>::new();
        for sniff in frames.take(BURST) {
            if let Some(announcement) = announcement(sniff.inner) {
                announcement.addresses().for_each(|address| sniff.guard.prefetch(address));
                readings.push(Reading { sniff, announcement });
            }
        }
        for reading in &readings {
            reading.announcement.addresses().for_each(|address| reading.sniff.guard.prefetch_vip(address));
        }
        for reading in &readings {
            reading.vips().for_each(Vip::prefetch_speakers);
        }
        for reading in &readings {
            if let Some(verdict) = self.judge(reading) {
                self.findings.push(Finding { index: reading.sniff.index, verdict });
            }
        }
    }

    /// Forgets the last burst, where there is nothing to [`read`](Self::read).
    #[inline(always)]
    pub fn forget(&mut self) {
        self.findings.clear();
        self.next = 0;
        self.said.clear();
    }

    #[inline(always)]
    fn judge(&mut self, reading: &Reading) -> Option<Result<Said, Refused>> {
        let from = self.said.len();
        let mut what = None;
        for vip in reading.vips() {
            match reading.hear(vip) {
                Ok(Some((speaker, said))) => {
                    self.ears.heard.prefetch(vip.id, speaker);
                    self.said.push((vip.id, speaker));
                    what = Some(said);
                }
                Ok(None) => {}
                Err(what) => {
                    let (mac, tep) = (reading.announcement.source.0, reading.sniff.from);
                    let (claims, at_ns) = (reading.claims(), self.now_ns);
                    return Some(Err(Refused { vip: vip.id, mac, tep, what, claims, at_ns }));
                }
            }
        }
        what.map(|what| Ok(Said { what, from, to: self.said.len() }))
    }

    /// What the frame with this number says of virtual IPs, if anything; or what it must not say: then it is to be dropped for
    /// that [`reason`], and [reported](Self::report). To be asked in ascending order.
    #[inline(always)]
    pub fn finding(&mut self, index: usize) -> Option<Result<Said, Refused>> {
        while let Some(finding) = self.findings.get(self.next) {
            if finding.index >= index {
                return (finding.index == index).then_some(finding.verdict);
            }
            self.next += 1;
        }
        None
    }

    /// Notes what an accepted frame said.
    #[inline(always)]
    pub fn note(&self, said: Said) {
        for &(vip, speaker) in self.said.get(said.from..said.to).unwrap_or_default() {
            self.ears.heard.note(vip, speaker, said.what, self.now_ns);
        }
    }

    /// Tells the control side what was refused; false if too much waits for it already.
    pub fn report(&self, refused: Refused) -> bool {
        self.ears.refused.push(refused).is_ok()
    }
}
