//! One connection of the API, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ctl_net::{Admitted, Guarded, Patience};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{interval, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use crate::answers::{Answers, Taken};
use crate::author::Peer;
use crate::budget::Budget;
use crate::deadline::{self, Deadlines};
use crate::received::Received;
use crate::refusal::Refusal;

/// Most connections at a time. One more takes the place of one that has no request under way.
pub const CONNECTIONS: usize = 256;
/// Most requests at a time, of all connections; an answer counts until the client has taken it.
const REQUESTS: usize = 5_000;
/// Most requests of a connection at a time, once half of all places are taken. All connections together cannot take
/// the other half with that.
const SHARE: usize = 8;
const _: () = assert!(CONNECTIONS * SHARE < REQUESTS / 2);
/// Most requests of a connection at a time.
const STREAMS: u32 = 256;
/// Bytes of a request's headers at most.
const HEADER_BYTES: u32 = 16 << 10;
/// Bytes of an answer that the transport holds until the client takes them, at most.
const SEND_BYTES: usize = 64 << 10;
/// Time that a client may take to say that it speaks HTTP/2.
const PREFACE: Duration = Duration::from_secs(10);
/// Interval at which a client is asked for a sign of life, and time that it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Time for which a client may leave an answer, or the socket, without taking any of it. It is checked every second.
const TAKES_NOTHING: Duration = Duration::from_secs(15);
/// Bytes of requests that are being received, of all connections.
const RECEIVED_BYTES: usize = 256 << 20;
/// Bytes of answers that clients have still to take, of all connections.
const ANSWERED_BYTES: usize = 128 << 20;

/// State that all connections share.
#[derive(Clone)]
pub(crate) struct Api {
    routes: Routes,
    places: Arc<Semaphore>,
    received: Arc<Budget>,
    answered: Arc<Budget>,
}

impl Api {
    pub fn new(routes: Routes) -> Self {
        let (received, answered) = (Budget::new(RECEIVED_BYTES), Budget::new(ANSWERED_BYTES));
        Self { routes: routes.prepare(), places: Arc::new(Semaphore::new(REQUESTS)), received, answered }
    }

    /// Serves a connection until the client ends it or has to be cut off, or `stopping` and its requests are answered.
    pub async fn serve(self, stream: UnixStream, admitted: Admitted, mut stopping: watch::Receiver<bool>) {
        let peer = Peer::of(&stream);
        let (socket, seen) = Guarded::any_authority(stream, Patience::Stall(TAKES_NOTHING));
        let admitted = Arc::new(admitted);
        let answers = Answers::new(&admitted);
        let requests = Requests { api: self, answers: Arc::clone(&answers), peer };
        let mut connection = pin!(builder().serve_connection(TokioIo::new(socket), requests));
        let (begun, mut ticks) = (Instant::now(), interval(Duration::from_secs(1)));
        let mut ending = false;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection of the API ended");
                    }
                    return;
                }
                _ = stopping.wait_for(|&stopping| stopping), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = admitted.evicted() => break,
                _ = ticks.tick() => {
                    if !seen.preface() && begun.elapsed() >= PREFACE || answers.stalled(TAKES_NOTHING) {
                        tracing::debug!("a client of the API says or takes nothing; it is cut off");
                        return;
                    }
                }
            }
        }
        // An answer that was just given to the transport goes out yet, where the socket has room.
        yield_now().await;
        poll_fn(|context| {
            drop(connection.as_mut().poll(context));
            Poll::Ready(())
        })
        .await;
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .max_send_buf_size(SEND_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

/// The requests of a connection.
struct Requests {
    api: Api,
    answers: Arc<Answers>,
    peer: Option<Peer>,
}

impl Requests {
    /// A place for one more request. Where many are taken, a connection that has its share gets none, so that each of
    /// the other connections gets as much.
    fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let many = self.api.places.available_permits() <= REQUESTS / 2;
        if many && self.answers.count() >= SHARE {
            return Err(Refusal::Share(SHARE));
        }
        Arc::clone(&self.api.places).try_acquire_owned().map_err(|_| Refusal::Requests(REQUESTS))
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let answer = match self.place() {
            Ok(place) => self.answers.open(place),
            Err(refusal) => return Box::pin(async { Ok(Status::from(refusal).into_http()) }),
        };
        let deadlines = match Deadlines::of(request.uri().path(), request.headers()) {
            Ok(deadlines) => deadlines,
            Err(status) => return Box::pin(async move { Ok(status.into_http()) }),
        };
        let ends = deadlines.answer.map(|within| Instant::now() + within);
        let received = &self.api.received;
        let mut request = request.map(|body| Body::new(Received::new(body, received, deadlines.request)));
        request.extensions_mut().insert(Arc::clone(&answer));
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        // Where the deadline has passed already, nothing is begun.
        let due = deadlines.answer.is_some_and(|within| within.is_zero());
        let answering = (!due).then(|| self.api.routes.clone().call(request));
        let memory = Arc::clone(&self.api.answered);
        Box::pin(async move {
            let mut sleep = ends.map(|ends| Box::pin(sleep_until(ends.into())));
            let response = match (answering, &mut sleep) {
                (None, _) => return Ok(deadline::exceeded().into_http()),
                (Some(answering), None) => answering.await?,
                (Some(answering), Some(sleep)) => tokio::select! {
                    response = answering => response?,
                    // With it goes the request, whatever it waits for.
                    () = sleep => return Ok(deadline::exceeded().into_http()),
                },
            };
            Ok(response.map(|body| Body::new(Taken::new(body, answer, memory, sleep))))
        })
    }
}
