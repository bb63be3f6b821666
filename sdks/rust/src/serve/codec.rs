//! The service with a codec whose buffers fit whole batches: the default ones hold 8 KiB.

use std::{
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use meshloom_proto::v1::{
    ProcessRequest, ProcessResponse, ProduceRequest, ProduceResponse,
    node_service_server::{NodeService, NodeServiceServer},
};
use prost::Message;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codec::{BufferSettings, Codec},
    server::{Grpc, NamedService, StreamingService},
};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};
use tower::Service;

use crate::columns::limits::MAX_MESSAGE_BYTES;

/// Bytes of a stream's buffer, and at which it is handed to the transport.
const BUFFER_BYTES: usize = 1 << 20;

struct WideCodec<T, U>(PhantomData<(T, U)>);

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for WideCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES))
    }
}

/// The generated service, its two streams with the wide codec.
pub(crate) struct WideServer<T> {
    inner: Arc<T>,
    rest: NodeServiceServer<T>,
}

impl<T: NodeService> WideServer<T> {
    pub(crate) fn new(service: T) -> Self {
        let inner = Arc::new(service);
        Self { rest: NodeServiceServer::from_arc(Arc::clone(&inner)), inner }
    }
}

impl<T> Clone for WideServer<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), rest: self.rest.clone() }
    }
}

impl<T> NamedService for WideServer<T> {
    const NAME: &'static str = "meshloom.v1.NodeService";
}

struct Process<T>(Arc<T>);
struct Produce<T>(Arc<T>);

impl<T: NodeService> StreamingService<ProcessRequest> for Process<T> {
    type Response = ProcessResponse;
    type ResponseStream = T::ProcessStream;
    type Future = BoxFuture<'static, Result<Response<T::ProcessStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<ProcessRequest>>) -> Self::Future {
        let service = Arc::clone(&self.0);
        async move { service.process(request).await }.boxed()
    }
}

impl<T: NodeService> StreamingService<ProduceRequest> for Produce<T> {
    type Response = ProduceResponse;
    type ResponseStream = T::ProduceStream;
    type Future = BoxFuture<'static, Result<Response<T::ProduceStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<ProduceRequest>>) -> Self::Future {
        let service = Arc::clone(&self.0);
        async move { service.produce(request).await }.boxed()
    }
}

fn grpc<T: Message + Send + 'static, U: Message + Default + Send + 'static>() -> Grpc<WideCodec<T, U>> {
    Grpc::new(WideCodec(PhantomData))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

impl<T: NodeService> Service<http::Request<Body>> for WideServer<T> {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        match request.uri().path() {
            "/meshloom.v1.NodeService/Process" => {
                async move { Ok(grpc().streaming(Process(inner), request).await) }.boxed()
            }
            "/meshloom.v1.NodeService/Produce" => {
                async move { Ok(grpc().streaming(Produce(inner), request).await) }.boxed()
            }
            _ => self.rest.call(request),
        }
    }
}
