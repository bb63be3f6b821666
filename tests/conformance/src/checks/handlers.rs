//! W6, W9, W10, W17: batch handlers, sinks, and flat maps that give many outputs.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{batch, fared, serve::in_hand, verdicts, work::cancelled};
use crate::{
    check::area,
    client::{Answer, Work},
    columns::Style,
    context::Context,
    event::Event,
    fault::{Fault, Outcome, holds, same},
};

area! {
    "batch-handler.rows" Full Shared ["W10", "W2"] "a batch handler says of each row what becomes of it" => rows;
    "batch-handler.columns" Full Shared ["B11"] "a batch handler sees what the columns say" => columns;
    "batch-handler.vectors" Full Shared ["B11", "B4", "B6", "B7"] "the golden batches are seen as their files say" => vectors;
    "batch-handler.unmentioned" Full Shared ["W10"] "a row that is not mentioned is RETRY / UNACCOUNTED" => unmentioned;
    "batch-handler.twice" Full Shared ["W10"] "a row that is named twice, or is not there, retries the whole work" => twice;
    "batch-handler.error" Full Shared ["W9"] "an error in a batch handler is a failure of all that is open" => error;
    "batch-handler.whole" Full Shared ["W10"] "outputs from the whole batch stand for themselves" => whole;
    "batch-handler.timeout" Full Shared ["W13"] "a batch call over its time is RETRY / TIMEOUT" => timeout;
    "batch-handler.cancel" Full Shared ["W14", "W15"] "a batch call that is taken back is told" => cancel;
    "sink.delivers" Full Shared ["W6"] "what a sink has delivered is consumed" => sink;
    "flat-map.many" Full Shared ["W17", "W3"] "more than 1 MiB of outputs of one input goes on in the next result" => many;
    "flat-map.more-than-a-result" Full Shared ["W19", "W17"] "more than 65,536 outputs are split over results" => most;
    "flat-map.large" Full Shared ["W19", "W17"] "large outputs of one input are split over results" => large;
    "flat-map.nothing-more" Full Shared ["W3", "W17"] "`continued` is said only where more follows" => nothing_more;
    "flat-map.fails-midway" Full Shared ["W17"] "what was sent before a failure stays sent" => midway;
    "flat-map.neighbours" Full Shared ["W3", "W17"] "an input that goes on does not mix with its neighbours" => neighbours;
    "result.nothing" Full Shared ["W6"] "a handler that returns nothing is told so" => nothing;
    "result.panic" Full Shared ["W8"] "a panic is RETRY of that event, and the process lives" => panic;
}

async fn at(context: &Context, handler: &str, commands: &[Json]) -> Outcome<Answer> {
    let mut stream = context.open(handler).start().await?;
    let answer = stream.work(Work::commands(commands)).await?;
    stream.finish().await?;
    Ok(answer)
}

async fn rows(context: &Context) -> Outcome {
    let commands = [
        json!({"do": "pass"}),
        json!({"do": "drop"}),
        json!({"do": "emit", "outputs": [{"value": 1}, {"value": 2, "route": "left"}]}),
        json!({"do": "reject", "reason": "BAD_ROW"}),
        json!({"do": "retry", "reason": "BUSY"}),
        json!({"do": "pass"}),
    ];
    let answer = at(context, "batch", &commands).await?;
    let expected = ["out", "consumed", "out x2", "REJECT BAD_ROW", "RETRY BUSY", "out"];
    fared("a batch handler", &answer, &expected)
}

async fn columns(context: &Context) -> Outcome {
    let events: Vec<Event> = (0..6).map(|n| if n == 3 { Event::new("") } else { batch::full(n) }).collect();
    for style in [Style::Short, Style::Dictionary, Style::Plain] {
        let mut stream = context.open("batch").config(&json!({"command": {"do": "context"}})).start().await?;
        let answer = stream.work(Work { events: events.clone(), style, ..Work::default() }).await?;
        for (event, told) in events.iter().zip(batch::told(&answer, events.len())?) {
            batch::matches(&event.to_context(), &told)?;
        }
        stream.finish().await?;
    }
    Ok(())
}

async fn vectors(context: &Context) -> Outcome {
    batch::golden(context, "batch").await
}

/// A command that the language cannot write is rejected so.
fn unwritable(answer: &Answer) -> Outcome {
    match verdicts(answer).iter().any(|verdict| verdict == "REJECT UNWRITABLE") {
        true => Err(Fault::NotCheckable("UNWRITABLE: the types of the language forbid it".into())),
        false => Ok(()),
    }
}

