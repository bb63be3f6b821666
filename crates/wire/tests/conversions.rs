//! Every message there and back, and every refusal.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event, ExtensionValue, SpanContext},
    exchange::{Action, Call, Failure, FromSource, Limits, ToSource, Work, WorkResult},
    ids::Uid,
    outputs::{OutputEvent, OutputsBuilder},
};
use meshloom_proto::v1;
use meshloom_wire::{WireError, batch, process, produce};
use prost::Message;

/// Two events with everything.
fn events() -> Batch {
    let span = SpanContext { trace_id: [1; 16], span_id: [2; 8], flags: 1, trace_state: Some("vendor=x".into()) };
    let extensions = [
        ("flag", ExtensionValue::Boolean(true)),
        ("number", ExtensionValue::Integer(-5)),
        ("text", ExtensionValue::String("é")),
        ("raw", ExtensionValue::Binary(&[0, 255])),
        ("uri", ExtensionValue::Uri("https://example.com/")),
        ("ref", ExtensionValue::UriReference("../a")),
        ("at", ExtensionValue::Timestamp(i64::MAX)),
    ];
    let mut builder = BatchBuilder::new();
    let event = Event {
        payload: b"one",
        content_type: Some("application/json"),
        id: Some("1"),
        source: Some("s"),
        type_: Some("t"),
        subject: Some("u"),
        key: Some("k"),
        data_schema: Some("d"),
        time_ns: Some(-1),
        extensions: &extensions,
        span: Some(&span),
        uid: Some(Uid::from_bytes([9; 16])),
        from: Some("up.side"),
    };
    builder.push(event).unwrap();
    builder.push(Event { payload: b"two", uid: Some(Uid::from_bytes([8; 16])), ..Event::default() }).unwrap();
    builder.finish()
}

/// Through bytes, as over a connection.
fn sent<M: Message + Default>(message: M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn work() -> v1::Work {
    process::encode_work(&Work { sequence: 7, batch: events(), attempts: None, timeout: None })
}

#[test]
fn batches() {
    let again = batch::decode(sent(batch::encode(&events()))).unwrap();
    assert_eq!(again.to_columns(), events().to_columns());
    let second = batch::decode(sent(batch::encode(&events().select(&[1])))).unwrap();
    assert_eq!(second.payload(0), b"two");
    assert!(!second.has_spans() && second.subject(0).is_none());
}

#[test]
fn whole_columns_change_hands_without_a_copy() {
    let events = events();
    assert_eq!(batch::encode(&events).payload.unwrap().data.as_ptr(), events.payload(0).as_ptr());
}

#[test]
fn malformed_batches_name_field_column_and_place() {
    let refused = |change: &dyn Fn(&mut v1::Batch)| {
        let mut frame = batch::encode(&events());
        change(&mut frame);
        batch::decode(frame).unwrap_err().to_string()
    };
    assert_eq!(refused(&|b| b.count = 0), "`batch`: column `count`: 0 rows, allowed are 1 to 65536");
    assert_eq!(refused(&|b| b.uid = Bytes::from_static(&[0; 16])), "`batch`: column `uid`: 1 entries for 2 rows");
    assert_eq!(
        refused(&|b| b.extensions[0].r#type = 99),
        "`batch`: column `extensions`: extension type 99 does not exist"
    );
    assert_eq!(
        refused(&|b| b.spans[0].trace_id = Bytes::from_static(&[1; 3])),
        "`batch`: column `spans`: the trace id of row 0 has 3 bytes, must have 16"
    );
}

#[test]
fn works() {
    let original = Work {
        sequence: 7,
        batch: events(),
        attempts: Some(Arc::from([1, 3])),
        timeout: Some(Duration::from_millis(1500)),
    };
    let again = process::decode_work(sent(process::encode_work(&original))).unwrap();
    assert_eq!((again.sequence, again.attempts, again.timeout), (7, original.attempts, original.timeout));
    let first = process::decode_work(work()).unwrap();
    assert_eq!((first.attempts, first.timeout), (None, None));
}

#[test]
fn malformed_works() {
    let refused = |change: &dyn Fn(&mut v1::Work)| {
        let mut work = work();
        change(&mut work);
        process::decode_work(work).unwrap_err()
    };
    assert_eq!(refused(&|w| w.batch = None), WireError::Missing { field: "work.batch" });
    assert_eq!(refused(&|w| w.batch.as_mut().unwrap().uid.clear()), WireError::UidMissing);
    assert_eq!(refused(&|w| w.attempts = vec![0; 7].into()), WireError::Attempts { bytes: 7, events: 2 });
    assert_eq!(refused(&|w| w.attempts = vec![1, 0, 0, 0, 0, 0, 0, 0].into()), WireError::AttemptZero { event: 1 });
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let field = "work.timeout";
    assert_eq!(refused(&|w| w.timeout = negative), WireError::Duration { field, seconds: -1, nanos: 0 });
    let ragged = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000_000 });
    assert_eq!(refused(&|w| w.timeout = ragged), WireError::Duration { field, seconds: 0, nanos: 1_000_000_000 });
}

