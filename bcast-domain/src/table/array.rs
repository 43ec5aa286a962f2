//! The array that member indices point into: one immutable value, replaced as a whole.

use std::sync::Arc;

use super::{
    owned::{Owned, Shared},
    qsbr::{Epoch, Epochs, Limbo},
    sync::{AtomicPtr, Mutex, Ordering, Site, lock, order},
};

/// Pointer to the current value, shared by publisher and readers.
pub(super) struct Array<A> {
    current: AtomicPtr<Shared<A>>,
    left_over: Mutex<Vec<Owned<A>>>,
}

impl<A> Array<A> {
    pub(super) fn new(array: A) -> Self {
        Self { current: AtomicPtr::new(Owned::new(array).publish()), left_over: Mutex::new(Vec::new()) }
    }

    /// The current value, for an online reader.
    ///
    /// # Safety
    /// The caller is online, and stays so during `'a`.
    #[inline(always)]
    pub(super) unsafe fn get<'a>(&self) -> &'a A {
        // SAFETY: published, and what is retired is freed only when this reader has reported a quiescent point.
        unsafe { Shared::get(self.current.load(order(Site::ArrayRead))) }
    }
}

impl<A> Drop for Array<A> {
    fn drop(&mut self) {
        // SAFETY: the publisher and all readers hold a reference count on this, so none is left. Taken back once.
        drop(unsafe { Owned::unlinked(self.current.load(Ordering::Relaxed)) });
    }
}

/// Replaces the array. There is one; it may move between threads, and need not be where the [`DomainPublisher`] is.
///
/// [`DomainPublisher`]: crate::DomainPublisher
pub struct ArrayPublisher<A> {
    array: Arc<Array<A>>,
    limbo: Limbo<Owned<A>>,
}

impl<A: Send + Sync + 'static> ArrayPublisher<A> {
    pub(super) fn new(array: Arc<Array<A>>, epochs: &Arc<Epochs>) -> Self {
        Self { array, limbo: Limbo::new(epochs) }
    }

    /// The array as it is published now.
    pub fn get(&self) -> &A {
        // SAFETY: this publisher alone replaces it, which takes `&mut self`, so it lives as long as this borrow.
        unsafe { Shared::get(self.array.current.load(Ordering::Relaxed)) }
    }

    /// Publishes another array. When [`Grace::passed`](crate::Grace::passed) says so of this epoch, no online reader
    /// uses the old one any more.
    pub fn replace(&mut self, array: A) -> Epoch {
        let old = self.array.current.load(Ordering::Relaxed);
        self.array.current.store(Owned::new(array).publish(), order(Site::ArrayPublish));
        // SAFETY: `old` was published and is it no more; taken back once, dropped by `Limbo` after the grace period,
        // or by `Array` after the last reader.
        self.limbo.retire(unsafe { Owned::unlinked(old) });
        self.limbo.stamp()
    }

    /// Frees the arrays that every online reader has left behind, without waiting for any. Returns how many.
    pub fn reclaim(&mut self) -> usize {
        self.limbo.reclaim(drop)
    }

    /// Number of arrays that wait to be freed.
    pub fn retired(&self) -> usize {
        self.limbo.len()
    }
}

impl<A> Drop for ArrayPublisher<A> {
    fn drop(&mut self) {
        self.limbo.reclaim(drop);
        lock(&self.array.left_over).extend(self.limbo.take_rest());
    }
}
