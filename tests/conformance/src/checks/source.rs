//! S: sources.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use meshloom_proto::v1::{self, trace_sampling::Rule};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tonic::Code;

use super::{error_info, refuses};
use crate::{
    check::area,
    client::{Frame, Produce},
    context::Context,
    event::{Event, Span, Value, hex},
    fault::{Fault, Outcome, holds, same},
};

area! {
    "source.runs-out" Full Shared ["S8", "S2"] "a bounded source gives its events in order, `exhausted`, and ends OK" => runs_out;
    "source.credit" Full Shared ["S1"] "frames go as far as Demand, however it comes" => credit;
    "source.credit-of-a-byte" Full Shared ["S1"] "any credit that is left admits one event" => one_byte;
    "source.slow" Full Shared ["S3"] "an event is not held back until the next" => slow;
    "source.attributes" Full Shared ["B2", "S2"] "events have the attributes that the source sets" => attributes;
    "source.checkpoints" Full Shared ["S4"] "a frame has the last checkpoint that the source gave" => checkpoints;
    "source.no-checkpoint" Full Shared ["S4"] "a source that gives none has none" => no_checkpoint;
    "source.checkpoint-repeated" Full Shared ["S5"] "a checkpoint equal to the one before ends the stream" => repeated;
    "source.resumes" Full Shared ["S6"] "a source goes on behind a checkpoint" => resumes;
    "source.checkpoint-unreadable" Full Shared ["S6"] "a checkpoint that cannot be read is refused" => unreadable;
    "source.ids" Full Shared ["S7"] "ids are the same after a replay and however frames are cut" => ids;
    "source.ids-long-checkpoint" Full Shared ["S7"] "a checkpoint of more than 256 bytes stands in ids as its SHA-256" => long_ids;
    "source.own-ids" Full Shared ["S7"] "ids that the source sets stay" => own_ids;
    "source.stop" Full Shared ["S9"] "Stop ends a source OK and without `exhausted`" => stop;
    "source.stop-without-credit" Full Shared ["S9", "S1"] "Stop ends a source that waits for credit" => stop_waiting;
    "source.half-close" Full Shared ["S9"] "half-close ends a source as Stop does" => half_close;
    "source.fails" Full Shared ["S11"] "a source that fails ends ABORTED behind its events" => fails;
    "source.settled" Full Fresh ["S10"] "settled checkpoints and events reach the source's code" => settled;
    "source.sampling" Full Shared ["S12"] "events are sampled as asked" => sampling;
    "source.sampled-before" Full Shared ["S12"] "an event with a sampled context is sampled always" => sampled_before;
    "source.role-mismatch" Full Shared ["O3"] "a source opened with Process, or the reverse, is refused" => role;
    "source.config" Full Shared ["O4", "O3", "O2"] "Produce refuses as Process does" => config;
    "queue.runs-out" Full Shared ["S8", "D2"] "a source that cannot replay gives its events" => queue;
    "queue.ids" Full Shared ["S7"] "a source that cannot replay makes up no ids; those that it sets stay" => queue_ids;
    "queue.settled" Full Fresh ["S10"] "receipts of a source that cannot replay come per event, out of order too" => queue_settled;
}

const ROOM: u64 = 1 << 30;

fn program(program: Json) -> Json {
    json!({ "program": program })
}

fn number(event: &Event) -> u64 {
    let payload: Json = serde_json::from_slice(&event.payload).unwrap_or_default();
    payload["n"].as_u64().unwrap_or_default()
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(number).collect()
}

/// Everything of a bounded source.
async fn all(stream: &mut Produce) -> Outcome<Vec<Event>> {
    stream.exhausts().await?;
    Ok(stream.record().events().cloned().collect())
}

async fn runs_out(context: &Context) -> Outcome {
    let mut stream = context.produce("source").config(&program(json!({"count": 2500}))).start().await?;
    stream.demand(10_000, ROOM);
    same("the numbers of the events", &(1..=2500).collect::<Vec<u64>>(), &numbers(&all(&mut stream).await?))
}

