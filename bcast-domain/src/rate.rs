//! Rates, and the limits that an operator sets for one domain or one tunnel endpoint.

use std::{fmt, num::NonZeroU64, str::FromStr};

/// So many a second.
///
/// # Legal values
/// 1 to [`Rate::MAX`]. There is no rate of zero: whoever shall send nothing is removed. Text is decimal, with an optional
/// suffix `k`, `M`, `G` or `T` for thousands, millions, and so on: `250k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// A million million a second, which is beyond what any node can do.
    pub const MAX: u64 = 1_000_000_000_000;
    /// No limit.
    pub const UNLIMITED: Self = match NonZeroU64::new(Self::MAX) {
        Some(rate) => Self(rate),
        None => Self(NonZeroU64::MIN),
    };

    /// So many a second.
    ///
    /// # Errors
    /// Zero, or over [`Rate::MAX`].
    pub const fn new(per_second: u64) -> Result<Self, RateError> {
        match NonZeroU64::new(per_second) {
            Some(rate) if per_second <= Self::MAX => Ok(Self(rate)),
            _ => Err(RateError::Range(per_second)),
        }
    }

    /// Number a second.
    #[inline]
    pub const fn per_second(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u64> for Rate {
    type Error = RateError;

    fn try_from(per_second: u64) -> Result<Self, RateError> {
        Self::new(per_second)
    }
}

impl From<Rate> for u64 {
    fn from(rate: Rate) -> Self {
        rate.per_second()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let not_a_rate = || RateError::NotARate(text.to_owned());
        let (digits, factor) = match text.as_bytes() {
            [.., b'k'] => (&text[..text.len() - 1], 1_000),
            [.., b'M'] => (&text[..text.len() - 1], 1_000_000),
            [.., b'G'] => (&text[..text.len() - 1], 1_000_000_000),
            [.., b'T'] => (&text[..text.len() - 1], 1_000_000_000_000),
            _ => (text, 1),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(not_a_rate());
        }
        let number = digits.parse().unwrap_or(u64::MAX).saturating_mul(factor);
        Self::new(number)
    }
}

/// Error of a value that is not a legal [`Rate`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Zero, or too much.
    #[error("a rate of {0} a second is out of range: 1 to {max}", max = Rate::MAX)]
    Range(u64),
    /// Not a number.
    #[error("{0:?} is not a rate: write a whole number a second, as in 250000 or 250k")]
    NotARate(String),
}

/// Limits of a domain; `None`: the node's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DomainLimit {
    /// Copies a second.
    pub copies: Option<Rate>,
    /// Bits a second: those of the inner frames in all copies.
    pub bits: Option<Rate>,
    /// Copies a second of ARP, neighbour advertisements and VRRP, which have a bucket of their own.
    pub control: Option<Rate>,
}

/// Limits of a TEP; `None`: the node's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TepLimit {
    /// Frames a second.
    pub frames: Option<Rate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_whole_number_with_an_optional_suffix() {
        let table = [
            ("1", Ok(1)),
            ("250k", Ok(250_000)),
            ("3M", Ok(3_000_000)),
            ("10G", Ok(10_000_000_000)),
            ("1T", Ok(Rate::MAX)),
            ("0", Err(RateError::Range(0))),
            ("0k", Err(RateError::Range(0))),
            ("2T", Err(RateError::Range(2 * Rate::MAX))),
            ("99999999999999999999999", Err(RateError::Range(u64::MAX))),
            ("", Err(RateError::NotARate(String::new()))),
            ("k", Err(RateError::NotARate("k".into()))),
            ("+1", Err(RateError::NotARate("+1".into()))),
            ("1.5M", Err(RateError::NotARate("1.5M".into()))),
            ("1K", Err(RateError::NotARate("1K".into()))),
            ("1µ", Err(RateError::NotARate("1µ".into()))),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Rate>().map(Rate::per_second), expected, "{text:?}");
        }
    }
}
