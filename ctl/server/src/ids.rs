//! Dense numbers that are given away, and again when nobody can use the old ones any more.

use std::collections::VecDeque;

use bcast_domain::{Epoch, Grace};

/// Numbers from 0 up to a bound.
#[derive(Debug)]
pub(crate) struct Ids {
    bound: usize,
    next: u32,
    /// The one that is free for longest comes first.
    free: VecDeque<u32>,
    /// Given back, but a worker may still go by them, and until when.
    leaving: VecDeque<(Epoch, u32)>,
}

impl Ids {
    pub fn new(bound: usize) -> Self {
        Self { bound, next: 0, free: VecDeque::new(), leaving: VecDeque::new() }
    }

    /// Count of taken numbers, those that were just given back included.
    pub fn taken(&self) -> usize {
        self.next as usize - self.free.len()
    }

    /// A number; `None` where all are taken, which staging has made sure of.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop_front() {
            return Some(id);
        }
        let id = self.next;
        ((id as usize) < self.bound).then(|| {
            self.next += 1;
            id
        })
    }

    /// From `epoch` on no worker goes by these numbers.
    pub fn let_go(&mut self, epoch: Epoch, ids: impl IntoIterator<Item = u32>) {
        self.leaving.extend(ids.into_iter().map(|id| (epoch, id)));
    }

    /// Frees the numbers that no worker goes by any more, after `clear` has seen each.
    pub fn reclaim(&mut self, grace: &Grace, mut clear: impl FnMut(u32)) {
        while let Some(&(epoch, id)) = self.leaving.front()
            && grace.passed(epoch)
        {
            self.leaving.pop_front();
            clear(id);
            self.free.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use bcast_domain::table;

    use super::*;

    #[test]
    fn a_number_is_given_again_only_when_every_reader_has_left_it_behind() {
        let (mut domains, _array, readers) = table(());
        let (mut reader, grace) = (readers.reader(), readers.grace());
        let mut ids = Ids::new(2);
        assert_eq!((ids.take(), ids.take(), ids.take(), ids.taken()), (Some(0), Some(1), None, 2));
        domains.set(1.into(), &[]).unwrap();
        ids.let_go(domains.epoch(), [1]);
        let mut cleared = Vec::new();
        ids.reclaim(&grace, |id| cleared.push(id));
        assert_eq!((ids.take(), ids.taken(), cleared.len()), (None, 2, 0), "the reader has not moved on");
        reader.quiesce();
        ids.reclaim(&grace, |id| cleared.push(id));
        assert_eq!((cleared, ids.taken(), ids.take()), (vec![1], 1, Some(1)));
    }
}
