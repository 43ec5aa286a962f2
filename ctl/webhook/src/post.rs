//! One POST of one event. No redirect is followed, no proxy asked, and of an answer the status counts alone.

use std::error::Error;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::backoff::Policy;
use crate::config::Endpoint;
use crate::queue::Blame;
use crate::receiver::now_unix_ms;
use ctl_store::OutboxRow;

/// Most bytes of an answer's body that are read, to use the connection again; beyond that it is closed.
const BODY_BYTES: usize = 16 << 10;
/// Deadline for reading such a body.
const BODY_TIME: Duration = Duration::from_secs(1);
/// Calls of the resolver that may be under way for one receiver.
const LOOKUPS: usize = 2;

/// Why an event was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot connect to {host}: {reason}")]
    Connect { host: String, reason: String },
    #[error("TLS with {host}: {reason}")]
    Tls { host: String, reason: String },
    #[error("no answer within {} s", .0.as_secs_f64())]
    AnswerTime(Duration),
    #[error("no HTTP answer: {0}")]
    Http(String),
    #[error("answer {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
}

impl Failure {
    /// Side that is at fault. Statuses that come whatever the event is are the receiver's: a wrong URL, a refused signature, a redirect,
    /// an overload.
    pub fn blame(&self) -> Blame {
        let Self::Status { status, retry_after } = self else { return Blame::Receiver(None) };
        match status.as_u16() {
            500 | 501 | 505..=599 => Blame::Event(*retry_after),
            401 | 403..=405 | 407 | 408 | 410 | 421 | 429 => Blame::Receiver(*retry_after),
            400..=499 => Blame::Event(*retry_after),
            _ => Blame::Receiver(*retry_after),
        }
    }
}

/// The client of one receiver: HTTP/1.1, with connections of its own.
pub(crate) fn client(tls: ClientConfig) -> reqwest::Result<Client> {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(Policy::default().concurrency)
        .user_agent(concat!("bcastd/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(Resolver(Arc::new(Semaphore::new(LOOKUPS)))))
        .tls_backend_preconfigured(tls)
        .build()
}

/// The system's resolver. It blocks a thread, and takes no deadline: so of each receiver a few of its calls at most are under way,
/// also those that nobody waits for any more.
struct Resolver(Arc<Semaphore>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let permits = Arc::clone(&self.0);
        Box::pin(async move {
            let permit = permits.acquire_owned().await?;
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                drop(permit);
                found
            });
            let found = lookup.await.map_err(io::Error::other)??;
            Ok(Box::new(found) as Addrs)
        })
    }
}

/// Sends an event once. The status counts alone, so the rest of the answer is given back unread. A connection that was used before
/// may have been closed by the receiver meanwhile: where one fails without an answer, another is made at once.
pub(crate) async fn deliver(
    endpoint: &Endpoint,
    row: &OutboxRow,
    within: Duration,
) -> (Result<(), Failure>, Option<Response>) {
    let mut answer = post(endpoint, row, within).await;
    if let Err(Failure::Http(_)) = answer {
        answer = post(endpoint, row, within).await;
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return (Err(failure), None),
    };
    let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
    let result = if status.is_success() { Ok(()) } else { Err(Failure::Status { status, retry_after }) };
    (result, Some(answer))
}

async fn post(endpoint: &Endpoint, row: &OutboxRow, within: Duration) -> Result<Response, Failure> {
    let (id, unix_s) = (row.key.id.to_string(), now_unix_ms() / 1000);
    let request = endpoint
        .client
        .post(endpoint.url.clone())
        .header(CONTENT_TYPE, "application/cloudevents+json; charset=utf-8")
        .header("webhook-id", &id)
        .header("webhook-timestamp", unix_s)
        .header("webhook-signature", endpoint.secret.sign(&id, unix_s, &row.body))
        .body(row.body.clone());
    match timeout(within, request.send()).await {
        Ok(answer) => answer.map_err(|error| failure(&error, endpoint)),
        Err(_) => Err(Failure::AnswerTime(within)),
    }
}

/// Reads the rest of an answer, if it is little: then the connection is used again.
pub(crate) async fn drain(mut answer: Response) {
    let read = async {
        let mut bytes = 0;
        while let Ok(Some(part)) = answer.chunk().await {
            bytes += part.len();
            if bytes > BODY_BYTES {
                return;
            }
        }
    };
    // What is slower loses its connection.
    let _ = timeout(BODY_TIME, read).await;
}

/// Says what is at the bottom of an error: of its causes the last one.
fn failure(error: &reqwest::Error, endpoint: &Endpoint) -> Failure {
    let (mut cause, mut tls): (&(dyn Error + 'static), bool) = (error, false);
    while let Some(source) = cause.source() {
        (cause, tls) = (source, tls || is_tls(source));
    }
    let reason = cause.to_string();
    let port = endpoint.url.port_or_known_default().unwrap_or(0);
    let host = format!("{}:{port}", endpoint.url.host_str().unwrap_or_default());
    match error.is_connect() {
        true if tls => Failure::Tls { host, reason },
        true => Failure::Connect { host, reason },
        false => Failure::Http(reason),
    }
}

/// An error of rustls, or an I/O error that wraps one.
fn is_tls(cause: &(dyn Error + 'static)) -> bool {
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}

/// RFC 9110, section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_resolver_that_hangs_has_few_calls_of_a_receiver_and_attempts_end_in_time() {
        let permits = Arc::new(Semaphore::new(LOOKUPS));
        // Calls that do not end hold these.
        let hung = Arc::clone(&permits).try_acquire_many_owned(LOOKUPS.try_into().unwrap()).unwrap();
        let resolver = Resolver(Arc::clone(&permits));
        let lookup = || resolver.resolve("localhost".parse().unwrap());
        assert!(timeout(Duration::from_millis(20), lookup()).await.is_err());
        drop(hung);
        let addresses = lookup().await.unwrap();
        assert!(addresses.into_iter().all(|address| address.ip().is_loopback()));
        assert_eq!(permits.available_permits(), LOOKUPS);
    }
}
