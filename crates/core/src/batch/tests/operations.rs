use proptest::{collection::vec, prelude::*, sample::Index};

use super::model::{self, Row, build, check};
use crate::{
    batch::{Attribute, Batch, SpanContext},
    ids::Uid,
};

#[derive(Debug, Clone)]
enum Operation {
    Select(Vec<Index>),
    Slice(Index, Index),
    Concat(Vec<Row>),
    Compact,
    Detach,
    Flatten,
    Wire,
    From,
    DefaultSource,
    Uids,
    Spans(Vec<Index>),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        vec(any::<Index>(), 0..12).prop_map(Operation::Select),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Operation::Slice(from, to)),
        model::rows(0..5).prop_map(Operation::Concat),
        Just(Operation::Compact),
        Just(Operation::Detach),
        Just(Operation::Flatten),
        Just(Operation::Wire),
        Just(Operation::From),
        Just(Operation::DefaultSource),
        Just(Operation::Uids),
        vec(any::<Index>(), 0..4).prop_map(Operation::Spans),
    ]
}

/// Does the same to the batch and to its model.
fn run(operation: Operation, batch: Batch, mut model: Vec<Row>) -> (Batch, Vec<Row>) {
    match operation {
        Operation::Select(_) | Operation::Spans(_) if model.is_empty() => (batch, model),
        Operation::Select(picks) => {
            let picks: Vec<u32> = picks.iter().map(|pick| pick.index(model.len()) as u32).collect();
            (batch.select(&picks), picks.iter().map(|&pick| model[pick as usize].clone()).collect())
        }
        Operation::Slice(from, to) => {
            let (from, to) = (from.index(model.len() + 1), to.index(model.len() + 1));
            let range = from.min(to)..from.max(to);
            (batch.slice(range.clone()), model[range].to_vec())
        }
        Operation::Concat(more) => {
            let joined = Batch::concat(&[batch.clone(), build(&more), batch]);
            let joined_model = [model.clone(), more, model].concat();
            assert!(joined.flat_columns().is_some());
            (joined, joined_model)
        }
        Operation::Compact => (batch.compact(), model),
        Operation::Detach => (batch.detach(), model),
        Operation::Flatten => {
            let flat = batch.flatten();
            assert!(flat.flat_columns().is_some());
            (flat, model)
        }
        Operation::Wire if model.is_empty() => (batch, model),
        Operation::Wire => {
            let columns = batch.to_columns();
            assert!(columns.bytes() <= batch.bytes() + 64 * columns.extensions.len(), "bytes() bounds the frame");
            (Batch::from_columns(columns).unwrap(), model)
        }
        Operation::From => {
            model.iter_mut().for_each(|row| row.attributes[Attribute::From as usize] = Some("up.side".to_owned()));
            (batch.with_from("up.side"), model)
        }
        Operation::DefaultSource => {
            for row in &mut model {
                row.attributes[Attribute::Source as usize].get_or_insert_with(|| "p/n".to_owned());
            }
            (batch.with_default_source("p/n"), model)
        }
        Operation::Uids => {
            let uids: Vec<_> = (0..model.len()).map(|row| Uid::from_bytes([row as u8; 16])).collect();
            model.iter_mut().zip(&uids).for_each(|(row, &uid)| row.uid = uid);
            (batch.with_uids(uids), model)
        }
        Operation::Spans(picks) => {
            let span = SpanContext { trace_id: [7; 16], span_id: [8; 8], flags: 1, trace_state: None };
            model.iter_mut().for_each(|row| row.span = None);
            let picks: Vec<_> = picks.iter().map(|pick| pick.index(model.len())).collect();
            picks.iter().for_each(|&pick| model[pick].span = Some(span.clone()));
            (batch.with_spans(picks.iter().map(|&pick| (pick as u32, span.clone())).collect()), model)
        }
    }
}

proptest! {
    #[test]
    fn any_chain_of_operations_equals_the_model(rows in model::rows(0..10), operations in vec(operation(), 0..8)) {
        let (mut batch, mut model) = (build(&rows), rows);
        check(&batch, &model);
        for operation in operations {
            if model.len() > 200 {
                break;
            }
            let before = batch.clone();
            let before_model = model.clone();
            (batch, model) = run(operation, batch, model);
            check(&batch, &model);
            check(&before, &before_model);
        }
    }
}

fn flat(count: usize) -> Batch {
    let row = |n: usize| {
        let mut row = Row { payload: format!("payload {n:04}").into_bytes(), ..Row::default() };
        row.attributes[Attribute::Type as usize] = Some("log".to_owned());
        row
    };
    build(&(0..count).map(row).collect::<Vec<_>>())
}

#[test]
fn cutting_copies_no_bytes() {
    let batch = flat(100);
    let at = |batch: &Batch, row| batch.payload(row).as_ptr();
    assert_eq!(at(&batch.select(&[7, 3]), 1), at(&batch, 3));
    assert_eq!(at(&batch.slice(20..90).select(&[5, 1]), 0), at(&batch, 25));
    assert_eq!(at(&batch.slice(20..90).flatten(), 0), at(&batch, 20), "neighbours share their data on the wire too");
    assert_eq!(batch.select(&(0..100).collect::<Vec<_>>()).flat_columns(), batch.flat_columns());
}

#[test]
fn a_flat_batch_goes_on_unchanged() {
    let batch = flat(10);
    let columns = batch.flat_columns().unwrap();
    let again = Batch::from_columns(columns.clone()).unwrap();
    assert_eq!(again.flat_columns().unwrap(), columns);
    assert_eq!(again.payload(3).as_ptr(), batch.payload(3).as_ptr());
    assert!(batch.select(&[1, 3]).flat_columns().is_none());
}

#[test]
fn compact_copies_out_below_a_quarter() {
    let batch = flat(400);
    let at = |batch: &Batch| batch.payload(0).as_ptr();
    let (half, few) = (batch.slice(0..200), batch.slice(0..20));
    assert_eq!(half.pinned_bytes(), batch.pinned_bytes());
    assert_eq!(at(&half.clone().compact()), at(&batch));
    let copied = few.clone().compact();
    assert_ne!(at(&copied), at(&batch));
    assert!(copied.pinned_bytes() < batch.pinned_bytes() / 4);
    assert_eq!(model::read(&copied), model::read(&few));
}

#[test]
fn equal_strings_are_stored_once() {
    let columns = Batch::concat(&[flat(50), flat(50)]).flat_columns().unwrap();
    let type_ = columns.type_.unwrap();
    assert_eq!((type_.values.len(), type_.index.len()), (1, 0));
    let mixed = Batch::concat(&[flat(3).with_from("a"), flat(2).with_from("b")]);
    let from = mixed.flat_columns().unwrap().from.unwrap();
    assert_eq!((from.values.len(), from.index.len()), (2, 20));
}

#[test]
fn joining_is_refused_beyond_the_extension_columns_of_a_frame() {
    let with = |prefix: &str| {
        let extensions = (0..40).map(|n| (format!("{prefix}{n}"), model::Value::Boolean(true)));
        build(&[Row { extensions: extensions.collect(), ..Row::default() }])
    };
    assert!(Batch::may_join(&[with("a")], &with("a")));
    assert!(!Batch::may_join(&[with("a")], &with("b")));
    assert!(Batch::may_join(&[with("a"), flat(1)], &flat(1)));
}