async fn unmentioned(context: &Context) -> Outcome {
    let answer =
        at(context, "batch", &[json!({"do": "pass"}), json!({"do": "nothing"}), json!({"do": "drop"})]).await?;
    unwritable(&answer)?;
    fared("a row that is not mentioned", &answer, &["out", "RETRY UNACCOUNTED", "consumed"])
}

async fn twice(context: &Context) -> Outcome {
    for command in ["twice", "misname"] {
        let answer =
            at(context, "batch", &[json!({"do": "pass"}), json!({"do": command}), json!({"do": "drop"})]).await?;
        unwritable(&answer)?;
        fared(&format!("`{command}`"), &answer, &["RETRY RESULT_INDEX_REPEATED"; 3])?;
        holds(answer.rows.is_empty(), "no outputs of a work that is retried as a whole", || {
            format!("{:?}", answer.rows)
        })?;
    }
    Ok(())
}

async fn error(context: &Context) -> Outcome {
    let answer =
        at(context, "batch", &[json!({"do": "nothing"}), json!({"do": "throw", "message": "no model"})]).await?;
    unwritable(&answer)?;
    fared("an error in a batch handler", &answer, &["RETRY HANDLER_ERROR"; 2])?;
    let message = answer.whole().map(|failure| failure.message.clone());
    holds(
        message.as_ref().is_some_and(|message| message.contains("no model")),
        "one failure that names no event, with the error's message",
        || format!("{:?}", answer.failures),
    )
}

async fn whole(context: &Context) -> Outcome {
    let outputs = json!([{"value": {"mean": 1}}, {"value": 2, "type": "mean", "key": "all", "time": "7"}]);
    let commands = [json!({"do": "whole", "outputs": outputs}), json!({"do": "pass"}), json!({"do": "reject"})];
    let mut events: Vec<Event> = commands.iter().map(Event::command).collect();
    for event in &mut events {
        event.subject = Some("parent's".into());
        event.id = Some("parent's".into());
    }
    let mut stream = context.open("batch").start().await?;
    let answer = stream.work(Work::new(events)).await?;
    fared("rows beside outputs from the whole batch", &answer, &["consumed", "out", "REJECT REJECTED"])?;
    let of_all: Vec<_> = answer.rows.iter().filter(|row| row.parent.is_none()).collect();
    same("outputs from the whole batch", &2, &of_all.len())?;
    let bare = &of_all[0].event;
    let unset = (bare.subject.clone(), bare.id.clone(), bare.type_.clone(), bare.key.clone(), bare.time);
    same("what such an output does not set", &(None, None, None, None, None), &unset)?;
    let set = &of_all[1].event;
    let found = (set.type_.as_deref(), set.key.as_deref(), set.time, &set.payload[..]);
    same("what such an output sets", &(Some("mean"), Some("all"), Some(7), &b"2"[..]), &found)?;
    stream.finish().await
}

async fn timeout(context: &Context) -> Outcome {
    let mut stream = context.open("batch").start().await?;
    let commands = [json!({"do": "sleep", "ms": 600_000}), json!({"do": "reject"})];
    let answer = stream.work(Work::commands(&commands).timeout(Duration::from_millis(700))).await?;
    fared("a batch call over its time", &answer, &["RETRY TIMEOUT"; 2])?;
    stream.finish().await
}

async fn cancel(context: &Context) -> Outcome {
    context.report().await?;
    let mut stream = context.open("batch").start().await?;
    let event = Event::command(&json!({"do": "sleep", "ms": 600_000}));
    let uid = event.uid_hex();
    let work = stream.send(Work::new([event]));
    let call = in_hand(&stream, work).await?;
    same("the index of a batch call in Progress", &u32::MAX, &call.index)?;
    stream.cancel(work);
    fared("a batch call that is taken back", &stream.answer(work).await?, &["RETRY CANCELLED"])?;
    cancelled(context, &[uid]).await?;
    stream.finish().await
}

async fn sink(context: &Context) -> Outcome {
    let commands = [
        json!({"do": "pass"}),
        json!({"do": "reject", "reason": "NO_ROOM"}),
        json!({"do": "retry"}),
        json!({"do": "throw", "message": "disk"}),
        json!({"do": "pass"}),
    ];
    let answer = at(context, "sink", &commands).await?;
    let expected = ["consumed", "REJECT NO_ROOM", "RETRY RETRY", "RETRY HANDLER_ERROR", "consumed"];
    fared("a sink", &answer, &expected)
}

async fn streamed(context: &Context, commands: &[Json], expected: &[usize]) -> Outcome<Answer> {
    let answer = at(context, "flat_map", commands).await?;
    let mut found = vec![0; commands.len()];
    for row in &answer.rows {
        found[row.parent.unwrap_or_default() as usize] += 1;
    }
    same("outputs per input", &expected.to_vec(), &found)?;
    Ok(answer)
}