#[test]
fn results() {
    let mut outputs = OutputsBuilder::new(&events());
    let overrides = OutputEvent {
        subject: Some(""),
        time_ns: Some(None),
        id: Some("mine"),
        route: Some("side"),
        extensions: &[("flag", None), ("more", Some(ExtensionValue::Integer(1)))],
        ..OutputEvent::default()
    };
    outputs.emit(Some(0), Some(b"new"), overrides).unwrap();
    outputs.emit(None, Some(b"whole"), OutputEvent::default()).unwrap();
    let original = WorkResult {
        sequence: 7,
        outputs: outputs.finish(true),
        failures: vec![Failure {
            index: Some(1),
            action: Action::Reject,
            reason: "NOT_JSON".into(),
            message: "line 3".to_owned(),
            retry_after: Some(Duration::from_secs(2)),
        }],
        consumed: 0,
        last: true,
        busy: Duration::from_micros(17),
    };
    let again = process::decode_result(sent(process::encode_result(&original)), 2).unwrap();
    assert_eq!(again.outputs, original.outputs);
    assert_eq!(again.failures, original.failures);
    assert_eq!((again.sequence, again.consumed, again.last, again.busy), (7, 0, true, original.busy));
}

fn failure() -> v1::EventFailure {
    v1::EventFailure { index: u32::MAX, reason: "SOME_CODE".to_owned(), ..v1::EventFailure::default() }
}

fn decode_failures(failures: Vec<v1::EventFailure>) -> Result<Vec<Failure>, WireError> {
    process::decode_result(v1::WorkResult { failures, ..v1::WorkResult::default() }, 2).map(|result| result.failures)
}

#[test]
fn failures() {
    let decoded = |failure| decode_failures(vec![failure]).unwrap().remove(0);
    assert_eq!((decoded(failure()).index, decoded(failure()).action), (None, Action::Retry));
    assert_eq!(decoded(v1::EventFailure { action: 77, ..failure() }).action, Action::Retry);
    let long = v1::EventFailure { message: "é".repeat(4096), ..failure() };
    assert_eq!(decoded(long).message.len(), 4096, "a verdict counts even if its message is too long");

    let refused = |failure| decode_failures(vec![failure]).unwrap_err();
    let index = refused(v1::EventFailure { index: 2, ..failure() });
    assert_eq!(index, WireError::FailureIndex { failure: 0, index: 2, inputs: 2 });
    for reason in ["", "lower", &"A".repeat(65)] {
        let error = refused(v1::EventFailure { reason: reason.to_owned(), ..failure() });
        assert!(matches!(error, WireError::Reason { failure: 0, .. }), "{error}");
    }
    assert_eq!(decode_failures(vec![failure(); 4]).unwrap_err(), WireError::Failures { failures: 4, inputs: 2 });
}

