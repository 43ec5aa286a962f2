//! The changes that are about HAVIPs, from their messages.

use super::super::convert::{garp, ip, next_hop, vrids};
use super::super::{HavipError, MAX_ATTACHMENT_TEPS, MAX_REFRESH_S, unicast};
use super::{Change, ChangeError, HavipMessageError, Name};
use crate::proto;

impl From<HavipError> for ChangeError {
    fn from(error: HavipError) -> Self {
        Self::Havip(error.into())
    }
}

impl TryFrom<proto::TepNextHop> for Change {
    type Error = ChangeError;

    fn try_from(message: proto::TepNextHop) -> Result<Self, ChangeError> {
        Ok(Self::TepNextHop {
            tep: message.tep.ok_or(ChangeError::NoTep)?.text.parse()?,
            next_hop: next_hop(&message.next_hop.unwrap_or_default(), "IPv4")?,
            next_hop6: next_hop(&message.next_hop6.unwrap_or_default(), "IPv6")?,
            reset: message.reset,
        })
    }
}

impl TryFrom<proto::DomainGarp> for Change {
    type Error = ChangeError;

    fn try_from(message: proto::DomainGarp) -> Result<Self, ChangeError> {
        Ok(Self::DomainGarp { vni: message.vni.into(), mode: garp(message.mode)? })
    }
}

impl TryFrom<proto::HavipCreate> for Change {
    type Error = ChangeError;

    fn try_from(message: proto::HavipCreate) -> Result<Self, ChangeError> {
        let refresh_s = message.refresh_s;
        if let Some(refresh_s) = refresh_s.filter(|refresh_s| !(1..=MAX_REFRESH_S).contains(refresh_s)) {
            return Err(HavipError::Refresh(refresh_s).into());
        }
        Ok(Self::HavipCreate {
            name: message.name.parse()?,
            vni: message.vni.into(),
            subnet: message.subnet.parse().map_err(HavipMessageError::Subnet)?,
            address: ip(&message.address)?,
            vrids: vrids(&message.vrids)?,
            refresh_s,
        })
    }
}

impl TryFrom<proto::HavipAttach> for Change {
    type Error = ChangeError;

    fn try_from(message: proto::HavipAttach) -> Result<Self, ChangeError> {
        let instance: Name = message.instance.parse()?;
        // Two may yet be one and the same, by its name and by its address; more than that cannot be right.
        if message.teps.is_empty() || message.teps.len() > 2 * MAX_ATTACHMENT_TEPS {
            return Err(HavipError::Teps { instance, count: message.teps.len() }.into());
        }
        Ok(Self::HavipAttach {
            name: message.name.parse()?,
            instance,
            mac: message.mac.parse().map_err(HavipMessageError::Mac)?,
            teps: message.teps.iter().map(|tep| tep.text.parse()).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<proto::HavipDetach> for Change {
    type Error = ChangeError;

    fn try_from(message: proto::HavipDetach) -> Result<Self, ChangeError> {
        Ok(Self::HavipDetach { name: message.name.parse()?, instance: message.instance.parse()? })
    }
}

impl TryFrom<proto::HavipBindEip> for Change {
    type Error = ChangeError;

    fn try_from(message: proto::HavipBindEip) -> Result<Self, ChangeError> {
        let eip = unicast(ip(&message.eip)?).map_err(HavipError::Eip)?;
        Ok(Self::HavipBindEip { name: message.name.parse()?, eip })
    }
}