async fn many(context: &Context) -> Outcome {
    let answer = streamed(context, &[json!({"do": "stream", "count": 4000, "bytes": 1000})], &[4000]).await?;
    let continued =
        answer.results.iter().filter_map(|result| result.outputs.as_ref()).filter(|outputs| outputs.continued);
    let continued = continued.count();
    holds(continued >= 1, "results that are `continued`, of 4 MB of outputs", || format!("{continued}"))?;
    fared("a stream of outputs", &answer, &["out x4000"])
}

async fn most(context: &Context) -> Outcome {
    let answer = streamed(context, &[json!({"do": "stream", "count": 70_000, "bytes": 1})], &[70_000]).await?;
    fared("70,000 outputs", &answer, &["out x70000"])
}

async fn large(context: &Context) -> Outcome {
    let answer = streamed(context, &[json!({"do": "stream", "count": 20, "bytes": 4 << 20})], &[20]).await?;
    let whole = answer.rows.iter().all(|row| row.event.payload.len() == 4 << 20);
    holds(whole, "20 payloads of 4 MiB", || "others".into())
}

async fn nothing_more(context: &Context) -> Outcome {
    // Outputs that end where a result is full, and just beyond: what follows `continued` is held by the record.
    for (count, bytes) in [(1, 1 << 20), (1, 2 << 20), (2, 1 << 19), (32, 1 << 16), (65_536, 16), (1024, 1024)] {
        let commands = [json!({"do": "stream", "count": count, "bytes": bytes}), json!({"do": "pass"})];
        let place = format!("{count} outputs of {bytes} bytes");
        let answer = at(context, "flat_map", &commands).await.map_err(|fault| fault.at(&place))?;
        let all = if count == 1 { "out".to_owned() } else { format!("out x{count}") };
        fared(&place, &answer, &[&all, "out"])?;
    }
    Ok(())
}

async fn midway(context: &Context) -> Outcome {
    let command = json!({"do": "stream", "count": 5000, "bytes": 1000, "fail_after": 4000});
    let answer = at(context, "flat_map", &[command, json!({"do": "pass"})]).await?;
    fared("a call that fails after 4,000 outputs", &answer, &["RETRY HANDLER_ERROR", "out"])?;
    let sent = answer.rows.iter().filter(|row| row.parent == Some(0)).count();
    holds(sent > 0 && sent <= 4000, "outputs that were sent before", || format!("{sent}"))
}

async fn neighbours(context: &Context) -> Outcome {
    let stream = json!({"do": "stream", "count": 3000, "bytes": 1000});
    let commands = [stream.clone(), json!({"do": "pass"}), stream.clone(), json!({"do": "drop"}), stream];
    let answer = streamed(context, &commands, &[3000, 1, 3000, 0, 3000]).await?;
    same("`consumed`", &1, &answer.consumed)
}

async fn nothing(context: &Context) -> Outcome {
    let mut checked = false;
    let reasons: [(&str, &[&str]); 3] =
        [("map", &["NO_RESULT"]), ("filter", &["NOT_BOOL", "NO_RESULT"]), ("flat_map", &["NO_RESULT", "NOT_ITERABLE"])];
    for (handler, reasons) in reasons {
        let answer = at(context, handler, &[json!({"do": "nothing"}), json!({"do": "pass"})]).await?;
        if unwritable(&answer).is_err() {
            continue;
        }
        checked = true;
        let found = verdicts(&answer);
        let legal = reasons.iter().any(|reason| found == [format!("REJECT {reason}"), "out".to_owned()]);
        holds(legal, format!("REJECT {} at {handler}, and the other event goes on", reasons.join(" or ")), || {
            format!("{found:?}")
        })?;
    }
    if checked { Ok(()) } else { Err(Fault::NotCheckable("UNWRITABLE: the types of the language forbid it".into())) }
}

async fn panic(context: &Context) -> Outcome {
    for handler in ["map", "filter", "flat_map", "sink"] {
        let out = if handler == "sink" { "consumed" } else { "out" };
        let commands = [json!({"do": "panic", "message": "beyond an error"}), json!({"do": "pass"})];
        let answer = at(context, handler, &commands).await?;
        let found = verdicts(&answer);
        let legal = ["RETRY PANIC", "RETRY HANDLER_ERROR"].iter().any(|retry| found == [*retry, out]);
        holds(legal, format!("RETRY / PANIC or HANDLER_ERROR at {handler}, and the other event goes on"), || {
            format!("{found:?}")
        })?;
    }
    Ok(())
}