async fn credit(context: &Context) -> Outcome {
    let mut random = SmallRng::seed_from_u64(context.seed);
    let mut stream = context.produce("source").config(&program(json!({"count": 300, "bytes": 200}))).start().await?;
    // Credit that is used up is a frame's end: what has come is known without a clock.
    let mut expected = 0;
    while expected < 300 {
        let events = random.random_range(1..=20);
        stream.demand(events, ROOM);
        expected = (expected + events as usize).min(300);
        stream.events(expected).await?;
    }
    stream.demand(1, ROOM);
    same("the number of events", &300, &all(&mut stream).await?.len())
}

async fn one_byte(context: &Context) -> Outcome {
    let mut stream = context.produce("source").config(&program(json!({"count": 5, "bytes": 5000}))).start().await?;
    stream.demand(1000, 1);
    for count in 1..=5 {
        stream.events(count).await?;
        stream.demand(0, 1);
    }
    same("the numbers of the events", &(1..=5).collect::<Vec<u64>>(), &numbers(&all(&mut stream).await?))
}

async fn slow(context: &Context) -> Outcome {
    let stream = context.produce("source").config(&program(json!({"pause_ms": 600_000}))).start().await?;
    stream.demand(1000, ROOM);
    stream.events(1).await.map_err(|fault| fault.at("an event of which the next comes in ten minutes"))?;
    stream.stop();
    stream.ends_ok("S9").await
}

async fn attributes(context: &Context) -> Outcome {
    let mut stream =
        context.produce("source").config(&program(json!({"count": 7, "attributes": true}))).start().await?;
    stream.demand(100, ROOM);
    for event in all(&mut stream).await? {
        let n = number(&event);
        let part = Value::Integer((n % 2) as i32);
        let expected = (Some(format!("k{}", n % 3)), Some("test".to_owned()), Some(n as i64), Some(part));
        let found = (event.key, event.type_, event.time, event.extensions.get("part").cloned());
        same(&format!("key, type, time and extension of event {n}"), &expected, &found)?;
        same("the content type", &Some("application/json".to_owned()), &event.content_type)?;
    }
    Ok(())
}

async fn checkpoints(context: &Context) -> Outcome {
    let config = program(json!({"count": 40, "checkpoint_every": 3}));
    let mut stream = context.produce("source").config(&config).start().await?;
    for _ in 0..50 {
        stream.demand(1, ROOM);
    }
    all(&mut stream).await?;
    for frame in &stream.record().frames {
        let last = frame.events.last().map(number).unwrap_or_default();
        let expected = (last >= 3).then(|| (last / 3 * 3).to_string());
        let found = frame.checkpoint.as_ref().map(|checkpoint| String::from_utf8_lossy(checkpoint).into_owned());
        same(&format!("the checkpoint of a frame up to event {last}, as JSON"), &expected, &found)?;
    }
    Ok(())
}

async fn no_checkpoint(context: &Context) -> Outcome {
    let config = program(json!({"count": 10, "checkpoint_every": 0}));
    let mut stream = context.produce("source").config(&config).start().await?;
    stream.demand(100, ROOM);
    all(&mut stream).await?;
    let given = stream.record().frames.iter().find_map(|frame| frame.checkpoint.clone());
    same("the checkpoint of a source that gives none", &None, &given)
}

async fn repeated(context: &Context) -> Outcome {
    let config = program(json!({"count": 20, "repeat_checkpoint": 4}));
    let stream = context.produce("source").config(&config).start().await?;
    stream.demand(100, ROOM);
    error_info(&stream.ended().await?, Code::Aborted, "CHECKPOINT_REPEATED").map(drop)
}

async fn resumes(context: &Context) -> Outcome {
    for checkpoint in [0, 1, 6, 9] {
        let config = program(json!({"count": 9}));
        let given = (checkpoint > 0).then(|| Bytes::from(checkpoint.to_string()));
        let mut stream = context.produce("source").config(&config).checkpoint(given).start().await?;
        stream.demand(100, ROOM);
        let what = format!("the events behind checkpoint {checkpoint}");
        same(&what, &(checkpoint + 1..=9).collect::<Vec<u64>>(), &numbers(&all(&mut stream).await?))?;
    }
    Ok(())
}

