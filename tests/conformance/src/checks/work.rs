//! W: works and verdicts.

use std::time::Duration;

use meshloom_proto::v1::{self, process_request::Request};
use serde_json::{Value as Json, json};
use tonic::Code;

use super::{batch, error_info, fared, serve::in_hand};
use crate::{
    check::area,
    client::{Answer, Process, Verdict, Work},
    context::Context,
    event::Event,
    fault::{Fault, Outcome, holds, same},
};

area! {
    "work.map" Core Shared ["W6", "W2"] "a map gives one output per input, or drops it on purpose" => map;
    "work.filter" Core Shared ["W6"] "a filter passes events unchanged or consumes them" => filter;
    "work.flat-map" Core Shared ["W6", "W3"] "a flat map gives any number of outputs, in order" => flat_map;
    "work.unchanged" Core Shared ["W4"] "an event that passes unchanged has no payload on the way back" => unchanged;
    "work.consumed-accounting" Core Shared ["W2"] "failures, parents and `consumed` together are `count`" => accounting;
    "work.reject" Core Shared ["W7"] "a reject has its reason and message" => reject;
    "work.retry" Core Shared ["W7", "W12"] "a retry has its reason, message and time" => retry;
    "work.throw" Core Shared ["W8"] "an error is RETRY of that event alone" => throw;
    "work.payload-mismatch" Core Shared ["W7"] "a payload that does not fit is REJECT / PAYLOAD_MISMATCH" => mismatch;
    "work.attempts" Core Shared ["W12", "B9"] "attempts reach the handler per event" => attempts;
    "work.context" Core Shared ["W12"] "the handler is told the pipeline, the node, the replica and the config" => told;
    "work.sequence-in-hand" Core Shared ["W1"] "a second work under a sequence that is in hand ends the stream" => sequence;
    "work.many-in-flight" Core Shared ["W1", "L2"] "works of a stream are each answered under their sequence" => in_flight;
    "work.half-close" Core Shared ["W16"] "after half-close what is held is answered, then the stream ends OK" => half_close;
    "work.busy" Core Shared ["W18"] "`busy` sums the time of the calls" => busy;
    "work.progress" Core Shared ["W15"] "Progress names the running calls, oldest first" => progress;
    "work.broken-stream" Core Shared ["W20"] "a stream that breaks cancels its handlers" => broken;
}

async fn at(context: &Context, handler: &str, commands: &[Json]) -> Outcome<Answer> {
    let mut stream = context.open(handler).start().await?;
    let answer = stream.work(Work::commands(commands)).await?;
    stream.finish().await?;
    Ok(answer)
}

async fn map(context: &Context) -> Outcome {
    let commands = [
        json!({"do": "pass"}),
        json!({"do": "drop"}),
        json!({"do": "emit", "outputs": [{"value": {"n": 1}}]}),
        json!({"do": "reject"}),
        json!({"do": "retry"}),
        json!({"do": "drop"}),
    ];
    let answer = at(context, "map", &commands).await?;
    fared("a map", &answer, &["out", "consumed", "out", "REJECT REJECTED", "RETRY RETRY", "consumed"])?;
    let Verdict::Outputs(rows) = &answer.verdicts()[2] else { unreachable!("it fared so") };
    let value: Json = serde_json::from_slice(&rows[0].event.payload).unwrap_or_default();
    same("the value that was given", &json!({"n": 1}), &value)
}

async fn filter(context: &Context) -> Outcome {
    let commands = [json!({"do": "pass"}), json!({"do": "drop"}), json!({"do": "pass"}), json!({"do": "reject"})];
    fared("a filter", &at(context, "filter", &commands).await?, &["out", "consumed", "out", "REJECT REJECTED"])
}

