//! K: order.

use std::{collections::BTreeMap, time::Duration};

use meshloom_proto::v1::Ordering;
use serde_json::{Value as Json, json};

use super::fared;
use crate::{
    check::area,
    client::Work,
    context::Context,
    event::Event,
    fault::{Fault, Outcome, holds, same},
};

area! {
    "order.key" Full Shared ["K1"] "events of a key are handled in their order, never two at one time" => key;
    "order.other-keys" Full Shared ["K1"] "events of other keys need not wait" => other_keys;
    "order.key-held" Full Shared ["K2"] "behind a retry the later events of its key are KEY_HELD without a call" => held;
    "order.reject-holds-nothing" Full Shared ["K2"] "behind a reject, or a drop, the key goes on" => reject;
    "order.all" Full Shared ["K3", "O9"] "with ORDERING_ALL one event at a time, in order" => all;
    "order.all-held" Full Shared ["K3", "K2"] "with ORDERING_ALL all later events are held" => all_held;
    "order.batch-held" Full Shared ["K2"] "in a batch handler the later events of the key are held whatever it said" => batch_held;
    "order.none" Full Shared ["K1", "V3"] "without an ordering nothing is held, an unknown one is none" => none;
}

fn note(key: &str, n: u32) -> Event {
    Event::command(&json!({"do": "note", "n": n})).key(key)
}

fn retry(key: &str) -> Event {
    Event::command(&json!({"do": "retry", "reason": "BUSY"})).key(key)
}

/// What `note` has noted.
async fn notes(context: &Context) -> Outcome<Vec<(Option<String>, u64)>> {
    Ok(noted(&context.report().await?))
}

fn noted(report: &Json) -> Vec<(Option<String>, u64)> {
    let pairs = report["notes"].as_array().into_iter().flatten();
    pairs.map(|pair| (pair[0].as_str().map(str::to_owned), pair[1].as_u64().unwrap_or_default())).collect()
}

fn sleep(key: &str, ms: u32) -> Event {
    Event::command(&json!({"do": "sleep", "ms": ms})).key(key)
}

/// Calls that ran at one time, and the notes by key, since the last report.
async fn seen(context: &Context) -> Outcome<(u64, BTreeMap<String, Vec<u64>>)> {
    let report = context.report().await?;
    let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (key, n) in noted(&report) {
        by_key.entry(key.unwrap_or_default()).or_default().push(n);
    }
    Ok((report["most"].as_u64().unwrap_or_default(), by_key))
}

/// A key; the first is the empty one, which is a key like others.
fn name(key: u32) -> &'static str {
    ["", "a", "b", "c", "d", "e", "f"][key as usize]
}

/// Calls that take time, and would overlap if they did not wait for each other.
async fn key(context: &Context) -> Outcome {
    for (handler, out) in [("map", "out"), ("filter", "out"), ("flat_map", "out"), ("sink", "consumed")] {
        // With calls of no time alone one worker gets through several keys, and its outputs have to be put in order.
        for (keys, ms) in [(1, 5), (3, 5), (7, 0)] {
            context.quiet().await?;
            let place = format!("{keys} key(s) at {handler}, each with calls of {ms} ms and of no time in turn");
            let mut stream = context.open(handler).ordering(Ordering::Key).concurrency(8).start().await?;
            // Of each key every second event takes time; the neighbours in the batch are of other keys.
            let event = |n: u32| match (name(n % keys), n / keys % 2) {
                (key, 0) => sleep(key, ms),
                (key, _) => note(key, n),
            };
            fared(&place, &stream.work(Work::new((0..60).map(event))).await?, &[out; 60])?;
            stream.finish().await?;
            let (most, by_key) = seen(context).await?;
            holds(
                most <= u64::from(keys),
                format!("{place}: at most {keys} calls at one time, one of each key"),
                || format!("{most}"),
            )?;
            let order = |key: u32| (0..60).filter(|n| n % keys == key && n / keys % 2 == 1).map(u64::from).collect();
            let expected: BTreeMap<String, Vec<u64>> = (0..keys).map(|key| (name(key).into(), order(key))).collect();
            same(&format!("{place}: the calls of each key in their order"), &expected, &by_key)?;
        }
    }
    Ok(())
}

async fn other_keys(context: &Context) -> Outcome {
    for (handler, out) in [("map", "out"), ("filter", "out"), ("flat_map", "out"), ("sink", "consumed")] {
        beside(context, handler, out).await.map_err(|fault| fault.at(handler))?;
    }
    Ok(())
}

