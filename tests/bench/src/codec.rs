//! The prost codec with buffers that hold a whole batch.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// As [`ProstCodec`], with buffers of 1 MiB instead of 8 KiB.
pub struct BatchCodec<E, D>(PhantomData<fn(E) -> D>);

impl<E, D> Default for BatchCodec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn buffers() -> BufferSettings {
    BufferSettings::new(1 << 20, 64 << 10)
}

impl<E: Message + 'static, D: Message + Default + 'static> Codec for BatchCodec<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = ProstEncoder<E>;
    type Decoder = ProstDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<E, D>::raw_encoder(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<E, D>::raw_decoder(buffers())
    }
}