async fn unreadable(context: &Context) -> Outcome {
    for checkpoint in [&b"\xff\xfe"[..], b"{\"n\":", b"\"text\""] {
        let place = format!("the checkpoint {}", String::from_utf8_lossy(checkpoint));
        let open = context.produce("source").checkpoint(Some(Bytes::copy_from_slice(checkpoint)));
        let status = open.refused().await.map_err(|fault| fault.at(&place))?;
        refuses(&status, &["checkpoint"]).map_err(|fault| fault.at(&place))?;
    }
    Ok(())
}

async fn ids(context: &Context) -> Outcome {
    let mut random = SmallRng::seed_from_u64(context.seed);
    for every in [1, 3, 0, 7] {
        let config = program(json!({"count": 30, "checkpoint_every": every}));
        let expected = |n: u64| match every {
            0 => format!("#{n}"),
            every if n <= every => format!("#{n}"),
            every => format!("{}#{}", (n - 1) / every * every, (n - 1) % every + 1),
        };
        let starts = [0, every, every * 2];
        for start in starts {
            let given = (start > 0).then(|| Bytes::from(start.to_string()));
            let mut stream = context.produce("source").config(&config).checkpoint(given).start().await?;
            for _ in 0..40 {
                stream.demand(random.random_range(1..=5), ROOM);
            }
            for event in all(&mut stream).await? {
                let n = number(&event);
                let what = format!("the id of event {n}, checkpoints every {every}, from {start}");
                same(&what, &Some(expected(n)), &event.id)?;
            }
        }
    }
    Ok(())
}

async fn long_ids(context: &Context) -> Outcome {
    let mut random = SmallRng::seed_from_u64(context.seed);
    // With its quotes a checkpoint is on both sides of the limit, and far beyond it.
    for digits in [254, 255, 1000] {
        let wire = |n: u64| format!("\"{n:0digits$}\"");
        let prefix = |n: u64| match wire(n) {
            _ if n == 0 => String::new(),
            short if short.len() <= 256 => short,
            long => hex(&Sha256::digest(long)),
        };
        let config = program(json!({"count": 10, "checkpoint_every": 3, "checkpoint_digits": digits}));
        // From the start, and as after a replay from each checkpoint.
        for start in [0, 3, 6, 9] {
            let place = format!("checkpoints of {} bytes on the wire, from event {start}", digits + 2);
            let given = (start > 0).then(|| Bytes::from(wire(start)));
            let mut stream = context.produce("source").config(&config).checkpoint(given).start().await?;
            for _ in 0..10 {
                stream.demand(random.random_range(1..=4), ROOM);
            }
            for event in all(&mut stream).await? {
                let n = number(&event);
                let expected = format!("{}#{}", prefix((n - 1) / 3 * 3), (n - 1) % 3 + 1);
                same(&format!("{place}: the id of event {n}"), &Some(expected), &event.id)?;
            }
            for frame in &stream.record().frames {
                let last = frame.events.last().map(number).unwrap_or_default() / 3 * 3;
                let expected = (last > 0).then(|| Bytes::from(wire(last)));
                same(&format!("{place}: the checkpoint of a frame"), &expected, &frame.checkpoint)?;
            }
        }
    }
    Ok(())
}

async fn own_ids(context: &Context) -> Outcome {
    let mut stream = context.produce("source").config(&program(json!({"count": 5, "ids": true}))).start().await?;
    stream.demand(100, ROOM);
    let ids: Vec<_> = all(&mut stream).await?.into_iter().map(|event| event.id.unwrap_or_default()).collect();
    same("the ids", &vec!["e1", "e2", "e3", "e4", "e5"], &ids.iter().map(String::as_str).collect())
}

async fn stop(context: &Context) -> Outcome {
    let stream = context.produce("source").config(&program(json!({}))).start().await?;
    stream.demand(1_000_000_000, 1 << 40);
    stream.events(100).await?;
    stream.stop();
    stopped(&stream).await
}

