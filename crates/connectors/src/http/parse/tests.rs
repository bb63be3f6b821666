//! The golden vectors of CloudEvents in JSON, read as a request's body.

use super::*;
use crate::formats::cloudevents::vectors::{Direction, Format, Vector, told, vectors};

fn read(vector: &Vector) -> Result<Batch, Refusal> {
    let kind = match vector.format {
        Format::Structured => Kind::Structured,
        Format::Batched => Kind::Batched,
    };
    events(kind, &HeaderMap::new(), vector.text.as_bytes(), limits::EVENT_BYTES)
}

#[test]
fn every_vector_is_read_as_it_says_or_refused_with_the_reason() {
    let (mut taken, mut refused) = (0, 0);
    for vector in vectors().iter().filter(|vector| vector.direction != Direction::Write) {
        let name = &vector.name;
        match (read(vector), &vector.refused) {
            (Ok(batch), None) => {
                let found: Vec<_> = (0..batch.len()).map(|row| told(&batch, row)).collect();
                assert_eq!(found, vector.events, "{name}");
                taken += 1;
            }
            (Err(refusal), Some(reason)) => {
                let message = serde_json::to_string(&refusal).expect("a refusal is JSON");
                assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{name}: {message}");
                let missing: Vec<_> = vector.says.iter().filter(|word| !message.contains(word.as_str())).collect();
                assert!(missing.is_empty(), "{name} ({reason}) is refused without a word of {missing:?}: {message}");
                refused += 1;
            }
            (Ok(batch), Some(reason)) => {
                panic!("{name} is read as {} events, and is to be refused: {reason}", batch.len())
            }
            (Err(refusal), None) => panic!("{name} is refused: {refusal:?}"),
        }
    }
    assert!(taken > 0 && refused > 0, "there are vectors to read, and to refuse");
}
