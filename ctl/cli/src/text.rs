//! Values of the contract as text.

pub use ctl_api::json::utc;
use ctl_api::model::ip;
use ctl_api::proto::Teps;

/// Sign for no value in a table, so that columns keep their number.
pub const NONE: &str = "-";

/// IP address of 4 or 16 bytes. Other bytes are shown as hexadecimal digits; no node sends such an address.
pub fn address(bytes: &[u8]) -> String {
    ip(bytes).map_or_else(|_| hexadecimal(bytes, ""), |address| address.to_string())
}

/// IP address that may be absent or cleared.
pub fn optional_address(bytes: Option<&Vec<u8>>) -> Option<String> {
    bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| address(bytes))
}

/// MAC address, as in 52:54:00:00:00:01.
pub fn mac(bytes: &[u8]) -> String {
    hexadecimal(bytes, ":")
}

fn hexadecimal(bytes: &[u8], sign: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(sign)
}

/// Addresses of a set of TEPs, in the set's order.
pub fn addresses(teps: Option<&Teps>) -> impl Iterator<Item = &[u8]> {
    let v4 = teps.map_or(&[][..], |teps| &teps.ipv4).chunks(4);
    v4.chain(teps.map_or(&[][..], |teps| &teps.ipv6).chunks(16))
}

/// The same as text.
pub fn teps(teps: Option<&Teps>) -> Vec<String> {
    addresses(teps).map(address).collect()
}

/// Text that is not empty.
pub fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Name that may be absent or cleared.
pub fn name(name: Option<&String>) -> Option<&str> {
    name.and_then(|name| given(name))
}

/// Value, or the sign for none.
pub fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

/// " (name)", or nothing without a name.
pub fn in_brackets(name: Option<&str>) -> String {
    name.map(|name| format!(" ({name})")).unwrap_or_default()
}

/// Word for a value of an enum: `bound` for `HAVIP_STATE_BOUND`. None for an unspecified or unknown value.
pub fn word(value: &str, prefix: &str) -> Option<String> {
    value.strip_prefix(prefix).filter(|word| *word != "UNSPECIFIED").map(str::to_ascii_lowercase)
}

/// "1 member", "2 members".
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Difference between two values in a plan: "name new, was old". None where they are equal.
pub fn differs(name: &str, before: Option<String>, after: Option<String>) -> Option<String> {
    let new = after.as_deref().unwrap_or("none");
    match &before {
        _ if before == after => None,
        None => Some(format!("{name} {new}")),
        Some(old) => Some(format!("{name} {new}, was {old}")),
    }
}

/// Difference between two names in a plan.
pub fn renamed(before: Option<&str>, after: Option<&str>) -> Option<String> {
    match (before, after) {
        _ if before == after => None,
        (Some(before), Some(after)) => Some(format!("named {after}, was {before}")),
        (None, Some(after)) => Some(format!("named {after}")),
        (before, None) => Some(format!("no longer named {}", before.unwrap_or_default())),
    }
}

/// Unix time in milliseconds as RFC 3339 text; 0 is none.
pub fn optional_utc(unix_ms: u64) -> Option<String> {
    (unix_ms > 0).then(|| utc(unix_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_is_shown_as_date_and_time_in_utc() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_795_395_845_007, "2026-11-23T01:04:05.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(unix_ms), text);
        }
    }

    #[test]
    fn an_address_is_shown_by_its_family() {
        for (bytes, text) in [
            (&[198, 18, 0, 1][..], "198.18.0.1"),
            (&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], "fd00::7"),
            (&[1, 2, 0xab][..], "0102ab"),
        ] {
            assert_eq!(address(bytes), text);
        }
    }
}
