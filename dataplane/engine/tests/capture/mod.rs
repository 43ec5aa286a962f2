//! Capture files, read and written by hand.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test uses its own part"
)]

use std::{fs, path::Path};

pub fn write(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let len = u32::try_from(frame.len()).unwrap();
        for word in [0, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    fs::write(path, file).unwrap();
}

pub fn read(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(file[at..][..4].try_into().unwrap()) as usize;
    let (mut frames, mut at) = (Vec::new(), 24);
    while at < file.len() {
        frames.push(file[at + 16..][..word(at + 8)].to_vec());
        at += 16 + word(at + 8);
    }
    frames
}
