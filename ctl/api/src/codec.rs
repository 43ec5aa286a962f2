//! Messages to bytes and back. That of a large message takes milliseconds, so that on a runtime with several threads
//! the thread's other tasks go elsewhere meanwhile.

use prost::Message;
use prost::bytes::Buf;
use tokio::runtime::{Handle, RuntimeFlavor};
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Bytes from which a message is a large one.
const LARGE: usize = 64 << 10;

/// prost's codec, which holds up no other tasks.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(ProstCodec<T, U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::default())
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoding<T>;
    type Decoder = Decoding<U>;

    fn encoder(&mut self) -> Encoding<T> {
        Encoding(self.0.encoder())
    }

    fn decoder(&mut self) -> Decoding<U> {
        Decoding(self.0.decoder())
    }
}

/// Messages to bytes.
#[derive(Debug, Clone)]
pub struct Encoding<T>(ProstEncoder<T>);

impl<T: Message> Encoder for Encoding<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, bytes: &mut EncodeBuf<'_>) -> Result<(), Status> {
        apart(message.encoded_len(), || self.0.encode(message, bytes))
    }
}

/// Bytes to messages.
#[derive(Debug, Clone)]
pub struct Decoding<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for Decoding<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        apart(Buf::remaining(bytes), || self.0.decode(bytes))
    }
}

/// Does the work for so many bytes without holding up the tasks of this thread.
fn apart<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let several = Handle::try_current()
        .is_ok_and(|runtime| matches!(runtime.runtime_flavor(), RuntimeFlavor::MultiThread));
    if several && bytes >= LARGE { tokio::task::block_in_place(work) } else { work() }
}
