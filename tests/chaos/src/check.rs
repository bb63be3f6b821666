//! Evidence against model.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    client::Posted,
    evidence::{Evidence, Seen},
    model::{self, Event, Lane, Letter},
    pipeline,
    plan::Plan,
};

/// Uids or numbers that a message names at most.
const NAMED: usize = 20;

/// What is wrong, each with the events in question. `at_rest`: the pipeline has run to its end.
pub fn violations(plan: &Plan, posted: &Posted, evidence: &Evidence, at_rest: bool) -> Vec<String> {
    let events = events(plan, posted);
    let open: BTreeSet<u64> = posted.open.iter().map(|event| event.n).collect();
    let mut wrong = Vec::new();
    identities(evidence, &events, &mut wrong);
    // Of what cannot be replayed nothing is said to have settled before the end; all that was accepted is there then.
    let settled = |event: &Event| match event.n {
        model::POSTED.. => at_rest && !open.contains(&event.n),
        model::FIRST.. => at_rest || event.n <= evidence.settled_in,
        _ => at_rest || event.n <= evidence.settled_count,
    };
    let lost = if at_rest { "lost" } else { "the position is ahead of" };
    for (sink, seen, is_for) in
        [("out", &evidence.out, Event::is_for_out as fn(&Event) -> bool), ("side", &evidence.side, Event::is_for_side)]
    {
        let arrived: BTreeSet<u64> = seen.iter().map(|seen| seen.n).collect();
        let missing = events.values().filter(|event| settled(event) && is_for(event) && !arrived.contains(&event.n));
        note(&mut wrong, &format!("{lost}: not at {sink}"), missing.map(|event| format!("{event:?}")));
        let strange = arrived.iter().filter(|n| !events.get(*n).is_some_and(is_for));
        note(
            &mut wrong,
            &format!("at {sink} though it was to end above"),
            strange.map(|n| format!("{:?}", events.get(n))),
        );
        if plan.ordered {
            let due: Vec<u64> = events.values().filter(|event| is_for(event)).map(|event| event.n).collect();
            let numbers: Vec<u64> = seen.iter().map(|seen| seen.n).collect();
            note(&mut wrong, &format!("out of the order of their keys at {sink}"), out_of_order(&due, &numbers));
        }
    }
    let letters: BTreeSet<Letter> =
        evidence.letters.iter().map(|letter| (letter.node.clone(), letter.n(), letter.reason.clone())).collect();
    let expected: BTreeSet<Letter> = events.values().filter_map(Event::letter).collect();
    let due = events.values().filter(|event| settled(event)).filter_map(Event::letter);
    note(&mut wrong, &format!("{lost}: no dead letter"), due.filter(|letter| !letters.contains(letter)).map(show));
    // A letter is one event at one node from one upstream; what comes again adds to it.
    let mut known = BTreeSet::new();
    let twice = evidence.letters.iter().filter(|letter| !known.insert((&letter.node, &letter.from, &letter.uid)));
    note(&mut wrong, "dead letters that are there twice", twice.map(|letter| format!("{letter:?}")));
    let unexplained = evidence
        .letters
        .iter()
        .filter(|letter| !expected.contains(&(letter.node.clone(), letter.n(), letter.reason.clone())));
    note(&mut wrong, "dead letters that nothing explains", unexplained.map(|letter| format!("{letter:?}")));
    wrong
}

/// All events by number.
fn events(plan: &Plan, posted: &Posted) -> BTreeMap<u64, Event> {
    let counted = (1..=plan.count).chain(pipeline::queued(plan)).map(model::counted);
    let posted = posted.accepted.iter().chain(&posted.open);
    plan.events.iter().chain(posted).copied().chain(counted).map(|event| (event.n, event)).collect()
}

