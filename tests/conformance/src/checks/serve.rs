//! T: serving.

use std::time::Duration;

use meshloom_proto::v1;
use rustix::process::Signal;
use serde_json::json;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::{fared, patiently, patiently_fresh, verdicts};
use crate::{
    check::area,
    client::{Process, Work, describe},
    context::Context,
    event::Event,
    fault::{Fault, Outcome, holds, same},
};

area! {
    "serve.health" Core Shared ["T2"] "health is SERVING for the node and for its service" => health;
    "serve.reflection" Full Shared ["T3"] "reflection lists the service" => reflection;
    "serve.large-payload" Core Shared ["T4"] "an event of 16 MiB comes in and goes out" => large_payload;
    "serve.streams-independent" Core Shared ["T7"] "a stream goes on beside one that is busy" => streams;
    "serve.blocked-handler" Core Shared ["T9", "W15"] "health, Describe, new streams and Progress go on beside a handler that blocks" => blocked;
    "serve.drain" Core Fresh ["T8"] "SIGTERM: works in hand are answered, streams end OK, the process exits 0" => drain;
    "serve.drain-health" Core Fresh ["T8", "T2"] "after SIGTERM health is NOT_SERVING, and no stream is taken, while a work is still in hand" => drain_health;
    "serve.drain-idle" Core Fresh ["T8"] "SIGTERM without work in hand ends streams OK and the process with 0" => drain_idle;
}

async fn health(context: &Context) -> Outcome {
    for service in ["", "meshloom.v1.NodeService"] {
        let status = tokio::time::timeout(context.patience, context.node.health(service)).await;
        let status = status.unwrap_or_else(|_| Err("no answer in time".into()));
        same(&format!("health of {service:?}"), &Ok(ServingStatus::Serving), &status)?;
    }
    Ok(())
}

async fn reflection(context: &Context) -> Outcome {
    let mut client = ServerReflectionClient::new(context.connect().await?);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answer = client.server_reflection_info(tokio_stream::once(request)).await;
    let answer = answer.map_err(|status| Fault::new("grpc.reflection.v1", describe(&status)))?;
    let answer = tokio::time::timeout(context.patience, answer.into_inner().next()).await;
    let names = match answer {
        Ok(Some(Ok(response))) => match response.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|s| s.name).collect(),
            other => vec![format!("{other:?}")],
        },
        other => vec![format!("{other:?}")],
    };
    holds(names.iter().any(|name| name == "meshloom.v1.NodeService"), "meshloom.v1.NodeService in the list", || {
        format!("{names:?}")
    })
}

async fn large_payload(context: &Context) -> Outcome {
    // The command stands in the config, so that the payload can be anything.
    let mut stream = context.open("map").config(&json!({"command": {"do": "copy"}})).start().await?;
    let own = context.handler("map")?.limits.unwrap_or_default().max_batch_bytes;
    let event =
        |bytes| Event { content_type: Some("application/octet-stream".into()), ..Event::new(vec![b'x'; bytes]) };
    if own != 0 && own < 17 << 20 {
        // A node may take less, and says so; the message itself must not end the stream.
        let answer = stream.work(Work::new([event(16 << 20)])).await?;
        fared("a payload of 16 MiB beyond the node's own limit", &answer, &["RETRY BATCH_TOO_LARGE"])?;
    }
    let bytes = if own == 0 { 16 << 20 } else { (own as usize).saturating_sub(1024).min(16 << 20) };
    let answer = stream.work(Work::new([event(bytes)])).await?;
    fared(&format!("a payload of {bytes} bytes that is copied"), &answer, &["out"])?;
    let got = &answer.rows[0].event.payload;
    holds(*got == event(bytes).payload, format!("the same {bytes} bytes"), || {
        format!("{} bytes, or others", got.len())
    })?;
    stream.finish().await
}

async fn streams(context: &Context) -> Outcome {
    let mut busy = context.open("map").start().await?;
    let held = busy.send(Work::commands(&[json!({"do": "sleep", "ms": 600_000})]));
    in_hand(&busy, held).await?;
    for handler in ["map", "filter", "flat_map"] {
        let mut stream = context.open(handler).start().await?;
        let answer = stream.work(Work::commands(&[json!({"do": "pass"})])).await?;
        fared(&format!("`pass` at {handler} beside a stream with work in hand"), &answer, &["out"])?;
        stream.finish().await?;
    }
    busy.cancel(held);
    fared("the work that was cancelled", &busy.answer(held).await?, &["RETRY CANCELLED"])?;
    busy.finish().await
}

async fn blocked(context: &Context) -> Outcome {
    patiently!(slow => blocked_for(context, 4000 * slow))
}

async fn blocked_for(context: &Context, ms: u32) -> Outcome {
    // Its set-up is done, and shared (O5): what is opened later needs no code of the user's.
    let other = context.open("filter").start().await?;
    let mut busy = context.open("map").concurrency(1).start().await?;
    let work = busy.send(Work::commands(&[json!({"do": "block", "ms": ms})]));
    in_hand(&busy, work).await?;
    health(context).await.map_err(|fault| fault.at("beside a blocked handler"))?;
    context.describe().await.map_err(|fault| fault.at("beside a blocked handler"))?;
    still_busy(&busy, work, "health and Describe")?;
    let stream = context.open("filter").start().await.map_err(|fault| fault.at("beside a blocked handler"))?;
    if !one_thread(context) {
        still_busy(&busy, work, "a new stream")?;
    }
    fared("`block`", &busy.answer(work).await?, &["out"])?;
    stream.finish().await?;
    other.finish().await?;
    busy.finish().await
}