#[test]
fn a_malformed_result_retries_the_whole_work() {
    let outputs = v1::Outputs { count: 3, ..v1::Outputs::default() };
    let result = v1::WorkResult { sequence: 5, outputs: Some(outputs), ..v1::WorkResult::default() };
    let error = process::decode_result(result, 2).unwrap_err();
    let stands_in = process::malformed_result(5, &error);
    assert!(stands_in.last && stands_in.sequence == 5);
    let failure = &stands_in.failures[0];
    assert_eq!((failure.index, failure.action, &*failure.reason), (None, Action::Retry, "RESULT_MALFORMED"));
    assert_eq!(
        failure.message,
        "`outputs`: column `parent`: 3 outputs without parents for 2 inputs; an empty column means output i came from input i"
    );
}

#[test]
fn limits_have_defaults_and_bounds() {
    assert_eq!(process::decode_limits(v1::Limits::default()), Limits::default());
    let all = v1::Limits { max_in_flight_works: 3, max_batch_events: u32::MAX, max_batch_bytes: u64::MAX };
    assert_eq!(process::decode_limits(all), Limits { works: 3, events: 65_536, bytes: 32 << 20 });
    let limits = Limits { works: 1, events: 2, bytes: 3 };
    assert_eq!(process::decode_limits(sent(process::encode_limits(&limits))), limits);
}

#[test]
fn progress() {
    let calls = vec![
        Call { sequence: 1, index: Some(3), age: Duration::from_secs(9) },
        Call { sequence: 2, index: None, age: Duration::from_millis(5) },
    ];
    assert_eq!(process::decode_progress(sent(process::encode_progress(&calls))).unwrap(), calls);
    let many = process::encode_progress(&vec![calls[0]; 300]);
    assert_eq!(many.calls.len(), 256);
    let too_many = v1::Progress { calls: vec![many.calls[0]; 257] };
    assert_eq!(process::decode_progress(too_many).unwrap_err(), WireError::Progress { calls: 257 });
}

fn produced() -> v1::Produced {
    let mut frame = batch::encode(&events());
    frame.uid.clear();
    v1::Produced { sequence: 1, batch: Some(frame), checkpoint: Some(Bytes::from_static(b"c")) }
}

#[test]
fn frames_of_sources() {
    let FromSource::Produced { sequence, batch, checkpoint } = produce::decode_produced(sent(produced())).unwrap()
    else {
        panic!("a frame")
    };
    assert_eq!((sequence, checkpoint.as_deref()), (1, Some(&b"c"[..])));
    assert!(batch.uid(0).is_nil() && batch.from(0).is_none());
    assert_eq!(batch.subject(0), Some("u"));

    let refused = |change: &dyn Fn(&mut v1::Produced)| {
        let mut frame = produced();
        change(&mut frame);
        produce::decode_produced(frame).unwrap_err()
    };
    assert_eq!(refused(&|p| p.batch = None), WireError::Missing { field: "produced.batch" });
    assert_eq!(refused(&|p| p.batch.as_mut().unwrap().uid = vec![0; 32].into()), WireError::UidSet);
    assert_eq!(refused(&|p| p.checkpoint = Some(vec![0; 65_537].into())), WireError::Checkpoint { bytes: 65_537 });
}

#[test]
fn words_to_sources() {
    let words = [
        ToSource::Demand { events: 5, bytes: 6 },
        ToSource::Settled { sequence: 3, checkpoint: Some(Bytes::from_static(b"c")) },
        ToSource::Settled { sequence: 4, checkpoint: None },
        ToSource::Stop,
    ];
    for word in words {
        let request = sent(produce::encode_request(&word).unwrap()).request.unwrap();
        let again = produce::decode_request(request).unwrap().unwrap();
        assert_eq!(format!("{again:?}"), format!("{word:?}"));
    }
    let refused = ToSource::Refused { sequence: 1, why: meshloom_core::exchange::NotAccepted::Full };
    assert!(produce::encode_request(&refused).is_none(), "a source behind gRPC is not told: its frames wait");
}
