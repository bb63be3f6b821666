//! Every input is closed exactly once, and none by omission.

use super::stage::{Stage, attempts, consumed, limits, numbers, outputs, reject, retry, settings};
use crate::{
    exchange::{Work, WorkResult},
    ids,
    machine::{Action, End, Event},
    origin::Outcome,
};

fn answer(work: &Work, parents: &[Option<u32>], continued: bool) -> WorkResult {
    WorkResult { sequence: work.sequence, outputs: outputs(work, parents, continued), ..WorkResult::default() }
}

fn last(result: WorkResult) -> WorkResult {
    WorkResult { last: true, ..result }
}

fn one_work(stage: &mut Stage, rows: u32) -> (u64, Work) {
    let frame = stage.arrive(rows);
    (frame, stage.work())
}

#[test]
fn outputs_close_their_inputs_and_the_frame_settles_when_the_outputs_do() {
    let mut stage = Stage::ready(settings());
    let (frame, work) = one_work(&mut stage, 2);
    stage.result(last(answer(&work, &[Some(0), Some(0), Some(1)], false)));
    assert!(stage.machine.is_idle());
    assert_eq!(stage.machine.books().produced, 3);
    assert_eq!(stage.book.of(frame), None);
    stage.settle_below();
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
}

#[test]
fn consumed_inputs_settle_at_once() {
    let mut stage = Stage::ready(settings());
    let (frame, work) = one_work(&mut stage, 2);
    stage.result(consumed(&work));
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
    assert_eq!(stage.machine.books().consumed, 2);
}

#[test]
fn nothing_settles_before_the_last_result_but_what_was_named() {
    let mut stage = Stage::ready(settings());
    let (frame, work) = one_work(&mut stage, 3);
    stage.result(answer(&work, &[Some(1)], false));
    stage.settle_below();
    assert_eq!((stage.machine.books().answered, stage.machine.books().in_hand), (1, 2));
    assert_eq!(stage.book.of(frame), None);
    stage.result(WorkResult { consumed: 2, ..last(answer(&work, &[], false)) });
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
}

#[test]
fn a_wrong_number_of_consumed_inputs_retries_every_unnamed_one() {
    let mut stage = Stage::ready(settings());
    let (_, work) = one_work(&mut stage, 3);
    stage.result(WorkResult { consumed: 1, ..last(answer(&work, &[Some(0)], false)) });
    stage.wait_for_deadline();
    let again = stage.work();
    assert_eq!((numbers(&again.batch), attempts(&again)), (vec![1, 2], vec![2, 2]));
    stage.fail(&again, vec![]);
}

#[test]
fn unaccounted_inputs_become_letters_with_that_reason_in_the_end() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    while !stage.machine.is_idle() {
        let work = stage.work();
        stage.result(WorkResult { consumed: 0, ..consumed(&work) });
        if !stage.machine.is_idle() {
            stage.wait_for_deadline();
        }
    }
    assert_eq!(stage.reasons(), ["UNACCOUNTED"]);
    assert!(stage.letters[0].message.contains("0 of 1 inputs"));
}

/// The result is refused, the open inputs are retried, and what comes later is counted and ignored.
fn is_refused(rows: u32, before: Option<fn(&Work) -> WorkResult>, bad: fn(&Work) -> WorkResult, reason: &str) {
    let mut settings = settings();
    settings.retry.attempts = 1;
    let mut stage = Stage::ready(settings);
    let (_, work) = one_work(&mut stage, rows);
    if let Some(before) = before {
        stage.result(before(&work));
    }
    let answered = stage.machine.books().answered;
    stage.result(bad(&work));
    let [Action::Warn { .. }, Action::Span(hop), ..] = &stage.actions[..] else { panic!("{:?}", stage.actions) };
    assert_eq!(hop.reason.as_deref(), Some(reason));
    assert_eq!(stage.machine.books().answered, answered);
    stage.result(last(answer(&work, &[Some(0)], false)));
    assert_eq!(stage.machine.books().late_results, 1);
    assert_eq!(stage.machine.books().answered, answered);
    while !stage.machine.is_idle() {
        let (_, work) = stage.sent.pop().expect("halves go at once");
        stage.fail(&work, vec![retry(None)]);
    }
    assert_eq!(stage.letters.len() as u64, u64::from(rows) - answered);
}

