//! Damping: an address that moves too often is held still.

use std::collections::VecDeque;

use bcast_domain::AnnouncerId;

use crate::SECOND;

/// When a HAVIP freezes, and when it thaws by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damping {
    /// So many moves are carried out within [`flap_window_ns`](Self::flap_window_ns); one more freezes.
    pub flap_moves: u32,
    /// The window, nanoseconds.
    pub flap_window_ns: u64,
    /// It thaws when one announcer alone announced for so many nanoseconds.
    pub thaw_quiet_ns: u64,
    /// It thaws in any case after so many nanoseconds.
    pub thaw_after_ns: u64,
}

impl Default for Damping {
    /// 5 moves in 180 s; 30 s of one announcer; 540 s.
    fn default() -> Self {
        Self::of_seconds(5, 180, 30, 540)
    }
}

impl Damping {
    /// The same in seconds.
    #[must_use]
    pub fn of_seconds(flap_moves: u32, flap_window_s: u32, thaw_quiet_s: u32, thaw_after_s: u32) -> Self {
        let ns = |seconds: u32| u64::from(seconds) * SECOND;
        Self {
            flap_moves,
            flap_window_ns: ns(flap_window_s),
            thaw_quiet_ns: ns(thaw_quiet_s),
            thaw_after_ns: ns(thaw_after_s),
        }
    }
}

/// When it moved, within the window. Empty, and without memory, for an address that stays where it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moves(VecDeque<u64>);

impl Moves {
    /// Notes a move, unless it would be one too many.
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

    /// A new start.
    pub fn clear(&mut self) {
        self.0 = VecDeque::new();
    }
}

/// A HAVIP that is held still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ice {
    pub since_ns: u64,
    /// Who announced last, and since when nobody else did.
    pub announcer: Option<(AnnouncerId, u64)>,
}

impl Ice {
    /// Notes an announcement.
    pub fn announced(&mut self, announcer: AnnouncerId, at_ns: u64) {
        match self.announcer {
            Some((last, _)) if last == announcer => {}
            // One that came late is older than what is known.
            Some((_, since_ns)) if at_ns < since_ns => {}
            _ => self.announcer = Some((announcer, at_ns)),
        }
    }

    /// When it thaws unless somebody else announces.
    pub fn due_ns(&self, damping: &Damping) -> u64 {
        let after = self.since_ns.saturating_add(damping.thaw_after_ns);
        let quiet = self.announcer.map(|(_, since_ns)| since_ns.saturating_add(damping.thaw_quiet_ns));
        quiet.map_or(after, |quiet| quiet.min(after))
    }
}
