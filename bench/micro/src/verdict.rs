//! Parse and verdict: from a received frame to its inner frame.

use std::hint::black_box;

use bench::{NODE, overlay_frame, tep};
use wire::{NodeAddresses, NodeAddressesError, Rejection};

/// Frames that differ in source, VNI and payload, and stay in the processor's second cache.
const FRAMES: u32 = 512;

/// Frames to judge, over and over.
pub struct Verdicts {
    node: NodeAddresses,
    frames: Vec<Vec<u8>>,
}

impl Verdicts {
    /// Broadcast frames with so many bytes of inner frame, all to be accepted.
    ///
    /// # Errors
    /// Never: the node's address is a good one.
    pub fn new(inner_len: u16) -> Result<Self, NodeAddressesError> {
        let frames = (0..FRAMES).map(|i| overlay_frame(tep(i), i + 1, inner_len, i.into())).collect();
        Ok(Self { node: NodeAddresses::new(&[NODE])?, frames })
    }

    /// How many frames are judged at a time.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Judges all frames: bytes of inner frame in all.
    ///
    /// # Errors
    /// A frame is not accepted.
    pub fn judge(&self) -> Result<usize, Rejection> {
        let mut bytes = 0;
        for frame in &self.frames {
            let frame = black_box(frame.as_slice());
            let outer = wire::outer(frame, &self.node)?;
            // Here a worker looks up `outer.source` and `outer.key`.
            black_box(&outer);
            bytes += outer.inner(frame)?.len();
        }
        Ok(bytes)
    }

    /// Judges the outer headers of all frames, which is all that a stranger's frame gets: frames.
    ///
    /// # Errors
    /// A frame is not accepted.
    pub fn judge_outer(&self) -> Result<usize, Rejection> {
        for frame in &self.frames {
            let outer = wire::outer(black_box(frame.as_slice()), &self.node)?;
            black_box(&outer);
        }
        Ok(self.frames.len())
    }
}