#[test]
fn an_input_named_twice_is_refused() {
    let bad = |work: &Work| WorkResult { failures: vec![retry(0)], ..answer(work, &[Some(0)], false) };
    is_refused(1, None, bad, "RESULT_INDEX_REPEATED");
    let bad = |work: &Work| WorkResult { failures: vec![retry(0), reject(0)], ..answer(work, &[], false) };
    is_refused(3, None, bad, "RESULT_INDEX_REPEATED");
    let before: fn(&Work) -> WorkResult = |work| answer(work, &[Some(0)], false);
    is_refused(3, Some(before), |work| answer(work, &[Some(0), Some(1)], false), "RESULT_INDEX_REPEATED");
    let bad = |work: &Work| WorkResult { failures: vec![retry(0)], ..answer(work, &[], false) };
    is_refused(3, Some(before), bad, "RESULT_INDEX_REPEATED");
}

#[test]
fn an_input_that_the_work_does_not_have_is_refused() {
    let bad = |work: &Work| WorkResult { failures: vec![retry(7)], ..answer(work, &[], false) };
    is_refused(1, None, bad, "RESULT_MALFORMED");
}

#[test]
fn a_result_that_cannot_be_read_retries_the_open_inputs() {
    let mut stage = Stage::ready(settings());
    let (_, work) = one_work(&mut stage, 2);
    let sequence = work.sequence;
    stage.handle(Event::Malformed { replica: 0, sequence, last: true, message: "bad column".into() });
    assert!(matches!(&stage.actions[0], Action::Warn { message, .. } if message.contains("bad column")));
    stage.wait_for_deadline();
    assert_eq!(attempts(&stage.work()), [2, 2]);
}

#[test]
fn an_answer_to_a_work_that_the_replica_does_not_have_ends_its_stream() {
    let mut stage = Stage::ready(settings());
    let (_, work) = one_work(&mut stage, 1);
    stage.result(WorkResult { sequence: 99, last: true, ..WorkResult::default() });
    assert!(matches!(&stage.actions[..], [Action::Restart { why, .. }] if why.contains("work 99")));
    stage.result(WorkResult { sequence: 98, last: true, ..WorkResult::default() });
    assert_eq!(stage.actions.len(), 1, "once is enough");
    stage.result(consumed(&work));
    stage.arrive(1);
    assert!(stage.sent.is_empty(), "it gets no more work before it is up again");
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    stage.up(0, limits(1, 10, 1 << 20));
    assert_eq!(stage.work().sequence, 1);
}

#[test]
fn a_continued_input_stays_open_until_a_result_goes_on_without_it() {
    let mut stage = Stage::ready(settings());
    let (_, work) = one_work(&mut stage, 2);
    stage.result(answer(&work, &[Some(0), Some(1)], true));
    assert_eq!(stage.machine.books().answered, 1);
    stage.result(answer(&work, &[Some(1), Some(1)], true));
    assert_eq!(stage.machine.books().answered, 1);
    stage.result(last(answer(&work, &[], false)));
    assert_eq!(stage.machine.books().answered, 2);
    let uids: Vec<_> =
        stage.forwarded.iter().flat_map(|(batch, _)| (0..batch.len()).map(|row| batch.uid(row))).collect();
    let second = |n| ids::output("p/n", super::stage::uid(1), n);
    assert_eq!(uids[1..], [super::stage::uid(1), second(1), second(2)], "numbers of outputs go on across results");
}

#[test]
fn a_continued_input_can_fail_and_its_outputs_stay_sent() {
    let mut stage = Stage::ready(settings());
    let (frame, work) = one_work(&mut stage, 1);
    stage.result(answer(&work, &[Some(0)], true));
    stage.fail(&work, vec![retry(0)]);
    assert_eq!(stage.forwarded.len(), 1);
    stage.settle_below();
    assert_eq!(stage.book.of(frame), None);
    stage.wait_for_deadline();
    let again = stage.work();
    assert_eq!(attempts(&again), [2]);
    stage.result(last(answer(&again, &[Some(0)], false)));
    assert_eq!(stage.forwarded[0].0.uid(0), super::stage::uid(0), "the same uid again");
    stage.settle_below();
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
}

