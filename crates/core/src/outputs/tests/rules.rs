use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::{
    batch::{
        Batch, Event, EventError, Extension, ExtensionType, ExtensionValue, Rule, Strings, TIME_INHERITED, Values,
        tests::model::{self, Row},
    },
    limits,
    outputs::{EmitError, NodeIdentity, Ordinals, OutputColumns, OutputEvent, Outputs, OutputsBuilder, WHOLE},
};

fn u32s(numbers: &[u32]) -> Bytes {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>().into()
}

fn payload(count: u32) -> Option<Values> {
    let ends: Vec<_> = (1..=count).collect();
    Some(Values { data: vec![b'x'; count as usize].into(), ends: u32s(&ends) })
}

/// Two outputs of three inputs.
fn refused(change: impl FnOnce(&mut OutputColumns)) -> Rule {
    let mut columns = OutputColumns { count: 2, ..OutputColumns::default() };
    change(&mut columns);
    Outputs::from_columns(columns, 3).unwrap_err().rule
}

#[test]
fn parents() {
    let with = |parents: &[u32]| refused(|c| c.parent = u32s(parents));
    assert_eq!(with(&[0]), Rule::Length { found: 1, expected: 2 });
    assert_eq!(with(&[0, 3]), Rule::ParentRange { output: 1, parent: 3, count: 3 });
    assert_eq!(with(&[1, 0]), Rule::ParentOrder { output: 1, previous: 1, parent: 0 });
    assert_eq!(with(&[1, WHOLE]), Rule::WholeWithoutPayload { output: 1 });
    let whole_first = refused(|c| {
        c.parent = u32s(&[WHOLE, 1]);
        c.payload = payload(2);
    });
    assert_eq!(whole_first, Rule::ParentOrder { output: 1, previous: WHOLE, parent: 1 });
    assert_eq!(refused(|c| c.count = 4), Rule::ParentMissing { outputs: 4, inputs: 3 });
    let legal = OutputColumns { count: 3, parent: u32s(&[2, 2, WHOLE]), payload: payload(3), ..Default::default() };
    let outputs = Outputs::from_columns(legal, 3).unwrap();
    assert_eq!(outputs.parents().iter().collect::<Vec<_>>(), [Some(2), Some(2), None]);
    assert_eq!(outputs.parents().named().collect::<Vec<_>>(), [2]);
    assert_eq!(outputs.parents().whole_from(), 2);
}

#[test]
fn columns() {
    assert_eq!(refused(|c| c.count = 0), Rule::Count { count: 0 });
    assert_eq!(refused(|c| c.payload = payload(3)), Rule::Length { found: 3, expected: 2 });
    assert_eq!(refused(|c| c.time = vec![0; 8].into()), Rule::Length { found: 1, expected: 2 });
    let bad = || {
        Some(Strings { values: Values { data: Bytes::from_static(b"\xff"), ends: u32s(&[1]) }, index: Bytes::new() })
    };
    assert_eq!(refused(|c| c.route = bad()), Rule::Utf8 { value: 0 });
    assert_eq!(refused(|c| c.id = bad()), Rule::Utf8 { value: 0 });
    assert_eq!(refused(|c| c.content_type = bad()), Rule::Utf8 { value: 0 });
    let values = Values { data: Bytes::from_static(b"a"), ends: u32s(&[1]) };
    let removal = Extension { name: "a".into(), kind: ExtensionType::Unspecified, values, index: u32s(&[0]) };
    assert_eq!(refused(|c| c.extensions = vec![removal]), Rule::ExtensionRemovesValues { values: 1 });
}

#[test]
fn emitting_keeps_the_rules() {
    let input = model::build(&vec![Row::default(); 2]);
    let mut builder = OutputsBuilder::new(&input);
    let event = OutputEvent::default();
    assert_eq!(builder.emit(Some(2), None, event), Err(EmitError::Parent { parent: 2, inputs: 2 }));
    assert_eq!(builder.emit(None, None, event), Err(EmitError::NoPayload));
    builder.emit(Some(1), None, event).unwrap();
    assert_eq!(builder.emit(Some(0), None, event), Err(EmitError::Order { previous: 1, parent: 0 }));
    let long = "a".repeat(limits::ATTRIBUTE_BYTES + 1);
    let route = builder.emit(Some(1), None, OutputEvent { route: Some(&long), ..event }).unwrap_err();
    assert_eq!(route.to_string(), "attribute `route` has 65537 bytes, allowed are 65536");
    assert_eq!(builder.len(), 1);
    assert!(OutputsBuilder::new(&input).finish(false).is_none());
}

