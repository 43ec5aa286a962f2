//! Cache lines, in the widest vectors that the processor has.

use std::{mem, ptr};

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// A cache line as the vectors that are stored one by one: the wider they are, the fewer stores a copy takes, and stores are
/// what it is made of. Plain arrays of bytes would be copied by whatever means the compiler likes.
///
/// # Safety
/// [`LINE`] bytes without padding, of which any may have any value, aligned to [`LINE`] at most.
pub unsafe trait Vectors: Copy {
    /// The line of these words.
    #[inline(always)]
    fn of(words: &[u64; 8]) -> Self {
        // SAFETY: as long, and any bytes will do.
        unsafe { ptr::from_ref(words).cast::<Self>().read_unaligned() }
    }

    /// So much of the bytes as a line holds, and zeros. Not by way of memory where that can be: a vector is not read soon from
    /// what was just written in smaller pieces, but waits until all of it, and all before it, is in the cache.
    #[inline(always)]
    fn of_bytes(bytes: &[u8]) -> Self {
        let mut line = [0; LINE];
        let len = bytes.len().min(LINE);
        line[..len].copy_from_slice(&bytes[..len]);
        // SAFETY: as long, and any bytes will do.
        unsafe { line.as_ptr().cast::<Self>().read_unaligned() }
    }

    /// The line whose second half is these words, and its first zero.
    fn of_half(words: &[u64; 4]) -> Self;

    /// The bits of both.
    fn or(self, other: Self) -> Self;
}

/// Words of a line that all copies have in common: `[u64; 4]` or `[u64; 8]`. Sealed: `Vectors` cannot be named outside.
pub trait Common {
    /// The line with these words, and zeroes elsewhere.
    fn line<V: Vectors>(&self) -> V;
}

impl Common for [u64; 4] {
    #[inline(always)]
    fn line<V: Vectors>(&self) -> V {
        V::of_half(self)
    }
}

impl Common for [u64; 8] {
    #[inline(always)]
    fn line<V: Vectors>(&self) -> V {
        V::of(self)
    }
}

// SAFETY: four vectors of 16 bytes.
unsafe impl Vectors for [Vector; 4] {
    #[inline(always)]
    fn of_half(&[a, b, c, d]: &[u64; 4]) -> Self {
        Self::of(&[0, 0, 0, 0, a, b, c, d])
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: words are bytes, and the other way round.
        let [a, b] = [self, other].map(|line| unsafe { mem::transmute::<Self, [u64; 8]>(line) });
        Self::of(&std::array::from_fn(|word| a[word] | b[word]))
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{Vectors, ptr};
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_or_si256, _mm256_setzero_si256, _mm512_inserti64x4, _mm512_maskz_loadu_epi8,
        _mm512_or_si512, _mm512_setzero_si512,
    };

    // SAFETY: two vectors of 32 bytes.
    unsafe impl Vectors for [__m256i; 2] {
        #[inline(always)]
        fn of_half(words: &[u64; 4]) -> Self {
            // SAFETY: as long as the words; only used where the processor has AVX2.
            unsafe { [_mm256_setzero_si256(), ptr::from_ref(words).cast::<__m256i>().read_unaligned()] }
        }

        #[inline(always)]
        fn or(self, [c, d]: Self) -> Self {
            let [a, b] = self;
            // SAFETY: only used where the processor has AVX2.
            unsafe { [_mm256_or_si256(a, c), _mm256_or_si256(b, d)] }
        }
    }

    // SAFETY: one vector of 64 bytes.
    unsafe impl Vectors for [__m512i; 1] {
        #[inline(always)]
        fn of_bytes(bytes: &[u8]) -> Self {
            let len = u32::try_from(bytes.len()).unwrap_or(64).min(64);
            let mask = u64::MAX.checked_shr(64 - len).unwrap_or(0);
            // SAFETY: reads the bytes of the mask only; only used where the processor has AVX-512.
            unsafe { [_mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast())] }
        }

        #[inline(always)]
        fn of_half(words: &[u64; 4]) -> Self {
            // SAFETY: as long as the words; only used where the processor has AVX-512.
            unsafe {
                let half = ptr::from_ref(words).cast::<__m256i>().read_unaligned();
                [_mm512_inserti64x4::<1>(_mm512_setzero_si512(), half)]
            }
        }

        #[inline(always)]
        fn or(self, [b]: Self) -> Self {
            let [a] = self;
            // SAFETY: only used where the processor has AVX-512.
            unsafe { [_mm512_or_si512(a, b)] }
        }
    }
}

/// 16 bytes that are stored at once, and to an address that they divide. Plain structs would be taken apart
/// by the compiler into a store for each field.
#[cfg(target_arch = "x86_64")]
pub(crate) type Vector = std::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Vector = u128;

/// True if the processor has what vectors of 64 bytes need.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn has_512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_are_their_bytes<V: Vectors>() {
        let bytes: Vec<u8> = (1..=70).collect();
        let words = |line: V| {
            // SAFETY: as long, and any bytes will do.
            unsafe { ptr::from_ref(&line).cast::<[u8; LINE]>().read_unaligned() }
        };
        for len in [0, 1, 14, 60, 63, 64, 65, 70] {
            let mut expected = [0; LINE];
            expected[..len.min(LINE)].copy_from_slice(&bytes[..len.min(LINE)]);
            assert_eq!(words(V::of_bytes(&bytes[..len])), expected, "{len} bytes");
        }
        let (all, half) = ([1, 2, 3, 4, 5, 6, 7, 1 << 63], [16, 32, 64, 1]);
        assert_eq!(words(V::of(&all)), words(V::of_bytes(all.map(u64::to_ne_bytes).as_flattened())));
        assert_eq!(words(V::of_half(&half)), words(V::of(&[0, 0, 0, 0, 16, 32, 64, 1])));
        let both = V::of(&all).or(V::of_half(&half));
        assert_eq!(words(both), words(V::of(&[1, 2, 3, 4, 21, 38, 71, 1 << 63 | 1])));
    }

    #[test]
    fn lines_are_the_same_in_vectors_of_all_widths() {
        lines_are_their_bytes::<[Vector; 4]>();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            lines_are_their_bytes::<[std::arch::x86_64::__m256i; 2]>();
        }
        #[cfg(target_arch = "x86_64")]
        if has_512() {
            lines_are_their_bytes::<[std::arch::x86_64::__m512i; 1]>();
        }
    }
}