async fn flat_map(context: &Context) -> Outcome {
    let give = |n: usize| json!({"do": "emit", "outputs": (0..n).map(|i| json!({"value": i})).collect::<Vec<_>>()});
    let commands = [give(3), give(0), json!({"do": "pass"}), json!({"do": "drop"}), give(1), give(40)];
    let answer = at(context, "flat_map", &commands).await?;
    fared("a flat map", &answer, &["out x3", "consumed", "out", "consumed", "out", "out x40"])?;
    for (input, verdict) in answer.verdicts().iter().enumerate().filter(|(input, _)| *input != 2) {
        let Verdict::Outputs(rows) = verdict else { continue };
        let values: Vec<_> = rows.iter().map(|row| String::from_utf8_lossy(&row.event.payload).into_owned()).collect();
        let expected: Vec<_> = (0..rows.len()).map(|n| n.to_string()).collect();
        same(&format!("the outputs of input {input}, in order"), &expected, &values)?;
    }
    Ok(())
}

async fn unchanged(context: &Context) -> Outcome {
    for handler in ["map", "filter", "flat_map"] {
        let answer = at(context, handler, &vec![json!({"do": "pass"}); 5]).await?;
        fared(&format!("`pass` at {handler}"), &answer, &["out"; 5])?;
        let carried = answer.rows.iter().filter(|row| row.payload).count();
        same(&format!("payloads that came back from {handler}"), &0, &carried)?;
    }
    Ok(())
}

async fn accounting(context: &Context) -> Outcome {
    // The record counts; here the inputs that end in each way stand in every place.
    let ways = [
        json!({"do": "pass"}),
        json!({"do": "drop"}),
        json!({"do": "reject"}),
        json!({"do": "retry"}),
        json!({"do": "throw", "message": "no"}),
    ];
    for handler in ["map", "filter", "flat_map"] {
        let mut stream = context.open(handler).start().await?;
        for turn in 0..ways.len() {
            for size in [1, 2, 5, 11] {
                let commands: Vec<Json> = (0..size).map(|n| ways[(n * 3 + turn) % ways.len()].clone()).collect();
                let dropped = commands.iter().filter(|command| command["do"] == "drop").count();
                let answer = stream.work(Work::commands(&commands)).await?;
                same(&format!("`consumed` of {size} inputs at {handler}"), &(dropped as u32), &answer.consumed)?;
            }
        }
        stream.finish().await?;
    }
    Ok(())
}

async fn reject(context: &Context) -> Outcome {
    let commands = [
        json!({"do": "reject"}),
        json!({"do": "reject", "reason": "NO_TEMPERATURE", "message": "no temperature: \u{2014}"}),
        json!({"do": "reject", "message": "m".repeat(10_000)}),
        json!({"do": "pass"}),
    ];
    for handler in ["map", "filter", "flat_map"] {
        let answer = at(context, handler, &commands).await?;
        fared(handler, &answer, &["REJECT REJECTED", "REJECT NO_TEMPERATURE", "REJECT REJECTED", "out"])?;
        let message = |input| answer.failure(input).map(|failure| failure.message.clone()).unwrap_or_default();
        same("the message", &"no temperature: \u{2014}".to_owned(), &message(1))?;
        holds(message(2).starts_with("mmmm"), "a long message that is cut", || message(2))?;
    }
    Ok(())
}

async fn retry(context: &Context) -> Outcome {
    let commands = [
        json!({"do": "retry", "reason": "BUSY", "message": "later", "after_ms": 1500}),
        json!({"do": "retry"}),
        json!({"do": "retry", "until": 3}),
        json!({"do": "retry", "until": 2}),
    ];
    let mut stream = context.open("map").start().await?;
    let work = Work { attempts: vec![1, 9, 2, 2], ..Work::commands(&commands) };
    let answer = stream.work(work).await?;
    fared("`retry`", &answer, &["RETRY BUSY", "RETRY RETRY", "RETRY RETRY", "out"])?;
    let busy = answer.failure(0).expect("it fared so");
    same("the message", &"later", &busy.message.as_str())?;
    let after = busy.retry_after.map(|after| (after.seconds, after.nanos));
    same("the time before the next attempt, in seconds and nanoseconds", &Some((1, 500_000_000)), &after)?;
    same("the time where none was given", &None, &answer.failure(1).expect("it fared so").retry_after)?;
    stream.finish().await
}

