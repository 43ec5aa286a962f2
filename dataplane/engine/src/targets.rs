//! Who gets a copy: a domain's members but for the one that the frame came from (split horizon).

use bcast_domain::TepIndex;

/// Some of a list's members in a row, without the source. A view: nothing is gathered.
#[derive(Clone, Copy)]
pub struct Targets<'m> {
    members: &'m [TepIndex],
    /// Where the source stands among the members; beyond them: it is none of them.
    source: usize,
    /// Which of the others these are.
    from: usize,
    to: usize,
}

impl<'m> Targets<'m> {
    /// All members but the one at `source`.
    #[inline(always)]
    pub fn all(members: &'m [TepIndex], source: usize) -> Self {
        Self { members, source, from: 0, to: members.len() - usize::from(source < members.len()) }
    }

    /// How many they are.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.to == self.from
    }

    /// The one at `index`, which is below [`len`](Self::len).
    #[inline(always)]
    pub fn get(&self, index: usize) -> TepIndex {
        let index = self.from + index;
        self.members[index + usize::from(index >= self.source)]
    }

    /// The last one, which has the largest index.
    #[inline(always)]
    pub fn last(&self) -> Option<TepIndex> {
        (!self.is_empty()).then(|| self.get(self.len() - 1))
    }

    /// The first `count`, or all, and the rest.
    #[inline(always)]
    pub fn split_at(self, count: usize) -> (Self, Self) {
        let at = self.from + count.min(self.len());
        (Self { to: at, ..self }, Self { from: at, ..self })
    }

    /// One after another.
    pub fn iter(self) -> impl Iterator<Item = TepIndex> + 'm {
        (0..self.len()).map(move |index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_left_out_wherever_it_stands_and_however_the_rest_is_split() {
        let members: Vec<_> = (10..15_u16).map(TepIndex::from).collect();
        for source in 0..=5 {
            let expected: Vec<_> =
                members.iter().enumerate().filter(|&(at, _)| at != source).map(|(_, &m)| m).collect();
            let all = Targets::all(&members, source);
            assert_eq!(all.iter().collect::<Vec<_>>(), expected);
            assert_eq!(all.last(), expected.last().copied());
            for count in 0..7 {
                let (first, rest) = all.split_at(count);
                assert_eq!(
                    (first.len(), rest.is_empty()),
                    (count.min(expected.len()), count >= expected.len())
                );
                assert_eq!(first.iter().chain(rest.iter()).collect::<Vec<_>>(), expected, "{source} {count}");
                let (second, rest) = rest.split_at(1);
                let parts = [first, second, rest].map(|part| part.iter().collect::<Vec<_>>());
                assert_eq!(parts.concat(), expected, "{source} {count}");
            }
        }
        assert!(Targets::all(&members[..1], 0).is_empty());
        assert_eq!(Targets::all(&members[..1], 0).last(), None);
    }
}