async fn stopped(stream: &Produce) -> Outcome {
    stream.ends_ok("S9").await?;
    let record = stream.record();
    holds(!record.exhausted, "no `exhausted` of a source that has not ended", || "`exhausted`".into())?;
    let events: Vec<u64> = record.events().map(number).collect();
    let expected = (1..=events.len() as u64).collect::<Vec<_>>();
    holds(events == expected, "events without a gap up to the end", || crate::fault::short(&events))
}

async fn stop_waiting(context: &Context) -> Outcome {
    let stream = context.produce("source").config(&program(json!({}))).start().await?;
    stream.stop();
    stopped(&stream).await?;
    let stream = context.produce("source").config(&program(json!({}))).start().await?;
    stream.demand(5, ROOM);
    stream.events(5).await?;
    stream.stop();
    stopped(&stream).await
}

async fn half_close(context: &Context) -> Outcome {
    let mut stream = context.produce("source").config(&program(json!({}))).start().await?;
    stream.demand(50, ROOM);
    stream.events(50).await?;
    stream.half_close();
    stopped(&stream).await
}

async fn fails(context: &Context) -> Outcome {
    let stream = context.produce("source").config(&program(json!({"fail_at": 6}))).start().await?;
    stream.demand(100, ROOM);
    let status = stream.ended().await?;
    error_info(&status, Code::Aborted, "SOURCE_FAILED")?;
    same("the events before the failure", &5, &stream.record().events().count())
}

