//! W13, W14: cancellation and timeout.

use std::time::Duration;

use serde_json::json;

use super::{fared, patiently, serve::in_hand, work::cancelled};
use crate::{
    check::area,
    client::Work,
    context::Context,
    event::Event,
    fault::{Outcome, holds},
};

area! {
    "cancel.reaches-handler" Core Shared ["W14"] "a work that is taken back is RETRY / CANCELLED, and its handlers are told" => reaches;
    "cancel.not-called" Core Shared ["W14"] "inputs whose handler had not been called are not called any more" => not_called;
    "cancel.unknown" Core Shared ["W14"] "a cancel of a work that is not in hand is ignored" => unknown;
    "cancel.other-works" Core Shared ["W14"] "the other works of the stream go on" => others;
    "timeout.call" Core Shared ["W13"] "a call over its time is RETRY / TIMEOUT, the others go on" => timeout;
    "timeout.cancels" Core Shared ["W13"] "a call over its time is cancelled" => cancels;
    "timeout.from-start-of-call" Core Shared ["W13"] "the time of a call counts from its start" => from_start;
    "timeout.blocked" Full Shared ["W13", "W14"] "a cancel finds a call that is over its time: RETRY / TIMEOUT" => blocked;
}

fn sleep() -> Event {
    Event::command(&json!({"do": "sleep", "ms": 600_000}))
}

async fn reaches(context: &Context) -> Outcome {
    context.report().await?;
    for handler in ["map", "filter", "flat_map"] {
        let mut stream = context.open(handler).concurrency(2).start().await?;
        let event = sleep();
        let uid = event.uid_hex();
        let work = stream.send(Work::new([event]));
        in_hand(&stream, work).await?;
        stream.cancel(work);
        fared(&format!("a cancelled work at {handler}"), &stream.answer(work).await?, &["RETRY CANCELLED"])?;
        cancelled(context, &[uid]).await?;
        let next = stream.work(Work::commands(&[json!({"do": "pass"})])).await?;
        fared("the next work", &next, &["out"])?;
        stream.finish().await?;
    }
    Ok(())
}

async fn not_called(context: &Context) -> Outcome {
    context.report().await?;
    let mut stream = context.open("map").concurrency(1).start().await?;
    let note = |n: u32| Event::command(&json!({"do": "note", "n": n}));
    let work = stream.send(Work::new([sleep()].into_iter().chain((0..5).map(note))));
    in_hand(&stream, work).await?;
    stream.cancel(work);
    let answer = stream.answer(work).await?;
    stream.finish().await?;
    let notes = context.report().await?["notes"].as_array().map_or(0, Vec::len);
    // A node may have called some of the others before the first, or in its place.
    let called = super::verdicts(&answer).iter().filter(|verdict| *verdict == "out").count();
    holds(notes <= called, format!("at most {called} calls, as many as were answered"), || format!("{notes} calls"))?;
    let rest = super::verdicts(&answer).into_iter().filter(|verdict| verdict != "out");
    let rest: Vec<_> = rest.collect();
    holds(
        !rest.is_empty() && rest.iter().all(|verdict| verdict == "RETRY CANCELLED"),
        "RETRY / CANCELLED for the others",
        || format!("{rest:?}"),
    )
}

async fn unknown(context: &Context) -> Outcome {
    let mut stream = context.open("map").start().await?;
    stream.cancel(77);
    let pass = || Work::commands(&[json!({"do": "pass"})]);
    let work = stream.send(pass());
    fared("a work after a cancel of another", &stream.answer(work).await?, &["out"])?;
    stream.cancel(work);
    fared("a work after a cancel of one that was answered", &stream.work(pass()).await?, &["out"])?;
    stream.finish().await
}

async fn others(context: &Context) -> Outcome {
    let mut stream = context.open("map").concurrency(8).start().await?;
    let (first, second) = (stream.send(Work::new([sleep()])), stream.send(Work::new([sleep()])));
    in_hand(&stream, first).await?;
    in_hand(&stream, second).await?;
    stream.cancel(first);
    fared("the cancelled work", &stream.answer(first).await?, &["RETRY CANCELLED"])?;
    let third = stream.work(Work::commands(&[json!({"do": "pass"})])).await?;
    fared("a work beside them", &third, &["out"])?;
    holds(stream.record().answer(second).is_none(), "the other work in hand", || "it was answered".into())?;
    stream.cancel(second);
    fared("the other work, cancelled", &stream.answer(second).await?, &["RETRY CANCELLED"])?;
    stream.finish().await
}

async fn timeout(context: &Context) -> Outcome {
    patiently!(slow => timeout_of(context, 2 * slow))
}

async fn timeout_of(context: &Context, seconds: u64) -> Outcome {
    let mut stream = context.open("map").concurrency(4).start().await?;
    let events = [sleep(), Event::command(&json!({"do": "pass"})), sleep()];
    let answer = stream.work(Work::new(events).timeout(Duration::from_secs(seconds))).await?;
    fared("calls of which two are over their time", &answer, &["RETRY TIMEOUT", "out", "RETRY TIMEOUT"])?;
    fared("the next work", &stream.work(Work::commands(&[json!({"do": "pass"})])).await?, &["out"])?;
    stream.finish().await
}

async fn cancels(context: &Context) -> Outcome {
    context.report().await?;
    let mut stream = context.open("map").start().await?;
    let event = sleep();
    let uid = event.uid_hex();
    let answer = stream.work(Work::new([event]).timeout(Duration::from_millis(500))).await?;
    fared("a call over 500 ms", &answer, &["RETRY TIMEOUT"])?;
    cancelled(context, &[uid]).await?;
    stream.finish().await
}

async fn from_start(context: &Context) -> Outcome {
    patiently!(slow => from_start_of(context, slow))
}

async fn from_start_of(context: &Context, slow: u64) -> Outcome {
    // One after the other they take longer than the time of one.
    let mut stream = context.open("map").concurrency(1).start().await?;
    let work =
        Work::commands(&vec![json!({"do": "sleep", "ms": 400 * slow}); 15]).timeout(Duration::from_secs(4 * slow));
    fared("calls one after the other, each with ten times its time", &stream.work(work).await?, &["out"; 15])?;
    stream.finish().await
}

async fn blocked(context: &Context) -> Outcome {
    patiently!(slow => blocked_for(context, 6000 * slow))
}

async fn blocked_for(context: &Context, ms: u64) -> Outcome {
    let mut stream = context.open("map").concurrency(2).start().await?;
    let event = Event::command(&json!({"do": "block", "ms": ms}));
    let work = stream.send(Work::new([event]).timeout(Duration::from_millis(100)));
    let call = in_hand(&stream, work).await?;
    let answered = stream.record().answer(work).is_some();
    let age = call.age.and_then(|age| crate::client::duration(&age)).unwrap_or_default();
    if !answered && age > Duration::from_millis(100) {
        stream.cancel(work);
    }
    fared("a call that blocks beyond its time", &stream.answer(work).await?, &["RETRY TIMEOUT"])?;
    stream.finish().await
}
