//! The HTTP server of metrics and readiness: HTTP/1.1 (RFC 9112), with a bound on everything that a client may hold.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use ctl_net::{Activity, Admitted, Connections, Guarded, Patience};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::Service;

/// Most connections at a time. One more takes the place of the one that is least at work.
pub const CONNECTIONS: usize = 64;
/// Bytes of a request's head at most.
const HEAD_BYTES: usize = 8 << 10;
/// Fields of a request's head at most.
const HEAD_FIELDS: usize = 64;

/// Time that a client may take, and an answer.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a request's head is there, from the connection's start or the answer before it on.
    pub head: Duration,
    /// Until the answer is made.
    pub answer: Duration,
    /// Until the client has taken the answer.
    pub taking: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: Duration::from_secs(5), answer: Duration::from_secs(10), taking: Duration::from_secs(5) }
    }
}

/// The connections of such a server. Whoever holds them all locks nobody out: a new client is always let in.
pub fn connections() -> Arc<Connections> {
    Connections::new(CONNECTIONS, Activity::Working)
}

/// Answers requests for ever.
pub async fn serve(listener: TcpListener, router: Router, connections: Arc<Connections>, limits: Limits) {
    let accept = |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
    let connection = |stream, admitted| connection(stream, admitted, router.clone(), limits);
    ctl_net::serve(connections, accept, connection, std::future::pending()).await;
}

async fn connection(stream: TcpStream, admitted: Admitted, router: Router, limits: Limits) {
    let admitted = Arc::new(admitted);
    let socket = TokioIo::new(Guarded::new(stream, Patience::Whole(limits.taking)));
    let requests = Requests { router, admitted: Arc::clone(&admitted), limits };
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS);
    tokio::select! {
        // What goes wrong with a connection is its client's, and a flood of them is no flood of lines.
        _ = builder.serve_connection(socket, requests) => {}
        () = admitted.evicted() => {}
    }
}

/// The requests of a connection.
struct Requests {
    router: Router,
    admitted: Arc<Admitted>,
    limits: Limits,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.admitted.set(Activity::Working);
        let answering = self.router.clone().call(request.map(Body::new));
        let (admitted, within) = (Arc::clone(&self.admitted), self.limits.answer);
        Box::pin(async move {
            let late = |_| {
                let words = format!("there was no answer within {} s\n", within.as_secs_f64());
                Ok((StatusCode::SERVICE_UNAVAILABLE, words).into_response())
            };
            let answer = timeout(within, answering).await.unwrap_or_else(late);
            admitted.set(Activity::Answering);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A bound for what must happen, on a machine that is busy with other things.
    const SOON: Duration = Duration::from_secs(30);

    /// More than sockets hold.
    static LARGE: [u8; 32 << 20] = [0; 32 << 20];

    async fn server(limits: Limits) -> (SocketAddr, Arc<Connections>) {
        let router = Router::new()
            .route("/readyz", get(async || "ready\n"))
            .route("/large", get(async || &LARGE[..]))
            .route("/hangs", get(std::future::pending::<String>));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = connections();
        tokio::spawn(serve(listener, router, Arc::clone(&connections), limits));
        (address, connections)
    }

    /// A client that has sent this, and reads when it is told to.
    async fn client(address: SocketAddr, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes until the server closes the connection.
    async fn rest(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _end = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an end");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn ready(address: SocketAddr) -> String {
        rest(client(address, "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await).await
    }

    #[tokio::test]
    async fn whoever_holds_all_connections_does_not_lock_a_monitor_out() {
        let (address, connections) = server(Limits::default()).await;
        for half in ["", "GET /readyz HT", "GET /large HTTP/1.1\r\n\r\n", "GET /hangs HTTP/1.1\r\n\r\n"] {
            let mut held = Vec::new();
            for _ in 0..CONNECTIONS + 10 {
                held.push(client(address, half).await);
            }
            assert!(ready(address).await.starts_with("HTTP/1.1 200"), "{half:?}");
            assert!(connections.figures().open <= CONNECTIONS as u64);
        }
        let figures = connections.figures();
        assert!(figures.evicted > 10 && figures.refused == 0, "{figures:?}");
    }

    #[tokio::test]
    async fn a_client_that_sends_no_request_or_takes_no_answer_is_cut_off() {
        let short = Duration::from_millis(200);
        let (address, connections) = server(Limits { head: short, answer: short, taking: short }).await;
        let mut clients = Vec::new();
        for sent in ["", "GET /", "GET /readyz HTTP/1.1\r\n\r\n", "GET /readyz HTTP/1.1\r\n\r\nGET /rea"] {
            clients.push(client(address, sent).await);
        }
        let unread = client(address, "GET /large HTTP/1.1\r\n\r\n").await;
        for stream in clients {
            rest(stream).await;
        }
        let begun = std::time::Instant::now();
        while connections.figures().open > 0 {
            assert!(begun.elapsed() < SOON, "it holds its place");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(unread);
        assert_eq!(connections.figures().evicted, 0, "it was for their silence");
    }

    #[tokio::test]
    async fn an_answer_that_hangs_and_a_head_without_end_are_told() {
        let limits = Limits { answer: Duration::from_millis(50), ..Limits::default() };
        let (address, _) = server(limits).await;
        let hangs = rest(client(address, "GET /hangs HTTP/1.1\r\nConnection: close\r\n\r\n").await).await;
        assert!(hangs.starts_with("HTTP/1.1 503") && hangs.ends_with("no answer within 0.05 s\n"), "{hangs}");
        for head in [format!("GET /readyz HTTP/1.1\r\nA: {}", "a".repeat(20_000)), "A: b\r\n".repeat(100)] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = if head.starts_with("GET") { head } else { format!("GET / HTTP/1.1\r\n{head}\r\n") };
            // The server may close before all is sent.
            let _sent = stream.write_all(head.as_bytes()).await;
            let answer = rest(stream).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    }
}