#[test]
fn an_answer_is_full_at_the_limits_of_a_batch() {
    let large = vec![0; limits::EVENT_BYTES];
    let mut inputs = crate::batch::BatchBuilder::new();
    inputs.push(Event { payload: &large, ..Event::default() }).unwrap();
    let input = inputs.finish();
    let mut builder = OutputsBuilder::new(&input);
    // Parents' payloads count once one output has its own.
    builder.emit(Some(0), None, OutputEvent::default()).unwrap();
    builder.emit(Some(0), None, OutputEvent::default()).unwrap();
    let full = Err(EmitError::Event(EventError::Full));
    assert_eq!(builder.emit(Some(0), Some(b"own"), OutputEvent::default()), full);
    for _ in 2..limits::BATCH_EVENTS {
        builder.emit(Some(0), None, OutputEvent::default()).unwrap();
    }
    assert_eq!(builder.emit(Some(0), None, OutputEvent::default()), full);
    let outputs = builder.finish(false).unwrap();
    assert_eq!(Outputs::from_columns(outputs.columns().clone(), 1).unwrap(), outputs);
}

fn sample(input: &Batch) -> Outputs {
    let mut builder = OutputsBuilder::new(input);
    let set = [("a", Some(ExtensionValue::Integer(1))), ("b", None)];
    let overrides = OutputEvent {
        subject: Some("s"),
        key: Some(""),
        time_ns: Some(Some(TIME_INHERITED + 5)),
        id: Some("id"),
        route: Some("side"),
        extensions: &set,
        ..OutputEvent::default()
    };
    builder.emit(Some(0), None, overrides).unwrap();
    builder.emit(Some(2), Some(b"own"), OutputEvent::default()).unwrap();
    builder.emit(None, Some(b"whole"), overrides).unwrap();
    builder.finish(false).unwrap()
}

fn byte_columns(columns: &mut OutputColumns) -> Vec<&mut Bytes> {
    let mut found = vec![&mut columns.parent, &mut columns.time];
    if let Some(payload) = &mut columns.payload {
        found.extend([&mut payload.data, &mut payload.ends]);
    }
    let strings = [&mut columns.subject, &mut columns.key, &mut columns.id, &mut columns.route];
    for column in strings.into_iter().flatten() {
        found.extend([&mut column.values.data, &mut column.values.ends, &mut column.index]);
    }
    for column in &mut columns.extensions {
        found.extend([&mut column.values.data, &mut column.values.ends, &mut column.index]);
    }
    found
}

proptest! {
    #[test]
    fn corruption_is_refused_or_applies_and_never_panics(
        count in prop_oneof![4 => Just(None), 1 => any::<u32>().prop_map(Some), 1 => (0..6u32).prop_map(Some)],
        damage in vec((any::<Index>(), any::<Index>(), any::<u8>()), 0..4),
    ) {
        let input = model::build(&vec![Row { payload: b"payload".to_vec(), ..Row::default() }; 3]);
        let mut columns = sample(&input).columns().clone();
        columns.count = count.unwrap_or(columns.count);
        for (column, at, to) in damage {
            let mut columns = byte_columns(&mut columns);
            let column = column.index(columns.len());
            crate::batch::tests::rules::corrupt(columns[column], at, to);
        }
        if let Ok(outputs) = Outputs::from_columns(columns, 3) {
            let answer = outputs.apply(&input, &NodeIdentity::new("p", "n", true), Ordinals::default()).unwrap();
            prop_assert_eq!(model::read(&answer.batch), model::read(&answer.batch.detach()));
            prop_assert!(answer.routes.groups(answer.batch.len()).len() <= answer.batch.len());
        }
    }
}
