//! Reasons of changes, as people give them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Reason of a change: a free text for the log.
///
/// # Legal values
///
/// 1 to 256 bytes of UTF-8 without control characters. Displayed in quotes, with all that is not printable escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(Box<str>);

/// Why a text is not a [`Reason`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum ReasonError {
    /// No text at all.
    #[error("a reason is empty; give a text of 1 to {max} bytes, or leave it out", max = Reason::MAX)]
    Empty,
    /// Too many bytes.
    #[error("a reason has {bytes} bytes; at most {max}", max = Reason::MAX)]
    TooLong { bytes: usize },
    /// A line break, an escape character, or another one that is not text.
    #[error("a reason has the control character {character:?}; give one line of plain text")]
    Control { character: char },
    /// Bytes that are no text.
    #[error(
        "a reason is not UTF-8; send the text's UTF-8 bytes in base64, as gRPC metadata with -bin has it"
    )]
    Encoding,
}

impl Reason {
    /// Most bytes.
    pub const MAX: usize = 256;

    /// Text of the reason.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses bytes from a peer.
    ///
    /// # Errors
    ///
    /// They are no UTF-8, or no reason.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReasonError> {
        match std::str::from_utf8(bytes) {
            _ if bytes.len() > Self::MAX => Err(ReasonError::TooLong { bytes: bytes.len() }),
            Ok(text) => text.parse(),
            Err(_) => Err(ReasonError::Encoding),
        }
    }
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        if text.trim().is_empty() {
            return Err(ReasonError::Empty);
        }
        if text.len() > Self::MAX {
            return Err(ReasonError::TooLong { bytes: text.len() });
        }
        match text.chars().find(|character| character.is_control()) {
            Some(character) => Err(ReasonError::Control { character }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_bounded_text_and_is_shown_with_nothing_that_a_terminal_obeys() {
        for (text, error) in [
            ("", ReasonError::Empty),
            ("  ", ReasonError::Empty),
            ("a\nb", ReasonError::Control { character: '\n' }),
            ("\u{1b}[2J", ReasonError::Control { character: '\u{1b}' }),
            ("\u{9b}2J", ReasonError::Control { character: '\u{9b}' }),
            (&"x".repeat(257), ReasonError::TooLong { bytes: 257 }),
        ] {
            assert_eq!(text.parse::<Reason>(), Err(error.clone()), "{text:?}");
            assert_eq!(Reason::from_bytes(text.as_bytes()), Err(error), "{text:?}");
        }
        assert_eq!(Reason::from_bytes(&[0xff]), Err(ReasonError::Encoding));
        assert_eq!(Reason::from_bytes(&"\u{e4}".repeat(128).into_bytes()).unwrap().as_str().len(), 256);
        let shown = "move \"a\" to rack 7 \u{202e}".parse::<Reason>().unwrap().to_string();
        assert_eq!(shown, r#""move \"a\" to rack 7 \u{202e}""#);
    }
}
