//! Limits of moves: a HAVIP that moves too often is frozen; one whose holder is silent may be taken over.

use std::collections::VecDeque;

use bcast_domain::AnnouncerId;

use crate::SECOND;

/// Limits for freezing and thawing, and for taking over from a silent holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damping {
    /// Moves allowed within [`flap_window_ns`](Self::flap_window_ns); the next one freezes.
    pub flap_moves: u32,
    /// Window of `flap_moves`, nanoseconds.
    pub flap_window_ns: u64,
    /// Time after which it thaws if only one announcer announced, nanoseconds.
    pub thaw_quiet_ns: u64,
    /// Time after which it thaws in any case, nanoseconds.
    pub thaw_after_ns: u64,
    /// Time for which a master must be alone so that a freeze ends early, at least, nanoseconds.
    pub settle_ns: u64,
    /// Silence of a holder after which another that uses or advertises the address becomes the holder, nanoseconds.
    pub takeover_quiet_ns: u64,
}

impl Default for Damping {
    /// 5 moves in 180 s; thaw after 30 s of a single announcer, or after 540 s; takeover after 3 s of silence.
    fn default() -> Self {
        Self::of_seconds(5, 180, 30, 540, 3)
    }
}

impl Damping {
    /// Limits from values in seconds.
    #[must_use]
    pub fn of_seconds(
        flap_moves: u32,
        flap_window_s: u32,
        thaw_quiet_s: u32,
        thaw_after_s: u32,
        takeover_quiet_s: u32,
    ) -> Self {
        let ns = |seconds: u32| u64::from(seconds) * SECOND;
        Self {
            flap_moves,
            flap_window_ns: ns(flap_window_s),
            thaw_quiet_ns: ns(thaw_quiet_s),
            thaw_after_ns: ns(thaw_after_s),
            settle_ns: SECOND,
            takeover_quiet_ns: ns(takeover_quiet_s),
        }
    }
}

/// Times of the moves within the window. Empty, and without allocation, for an address that does not move.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moves(VecDeque<u64>);

impl Moves {
    /// Records a move; false if it is one too many.
    pub fn allow(&mut self, now_ns: u64, damping: &Damping) -> bool {
        while self.0.front().is_some_and(|&at| now_ns.saturating_sub(at) >= damping.flap_window_ns) {
            self.0.pop_front();
        }
        let allowed = u32::try_from(self.0.len()).is_ok_and(|moves| moves < damping.flap_moves);
        if allowed {
            self.0.push_back(now_ns);
        }
        allowed
    }

    /// Records a move that is made whatever the others: that of an early thaw.
    pub fn record(&mut self, now_ns: u64) {
        self.0.push_back(now_ns);
    }

    /// Forgets all moves.
    pub fn clear(&mut self) {
        self.0 = VecDeque::new();
    }
}

/// Freezes that ended early, as the election had settled.
///
/// An early thaw forgets no move: while as many moves are within the window as may be, the next one freezes at once. And each early thaw
/// doubles the time that the next one takes, until it takes as long as any other thaw. So an address that goes on flapping
/// moves ever more seldom, and one whose election has settled does not wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EarlyThaws {
    /// Number of early thaws without a window between two of them.
    count: u32,
    last_ns: u64,
}

impl EarlyThaws {
    /// Records an early thaw.
    pub fn record(&mut self, now_ns: u64, damping: &Damping) {
        *self = Self { count: self.counted(now_ns, damping).saturating_add(1), last_ns: now_ns };
    }

    /// Time for which the only announcer must have been so, which is `settle_ns` the first time. `None`: not before any other thaw.
    pub fn wait_ns(&self, settle_ns: u64, since_ns: u64, damping: &Damping) -> Option<u64> {
        let doublings = self.counted(since_ns, damping);
        let wait_ns = 1_u64.checked_shl(doublings).and_then(|times| settle_ns.checked_mul(times))?;
        (wait_ns < damping.thaw_quiet_ns).then_some(wait_ns)
    }

    fn counted(&self, now_ns: u64, damping: &Damping) -> u32 {
        let is_over = now_ns.saturating_sub(self.last_ns) >= damping.flap_window_ns;
        if is_over { 0 } else { self.count }
    }
}

/// State of a frozen HAVIP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freeze {
    pub since_ns: u64,
    /// Latest announcer, and the time since which it is the only one.
    pub announcer: Option<(AnnouncerId, u64)>,
}

impl Freeze {
    /// Records an announcement. `is_same` is true for an announcer of the same instance, which only moves.
    pub fn announced(&mut self, announcer: AnnouncerId, at_ns: u64, is_same: impl Fn(AnnouncerId) -> bool) {
        match self.announcer {
            Some((last, since_ns)) if is_same(last) => self.announcer = Some((announcer, since_ns)),
            // An announcement that arrives late is older than the recorded one.
            Some((_, since_ns)) if at_ns < since_ns => {}
            _ => self.announcer = Some((announcer, at_ns)),
        }
    }

    /// Time at which it thaws in any case.
    pub fn after_ns(&self, damping: &Damping) -> u64 {
        self.since_ns.saturating_add(damping.thaw_after_ns)
    }

    /// Time at which it thaws, unless another announcer appears.
    pub fn due_ns(&self, damping: &Damping) -> u64 {
        let after = self.after_ns(damping);
        let quiet = self.announcer.map(|(_, since_ns)| since_ns.saturating_add(damping.thaw_quiet_ns));
        quiet.map_or(after, |quiet| quiet.min(after))
    }
}