#[test]
fn continued_inputs_in_falling_order_are_closed_in_any_case() {
    let mut stage = Stage::ready(settings());
    let (_, work) = one_work(&mut stage, 6);
    stage.result(answer(&work, &[Some(5)], true));
    stage.result(WorkResult { consumed: 4, ..last(answer(&work, &[Some(2)], true)) });
    let books = stage.machine.books();
    assert_eq!((books.answered, books.consumed), (2, 4));
}

#[test]
fn a_work_that_failed_while_an_input_was_continued_may_still_talk() {
    let mut stage = Stage::ready(settings());
    let (_, work) = one_work(&mut stage, 2);
    stage.result(WorkResult { failures: vec![retry(None)], ..answer(&work, &[Some(0)], true) });
    stage.result(answer(&work, &[Some(1)], false));
    stage.result(last(answer(&work, &[], false)));
    let books = stage.machine.books();
    assert_eq!((books.answered, books.waiting, books.late_results), (0, 2, 2));
}

#[test]
fn an_output_of_the_whole_batch_holds_every_frame_of_the_work() {
    let mut stage = Stage::new(settings());
    let frames = [stage.arrive(2), stage.arrive(1)];
    stage.up(0, limits(1, 10, 1 << 20));
    let work = stage.work();
    stage.result(WorkResult { consumed: 3, ..last(answer(&work, &[None], false)) });
    assert_eq!(stage.machine.books().consumed, 3);
    assert_eq!(frames.map(|frame| stage.book.of(frame)), [None, None]);
    stage.settle_below();
    assert_eq!(frames.map(|frame| stage.book.of(frame)), [Some(Outcome::Settled); 2]);
}

#[test]
fn an_output_of_the_whole_batch_is_lost_for_all_frames_together() {
    let mut stage = Stage::new(settings());
    let frames = [stage.arrive(2), stage.arrive(1)];
    stage.up(0, limits(1, 10, 1 << 20));
    let work = stage.work();
    stage.result(WorkResult { consumed: 3, ..last(answer(&work, &[None], false)) });
    stage.forwarded.clear();
    assert_eq!(frames.map(|frame| stage.book.of(frame)), [Some(Outcome::Lost); 2]);
}

#[test]
fn an_output_of_the_whole_batch_leaves_frames_alone_that_have_settled_before() {
    let mut stage = Stage::new(settings());
    let frames = [stage.arrive(1), stage.arrive(1)];
    stage.up(0, limits(1, 10, 1 << 20));
    let work = stage.work();
    stage.result(answer(&work, &[Some(0)], false));
    stage.settle_below();
    assert_eq!(stage.book.of(frames[0]), Some(Outcome::Settled));
    stage.result(WorkResult { consumed: 1, ..last(answer(&work, &[None], false)) });
    stage.settle_below();
    assert_eq!(stage.book.of(frames[1]), Some(Outcome::Settled));
}

#[test]
fn results_may_come_in_any_order_across_works() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(3, 1, 1 << 20));
    let frame = stage.arrive(3);
    let works: Vec<Work> = stage.sent.drain(..).map(|(_, work)| work).collect();
    for place in [2, 0, 1] {
        stage.result(consumed(&works[place]));
    }
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
}

#[test]
fn an_answered_work_reports_its_times() {
    let mut stage = Stage::ready(settings());
    let (_, work) = one_work(&mut stage, 4);
    stage.now = stage.now + super::stage::SECOND;
    stage.result(WorkResult { busy: super::stage::MS, ..consumed(&work) });
    let done = matches!(stage.actions[..], [Action::Done { replica: 0, events: 4, busy, elapsed }]
        if busy == super::stage::MS && elapsed == super::stage::SECOND);
    assert!(done, "{:?}", stage.actions);
}
