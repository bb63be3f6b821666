//! The random driver: streams of works over random events, faults among them, against a model that knows what must come
//! out. A failure is shrunk to a small case, which is printed with its seed.

mod case;
mod drive;
mod expect;
mod generate;
mod shrink;

use rand::{SeedableRng as _, rngs::SmallRng};

use self::{case::Case, generate::Knobs};
use crate::{
    check::area,
    context::Context,
    fault::{Fault, Outcome},
};

area! {
    "model.streams" Full Shared ["W2", "W3", "W4", "W6", "B11"] "random works on several streams are answered as the model says" => streams;
    "model.order" Full Shared ["K1", "K2", "K3"] "random works with an ordering are answered as the model says" => order;
    "model.batch-handlers" Full Shared ["W10", "W2"] "random works at batch handlers are answered as the model says" => batches;
    "model.faults" Full Shared ["W11", "W14", "W20", "L3"] "works taken back, malformed and too large ones, cut streams and slow readers harm no other work" => faults;
    "model.deaths" Full Fresh ["W20", "T8"] "a process that is killed answers nothing wrong, and the next one answers all" => deaths;
}

async fn streams(context: &Context) -> Outcome {
    each(context, &Knobs { handlers: &["map", "filter", "flat_map", "sink"], ..Knobs::default() }).await
}

async fn order(context: &Context) -> Outcome {
    each(context, &Knobs { handlers: &["map", "flat_map", "filter"], ordering: true, ..Knobs::default() }).await
}

async fn batches(context: &Context) -> Outcome {
    each(context, &Knobs { handlers: &["batch"], ..Knobs::default() }).await
}

async fn faults(context: &Context) -> Outcome {
    let handlers = &["map", "filter", "flat_map", "sink", "batch"];
    each(context, &Knobs { handlers, ordering: true, faults: true, ..Knobs::default() }).await
}

async fn deaths(context: &Context) -> Outcome {
    each(context, &Knobs { handlers: &["map", "flat_map", "batch"], deaths: true, ..Knobs::default() }).await
}

/// Runs the cases of a seed until one fails.
async fn each(context: &Context, knobs: &Knobs) -> Outcome {
    // Processes are dear.
    let cases = if knobs.deaths { context.cases.div_ceil(5) } else { context.cases };
    for number in 0..cases {
        let seed = context.seed.wrapping_add(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let case = generate::case(&mut SmallRng::seed_from_u64(seed), knobs);
        if let Err(fault) = drive::case(context, &case).await {
            let (small, fault) = shrink::shrink(context, case, fault).await;
            return Err(told(fault, number, &small));
        }
    }
    Ok(())
}

fn told(fault: Fault, number: u32, case: &Case) -> Fault {
    match fault {
        Fault::Broken { rule, expected, got } => {
            let case = serde_json::to_string(case).unwrap_or_default();
            Fault::Broken { rule, expected, got: format!("{got}\ncase {number}, made small: {case}") }
        }
        other => other,
    }
}
