//! Which replica a work goes to.

use super::stage::{MS, SECOND, Stage, consumed, limits, settings};
use crate::{exchange::Work, machine::Event};

/// Replicas that take this many milliseconds for an event, one work after the other, under more events than they can
/// handle in the time; the events that each has answered.
fn run(paces: &[u32], time_ms: u32, works_at_once: u32) -> Vec<u32> {
    let mut settings = settings();
    settings.batch_events = 10;
    settings.latency = 1000 * SECOND;
    let mut stage = Stage::with_replicas(settings, paces.len() as u32);
    for replica in 0..paces.len() as u32 {
        stage.up(replica, limits(1000, 10, 1 << 20));
    }
    let mut queues: Vec<Vec<Work>> = paces.iter().map(|_| Vec::new()).collect();
    let mut free_at = vec![stage.now; paces.len()];
    let mut answered = vec![0; paces.len()];
    let end = stage.now + MS * time_ms;
    while stage.now < end {
        let in_hand: usize = queues.iter().map(Vec::len).sum();
        if in_hand < works_at_once as usize {
            stage.arrive(10);
        }
        for (replica, work) in std::mem::take(&mut stage.sent) {
            let queue = &mut queues[replica as usize];
            if queue.is_empty() {
                free_at[replica as usize] = stage.now + MS * paces[replica as usize] * work.batch.len() as u32;
            }
            queue.push(work);
        }
        stage.now = stage.now + MS;
        for replica in 0..paces.len() {
            if !queues[replica].is_empty() && free_at[replica] <= stage.now {
                let work = queues[replica].remove(0);
                answered[replica] += work.batch.len() as u32;
                stage.handle(Event::Result { replica: replica as u32, result: consumed(&work) });
                let next = queues[replica].first().map_or(0, |work| work.batch.len() as u32);
                free_at[replica] = stage.now + MS * paces[replica] * next;
            }
        }
    }
    answered
}

#[test]
fn a_slow_replica_gets_its_share_and_holds_nobody_else() {
    let answered = run(&[1, 1, 1, 10], 20_000, 60);
    let fast: u32 = answered[..3].iter().sum();
    assert!(fast > 45_000, "{answered:?}");
    assert!(answered[3] > 1_000, "{answered:?}");
}

#[test]
fn equal_replicas_get_equal_shares() {
    let answered = run(&[2; 5], 20_000, 20);
    let (least, most) = (answered.iter().min().unwrap(), answered.iter().max().unwrap());
    assert!(*most - *least < most / 10, "{answered:?}");
}

#[test]
fn a_replica_at_its_limits_gets_no_more_until_it_has_answered() {
    let mut settings = settings();
    settings.batch_events = 1;
    let mut stage = Stage::with_replicas(settings, 2);
    stage.up(0, limits(1, 10, 1 << 20));
    stage.up(1, limits(3, 10, 1 << 20));
    stage.arrive(6);
    let given: Vec<u32> = stage.sent.iter().map(|(replica, _)| *replica).collect();
    assert_eq!((given.iter().filter(|replica| **replica == 0).count(), given.len()), (1, 4));
    let (_, work) = stage.sent.remove(given.iter().position(|replica| *replica == 0).unwrap());
    stage.sent.clear();
    stage.now = stage.now + SECOND;
    stage.result(consumed(&work));
    assert_eq!(stage.sent.len(), 1);
    assert_eq!(stage.sent[0].0, 0, "the other one is full");
}

#[test]
fn a_replica_that_was_slow_is_tried_again() {
    let mut settings = settings();
    settings.batch_events = 1;
    let mut stage = Stage::with_replicas(settings, 2);
    stage.up(0, limits(100, 10, 1 << 20));
    stage.up(1, limits(100, 10, 1 << 20));
    stage.arrive(2);
    let works = std::mem::take(&mut stage.sent);
    assert_eq!(works.iter().map(|(replica, _)| *replica).collect::<Vec<_>>(), [0, 1], "nothing is known yet");
    stage.now = stage.now + MS;
    stage.handle(Event::Result { replica: 1, result: consumed(&works[1].1) });
    stage.now = stage.now + SECOND;
    stage.handle(Event::Result { replica: 0, result: consumed(&works[0].1) });
    stage.arrive(1);
    assert_eq!(stage.sent.pop().unwrap().0, 1, "the fast one, though both have nothing in hand");
    stage.now = stage.now + 10 * SECOND;
    stage.arrive(1);
    assert_eq!(stage.sent.pop().unwrap().0, 0, "the other one has something in hand");
}