async fn beside(context: &Context, handler: &str, out: &str) -> Outcome {
    notes(context).await?;
    let mut stream = context.open(handler).ordering(Ordering::Key).concurrency(4).start().await?;
    let without = Event::command(&json!({"do": "note", "n": 9}));
    let events = [sleep("slow", 600_000), note("slow", 1), note("b", 2), without, note("c", 3)];
    let work = stream.send(Work::new(events));
    let deadline = tokio::time::Instant::now() + context.patience;
    let mut found = Vec::new();
    while found.len() < 3 {
        found.extend(notes(context).await?.into_iter().map(|(_, n)| n));
        if tokio::time::Instant::now() > deadline {
            return Err(Fault::new("calls for the other keys while one sleeps", format!("only {found:?}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stream.cancel(work);
    let mut fate = super::verdicts(&stream.answer(work).await?);
    // A call of the key that sleeps may come last; after the cancel there is none (W14).
    found.extend(notes(context).await?.into_iter().map(|(_, n)| n));
    found.sort_unstable();
    same("calls while the key `slow` sleeps", &vec![2, 3, 9], &found)?;
    // Two rules hold for the second: it was open (W14), and behind an event that is answered RETRY (K2).
    if fate[1] == "RETRY KEY_HELD" {
        fate[1] = "RETRY CANCELLED".into();
    }
    same(
        "the cancelled work",
        &vec!["RETRY CANCELLED", "RETRY CANCELLED", out, out, out],
        &fate.iter().map(String::as_str).collect(),
    )?;
    stream.finish().await
}

async fn held(context: &Context) -> Outcome {
    for handler in ["map", "flat_map"] {
        notes(context).await?;
        let mut stream = context.open(handler).ordering(Ordering::Key).concurrency(4).start().await?;
        let events = [note("a", 1), retry("a"), note("a", 2), note("b", 3), note("a", 4)];
        let answer = stream.work(Work::new(events)).await?;
        fared(handler, &answer, &["out", "RETRY BUSY", "RETRY KEY_HELD", "out", "RETRY KEY_HELD"])?;
        let next = stream.work(Work::new([note("a", 5)])).await?;
        fared("the key in the next work", &next, &["out"])?;
        stream.finish().await?;
        let mut called: Vec<u64> = notes(context).await?.into_iter().map(|(_, n)| n).collect();
        called.sort_unstable();
        same("the calls", &vec![1, 3, 5], &called)?;
    }
    Ok(())
}

async fn reject(context: &Context) -> Outcome {
    let mut stream = context.open("map").ordering(Ordering::Key).start().await?;
    let ends = |command| Event::command(&json!({"do": command})).key("a");
    let answer = stream.work(Work::new([ends("reject"), note("a", 1), ends("drop"), note("a", 2)])).await?;
    fared("behind a reject and a drop", &answer, &["REJECT REJECTED", "out", "consumed", "out"])?;
    stream.finish().await
}

async fn all(context: &Context) -> Outcome {
    context.quiet().await?;
    let mut stream = context.open("map").ordering(Ordering::All).concurrency(8).start().await?;
    let sleep = |n: u32| Event::command(&json!({"do": "sleep", "ms": 20})).key(&format!("k{n}"));
    let events = (0..60).map(|n| if n % 10 == 0 { sleep(n) } else { note(&format!("k{}", n % 7), n) });
    fared("a work in order", &stream.work(Work::new(events)).await?, &["out"; 60])?;
    stream.finish().await?;
    let report = context.report().await?;
    same("calls at one time", &json!(1), &report["most"])?;
    let order: Vec<u64> =
        report["notes"].as_array().into_iter().flatten().filter_map(|pair| pair[1].as_u64()).collect();
    holds(order.is_sorted() && order.len() == 54, "the calls in the order of the batch", || format!("{order:?}"))
}

async fn all_held(context: &Context) -> Outcome {
    let mut stream = context.open("map").ordering(Ordering::All).concurrency(4).start().await?;
    let without = Event::command(&json!({"do": "pass"}));
    let answer = stream.work(Work::new([note("a", 1), retry("b"), note("a", 2), without])).await?;
    fared("behind a retry", &answer, &["out", "RETRY BUSY", "RETRY KEY_HELD", "RETRY KEY_HELD"])?;
    stream.finish().await
}

async fn batch_held(context: &Context) -> Outcome {
    let mut stream = context.open("batch").ordering(Ordering::Key).start().await?;
    let does = |command, key: &str| Event::command(&json!({"do": command})).key(key);
    let events = [does("pass", "a"), retry("a"), does("pass", "a"), does("reject", "a"), does("pass", "b")];
    let answer = stream.work(Work::new(events)).await?;
    fared("a batch handler", &answer, &["out", "RETRY BUSY", "RETRY KEY_HELD", "RETRY KEY_HELD", "out"])?;
    stream.finish().await
}

async fn none(context: &Context) -> Outcome {
    for ordering in [0, 1, 77] {
        let mut stream = context.open("map").with(|open| open.ordering = ordering).start().await?;
        let answer = stream.work(Work::new([retry("a"), note("a", 1), note("a", 2)])).await?;
        fared(&format!("ordering {ordering}"), &answer, &["RETRY BUSY", "out", "out"])?;
        stream.finish().await?;
    }
    Ok(())
}
