//! One trace per sampled event through every attempt at the node.

use super::stage::{SECOND, Stage, consumed, context, events, limits, number, outputs, reject, retry, settings};
use crate::{
    exchange::WorkResult,
    machine::{Action, End, Event, Hop, Verdict},
};

fn hops(stage: &mut Stage) -> Vec<Hop> {
    let actions = std::mem::take(&mut stage.actions);
    let hop = |action| match action {
        Action::Span(hop) => Some(hop),
        _ => None,
    };
    actions.into_iter().filter_map(hop).collect()
}

fn sampled(stage: &mut Stage, which: &[bool]) {
    stage.arrive_as(events((0..).zip(which).map(|(number, sampled)| (number, 10, *sampled))));
}

#[test]
fn a_sampled_event_goes_to_the_node_under_its_receive_span() {
    let mut stage = Stage::ready(settings());
    sampled(&mut stage, &[false, true]);
    stage.now = stage.now + SECOND;
    let work = stage.work();
    let receive = work.batch.span(1).unwrap().clone();
    assert_eq!(receive.trace_id, context(1).trace_id);
    assert_ne!(receive.span_id, context(1).span_id);
    assert!(work.batch.span(0).is_none());
    stage.result(WorkResult { outputs: outputs(&work, &[Some(1)], false), consumed: 1, ..consumed(&work) });
    let hops = hops(&mut stage);
    let [hop] = &hops[..] else { panic!("{hops:?}") };
    assert_eq!((number(hop.uid), hop.span_id, hop.parent), (1, receive.span_id, Some(context(1).span_id)));
    assert_eq!((hop.attempt, hop.batch_events, &hop.verdict), (1, 2, &Verdict::Answered));
    assert_eq!((hop.ended - hop.dispatched, hop.id.as_deref()), (SECOND, Some("1")));
    assert_eq!(stage.forwarded[0].0.span(0), Some(&receive), "outputs carry the receive span");
}

#[test]
fn outputs_of_the_whole_batch_go_on_in_one_trace_that_is_linked_with_the_others() {
    let mut stage = Stage::ready(settings());
    sampled(&mut stage, &[false, true, true]);
    let work = stage.work();
    let [first, second] = [1, 2].map(|row| work.batch.span(row).unwrap().clone());
    stage.result(WorkResult { outputs: outputs(&work, &[None, None, None], false), ..consumed(&work) });
    let spans: Vec<_> = stage.forwarded[0].0.spans().map(|(row, span)| (row, span.clone())).collect();
    assert_eq!(spans, [(0, first.clone()), (1, first.clone())], "no more outputs than inputs are sampled");
    let links: Vec<_> = hops(&mut stage).into_iter().map(|hop| (hop.span_id, hop.links)).collect();
    let expected = [(first.span_id, vec![(second.trace_id, second.span_id)]), (second.span_id, Vec::new())];
    assert_eq!(links, expected);
}

#[test]
fn attempts_are_siblings_under_the_hop_above() {
    let mut stage = Stage::ready(settings());
    sampled(&mut stage, &[true]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let work = stage.work();
        seen.push(work.batch.span(0).unwrap().span_id);
        stage.fail(&work, vec![retry(0)]);
        if stage.machine.next_deadline().is_some() {
            stage.wait_for_deadline();
        }
    }
    let hops = hops(&mut stage);
    assert_eq!(hops.iter().map(|hop| hop.span_id).collect::<Vec<_>>(), seen);
    assert!(hops.iter().all(|hop| hop.parent == Some(context(0).span_id)));
    let verdicts: Vec<_> = hops.iter().map(|hop| (hop.attempt, hop.verdict.as_str())).collect();
    assert_eq!(verdicts, [(1, "retry"), (2, "retry"), (3, "rejected")]);
    assert!(hops.windows(2).all(|pair| pair[1].since == pair[0].ended), "each waits from the end of the one before");
    assert_eq!(stage.letters[0].batch.span(0).unwrap().span_id, seen[2]);
}

#[test]
fn a_redelivery_is_a_hop_of_its_own() {
    let mut stage = Stage::ready(settings());
    sampled(&mut stage, &[true, false]);
    stage.work();
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    stage.up(0, limits(1, 10, 1 << 20));
    let again = stage.work();
    stage.result(consumed(&again));
    let hops = hops(&mut stage);
    let verdicts: Vec<_> = hops.iter().map(|hop| (hop.attempt, hop.verdict.as_str(), hop.parent)).collect();
    let parent = Some(context(0).span_id);
    assert_eq!(verdicts, [(1, "redelivered", parent), (1, "consumed", parent)]);
}

#[test]
fn an_event_that_fails_unsampled_is_traced_from_there_on() {
    let mut stage = Stage::ready(settings());
    stage.arrive(2);
    let work = stage.work();
    assert!(!work.batch.has_spans());
    stage.fail(&work, vec![retry(1)]);
    let first = hops(&mut stage);
    assert_eq!((first.len(), first[0].parent, first[0].reason.as_deref()), (1, None, Some("BUSY")));
    stage.wait_for_deadline();
    let again = stage.work();
    assert_eq!(again.batch.span(0).unwrap().trace_id, first[0].trace_id);
    stage.fail(&again, vec![reject(0)]);
    let second = hops(&mut stage);
    assert_eq!((second[0].trace_id, second[0].parent), (first[0].trace_id, Some(first[0].span_id)));
}

#[test]
fn failures_start_at_most_a_hundred_traces_a_second() {
    let mut stage = Stage::ready(settings());
    stage.arrive(150);
    let work = stage.work();
    stage.fail(&work, (0..150).map(reject).collect());
    assert_eq!(hops(&mut stage).len(), 100);
    assert_eq!(stage.letters.len(), 150);
    stage.wait(SECOND);
    stage.arrive(1);
    let work = stage.work();
    stage.fail(&work, vec![reject(0)]);
    assert_eq!(hops(&mut stage).len(), 1);
}

#[test]
fn a_free_redelivery_starts_no_trace() {
    let mut stage = Stage::ready(settings());
    stage.arrive(2);
    stage.work();
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    assert!(hops(&mut stage).is_empty());
}

#[test]
fn an_event_that_is_too_large_is_traced() {
    let mut stage = Stage::new(settings());
    stage.arrive_as(events([(0, 900, true)]));
    stage.up(0, limits(1, 10, 500));
    let hops = hops(&mut stage);
    assert_eq!((hops[0].attempt, hops[0].reason.as_deref()), (0, Some("EVENT_TOO_LARGE")));
    assert_eq!(hops[0].parent, Some(context(0).span_id));
}
