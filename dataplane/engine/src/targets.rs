//! Targets of a frame: its domain's members but for the TEP that the frame came from (split horizon).

use bcast_domain::TepIndex;

/// Some of a list's members in a row, without the source. A view: nothing is gathered.
#[derive(Clone, Copy)]
pub struct Targets<'m> {
    members: &'m [TepIndex],
    /// Position of the source among the members; beyond them: it is none of them.
    source: usize,
    /// First of the others, and the one after the last.
    from: usize,
    to: usize,
}

impl<'m> Targets<'m> {
    /// All members but the one at `source`.
    #[inline(always)]
    pub fn all(members: &'m [TepIndex], source: usize) -> Self {
        Self { members, source, from: 0, to: members.len() - usize::from(source < members.len()) }
    }

    /// Number of targets.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// True if there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.to == self.from
    }

    /// Target at `index`, which is below [`len`](Self::len).
    #[inline(always)]
    pub fn get(&self, index: usize) -> TepIndex {
        let index = self.from + index;
        self.members[index + usize::from(index >= self.source)]
    }

    /// Last target, which has the largest index.
    #[inline(always)]
    pub fn last(&self) -> Option<TepIndex> {
        (!self.is_empty()).then(|| self.get(self.len() - 1))
    }

    /// First `count` targets, or all, and the rest.
    #[inline(always)]
    pub fn split_at(self, count: usize) -> (Self, Self) {
        let at = self.from + count.min(self.len());
        (Self { to: at, ..self }, Self { from: at, ..self })
    }

    /// Targets one after another.
    pub fn iter(self) -> impl Iterator<Item = TepIndex> + 'm {
        (0..self.len()).map(move |index| self.get(index))
    }
}
