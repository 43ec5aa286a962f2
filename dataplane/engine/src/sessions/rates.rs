//! Rates at which a worker takes BFD packets: of each TEP, and of all.

use bcast_domain::TepIndex;
use bcast_domain::limits::MAX_TEPS;

/// Time between packets of one TEP, nanoseconds: ten a second, where it is told to send one.
const TEP_EVERY_NS: u64 = 100_000_000;
/// Packets of one TEP at once: some for each change of its session's state.
const TEP_AT_ONCE: u64 = 20;
/// Time between packets of all TEPs, nanoseconds: 50,000 a second.
const ALL_EVERY_NS: u64 = 20_000;
/// Packets of all TEPs at once.
const ALL_AT_ONCE: u64 = 5_000;

/// Token buckets as the times at which they are full (the generic cell rate algorithm, ITU-T I.371).
pub(super) struct PacketRates {
    /// By TEP.
    full_at_ns: Vec<u64>,
    all_full_at_ns: u64,
}

impl PacketRates {
    pub fn new() -> Self {
        Self { full_at_ns: vec![0; MAX_TEPS], all_full_at_ns: 0 }
    }

    /// Takes a token of the TEP's bucket and of that of all, or none of either.
    pub fn admits(&mut self, tep: TepIndex, now_ns: u64) -> bool {
        let Some(own) = self.full_at_ns.get_mut(tep.index()) else { return false };
        let after = |full_at_ns: u64, every_ns: u64, at_once: u64| {
            let next = full_at_ns.max(now_ns).saturating_add(every_ns);
            (next <= now_ns.saturating_add(every_ns * at_once)).then_some(next)
        };
        let tep = after(*own, TEP_EVERY_NS, TEP_AT_ONCE);
        let all = after(self.all_full_at_ns, ALL_EVERY_NS, ALL_AT_ONCE);
        let (Some(tep), Some(all)) = (tep, all) else { return false };
        (*own, self.all_full_at_ns) = (tep, all);
        true
    }
}
