//! The handler of batches: each row in turn.

use meshloom::{Batch, Context, Emitter, Result, reject};

use crate::{
    app::App,
    obey::{Answer, Call},
    report::Running,
};

pub(crate) async fn batch(batch: Batch, mut out: Emitter, context: Context<App>) -> Result<()> {
    let _running = Running::begin();
    for (row, event) in batch.events().enumerate() {
        let call = Call { event: &event, context: &context, attempt: context.attempt_of(row) };
        match call.obey().await? {
            Answer::Pass => out.pass([row]),
            Answer::Drop => out.drop([row]),
            Answer::Outputs(outputs) if outputs.is_empty() => out.drop([row]),
            Answer::Outputs(outputs) => outputs.into_iter().for_each(|output| out.emit(row, output)),
            Answer::Whole(outputs) => outputs.into_iter().for_each(|output| out.whole(output)),
            Answer::Fail(error) => out.fail(row, error),
            Answer::Stream { .. } => out.fail(row, reject("UNWRITABLE", "a batch handler has no stream of outputs")),
            Answer::Unmentioned => {}
            Answer::Twice => {
                out.pass([row]);
                out.drop([row]);
            }
            Answer::Misname => out.pass([batch.len()]),
        }
    }
    Ok(())
}
