//! `bcastctl havip` and `bcastctl webhook`.

use std::net::IpAddr;
use std::str::FromStr;

use bcast_domain::{Mac, Vni};
use clap::Subcommand;
use ctl_api::model::{MAX_REFRESH_S, Name, Subnet, TepRef};
use thiserror::Error;

/// `bcastctl havip`.
#[derive(Debug, Subcommand)]
pub enum HavipCommand {
    /// Create a HAVIP without attachments, in a domain that is there
    ///
    /// There already, with this VNI, subnet and address: VRRP ids and a refresh that are given replace the old ones.
    Create {
        /// Its name, unique on the node
        name: Name,
        /// Its domain
        #[arg(long)]
        vni: Vni,
        /// The network of its address, as in 10.0.0.0/24
        #[arg(long)]
        subnet: Subnet,
        /// Its address, IPv4 or IPv6
        #[arg(long, value_parser = address)]
        address: IpAddr,
        /// VRRP ids whose virtual MAC addresses its holders may use (Keepalived's use_vmac)
        #[arg(long = "vrid", value_name = "VRID", value_delimiter = ',', value_parser = vrid)]
        vrids: Vec<u8>,
        /// Announce it anew this often while its holder is heard, as in 30s, 5m or 1h
        #[arg(long, value_name = "TIME")]
        refresh: Option<Refresh>,
    },
    /// Remove a HAVIP with its attachments and its history
    Rm {
        /// Its name
        name: Name,
    },
    /// All HAVIPs with their holders
    List,
    /// One HAVIP: holder, since when, why, who was heard when, and what may be wrong
    Show {
        /// Its name
        name: Name,
    },
    /// Attach an instance, which may hold it from then on; one that is attached already gets this MAC and these TEPs
    Attach {
        /// The HAVIP
        name: Name,
        /// The instance's name; one name is one instance within a VNI
        #[arg(long)]
        instance: Name,
        /// The MAC address of its interface
        #[arg(long)]
        mac: Mac,
        /// Where it runs, by address or name; two while it migrates
        #[arg(long = "tep", value_name = "TEP", value_delimiter = ',', required = true)]
        teps: Vec<TepRef>,
    },
    /// Detach an instance; if it is the holder, the HAVIP has none any more
    Detach {
        /// The HAVIP
        name: Name,
        /// The instance
        #[arg(long)]
        instance: Name,
    },
    /// Bind a public address to it, which goes where it goes
    BindEip {
        /// The HAVIP
        name: Name,
        /// The address
        #[arg(value_parser = address)]
        eip: IpAddr,
    },
    /// Take its public address from it
    UnbindEip {
        /// The HAVIP
        name: Name,
    },
    /// What happened to it, the newest last
    History {
        /// Its name
        name: Name,
    },
    /// Let a HAVIP that moved too often move again
    Unfreeze {
        /// Its name
        name: Name,
    },
}

/// `bcastctl webhook`.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// The receivers of the configuration: what is pending, delivered, failed
    List,
    /// What a receiver did not accept within 24 hours
    Dead {
        /// The receiver
        receiver: Name,
    },
    /// Send a receiver's dead letters again
    Retry {
        /// The receiver
        receiver: Name,
    },
}

/// Text that is no IP address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not an IP address; write it like 10.0.0.100 or fd00::64, without prefix length or zone")]
pub struct AddressError(String);

/// An address of either family.
///
/// # Errors
///
/// The text is none.
pub fn address(text: &str) -> Result<IpAddr, AddressError> {
    text.parse().map_err(|_| AddressError(text.to_owned()))
}

/// Text that is no VRRP id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a VRRP id; give 1 to 255")]
struct VridError(String);

fn vrid(text: &str) -> Result<u8, VridError> {
    text.parse().ok().filter(|&vrid| vrid > 0).ok_or_else(|| VridError(text.to_owned()))
}

/// How often an address is announced anew, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh(pub u32);

/// Text that is no [`Refresh`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RefreshError {
    /// No number with s, m or h.
    #[error("{0:?} is not a time; write whole seconds, minutes or hours, as in 30s, 5m or 1h")]
    NotATime(String),
    /// Out of range.
    #[error("{0} is out of range: 1s to 24h")]
    Range(String),
}

impl FromStr for Refresh {
    type Err = RefreshError;

    fn from_str(text: &str) -> Result<Self, RefreshError> {
        let (digits, factor) = match text.char_indices().next_back() {
            Some((at, 's')) => (&text[..at], 1),
            Some((at, 'm')) => (&text[..at], 60),
            Some((at, 'h')) => (&text[..at], 3600),
            _ => (text, 1),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RefreshError::NotATime(text.to_owned()));
        }
        let seconds = digits.parse().ok().and_then(|number: u32| number.checked_mul(factor));
        seconds
            .filter(|seconds| (1..=MAX_REFRESH_S).contains(seconds))
            .map(Self)
            .ok_or_else(|| RefreshError::Range(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_or_vrrp_id_says_what_one_looks_like() {
        for text in ["10.0.0.100", "fd00::64", "::ffff:10.0.0.1"] {
            assert_eq!(address(text).unwrap().to_string(), text);
        }
        for text in ["", "web", "10.0.0", "010.0.0.1", "203.0.113.7/32", "fe80::1%eth0"] {
            let error = address(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is not an IP address; write it like ")), "{error}");
        }
        assert_eq!((vrid("1"), vrid("255")), (Ok(1), Ok(255)));
        for text in ["", "0", "256", "-1", "x", "5 1"] {
            assert_eq!(
                vrid(text).unwrap_err().to_string(),
                format!("{text:?} is not a VRRP id; give 1 to 255")
            );
        }
    }

    #[test]
    fn a_refresh_is_written_in_seconds_minutes_or_hours() {
        for (text, seconds) in [("1", 1), ("30s", 30), ("5m", 300), ("24h", 86_400), ("86400", 86_400)] {
            assert_eq!(text.parse(), Ok(Refresh(seconds)));
        }
        for text in ["", "s", "-1s", "1.5h", "1d", "30 s", "s30", "30é"] {
            assert_eq!(text.parse::<Refresh>(), Err(RefreshError::NotATime(text.to_owned())));
        }
        for text in ["0", "0s", "25h", "86401", "4294967296s", "4294967295h"] {
            assert_eq!(text.parse::<Refresh>(), Err(RefreshError::Range(text.to_owned())));
        }
    }
}