/// One uid is one event everywhere, with the payload that the source gave: a store keyed by uid holds each once.
fn identities(evidence: &Evidence, events: &BTreeMap<u64, Event>, wrong: &mut Vec<String>) {
    let letters = evidence.letters.iter().map(|letter| Seen {
        uid: letter.uid.clone(),
        n: letter.n(),
        payload: Some(letter.event["data"].clone()),
    });
    let all: Vec<Seen> = evidence.out.iter().chain(&evidence.side).cloned().chain(letters).collect();
    let (mut by_uid, mut by_number) = (BTreeMap::<_, BTreeSet<u64>>::new(), BTreeMap::<u64, BTreeSet<_>>::new());
    for seen in &all {
        by_uid.entry(seen.uid.as_str()).or_default().insert(seen.n);
        by_number.entry(seen.n).or_default().insert(seen.uid.as_str());
    }
    note(wrong, "uids of several events", by_uid.iter().filter(|(_, all)| all.len() > 1).map(|it| format!("{it:?}")));
    note(
        wrong,
        "events of several uids",
        by_number.iter().filter(|(_, all)| all.len() > 1).map(|it| format!("{it:?}")),
    );
    let altered = all.iter().filter(|seen| {
        seen.payload.as_ref().is_some_and(|payload| events.get(&seen.n).map(Event::payload).as_ref() != Some(payload))
    });
    note(wrong, "payloads that no source gave", altered.map(|seen| format!("{seen:?}")));
}

/// Steps that the model does not allow, of what a sink has `seen`; `due` are the events that reach it, ascending.
fn out_of_order(due: &[u64], seen: &[u64]) -> std::vec::IntoIter<String> {
    let mut lanes = BTreeMap::<Lane, Vec<u64>>::new();
    due.iter().for_each(|n| lanes.entry(model::lane(*n)).or_default().push(*n));
    let mut last = BTreeMap::<Lane, usize>::new();
    let mut wrong = Vec::new();
    for n in seen {
        let lane = model::lane(*n);
        let Some(place) = lanes.get(&lane).and_then(|lane| lane.binary_search(n).ok()) else { continue };
        let next = last.get(&lane).map_or(0, |last| last + 1);
        if place > next {
            wrong.push(format!("{n} before {}", lanes[&lane][next]));
        }
        last.insert(lane, place);
    }
    wrong.into_iter()
}

fn show((node, n, reason): Letter) -> String {
    format!("{n} at {node} ({reason})")
}

fn note(wrong: &mut Vec<String>, what: &str, cases: impl Iterator<Item = String>) {
    let cases: Vec<String> = cases.collect();
    if !cases.is_empty() {
        let more = if cases.len() > NAMED { ", ..." } else { "" };
        wrong.push(format!("{what} ({}): {}{more}", cases.len(), cases[..cases.len().min(NAMED)].join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_goes_on_or_steps_back_and_never_skips() {
        // Three events of one key, two of another source with the same key, one of another key.
        let step = model::KEYS;
        let (a, b, c) = (model::FIRST, model::FIRST + step, model::FIRST + 2 * step);
        let (x, y, other) = (model::POSTED, model::POSTED + step, model::FIRST + 1);
        let due = [a, other, b, c, x, y];
        let wrong = |seen: &[u64]| out_of_order(&due, seen).collect::<Vec<_>>();
        assert!(wrong(&[a, b, c, x, other, y]).is_empty());
        assert!(wrong(&[x, a, b, a, b, c, x, y, a, b, c]).is_empty(), "what comes again comes in order");
        assert!(wrong(&[a, a, b]).is_empty(), "a position that is behind repeats any number");
        assert_eq!(wrong(&[b, a, c]), [format!("{b} before {a}"), format!("{c} before {b}")]);
        assert_eq!(wrong(&[a, b, a, c]), [format!("{c} before {b}")], "repeats do not skip either");
        assert_eq!(wrong(&[y, a]), [format!("{y} before {x}")]);
        // One that is to end above has no place in its lane.
        assert!(wrong(&[a, model::FIRST + 3 * step, b]).is_empty());
    }
}
