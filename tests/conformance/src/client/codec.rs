//! Requests as bytes, so that they can be anything; responses as messages.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures::Stream;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// Bytes of the largest message.
pub(crate) const MESSAGE_BYTES: usize = 64 << 20;

/// Messages that are read.
pub(crate) trait Reply: Message + Default + 'static {}
impl<T: Message + Default + 'static> Reply for T {}

/// Calls a streaming method.
pub(crate) async fn call<R: Reply>(
    channel: Channel,
    path: &'static str,
    requests: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Streaming<R>, Status> {
    let mut grpc =
        Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(2 * MESSAGE_BYTES);
    grpc.ready().await.map_err(|error| Status::unavailable(format!("no connection to the node: {error}")))?;
    let path = PathAndQuery::from_static(path);
    grpc.streaming(Request::new(requests), path, Raw(PhantomData)).await.map(tonic::Response::into_inner)
}

struct Raw<R>(PhantomData<fn() -> R>);

impl<R: Reply> Codec for Raw<R> {
    type Encode = Bytes;
    type Decode = R;
    type Encoder = Raw<R>;
    type Decoder = Raw<R>;

    fn encoder(&mut self) -> Self::Encoder {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self(PhantomData)
    }
}

impl<R> Encoder for Raw<R> {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl<R: Reply> Decoder for Raw<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let decoded = R::decode(bytes);
        decoded
            .map(Some)
            .map_err(|error| Status::internal(format!("a response of the node cannot be decoded: {error}")))
    }
}