async fn throw(context: &Context) -> Outcome {
    let thrown = json!({"do": "throw", "message": "the lookup broke"});
    for handler in ["map", "filter", "flat_map"] {
        let mut stream = context.open(handler).start().await?;
        let commands = [thrown.clone(), json!({"do": "pass"}), thrown.clone()];
        let answer = stream.work(Work::commands(&commands)).await?;
        fared(handler, &answer, &["RETRY HANDLER_ERROR", "out", "RETRY HANDLER_ERROR"])?;
        let message = &answer.failure(0).expect("it fared so").message;
        holds(message.contains("the lookup broke"), "a message with the error's own", || message.clone())?;
        fared("the next work", &stream.work(Work::commands(&[json!({"do": "pass"})])).await?, &["out"])?;
        stream.finish().await?;
    }
    Ok(())
}

async fn mismatch(context: &Context) -> Outcome {
    let events = ["", "{\"do\":", "[]", "5"].map(Event::new);
    let mut stream = context.open("map").start().await?;
    let answer = stream.work(Work::new(events.into_iter().chain([Event::command(&json!({"do": "pass"}))]))).await?;
    let bad = "REJECT PAYLOAD_MISMATCH";
    fared("payloads that are no commands", &answer, &[bad, bad, bad, bad, "out"])?;
    stream.finish().await
}

async fn attempts(context: &Context) -> Outcome {
    let mut stream = context.open("map").start().await?;
    for attempts in [vec![], vec![1, 2, 3], vec![u32::MAX, 1, 7]] {
        let work = Work { attempts: attempts.clone(), ..Work::commands(&vec![json!({"do": "context"}); 3]) };
        let answer = stream.work(work).await?;
        let told: Vec<Json> = batch::told(&answer, 3)?.iter().map(|told| told["attempt"].clone()).collect();
        let expected: Vec<Json> =
            if attempts.is_empty() { vec![json!(1); 3] } else { attempts.iter().map(|n| json!(n)).collect() };
        same("attempts that handlers were told", &expected, &told)?;
    }
    stream.finish().await
}

async fn told(context: &Context) -> Outcome {
    let open = context.open("map").config(&json!({"label": "roof"}));
    let open = open.with(|open| {
        open.pipeline = "readings".into();
        open.node = "classify-2".into();
        open.replica = Some(v1::Replica { index: 3, of: 5 });
    });
    let mut stream = open.start().await?;
    let expected = json!({
        "pipeline": "readings", "node": "classify-2", "replica": "classify-2/3", "label": "roof", "deadline_ms": null,
    });
    let answer = stream.work(Work::commands(&[json!({"do": "context"})])).await?;
    batch::matches(&expected, &batch::told(&answer, 1)?[0])?;
    let timed = Work::commands(&[json!({"do": "context"})]).timeout(Duration::from_secs(3600));
    let left = batch::told(&stream.work(timed).await?, 1)?[0]["deadline_ms"].as_f64();
    let within = left.is_some_and(|left| left > 3_000_000.0 && left <= 3_600_000.0);
    holds(within, "a `deadline_ms` within an hour's timeout", || format!("{left:?}"))?;
    stream.finish().await
}

async fn sequence(context: &Context) -> Outcome {
    let mut stream = context.open("map").start().await?;
    let sleep = json!({"do": "sleep", "ms": 600_000});
    let work = stream.send(Work::commands(std::slice::from_ref(&sleep)));
    let again = crate::event::batch(&[Event::command(&sleep)], crate::columns::Style::Short);
    stream.send_request(Request::Work(v1::Work { sequence: work, batch: Some(again), ..v1::Work::default() }));
    let status = stream.wait("the end of the stream", |record| record.ended.clone()).await?;
    error_info(&status, Code::InvalidArgument, "PROTOCOL_VIOLATION").map(drop)
}

async fn in_flight(context: &Context) -> Outcome {
    let limits = context.handler("map")?.limits.unwrap_or_default();
    let most = if limits.max_in_flight_works == 0 { 4 } else { limits.max_in_flight_works.min(64) };
    let mut stream = context.open("map").start().await?;
    let works: Vec<(u64, Vec<Event>)> = (0..most)
        .map(|n| {
            let commands = (0..=n % 3).map(|_| json!({"do": "sleep", "ms": 50 * ((n * 7) % 5)}));
            let events: Vec<Event> = commands.map(|command| Event::command(&command)).collect();
            (stream.send(Work::new(events.clone())), events)
        })
        .collect();
    for (work, events) in works {
        let answer = stream.answer(work).await?;
        fared("a work among many", &answer, &vec!["out"; events.len()])?;
    }
    stream.finish().await
}

