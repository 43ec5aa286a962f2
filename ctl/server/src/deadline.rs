//! Deadlines of requests: the client's own, or one that the server sets.

use std::time::Duration;

use http::HeaderMap;
use tonic::{Code, Status};

/// The header of gRPC that carries the client's deadline, as a duration (gRPC over HTTP/2, "Timeout").
const HEADER: &str = "grpc-timeout";
/// Longest time for an answer to a change, where the client sets no deadline: bulk loads take long.
const CHANGE: Duration = Duration::from_secs(600);
/// Longest time for any other answer.
const READ: Duration = Duration::from_secs(60);
/// Longest time for a request to come whole, but for one that is a stream.
const REQUEST: Duration = Duration::from_secs(30);

/// Time that a request, its answer, or both may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// Until the last byte of the answer was made; `None` for streams of answers of whose client none was told.
    pub answer: Option<Duration>,
    /// Until the last byte of the request came.
    pub request: Option<Duration>,
}

impl Deadlines {
    /// Deadlines of a request for this path with these headers.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a deadline that is none.
    pub fn of(path: &str, headers: &HeaderMap) -> Result<Self, Status> {
        let method = path.rsplit('/').next().unwrap_or_default();
        let most = match method {
            "Snapshot" | "Watch" => None,
            "Commit" | "CommitStream" | "Apply" | "Restore" => Some(CHANGE),
            _ => Some(READ),
        };
        let own = headers.get(HEADER).map(|value| {
            value.to_str().ok().and_then(parse).ok_or_else(|| {
                let words = format!(
                    "{HEADER} {value:?} is no duration; it is up to 8 digits and a unit of H, M, S, m, u, n"
                );
                Status::invalid_argument(words)
            })
        });
        let answer = own.transpose()?.or(most);
        let is_stream = matches!(method, "CommitStream" | "Apply" | "Restore" | "ServerReflectionInfo");
        Ok(Self { answer, request: (!is_stream).then_some(REQUEST) })
    }
}

/// Up to eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The deadline has passed.
pub(crate) fn exceeded() -> Status {
    Status::new(
        Code::DeadlineExceeded,
        "there was no answer within the request's deadline; if it was for a change, look whether that is there",
    )
}

/// The request did not come whole in time.
pub(crate) fn incomplete() -> Status {
    let words = format!("the request did not come whole within {} s; nothing was changed", REQUEST.as_secs());
    Status::new(Code::DeadlineExceeded, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_what_grpc_says_or_refused() {
        let cases = [
            ("1H", Some(3_600_000_000_000)),
            ("2M", Some(120_000_000_000)),
            ("99999999S", Some(99_999_999_000_000_000)),
            ("100m", Some(100_000_000)),
            ("7u", Some(7_000)),
            ("0n", Some(0)),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse(text).map(|d| d.as_nanos()), nanos, "{text}");
        }
        for text in ["", "S", "1", "1s", "123456789S", "-1S", "+1S", "1.5S", "1 S", "1Sé"] {
            assert_eq!(parse(text), None, "{text}");
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(HEADER),
                http::HeaderValue::from_bytes(text.as_bytes()).unwrap(),
            )]);
            let status = Deadlines::of("/bcast.v1.Bcast/Stats", &headers).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
        let none = |path| Deadlines::of(path, &HeaderMap::new()).unwrap().answer;
        assert_eq!(none("/bcast.v1.Bcast/Watch"), None);
        assert_eq!(none("/bcast.v1.Bcast/Stats"), Some(READ));
    }
}
