//! A global allocator that counts what is live.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

static BLOCKS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Allocated memory: blocks, and the bytes that they take of the heap, the allocator's own included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    pub blocks: usize,
    pub bytes: usize,
}

pub fn live() -> Live {
    Live { blocks: BLOCKS.load(Relaxed), bytes: BYTES.load(Relaxed) }
}

/// The most bytes that were live at a time.
#[allow(dead_code, reason = "not every test that counts asks for it")]
pub fn peak_bytes() -> usize {
    PEAK.load(Relaxed)
}

/// Bytes that glibc takes for a request: 8 bytes of its own, in steps of 16, at least 32; above 128 KiB whole pages.
fn taken(size: usize) -> usize {
    if size < 128 * 1024 {
        (size + 8).next_multiple_of(16).max(32)
    } else {
        (size + 16).next_multiple_of(4096)
    }
}

pub struct Counting;

impl Counting {
    fn add(size: usize) {
        BLOCKS.fetch_add(1, Relaxed);
        let bytes = BYTES.fetch_add(taken(size), Relaxed) + taken(size);
        PEAK.fetch_max(bytes, Relaxed);
    }

    fn subtract(size: usize) {
        BLOCKS.fetch_sub(1, Relaxed);
        BYTES.fetch_sub(taken(size), Relaxed);
    }
}

// SAFETY: needed since an allocator is unsafe by nature. Each call is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::add(size);
        Self::subtract(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::subtract(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(block, layout) }
    }
}
