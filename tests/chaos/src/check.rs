//! Evidence against model.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    client::Posted,
    evidence::{Evidence, Seen},
    model::{self, Event, Letter},
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
    // Of those posted nothing is said to have settled before the end; all that was accepted must be there then.
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
    let counted = (1..=plan.count).map(model::counted);
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
