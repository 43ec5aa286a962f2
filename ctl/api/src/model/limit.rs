//! Limits, from their messages and back. A limit without any rate of its own is no message at all.

use bcast_domain::{DomainLimit, Rate, RateError, TepLimit};

use crate::proto;

fn rate(per_second: Option<u64>) -> Result<Option<Rate>, RateError> {
    per_second.map(Rate::new).transpose()
}

pub(super) fn domain_limit(rates: Option<proto::DomainRates>) -> Result<DomainLimit, RateError> {
    let proto::DomainRates { copies, bits, control } = rates.unwrap_or_default();
    Ok(DomainLimit { copies: rate(copies)?, bits: rate(bits)?, control: rate(control)? })
}

pub(super) fn domain_rates(limit: DomainLimit) -> Option<proto::DomainRates> {
    let [copies, bits, control] =
        [limit.copies, limit.bits, limit.control].map(|rate| rate.map(Rate::per_second));
    (limit != DomainLimit::default()).then_some(proto::DomainRates { copies, bits, control })
}

pub(super) fn tep_limit(rates: Option<proto::TepRates>) -> Result<TepLimit, RateError> {
    Ok(TepLimit { frames: rate(rates.unwrap_or_default().frames)? })
}

pub(super) fn tep_rates(limit: TepLimit) -> Option<proto::TepRates> {
    limit.frames.map(|frames| proto::TepRates { frames: Some(frames.per_second()) })
}
