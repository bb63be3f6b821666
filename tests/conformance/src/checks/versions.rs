//! V, O7: what an older side does not know.

use meshloom_proto::v1;
use serde_json::json;

use super::fared;
use crate::{
    check::area,
    client::{Process, Work},
    context::Context,
    event::{Event, batch},
    fault::Outcome,
};

area! {
    "versions.unknown-fields" Full Shared ["O7"] "unknown fields of any message are ignored" => fields;
    "versions.unknown-request" Full Shared ["V2"] "an unknown member of a request is ignored" => request;
    "versions.unknown-produce-request" Full Shared ["V2"] "an unknown member of a request to a source is ignored" => produce_request;
}

/// Fields that no version has: a number, a text, and four and eight bytes.
fn unknown() -> Vec<u8> {
    let key = |kind: u32| ((9_000 + kind) << 3) | kind;
    let mut bytes = Vec::new();
    for (kind, value) in [(0, &[7][..]), (2, &[2, b'h', b'i']), (5, &[1; 4]), (1, &[2; 8])] {
        prost::encoding::encode_varint(u64::from(key(kind)), &mut bytes);
        bytes.extend_from_slice(value);
    }
    bytes
}

/// A message with unknown fields, as the member `tag` of another.
fn member(tag: u32, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from((tag << 3) | 2), &mut bytes);
    prost::encoding::encode_varint(message.len() as u64, &mut bytes);
    bytes.extend_from_slice(message);
    bytes
}

fn with_unknown(message: &impl prost::Message) -> Vec<u8> {
    [message.encode_to_vec(), unknown()].concat()
}

async fn fields(context: &Context) -> Outcome {
    let open =
        [with_unknown(&context.open("map").message), member(1, &[unknown(), vec![8, 1, 16, 1]].concat())].concat();
    let mut stream = Process::raw(context, "map", [member(1, &open), unknown()].concat().into());
    stream.opened().await?;
    let events = vec![Event::command(&json!({"do": "pass"})), Event::command(&json!({"do": "drop"}))];
    let columns = with_unknown(&batch(&events, crate::columns::Style::Dictionary));
    let sequence = stream.expect(events);
    let work = v1::Work { sequence, ..v1::Work::default() };
    stream.send_bytes([member(2, &[with_unknown(&work), member(4, &columns)].concat()), unknown()].concat());
    fared("a work with unknown fields", &stream.answer(sequence).await?, &["out", "consumed"])?;
    stream.send_bytes(member(3, &with_unknown(&v1::Cancel { sequence, reason: String::new() })));
    fared("the next work", &stream.work(Work::commands(&[json!({"do": "pass"})])).await?, &["out"])?;
    stream.finish().await
}

async fn request(context: &Context) -> Outcome {
    let mut stream = context.open("map").start().await?;
    stream.send_bytes(member(99, b""));
    stream.send_bytes(Vec::new());
    fared("the next work", &stream.work(Work::commands(&[json!({"do": "pass"})])).await?, &["out"])?;
    stream.finish().await
}

async fn produce_request(context: &Context) -> Outcome {
    let mut stream = context.produce("source").config(&json!({"program": {"count": 3}})).start().await?;
    stream.send_bytes(member(99, b"\x08\x01"));
    stream.demand(10, 1 << 20);
    stream.events(3).await?;
    stream.exhausts().await
}
