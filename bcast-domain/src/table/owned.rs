//! A box that others may be reading: owned by one, shared by pointer, freed when nobody can read it any more.

use std::{marker::PhantomData, ptr::NonNull};

use super::sync::Life;

/// A value on the heap, with its life watched under loom.
pub(super) struct Shared<T> {
    life: Life,
    value: T,
}

impl<T> Shared<T> {
    /// The value behind a published pointer.
    ///
    /// # Safety
    /// `pointer` comes from [`Owned::publish`], was loaded with acquire ordering (or by the publisher itself),
    /// and is not freed during `'a`: that is what an online reader's section, or a borrow of the publisher, is for.
    #[inline(always)]
    pub(super) unsafe fn get<'a>(pointer: *const Self) -> &'a T {
        // SAFETY: the caller's promise; nobody ever makes a mutable reference to a published value.
        let shared = unsafe { &*pointer };
        shared.life.used();
        &shared.value
    }
}

/// Owner of a [`Shared`]: frees it when dropped. Not a `Box`: a box claims to be the only way to its contents,
/// and readers still use theirs while this waits in a queue.
pub(super) struct Owned<T> {
    pointer: NonNull<Shared<T>>,
    owns: PhantomData<Shared<T>>,
}

// SAFETY: needed since `NonNull` is not `Send`. An `Owned` is freed where it is dropped, which moves `T` there,
// hence `T: Send`; readers may still hold references meanwhile, hence `T: Sync`.
unsafe impl<T: Send + Sync> Send for Owned<T> {}

impl<T> Owned<T> {
    pub(super) fn new(value: T) -> Self {
        let shared = Box::new(Shared { life: Life::begin(), value });
        Self { pointer: NonNull::from(Box::leak(shared)), owns: PhantomData }
    }

    /// Gives the value away to a pointer that readers load. [`Owned::unlinked`] takes it back.
    pub(super) fn publish(self) -> *mut Shared<T> {
        let pointer = self.pointer.as_ptr();
        std::mem::forget(self);
        pointer
    }

    /// Takes back what was published.
    ///
    /// # Safety
    /// `pointer` comes from [`Owned::publish`], and is taken back once. Whoever drops the result must know that no
    /// reader can still be using it.
    pub(super) unsafe fn unlinked(pointer: *mut Shared<T>) -> Self {
        // SAFETY: a published pointer is never null.
        Self { pointer: unsafe { NonNull::new_unchecked(pointer) }, owns: PhantomData }
    }

    pub(super) fn get(&self) -> &T {
        // SAFETY: it lives as long as its owner, and is only ever read.
        unsafe { Shared::get(self.pointer.as_ptr()) }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `pointer` is from `Box::leak`, this is its one owner, and by the promise of `unlinked` no reader
        // is left. Under loom the memory stays, so that a use after the end is seen and not suffered.
        unsafe {
            self.pointer.as_ref().life.end();
            #[cfg(not(loom))]
            drop(Box::from_raw(self.pointer.as_ptr()));
        }
    }
}
