//! The codec of streams: each message gets memory of its own, charged until its last slice is gone.
//!
//! Decoded straight from the connection's buffer, one small column would keep megabytes of other messages in memory,
//! and nobody could say whose they are.

use std::{marker::PhantomData, sync::Arc};

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;

use crate::Meter;

/// Bytes by which the buffers of a stream grow: most batches fit one.
const BUFFER_BYTES: usize = 1 << 20;

/// Bytes of ready messages that are sent together.
const YIELD_BYTES: usize = 64 << 10;

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
}

/// Encodes `E`, decodes `D`; what it decodes is charged to a [`Meter`].
pub struct ChargedCodec<E, D> {
    meter: Arc<dyn Meter>,
    messages: PhantomData<fn(E) -> D>,
}

impl<E, D> ChargedCodec<E, D> {
    /// A codec that charges this meter.
    #[must_use]
    pub fn new(meter: Arc<dyn Meter>) -> Self {
        Self { meter, messages: PhantomData }
    }
}

impl<E, D> Codec for ChargedCodec<E, D>
where
    E: Message + 'static,
    D: Message + Default + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = ProstEncoder<E>;
    type Decoder = ChargedDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ChargedDecoder { meter: self.meter.clone(), messages: PhantomData }
    }
}

/// See [`ChargedCodec`].
pub struct ChargedDecoder<D> {
    meter: Arc<dyn Meter>,
    messages: PhantomData<fn() -> D>,
}

impl<D: Message + Default> Decoder for ChargedDecoder<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let message = Frame::copy(source, &*self.meter);
        let decoded = D::decode(Bytes::from_owner(message));
        decoded.map(Some).map_err(|error| Status::internal(format!("the message cannot be decoded: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// A message's bytes and their charge.
struct Frame {
    bytes: Box<[u8]>,
    _charge: Box<dyn Send + Sync>,
}

impl Frame {
    /// Charges first, then allocates exactly what the message needs.
    fn copy(source: &mut impl Buf, meter: &dyn Meter) -> Self {
        let length = source.remaining();
        let charge = meter.charge(length);
        let mut bytes = Vec::with_capacity(length);
        while source.has_remaining() {
            let chunk = source.chunk();
            let taken = chunk.len();
            bytes.extend_from_slice(chunk);
            source.advance(taken);
        }
        Self { bytes: bytes.into_boxed_slice(), _charge: charge }
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use meshloom_proto::v1;

    use super::*;

    #[derive(Default)]
    struct Counter(Arc<AtomicUsize>);

    struct Charge(Arc<AtomicUsize>, usize);

    impl Meter for Counter {
        fn charge(&self, bytes: usize) -> Box<dyn Send + Sync> {
            self.0.fetch_add(bytes, Ordering::SeqCst);
            Box::new(Charge(self.0.clone(), bytes))
        }
    }

    impl Drop for Charge {
        fn drop(&mut self) {
            self.0.fetch_sub(self.1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_message_is_charged_until_its_last_slice_is_gone() {
        let data = Bytes::from(vec![7; 1000]);
        let message = v1::Values { data: data.clone(), ends: Bytes::from_static(&[0; 4]) };
        let encoded = message.encode_to_vec();
        let meter = Counter::default();
        let charged = || meter.0.load(Ordering::SeqCst);

        let frame = Bytes::from_owner(Frame::copy(&mut encoded.as_slice(), &meter));
        let memory = frame.as_ptr_range();
        let decoded = v1::Values::decode(frame).expect("it was encoded above");
        assert_eq!(decoded, message);
        assert!(memory.contains(&decoded.data.as_ptr()), "a column is a slice of the frame");
        assert_eq!(charged(), encoded.len());

        let slice = decoded.data.slice(10..20);
        drop(decoded);
        assert_eq!(charged(), encoded.len(), "a slice keeps the whole frame");
        drop(slice);
        assert_eq!(charged(), 0);
    }
}
