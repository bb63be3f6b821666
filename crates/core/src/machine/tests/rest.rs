//! A replica that is to be restarted.

use super::stage::*;
use crate::machine::{End, Event};

#[test]
fn a_resting_replica_finishes_what_it_has_and_gets_no_more_until_it_is_up_again() {
    let mut stage = Stage::with_replicas(settings(), 2);
    stage.up(0, limits(2, 10, 1 << 20));
    stage.up(1, limits(2, 10, 1 << 20));
    let frame = stage.arrive(10);
    let (replica, work) = stage.sent.pop().unwrap();
    stage.handle(Event::Rest { replica });
    assert_eq!(stage.machine.works_in_hand(replica), 1);
    stage.arrive(60);
    let others: Vec<_> = stage.sent.drain(..).collect();
    assert!(others.len() == 2 && others.iter().all(|(to, _)| *to != replica), "the other one takes its two works");
    stage.handle(Event::Result { replica, result: consumed(&work) });
    assert_eq!((stage.machine.works_in_hand(replica), stage.sent.len()), (0, 0));
    assert!(stage.book.of(frame).is_some());
    stage.handle(Event::Down { replica, end: End::Closed });
    assert!(stage.sent.is_empty());
    stage.up(replica, limits(2, 10, 1 << 20));
    assert!(stage.sent.len() == 2 && stage.sent.iter().all(|(to, _)| *to == replica));
    assert_eq!(stage.machine.books().retried, 0);
}

#[test]
fn what_waits_for_the_only_replica_while_it_rests_goes_when_it_is_back() {
    let mut stage = Stage::ready(settings());
    stage.handle(Event::Rest { replica: 0 });
    let frame = stage.arrive(3);
    assert!(stage.sent.is_empty() && stage.machine.waits_for_replica());
    assert_eq!(stage.machine.next_deadline(), None);
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    stage.up(0, limits(1, 1000, 1 << 20));
    let work = stage.work();
    assert_eq!(attempts(&work), [1, 1, 1]);
    stage.result(consumed(&work));
    assert!(stage.book.of(frame).is_some());
}

#[test]
fn a_resting_replica_that_dies_gives_back_what_it_had() {
    let mut stage = Stage::ready(settings());
    stage.arrive(3);
    stage.work();
    stage.handle(Event::Rest { replica: 0 });
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    assert!(stage.sent.is_empty());
    stage.up(0, limits(1, 1000, 1 << 20));
    assert_eq!(numbers(&stage.work().batch), [0, 1, 2]);
}
