//! One POST of one event: HTTP/1.1 (RFC 9112) over TCP or TLS. No redirect is followed, no proxy asked, and of an answer the
//! status counts alone.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Endpoint;
use crate::queue::Blame;
use crate::receiver::now_unix_ms;
use ctl_store::OutboxRow;

/// Most bytes of an answer's head that are read.
const HEAD_BYTES: usize = 16 << 10;
/// Most bytes of an answer's body that are read, to use the connection again; beyond that it is closed.
const BODY_BYTES: usize = 16 << 10;
/// How long such a body may take.
const BODY_TIME: Duration = Duration::from_secs(1);

/// Why an event was not accepted.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("cannot connect to {host}:{port}: {reason}")]
    Connect { host: String, port: u16, reason: io::Error },
    #[error("TLS with {host}:{port}: {reason}")]
    Tls { host: String, port: u16, reason: io::Error },
    #[error("no connection with {host}:{port} within {} s", .within.as_secs_f64())]
    ConnectTime { host: String, port: u16, within: Duration },
    #[error("no answer within {} s", .0.as_secs_f64())]
    AnswerTime(Duration),
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("the event makes no HTTP request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("answer {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
}

impl Failure {
    /// Whose fault it is. Statuses that come whatever the event is are the receiver's: a wrong URL, a refused signature, a redirect,
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

/// An open connection, with the task that drives it.
pub(crate) struct Connection {
    /// How it was opened.
    endpoint: Arc<Endpoint>,
    requests: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Whether it was opened this way.
    pub fn is_to(&self, endpoint: &Arc<Endpoint>) -> bool {
        Arc::ptr_eq(&self.endpoint, endpoint)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A connection with what is left of an answer in it.
pub(crate) struct Leftover {
    connection: Connection,
    answer: Response<Incoming>,
}

impl Leftover {
    /// Reads the rest; gives the connection if that was little and it can be used again.
    pub async fn drain(self) -> Option<Connection> {
        let whole = timeout(BODY_TIME, swallow(self.answer)).await.unwrap_or(false);
        whole.then_some(self.connection)
    }
}

/// Sends an event once. A connection that was used before may have been closed by the receiver meanwhile; then a new one is made
/// at once. The status counts alone, so it does not wait for the rest of the answer.
pub(crate) async fn deliver(
    endpoint: &Arc<Endpoint>,
    idle: Option<Connection>,
    row: &OutboxRow,
    within: Duration,
) -> (Result<(), Failure>, Option<Leftover>) {
    if let Some(connection) = idle.filter(|connection| !connection.requests.is_closed()) {
        match post(endpoint, connection, row, within).await {
            (Err(Failure::Http(_)), _) => {}
            done => return done,
        }
    }
    match connect(endpoint, within).await {
        Ok(connection) => post(endpoint, connection, row, within).await,
        Err(failure) => (Err(failure), None),
    }
}

async fn connect(endpoint: &Arc<Endpoint>, within: Duration) -> Result<Connection, Failure> {
    let (host, port) = (endpoint.host.clone(), endpoint.port);
    match timeout(within, open(endpoint)).await {
        Ok(done) => done,
        Err(_) => Err(Failure::ConnectTime { host, port, within }),
    }
}

async fn open(endpoint: &Arc<Endpoint>) -> Result<Connection, Failure> {
    let (host, port) = (&endpoint.host, endpoint.port);
    let refused = |reason| Failure::Connect { host: host.clone(), port, reason };
    let addresses = addresses(endpoint).await.map_err(refused)?;
    let stream = TcpStream::connect(&addresses[..]).await.map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    match &endpoint.tls {
        None => handshake(endpoint, stream).await,
        Some((connector, name)) => {
            let stream = connector.connect(name.clone(), stream).await;
            handshake(endpoint, stream.map_err(|reason| Failure::Tls { host: host.clone(), port, reason })?)
                .await
        }
    }
}

/// The host's addresses. The system's resolver blocks a thread, and takes no deadline: so of each receiver a few of its calls at
/// most are under way, also those that nobody waits for any more.
async fn addresses(endpoint: &Endpoint) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (endpoint.host.clone(), endpoint.port);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::from((address, port))]);
    }
    let permit = Arc::clone(&endpoint.lookups).acquire_owned().await.map_err(io::Error::other)?;
    let lookup = tokio::task::spawn_blocking(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        drop(permit);
        found
    });
    lookup.await.map_err(io::Error::other)?
}

