//! A gRPC client that does as a test says, and no more: it keeps no deadlines, and gives windows when it is told to.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Code;

/// A bound for what must happen, on a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(30);

/// A socket that is read, or never.
struct Socket {
    stream: UnixStream,
    reads: bool,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.reads {
            true => Pin::new(&mut self.stream).poll_read(context, buffer),
            false => Poll::Pending,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection, driven by a task.
pub struct Wire {
    pub requests: SendRequest<Bytes>,
    pub driver: JoinHandle<Result<(), h2::Error>>,
}

impl Wire {
    /// Connects; streams' windows have so many bytes.
    pub async fn connect(socket: &Path, window: u32) -> Self {
        Self::open(socket, window, true).await
    }

    /// Connects, and never reads what comes.
    pub async fn deaf(socket: &Path, window: u32) -> Self {
        Self::open(socket, window, false).await
    }

    async fn open(socket: &Path, window: u32, reads: bool) -> Self {
        let stream = Socket { stream: UnixStream::connect(socket).await.unwrap(), reads };
        let mut builder = Builder::new();
        builder.initial_window_size(window);
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        Self { requests, driver: tokio::spawn(connection) }
    }

    /// Sends a request whole.
    pub async fn send(
        &mut self,
        method: &str,
        deadline: Option<&str>,
        message: impl Message,
    ) -> ResponseFuture {
        let mut request = Request::post(format!("http://x/bcast.v1.Bcast/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(deadline) = deadline {
            request = request.header("grpc-timeout", deadline);
        }
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (answer, mut body) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
        message.encode(&mut bytes).unwrap();
        // It may be answered by now.
        drop(body.send_data(bytes.freeze(), true));
        answer
    }

    /// Begins a request, and sends nothing of its message.
    pub async fn begin(&mut self, method: &str) -> (ResponseFuture, SendStream<Bytes>) {
        let request = Request::post(format!("http://x/bcast.v1.Bcast/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let mut requests = self.requests.clone().ready().await.unwrap();
        requests.send_request(request.body(()).unwrap(), false).unwrap()
    }

    /// The status of a request that is answered.
    pub async fn status(
        &mut self,
        method: &str,
        deadline: Option<&str>,
        message: impl Message,
    ) -> (Code, String) {
        let answer = self.send(method, deadline, message).await;
        timeout(SOON, status(answer)).await.expect("an answer")
    }
}

/// The status of an answer, whose messages are taken.
pub async fn status(answer: ResponseFuture) -> (Code, String) {
    let answer = answer.await.unwrap();
    let mut headers = answer.headers().clone();
    if !headers.contains_key("grpc-status") {
        let mut body: RecvStream = answer.into_body();
        while let Some(data) = body.data().await {
            let length = data.unwrap().len();
            body.flow_control().release_capacity(length).unwrap();
        }
        headers = body.trailers().await.unwrap().unwrap();
    }
    let text = |name| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    (Code::from_bytes(text("grpc-status").as_bytes()), text("grpc-message"))
}
