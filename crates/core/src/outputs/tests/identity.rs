//! Output numbers across the results of one work.

use crate::{
    batch::{
        Batch,
        tests::model::{self, Row},
    },
    ids::{self, Uid},
    outputs::{NodeIdentity, Ordinals, OutputEvent, OutputsBuilder},
};

fn input() -> Batch {
    let row = |n: u8| Row { uid: Uid::from_bytes([n; 16]), ..Row::default() };
    model::build(&[row(1), row(2)])
}

fn apply(parents: &[Option<u32>], continued: bool, before: Ordinals) -> (Vec<Uid>, Ordinals) {
    let mut builder = OutputsBuilder::new(&input());
    for &parent in parents {
        builder.emit(parent, Some(b"x"), OutputEvent::default()).unwrap();
    }
    let outputs = builder.finish(continued).unwrap();
    let answer = outputs.apply(&input(), &NodeIdentity::new("p", "n", false), before).unwrap();
    ((0..answer.batch.len()).map(|row| answer.batch.uid(row)).collect(), answer.ordinals)
}

#[test]
fn numbers_go_on_in_a_continued_parent() {
    let (first, second) = (input().uid(0), input().uid(1));
    let (uids, ordinals) = apply(&[Some(0), Some(1), Some(1)], true, Ordinals::default());
    assert_eq!(uids, [first, second, ids::output("p/n", second, 1)]);
    let (uids, ordinals) = apply(&[Some(1)], true, ordinals);
    assert_eq!(uids, [ids::output("p/n", second, 2)]);
    let (uids, _) = apply(&[Some(1), Some(1)], false, ordinals);
    assert_eq!(uids, [ids::output("p/n", second, 3), ids::output("p/n", second, 4)]);
}

#[test]
fn numbers_begin_anew_for_another_parent() {
    let (_, ordinals) = apply(&[Some(0)], true, Ordinals::default());
    let (uids, _) = apply(&[Some(1)], false, ordinals);
    assert_eq!(uids, [input().uid(1)]);
}

#[test]
fn outputs_of_the_whole_batch_are_numbered_over_the_whole_work() {
    let (first, ordinals) = apply(&[Some(0), None, None], false, Ordinals::default());
    let (second, _) = apply(&[None], false, ordinals);
    let whole = ids::WholeBatch::new("p/n", [("", input().uid(0)), ("", input().uid(1))].into_iter());
    assert_eq!([first[1], first[2], second[0]], [0, 1, 2].map(|n| whole.output(n)));
}