async fn handshake<S>(endpoint: &Arc<Endpoint>, stream: S) -> Result<Connection, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES);
    let (requests, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // What goes wrong with the connection, the request under way is told.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { endpoint: Arc::clone(endpoint), requests, driver })
}

async fn post(
    endpoint: &Endpoint,
    mut connection: Connection,
    row: &OutboxRow,
    within: Duration,
) -> (Result<(), Failure>, Option<Leftover>) {
    let request = match request(endpoint, row) {
        Ok(request) => request,
        Err(error) => return (Err(error.into()), None),
    };
    let answer = async {
        connection.requests.ready().await?;
        connection.requests.send_request(request).await
    };
    let answer = match timeout(within, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return (Err(error.into()), None),
        Err(_) => return (Err(Failure::AnswerTime(within)), None),
    };
    let status = answer.status();
    let retry_after = retry_after(answer.headers());
    let result = if status.is_success() { Ok(()) } else { Err(Failure::Status { status, retry_after }) };
    (result, Some(Leftover { connection, answer }))
}

fn request(endpoint: &Endpoint, row: &OutboxRow) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let (id, unix_s) = (row.key.id.to_string(), now_unix_ms() / 1000);
    let path = endpoint.uri.path_and_query().map_or("/", |path| path.as_str());
    Request::post(path)
        .header(HOST, &endpoint.authority)
        .header(USER_AGENT, concat!("bcastd/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/cloudevents+json; charset=utf-8")
        .header("webhook-id", &id)
        .header("webhook-timestamp", unix_s)
        .header("webhook-signature", endpoint.secret.sign(&id, unix_s, &row.body))
        .body(Full::new(row.body.clone()))
}

/// Reads a body to its end; whether it was a small one.
async fn swallow(answer: Response<Incoming>) -> bool {
    let (mut body, mut bytes) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > BODY_BYTES {
            return false;
        }
    }
    true
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
    use ctl_store::{EventId, OutboxKey};

    use super::*;
    use crate::config::{LOOKUPS, WebhookConfig};

    #[tokio::test]
    async fn a_resolver_that_hangs_has_few_calls_of_a_receiver_and_attempts_end_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, "a secret that is long enough for this").unwrap();
        let text = format!("name = \"noc\"\nurl = \"http://localhost:1/\"\nsecret_file = {secret_file:?}");
        let config: WebhookConfig = toml::from_str(&text).unwrap();
        let endpoint = Arc::new(WebhookConfig::check(&[config]).unwrap().remove(0));
        // Calls that do not end hold these.
        let hung = Arc::clone(&endpoint.lookups).try_acquire_many_owned(LOOKUPS.try_into().unwrap()).unwrap();
        let row = OutboxRow {
            key: OutboxKey {
                receiver: endpoint.name.clone(),
                id: EventId { revision: ctl_api::model::Revision::new(1), index: 0 },
            },
            havip: endpoint.name.clone(),
            since_unix_ms: 0,
            body: Bytes::new(),
            gap: 0,
        };
        let within = Duration::from_millis(20);
        let (result, _) = deliver(&endpoint, None, &row, within).await;
        assert!(matches!(result, Err(Failure::ConnectTime { .. })));
        drop(hung);
        let (result, _) = deliver(&endpoint, None, &row, Duration::from_secs(30)).await;
        assert!(matches!(result, Err(Failure::Connect { .. })));
    }
}
