//! The frames of the reference: the columns that the coordinator sends for the same events.

use bytes::Bytes;
use meshloom_proto::v1;

/// The payload of every event: 100 bytes of JSON.
pub const PAYLOAD: &str =
    r#"{"sensor":"alpha","celsius":21.5,"time":"2010-01-01T08:00:00Z","site":"roof 4, east","note":"none!"}"#;

/// A batch of `events` events as the coordinator writes it: payload, content type, uid, id and source.
pub fn batch(events: u32) -> v1::Batch {
    let payloads = (0..events).map(|_| PAYLOAD.as_bytes());
    let ids: Vec<String> = (0..events).map(|number| (1_000_000 + number).to_string()).collect();
    let uids: Vec<u8> = (0..events).flat_map(|number| (u128::from(number) << 64).to_be_bytes()).collect();
    v1::Batch {
        count: events,
        payload: Some(values(payloads)),
        content_type: Some(one("application/json")),
        uid: uids.into(),
        id: Some(v1::Strings { values: Some(values(ids.iter().map(String::as_bytes))), index: Bytes::new() }),
        source: Some(one("bench/source")),
        ..v1::Batch::default()
    }
}

fn one(text: &str) -> v1::Strings {
    v1::Strings { values: Some(values([text.as_bytes()].into_iter())), index: Bytes::new() }
}

fn values<'a>(items: impl Iterator<Item = &'a [u8]>) -> v1::Values {
    let (mut data, mut ends) = (Vec::new(), Vec::new());
    for item in items {
        data.extend_from_slice(item);
        ends.extend_from_slice(&(data.len() as u32).to_le_bytes());
    }
    v1::Values { data: data.into(), ends: ends.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_a_hundred_bytes_and_an_identity_per_event() {
        assert_eq!(PAYLOAD.len(), 100);
        let batch = batch(3);
        let payload = batch.payload.unwrap();
        assert_eq!((payload.data.len(), payload.ends.len(), batch.uid.len()), (300, 12, 48));
        assert_eq!(payload.ends[8..], 300u32.to_le_bytes());
    }
}