/// Waits until a file has these lines, in this order where `ordered`.
async fn logged(file: &Path, lines: &[String], patience: Duration) -> Outcome {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let found: Vec<&str> = text.lines().collect();
        if lines.iter().all(|line| found.contains(&line.as_str())) {
            let mut distinct = found.clone();
            distinct.sort_unstable();
            distinct.dedup();
            let once = |line: &&str| !line.starts_with("receipt");
            let receipts = found.iter().filter(|line| !once(line)).count();
            let distinct = distinct.iter().filter(|line| !once(line)).count();
            return same("receipts, each once", &distinct, &receipts);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Fault::new(format!("the lines {lines:?} in the log"), format!("{found:?}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn log() -> Outcome<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir().map_err(|error| Fault::NotCheckable(format!("no temporary folder: {error}")))?;
    let file = folder.path().join("log");
    Ok((folder, file))
}

async fn settled(context: &Context) -> Outcome {
    let (_folder, file) = log()?;
    let config = json!({"program": {"checkpoint_every": 2}, "log": file});
    let stream = context.produce("source").config(&config).start().await?;
    for count in 1..=6 {
        stream.demand(1, ROOM);
        stream.events(count).await?;
    }
    let frames: Vec<Frame> = stream.record().frames.clone();
    for frame in &frames {
        stream.settled(frame);
    }
    let lines = (1..=6).map(|n| format!("receipt {n}")).chain([2, 4, 6].map(|n| format!("settled {n}")));
    let lines: Vec<_> = lines.collect();
    logged(&file, &lines, context.patience).await?;
    stream.stop();
    stream.ends_ok("S9").await
}

async fn queue(context: &Context) -> Outcome {
    same("whether `queue` replays", &false, &context.handler("queue")?.replays)?;
    let mut stream = context.produce("queue").config(&program(json!({"count": 50}))).start().await?;
    stream.demand(100, ROOM);
    same("the numbers of the events", &(1..=50).collect::<Vec<u64>>(), &numbers(&all(&mut stream).await?))
}

async fn queue_ids(context: &Context) -> Outcome {
    for every in [0, 1, 3] {
        for own in [false, true] {
            let config = program(json!({"count": 20, "checkpoint_every": every, "ids": own}));
            let mut stream = context.produce("queue").config(&config).start().await?;
            // In frames of three, and one for the rest.
            for events in [3, 3, 3, 100] {
                stream.demand(events, ROOM);
            }
            for event in all(&mut stream).await? {
                let n = number(&event);
                let set = if own { "sets its ids" } else { "sets none" };
                let what = format!("the id of event {n} of a queue that {set}, checkpoints every {every}");
                same(&what, &own.then(|| format!("e{n}")), &event.id)?;
            }
        }
    }
    Ok(())
}

async fn queue_settled(context: &Context) -> Outcome {
    let (_folder, file) = log()?;
    let config = json!({"program": {"checkpoint_every": 0}, "log": file});
    let stream = context.produce("queue").config(&config).start().await?;
    for count in 1..=4 {
        stream.demand(1, ROOM);
        stream.events(count).await?;
    }
    let frames: Vec<Frame> = stream.record().frames.clone();
    for frame in frames.iter().rev() {
        stream.settled(frame);
    }
    let lines: Vec<_> = (1..=4).map(|n| format!("receipt {n}")).collect();
    logged(&file, &lines, context.patience).await?;
    stream.stop();
    stream.ends_ok("S9").await
}

fn sampled(rule: Rule) -> impl FnOnce(&mut v1::OpenProduce) {
    move |open| open.trace = Some(v1::TraceSampling { rule: Some(rule) })
}

async fn sampling(context: &Context) -> Outcome {
    for (rule, expected) in [(Rule::Ratio(1.0), 20), (Rule::Ratio(0.0), 0), (Rule::Rate(0.0), 0)] {
        let mut stream =
            context.produce("source").config(&program(json!({"count": 20}))).with(sampled(rule)).start().await?;
        stream.demand(100, ROOM);
        let events = all(&mut stream).await?;
        let spans: Vec<Span> = events.iter().filter_map(|event| event.span).collect();
        same(&format!("sampled events of 20 at {rule:?}"), &expected, &spans.len())?;
        for span in spans {
            let valid = span.flags & 1 == 1 && span.trace_id != [0; 16] && span.span_id != [0; 8];
            holds(valid, "a sampled context that is one", || format!("{span:?}"))?;
        }
    }
    Ok(())
}

async fn sampled_before(context: &Context) -> Outcome {
    let config = program(json!({"count": 3, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}));
    let mut stream = context.produce("source").config(&config).with(sampled(Rule::Ratio(0.0))).start().await?;
    stream.demand(100, ROOM);
    for event in all(&mut stream).await? {
        let trace = event.span.map(|span| hex(&span.trace_id));
        same(
            "the trace of an event with a sampled context",
            &Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
            &trace,
        )?;
    }
    Ok(())
}

async fn role(context: &Context) -> Outcome {
    context.handler("source")?;
    let status = context.open("source").refused().await?;
    error_info(&status, Code::FailedPrecondition, "HANDLER_ROLE_MISMATCH")
        .map_err(|fault| fault.at("`source` at Process"))?;
    let status = context.produce("map").refused().await?;
    error_info(&status, Code::FailedPrecondition, "HANDLER_ROLE_MISMATCH")
        .map(drop)
        .map_err(|fault| fault.at("`map` at Produce"))
}

async fn config(context: &Context) -> Outcome {
    let refused = context.produce("source").config(&json!({"lable": 1, "label": 5})).refused().await?;
    refuses(&refused, &["label", "lable"])?;
    let refused = context.produce("source").config(&json!({"program": {"count": "many"}})).refused().await?;
    refuses(&refused, &["program.count"])?;
    let refused = context.produce("source").with(|open| open.protocol = None).refused().await?;
    refuses(&refused, &["protocol"])?;
    let refused = context.produce("no-such").refused().await?;
    error_info(&refused, Code::NotFound, "HANDLER_UNKNOWN")?;
    let demand = v1::produce_request::Request::Demand(v1::Demand { events: 1, bytes: 1 });
    let request = prost::Message::encode_to_vec(&v1::ProduceRequest { request: Some(demand) });
    let refused = Produce::raw(context, request.into()).refused().await?;
    error_info(&refused, Code::InvalidArgument, "PROTOCOL_VIOLATION").map(drop)
}