/// What was just answered came while a handler was at work.
pub(super) fn still_busy(stream: &Process, work: u64, what: &str) -> Outcome {
    let early = stream.record().answer(work).is_none();
    holds(early, format!("{what} while a handler is at work"), || "an answer once the handler had ended".into())
}

/// Whether the language has one thread for all of a program's own code: `opened` may wait for it (T9).
pub(super) fn one_thread(context: &Context) -> bool {
    context.described.sdk.as_ref().is_some_and(|sdk| sdk.language == "node")
}

/// Waits until Progress names a work.
pub(super) async fn in_hand(stream: &Process, work: u64) -> Outcome<v1::HandlerCall> {
    let what = format!("a Progress with the running call of work {work}");
    let named = |progress: &v1::Progress| progress.calls.iter().find(|call| call.sequence == work).cloned();
    stream.wait(&what, |record| record.progress.iter().find_map(named)).await
}

async fn drain(context: &Context) -> Outcome {
    patiently_fresh!(context, slow => drain_within(context, 5000 * slow))
}

async fn drain_within(context: &Context, ms: u32) -> Outcome {
    let mut busy = context.open("map").start().await?;
    let idle = context.open("filter").start().await?;
    let work = busy.send(Work::commands(&[json!({"do": "sleep", "ms": ms})]));
    in_hand(&busy, work).await?;
    context.process()?.signal(Signal::TERM);
    fared("the work in hand at SIGTERM", &busy.answer(work).await?, &["out"])?;
    for (name, stream) in [("the stream with work", &busy), ("the idle stream", &idle)] {
        let status = stream.ended().await?;
        holds(status.code() == Code::Ok, format!("{name} ends OK"), || describe(&status))?;
    }
    exits(context).await
}

async fn drain_health(context: &Context) -> Outcome {
    // A node may give its works up in the end; one that was stopped for so long has another try.
    patiently_fresh!(context, _slow => drain_health_held(context))
}

async fn drain_health_held(context: &Context) -> Outcome {
    let mut busy = context.open("map").start().await?;
    // It is in hand until it is taken back: whatever is answered before was answered beside it.
    let work = busy.send(Work::commands(&[json!({"do": "sleep", "ms": 600_000})]));
    in_hand(&busy, work).await?;
    context.process()?.signal(Signal::TERM);
    for service in ["", "meshloom.v1.NodeService"] {
        not_serving(context, service, &busy, work).await?;
    }
    takes_no_stream(context).await?;
    let early = busy.record().answer(work);
    holds(early.is_none(), "the work in hand at SIGTERM goes on", || {
        format!("it was answered {:?}", early.as_ref().map(verdicts))
    })?;
    busy.cancel(work);
    fared("the work in hand at SIGTERM, which was then taken back", &busy.answer(work).await?, &["RETRY CANCELLED"])?;
    let status = busy.ended().await?;
    holds(status.code() == Code::Ok, "the stream ends OK", || describe(&status))?;
    exits(context).await
}

/// Opens streams until one is refused. Which comes first of this and NOT_SERVING is left to the node.
async fn takes_no_stream(context: &Context) -> Outcome {
    let deadline = tokio::time::Instant::now() + context.patience;
    let status = loop {
        match context.open("map").refused().await {
            Ok(status) => break status,
            Err(fault) if tokio::time::Instant::now() > deadline => return Err(fault.at("a stream after SIGTERM")),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    same("the status of a stream that opens after SIGTERM", &Code::Unavailable, &status.code())
}

/// Asks for a service's health until it is NOT_SERVING, which it must say while a work is in hand.
async fn not_serving(context: &Context, service: &str, busy: &Process, work: u64) -> Outcome {
    let what = format!("the health NOT_SERVING of {service:?} after SIGTERM, beside a work in hand");
    let deadline = tokio::time::Instant::now() + context.patience;
    let mut got = "no answer".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, context.node.health(service)).await {
            Ok(Ok(ServingStatus::NotServing)) => return Ok(()),
            Ok(Ok(status)) => status.as_str_name().clone_into(&mut got),
            Ok(Err(why)) => return Err(Fault::new(what, format!("{got}, then no answer: {why}"))),
            Err(_) => return Err(Fault::new(what, format!("{got} for {:?}", context.patience))),
        }
        let over = busy.record().answer(work).is_some() || busy.record().ended.is_some();
        if over {
            return Err(Fault::new(what, format!("{got}, until the work was no longer in hand")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn drain_idle(context: &Context) -> Outcome {
    let stream = context.open("map").start().await?;
    context.process()?.signal(Signal::TERM);
    let status = stream.ended().await?;
    holds(status.code() == Code::Ok, "the stream ends OK after SIGTERM", || describe(&status))?;
    exits(context).await
}

/// Waits for the process to end with 0.
pub(super) async fn exits(context: &Context) -> Outcome {
    match tokio::time::timeout(context.patience, context.process()?.wait()).await {
        Ok(status) => same("how the process ends after SIGTERM", &"exit status: 0".to_owned(), &status),
        Err(_) => Err(Fault::new("the process ends after SIGTERM", "it lives on")),
    }
}
