//! Timer parameters of one side, and the Poll Sequence that protects their changes (RFC 5880 sections 6.5, 6.8.3).

/// Least Desired Min TX Interval while a session is not Up, microseconds (RFC 5880 section 6.8.3).
pub(crate) const SLOW_US: u32 = 1_000_000;

/// Time from a Final to the next Poll Sequence, nanoseconds: longer than any round trip through a tunnel.
const SETTLE_NS: u64 = 1_000_000_000;

/// Progress of a Poll Sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    /// None runs; one may start.
    Idle,
    /// Packets carry P until one with F comes.
    Polling,
    /// The last Final came at this time, nanoseconds. The next sequence starts a second later, after a packet without
    /// F, so that a Final that is late cannot be taken for an answer to it (RFC 5880 section 6.8.3, second and third
    /// choice: two polls may be under way, and packets without F come between their answers).
    Settling(u64),
}

/// Pair of intervals: to send, and to be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Intervals {
    /// bfd.DesiredMinTxInterval, microseconds.
    pub tx_us: u32,
    /// bfd.RequiredMinRxInterval, microseconds.
    pub rx_us: u32,
}

/// Intervals as configured, as announced and as used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    wanted: Intervals,
    /// What packets carry.
    pub announced: Intervals,
    /// What this side's timers go by.
    pub used: Intervals,
    poll: Poll,
}

impl Timing {
    /// Timing of a session that is not Up.
    pub const fn new(wanted: Intervals) -> Self {
        let slow = slow(wanted);
        Self { wanted, announced: slow, used: slow, poll: Poll::Idle }
    }

    /// True while packets carry P.
    pub fn polling(&self) -> bool {
        self.poll == Poll::Polling
    }

    /// Sets what is wanted; [`Timing::update`] then brings it into force.
    pub const fn want(&mut self, wanted: Intervals) {
        self.wanted = wanted;
    }

    /// Announces what is wanted in this state. True if packets change by it.
    ///
    /// In Up a Poll Sequence tells the peer: a longer interval to send is used, and a shorter one to be sent to
    /// counts, only after its end; so nobody's Detection Time is too short in between. In other states all changes
    /// are in force at once: no session can be lost, and each packet tells them.
    pub fn update(&mut self, up: bool) -> bool {
        let next = if up { self.wanted } else { slow(self.wanted) };
        if !up {
            self.poll = Poll::Idle;
            let changed = self.announced != next;
            (self.announced, self.used) = (next, next);
            return changed;
        }
        if self.announced == next || self.poll != Poll::Idle {
            return false;
        }
        self.poll = Poll::Polling;
        self.announced = next;
        self.used.tx_us = self.used.tx_us.min(next.tx_us);
        self.used.rx_us = self.used.rx_us.max(next.rx_us);
        true
    }

    /// A received packet ends a Poll Sequence (F), or the wait after one (no F).
    pub fn heard(&mut self, is_final: bool, now_ns: u64) {
        match self.poll {
            Poll::Polling if is_final => {
                self.poll = Poll::Settling(now_ns);
                self.used = self.announced;
            }
            Poll::Settling(_) if is_final => self.poll = Poll::Settling(now_ns),
            Poll::Settling(since_ns) if now_ns >= since_ns.saturating_add(SETTLE_NS) => {
                self.poll = Poll::Idle
            }
            Poll::Idle | Poll::Polling | Poll::Settling(_) => {}
        }
    }
}

/// Intervals while a session is not Up.
const fn slow(wanted: Intervals) -> Intervals {
    let tx_us = if wanted.tx_us < SLOW_US { SLOW_US } else { wanted.tx_us };
    Intervals { tx_us, rx_us: wanted.rx_us }
}

/// Nanoseconds until the next packet: the interval less up to 25 % (RFC 5880 section 6.8.7); with a multiplier of 1
/// it is 75 to 90 % of the interval. `seed` decides, so that the same seed gives the same time.
pub(crate) fn jittered_ns(interval_us: u32, detect_mult: u8, seed: u64) -> u64 {
    let interval_ns = u64::from(interval_us) * 1_000;
    let span = interval_ns / 100 * if detect_mult == 1 { 15 } else { 25 };
    // The upper half of the mixed bits, as a fraction of 2^32. `span` is at most 2^40, so its product may need more
    // than 64 bits: the span goes in units of 1,024 ns, which is exact enough and never too long.
    let fraction = mix(seed) >> 32;
    let ns = (((span >> 10) * fraction) >> 32) << 10;
    interval_ns / 100 * 75 + ns
}

/// Finalizer of the generator SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::jittered_ns;

    #[test]
    fn an_interval_is_75_to_100_percent_and_75_to_90_at_multiplier_1() {
        for (detect_mult, most) in [(1, 90), (2, 100), (3, 100), (255, 100)] {
            for interval_us in [1, 7, 50_000, 1_000_000, u32::MAX] {
                let ns = u64::from(interval_us) * 1_000;
                let times: Vec<u64> =
                    (0..4_000).map(|seed| jittered_ns(interval_us, detect_mult, seed)).collect();
                let (least, longest) = (times.iter().min().unwrap(), times.iter().max().unwrap());
                assert!(
                    *least >= ns / 100 * 75 && *longest <= ns / 100 * most,
                    "{interval_us}: {least} to {longest}"
                );
                if interval_us >= 50_000 {
                    let percent = ns / 100;
                    assert!(
                        *least < percent * 76 && *longest > percent * (most - 1),
                        "all of the range is used"
                    );
                }
            }
        }
    }
}
