//! The Internet checksum (RFC 1071).
//!
//! Sums are kept in the byte order of the bytes they were read from. One's complement addition does not care
//! which of a word's bytes is called the high one (RFC 1071 section 2(B)), so nothing is swapped until a
//! checksum is shown to people, and on the fast path never.

/// The one's complement sum of `bytes`, folded to 16 bits, in wire byte order: `sum(..).to_ne_bytes()` is how
/// it stands in a packet. An odd last byte counts as if a zero followed it.
#[must_use]
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    let (words, tail) = bytes.as_chunks::<4>();
    // 2^32 words, 16 GiB, fit a u64 without a carry; what is summed here is a packet.
    let mut total: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    total += u64::from(u32::from_ne_bytes(last));
    fold(total)
}

/// Adds two folded sums. The carry comes back in at the bottom, so the result is folded as well.
#[must_use]
#[inline(always)]
pub const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    // Cannot overflow: with a carry, `sum` is at most 0xfffe.
    sum.wrapping_add(carry as u16)
}

/// Sum of what a pseudo-header has besides the addresses: the protocol, and the message's length in bytes (RFC 9293 section
/// 3.1, RFC 8200 section 8.1; both sum alike). Messages are at most as long as an IP packet.
#[must_use]
#[inline]
pub fn pseudo_header(protocol: u8, message_len: usize) -> u16 {
    let [.., high, low] = message_len.to_be_bytes();
    add(u16::from_ne_bytes([high, low]), u16::from_ne_bytes([0, protocol]))
}

/// Adds the four halves of two words of a packet.
#[must_use]
#[inline(always)]
pub const fn add_words(a: u32, b: u32) -> u16 {
    fold(a as u64 + b as u64)
}

/// True if an IPv4 header without options is intact: [`verifies`], in a few instructions.
#[must_use]
#[inline(always)]
pub fn verifies_header(header: &[u8; 20]) -> bool {
    let word = |at: usize| {
        u64::from(u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]))
    };
    let total = word(0) + word(4) + word(8) + word(12) + word(16);
    // To 18 bits, then to 16 and at most three more: both multiples of 65,535 that can come become the first.
    let total = (total & 0xffff) + (total >> 16 & 0xffff) + (total >> 32);
    (total & 0xffff) + (total >> 16) == 0xffff
}

/// True if bytes that contain their own checksum are intact (RFC 1071 section 1).
#[must_use]
#[inline]
pub fn verifies(bytes: &[u8]) -> bool {
    sum(bytes) == 0xffff
}

/// Folds 64 bits to 33, 32, 17, 16. The one's complement value is the number modulo 65,535, and each step
/// keeps it.
#[inline]
const fn fold(total: u64) -> u16 {
    let total = (total & 0xffff_ffff) + (total >> 32);
    let total = (total & 0xffff_ffff) + (total >> 32);
    let total = (total & 0xffff) + (total >> 16);
    let [a, b, ..] = ((total & 0xffff) + (total >> 16)).to_le_bytes();
    u16::from_le_bytes([a, b])
}
