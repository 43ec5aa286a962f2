//! Enums that are words in texts and numbers in messages.

use thiserror::Error;

use super::ModelError;

/// An enum of the contract: a word in JSON and in the log, a number in messages.
pub trait Word: Copy + 'static {
    /// All values, in their order.
    const ALL: &'static [Self];
    /// Name of the enum, for people.
    const NAME: &'static str;

    /// The word.
    fn as_str(self) -> &'static str;

    /// The number in messages.
    fn number(self) -> i32;

    /// The value of a number; `None` for 0, unspecified.
    ///
    /// # Errors
    ///
    /// [`ModelError::Number`]: a number that this version does not know.
    fn from_number(number: i32) -> Result<Option<Self>, ModelError> {
        if number == 0 {
            return Ok(None);
        }
        let found = Self::ALL.iter().find(|value| value.number() == number).copied();
        found.map(Some).ok_or(ModelError::Number { kind: Self::NAME, number })
    }
}

/// A word that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no {kind} that this version knows")]
pub struct WordError {
    /// The enum, for people.
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

macro_rules! words {
    (
        $(#[$doc:meta])*
        pub enum $name:ident($kind:literal) { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All values, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::model::Word for $name {
            const ALL: &'static [Self] = Self::ALL;
            const NAME: &'static str = $kind;

            fn as_str(self) -> &'static str {
                self.as_str()
            }

            fn number(self) -> i32 {
                match self {
                    $(Self::$variant => $crate::proto::$name::$variant.into(),)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::WordError;

            fn from_str(text: &str) -> Result<Self, $crate::model::WordError> {
                let found = Self::ALL.iter().find(|word| word.as_str() == text);
                found.copied().ok_or_else(|| $crate::model::WordError { kind: $kind, text: text.to_owned() })
            }
        }
    };
}
pub(super) use words;
