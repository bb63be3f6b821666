//! L: limits.

use serde_json::json;

use super::{fared, serve::in_hand};
use crate::{
    check::area,
    client::{Answer, Process, Work},
    context::Context,
    event::Event,
    fault::{Outcome, holds, same},
};

area! {
    "limits.works" Core Shared ["L2", "L3"] "works up to the limit are held, one more is RETRY / LIMITS_EXCEEDED" => works;
    "limits.events" Core Shared ["L3"] "more events than the limit are RETRY / BATCH_TOO_LARGE" => events;
    "limits.bytes" Core Shared ["L3", "B10"] "more bytes than the limit are RETRY / BATCH_TOO_LARGE" => bytes;
}

fn whole(what: &str, answer: &Answer, reason: &str) -> Outcome {
    let found = answer.whole().map(|failure| (failure.action().as_str_name(), failure.reason.as_str()));
    same(&format!("a failure of the whole work for {what}"), &Some(("FAILURE_ACTION_RETRY", reason)), &found)
}

async fn goes_on(stream: &mut Process) -> Outcome {
    fared("the next work", &stream.work(Work::commands(&[json!({"do": "pass"})])).await?, &["out"])
}

async fn works(context: &Context) -> Outcome {
    let mut stream = context.open("narrow").concurrency(8).start().await?;
    let sleep = json!({"do": "sleep", "ms": 600_000});
    let held = [
        stream.send(Work::commands(std::slice::from_ref(&sleep))),
        stream.send(Work::commands(std::slice::from_ref(&sleep))),
    ];
    for work in held {
        in_hand(&stream, work).await?;
    }
    for _ in 0..3 {
        let answer = stream.work(Work::commands(&[json!({"do": "pass"})])).await?;
        whole("a third work where two are allowed", &answer, "LIMITS_EXCEEDED")?;
    }
    for work in held {
        holds(stream.record().answer(work).is_none(), "the works in hand are held", || "one was answered".into())?;
        stream.cancel(work);
        fared("the work in hand", &stream.answer(work).await?, &["RETRY CANCELLED"])?;
    }
    goes_on(&mut stream).await?;
    stream.finish().await
}

async fn events(context: &Context) -> Outcome {
    let mut stream = context.open("narrow").start().await?;
    let pass = json!({"do": "pass"});
    fared("8 events where 8 are allowed", &stream.work(Work::commands(&vec![pass.clone(); 8])).await?, &["out"; 8])?;
    whole("9 events where 8 are allowed", &stream.work(Work::commands(&vec![pass; 9])).await?, "BATCH_TOO_LARGE")?;
    goes_on(&mut stream).await?;
    stream.finish().await
}

async fn bytes(context: &Context) -> Outcome {
    let mut stream = context.open("narrow").config(&json!({"command": {"do": "pass"}})).start().await?;
    let large = |bytes: usize| Work::new([Event::new(vec![b'x'; bytes])]);
    fared("60,000 bytes where 65,536 are allowed", &stream.work(large(60_000)).await?, &["out"])?;
    whole("70,000 bytes where 65,536 are allowed", &stream.work(large(70_000)).await?, "BATCH_TOO_LARGE")?;
    goes_on(&mut stream).await?;
    stream.finish().await
}
