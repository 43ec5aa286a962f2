//! Values of an apply file, each read by its type's own rules.

use std::fmt;
use std::str::FromStr;

use bcast_domain::{DomainLimit, Rate, TepLimit, Vni};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// Reads text by the type's own rules.
pub(super) fn text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Text<T>(std::marker::PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(std::marker::PhantomData))
}

/// Reads text by the type's own rules; null is none.
pub(super) fn optional_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Wrapped<T>(T);
    impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Wrapped<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            text(deserializer).map(Wrapped)
        }
    }
    Ok(Option::<Wrapped<T>>::deserialize(deserializer)?.map(|Wrapped(value)| value))
}

/// Reads a domain's rates; null is none.
pub(super) fn domain_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DomainLimit, D::Error> {
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Rates {
        #[serde(deserialize_with = "rate")]
        copies: Option<Rate>,
        #[serde(deserialize_with = "rate")]
        bits: Option<Rate>,
        #[serde(deserialize_with = "rate")]
        control: Option<Rate>,
    }
    let Rates { copies, bits, control } = Option::deserialize(deserializer)?.unwrap_or_default();
    Ok(DomainLimit { copies, bits, control })
}

/// Reads a TEP's rate; null is none.
pub(super) fn tep_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TepLimit, D::Error> {
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Rates {
        #[serde(deserialize_with = "rate")]
        frames: Option<Rate>,
    }
    let Rates { frames } = Option::deserialize(deserializer)?.unwrap_or_default();
    Ok(TepLimit { frames })
}

/// Reads a rate: a number, or text such as 250k; null is none.
fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    struct RateVisitor;
    impl Visitor<'_> for RateVisitor {
        type Value = Option<Rate>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a rate a second: a whole number such as 250000, or 250k")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<Rate>, E> {
            Rate::new(number).map(Some).map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<Rate>, E> {
            let positive = u64::try_from(number);
            positive
                .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
                .and_then(|number| self.visit_u64(number))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<Rate>, E> {
            text.parse().map(Some).map_err(E::custom)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Option<Rate>, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(RateVisitor)
}

/// Reads a VNI: a number, or text such as "0x1389" (JSON knows no hexadecimal numbers).
pub(super) fn vni<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vni, D::Error> {
    struct VniVisitor;
    impl Visitor<'_> for VniVisitor {
        type Value = Vni;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a VNI: a number from 0 to 4294967295 such as 5001, or 0x1389")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Vni, E> {
            let small = u32::try_from(number);
            small.map(Vni::from).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vni, E> {
            let positive = u64::try_from(number);
            positive
                .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
                .and_then(|number| self.visit_u64(number))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vni, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(VniVisitor)
}