async fn half_close(context: &Context) -> Outcome {
    let mut stream = context.open("map").start().await?;
    let works = [300, 10, 150]
        .map(|ms| stream.send(Work::commands(&[json!({"do": "sleep", "ms": ms}), json!({"do": "drop"})])));
    stream.half_close();
    let status = stream.ended().await?;
    holds(status.code() == Code::Ok, "OK after half-close", || crate::client::describe(&status))?;
    for work in works {
        let answer = stream.record().answer(work);
        let answer =
            answer.ok_or_else(|| Fault::new("every work is answered before the end", format!("work {work} is not")))?;
        fared("a work in hand at half-close", &answer, &["out", "consumed"])?;
    }
    Ok(())
}

async fn busy(context: &Context) -> Outcome {
    let answer = at(context, "map", &vec![json!({"do": "sleep", "ms": 250}); 3]).await?;
    fared("`sleep`", &answer, &["out"; 3])?;
    let busy = answer.busy.ok_or_else(|| Fault::new("`busy` on `last`", "none"))?;
    // A timer may be early by a little; nobody knows how late it is.
    holds(busy >= Duration::from_millis(700), "at least 700 ms of three calls of 250 ms", || format!("{busy:?}"))
}

async fn progress(context: &Context) -> Outcome {
    let mut stream: Process = context.open("map").concurrency(4).start().await?;
    let first = stream.send(Work::commands(&vec![json!({"do": "sleep", "ms": 600_000}); 2]));
    in_hand(&stream, first).await?;
    let second = stream.send(Work::commands(&[json!({"do": "sleep", "ms": 600_000})]));
    in_hand(&stream, second).await?;
    let shown = stream.record().progress.iter().find(|progress| progress.calls.len() == 3).cloned();
    let shown = match shown {
        Some(shown) => shown,
        None => {
            stream
                .wait("a Progress with three calls", |record| {
                    record.progress.iter().find(|progress| progress.calls.len() == 3).cloned()
                })
                .await?
        }
    };
    let mut calls: Vec<(u64, u32)> = shown.calls.iter().map(|call| (call.sequence, call.index)).collect();
    let ages: Vec<_> = shown.calls.iter().map(|call| call.age.and_then(|age| crate::client::duration(&age))).collect();
    holds(ages.iter().all(Option::is_some), "an age for each call", || format!("{ages:?}"))?;
    holds(ages.windows(2).all(|pair| pair[0] >= pair[1]), "calls from the oldest on", || format!("{ages:?}"))?;
    calls.sort_unstable();
    same("the running calls, by work and input", &vec![(first, 0), (first, 1), (second, 0)], &calls)?;
    for work in [first, second] {
        stream.cancel(work);
        stream.answer(work).await?;
    }
    stream.finish().await
}

async fn broken(context: &Context) -> Outcome {
    context.report().await?;
    let mut stream = context.open("map").start().await?;
    let event = Event::command(&json!({"do": "sleep", "ms": 600_000}));
    let uid = event.uid_hex();
    let work = stream.send(Work::new([event]));
    in_hand(&stream, work).await?;
    drop(stream);
    cancelled(context, &[uid]).await
}

/// Waits until the handlers of these events have noted that they were cancelled.
pub(super) async fn cancelled(context: &Context, uids: &[String]) -> Outcome {
    let deadline = tokio::time::Instant::now() + context.patience;
    let mut found: Vec<String> = Vec::new();
    loop {
        let report = context.report().await?;
        let noted = report["cancelled"].as_array().cloned().unwrap_or_default();
        found.extend(noted.iter().filter_map(|uid| uid.as_str().map(str::to_owned)));
        if uids.iter().all(|uid| found.contains(uid)) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Fault::new(
                format!("cancellation reaches the handlers of {uids:?}"),
                format!("it reached {found:?}"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
