//! Drives a node through a case.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::future::try_join_all;
use meshloom_proto::v1;
use rustix::process::Signal;

use super::{
    case::{Case, Input, Stream, Trouble, Work},
    expect,
};
use crate::{
    client::Process,
    columns::{Style, u32s},
    context::Context,
    event::{self, Event, Value},
    fault::{Fault, Outcome},
};

/// Runs a case to its end.
pub(super) async fn case(context: &Context, case: &Case) -> Outcome {
    if !case.death {
        return try_join_all(case.streams.iter().map(|stream| run(context, stream))).await.map(drop);
    }
    let first = context.another().await?;
    let dying = async {
        let run = try_join_all(case.streams.iter().map(|stream| run(&first, stream)));
        tokio::pin!(run);
        // Somewhere in the midst of it: one work of the first stream has been answered, if there are several.
        let killed = async {
            if let Some(stream) = case.streams.first() {
                let stream = Stream { works: stream.works.iter().take(1).cloned().collect(), ..stream.clone() };
                self::run(&first, &stream).await?;
            }
            first.process().map(|process| process.signal(Signal::KILL))
        };
        tokio::select! {
            done = &mut run => done.map(drop),
            killed = killed => killed,
        }
    };
    dying.await?;
    drop(first);
    let second = context.another().await?;
    try_join_all(case.streams.iter().map(|stream| run(&second, stream))).await.map(drop)
}

async fn run(context: &Context, plan: &Stream) -> Outcome {
    let described = context.handler(plan.handler)?.limits.unwrap_or_default();
    let most = if described.max_in_flight_works == 0 { 4 } else { described.max_in_flight_works.min(8) } as usize;
    let open = context.open(plan.handler).concurrency(plan.concurrency).with(|open| open.ordering = plan.ordering);
    let mut stream = open.start().await?;
    // The coordinator has one work in hand where all, or a key, is in order.
    let most = if plan.ordering > 1 { 1 } else { most };
    let works = &plan.works[..plan.cut.unwrap_or(plan.works.len())];
    let mut flying: VecDeque<(u64, Vec<Event>, &Work)> = VecDeque::new();
    for (at, work) in works.iter().enumerate() {
        // A reader that leaves answers unread while it sends.
        if plan.slow {
            stream.pause(at % 3 != 2);
        }
        while flying.len() >= most {
            stream.pause(false);
            answered(&stream, plan, flying.pop_front()).await?;
        }
        let (sequence, events) = send(&mut stream, work);
        if work.trouble == Trouble::Cancelled {
            stream.cancel(sequence);
        }
        flying.push_back((sequence, events, work));
    }
    stream.pause(false);
    if plan.cut.is_some() {
        drop(stream);
        let mut next = context.open(plan.handler).start().await?;
        return match plan.works.first() {
            Some(first) => {
                let plan = Stream { ordering: 1, ..plan.clone() };
                let first = Work { trouble: Trouble::None, ..first.clone() };
                let (sequence, events) = send(&mut next, &first);
                answered(&next, &plan, Some((sequence, events, &first))).await
            }
            None => Ok(()),
        };
    }
    while !flying.is_empty() {
        answered(&stream, plan, flying.pop_front()).await?;
    }
    stream.finish().await
}

async fn answered(stream: &Process, plan: &Stream, work: Option<(u64, Vec<Event>, &Work)>) -> Outcome {
    let Some((sequence, events, work)) = work else { return Ok(()) };
    let answer = stream.answer(sequence).await.map_err(|fault| match fault {
        Fault::Broken { rule, expected, got } => {
            Fault::Broken { rule, expected: format!("{expected} at {}", plan.handler), got }
        }
        other => other,
    })?;
    expect::compare(plan, &work.events, &events, work.trouble, &answer)
}

fn send(stream: &mut Process, work: &Work) -> (u64, Vec<Event>) {
    let events: Vec<Event> = work.events.iter().map(event).collect();
    let style = [Style::Short, Style::Dictionary, Style::Plain][usize::from(work.style) % 3];
    let mut batch = event::batch(&events, style);
    match work.trouble {
        Trouble::Malformed => batch.time = Bytes::from_static(b"odd"),
        Trouble::TooLarge => batch.count = 65_537,
        Trouble::None | Trouble::Cancelled => {}
    }
    let attempts = u32s(work.events.iter().map(|input| input.attempt));
    let message = v1::Work { attempts, batch: Some(batch), ..v1::Work::default() };
    (stream.send_work(message, events.clone()), events)
}

fn event(input: &Input) -> Event {
    let extensions = input.extensions.iter().map(|(name, value)| (name.clone(), Value::Integer(*value)));
    Event {
        key: input.key.clone(),
        subject: input.subject.clone(),
        time: input.time,
        extensions: extensions.collect(),
        ..Event::command(&input.command.to_json())
    }
}
