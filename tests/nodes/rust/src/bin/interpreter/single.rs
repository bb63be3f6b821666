//! The handlers of single events.

use meshloom::{
    Context, Error, Event, Output, Result, reject, stream, stream::StreamExt as _, stream::TryStreamExt as _,
};

use crate::{
    app::App,
    obey::{Answer, Call},
    report::Running,
};

async fn obey(event: &Event, context: &Context<App>) -> Result<Answer> {
    Call { event, context, attempt: context.attempt() }.obey().await
}

/// What the types of this handler leave no way to say.
fn unwritable(handler: &str) -> Error {
    reject("UNWRITABLE", format!("a {handler} cannot be written so in Rust"))
}

pub(crate) async fn map(event: Event, context: Context<App>) -> Result<Option<Output>> {
    let _running = Running::begin();
    match obey(&event, &context).await? {
        Answer::Pass => Ok(Some(Output::unchanged())),
        Answer::Drop => Ok(None),
        Answer::Outputs(mut outputs) if outputs.len() == 1 => Ok(outputs.pop()),
        Answer::Fail(error) => Err(error),
        _ => Err(unwritable("map")),
    }
}

pub(crate) async fn filter(event: Event, context: Context<App>) -> Result<bool> {
    let _running = Running::begin();
    match obey(&event, &context).await? {
        Answer::Pass => Ok(true),
        Answer::Drop => Ok(false),
        Answer::Fail(error) => Err(error),
        _ => Err(unwritable("filter")),
    }
}

pub(crate) async fn sink(event: Event, context: Context<App>) -> Result<()> {
    let _running = Running::begin();
    match obey(&event, &context).await? {
        Answer::Pass | Answer::Drop => Ok(()),
        Answer::Fail(error) => Err(error),
        _ => Err(unwritable("sink")),
    }
}

pub(crate) fn flat_map(event: Event, context: Context<App>) -> impl stream::Stream<Item = Result<Output>> {
    let running = Running::begin();
    let answer = async move {
        Ok(match obey(&event, &context).await? {
            Answer::Pass => stream::iter([Ok(Output::unchanged())]).boxed(),
            Answer::Drop => stream::empty().boxed(),
            Answer::Outputs(outputs) => stream::iter(outputs.into_iter().map(Ok)).boxed(),
            Answer::Stream { count, bytes, fail_after } => stream::iter(many(count, bytes, fail_after)).boxed(),
            Answer::Fail(error) => return Err(error),
            _ => return Err(unwritable("flat map")),
        })
    };
    stream::once(answer).try_flatten().inspect(move |_| {
        let _until_the_end = &running;
    })
}

fn many(count: u64, bytes: usize, fail_after: Option<u64>) -> impl Iterator<Item = Result<Output>> {
    let failure = fail_after.map(|after| Err(std::io::Error::other(format!("asked to fail after {after}")).into()));
    let count = fail_after.map_or(count, |after| after.min(count));
    (0..count).map(move |_| Ok(Output::bytes(vec![b'x'; bytes]))).chain(failure)
}
