//! B1 to B9, W11: works that break a rule.

use serde_json::json;

use super::fared;
use crate::{
    check::area,
    client::Work,
    context::Context,
    fault::{Fault, Outcome},
    malformed::{Case, cases},
};

area! {
    "malformed.count" Core Shared ["B1", "W11", "B10"] "a count of none, or too many" => count;
    "malformed.values" Core Shared ["B2", "W11"] "ends that are ragged, fall, or do not fit the data" => values;
    "malformed.payload" Core Shared ["B3", "W11"] "payloads that are too many, too few, too large" => payload;
    "malformed.strings" Core Shared ["B4", "W11"] "columns of texts" => strings;
    "malformed.fixed" Core Shared ["B5", "W11"] "`uid` and `time` of another length" => fixed;
    "malformed.extensions" Core Shared ["B6", "W11"] "names, types, values and number of extensions" => extensions;
    "malformed.extension-index" Core Shared ["B7", "W11"] "extensions of rows that are not there, or not in order" => index;
    "malformed.spans" Core Shared ["B8", "W11"] "spans that are not in order, or ids of another length" => spans;
    "malformed.attempts" Core Shared ["B9", "W11"] "attempts of another length, or 0" => attempts;
}

/// Every way to break a rule is answered as W11 says, and the stream goes on.
async fn all_of(context: &Context, rule: &str) -> Outcome {
    let mut wrong = Vec::new();
    for case in cases().into_iter().filter(|case| case.rule == rule) {
        match one(context, &case).await {
            Ok(()) => {}
            Err(Fault::Broken { got, .. }) => wrong.push(format!("{}: {got}", case.name)),
            Err(other) => return Err(other),
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let expected = "one failure of the whole work, RETRY / BATCH_MALFORMED (or a reason that says more), `last`, and the stream goes on";
    Err(Fault::new(expected, wrong.join("\n")))
}

async fn one(context: &Context, case: &Case) -> Outcome {
    let mut stream = context.open("map").config(&json!({"command": {"do": "pass"}})).start().await?;
    let work = stream.send_work(case.work.clone(), Vec::new());
    let answer = stream.answer(work).await?;
    let only = (answer.failures.len() == 1 && answer.rows.is_empty()).then(|| answer.whole()).flatten();
    let retry = meshloom_proto::v1::FailureAction::Retry;
    if !only.is_some_and(|failure| failure.action() == retry && case.reasons.contains(&failure.reason.as_str())) {
        let expected = format!("RETRY / {} of the whole work", case.reasons.join(" or "));
        let got = format!("{:?} and {} outputs", answer.failures, answer.rows.len());
        return Err(Fault::new(expected, format!("{got} in place of {}", case.reasons.join(" or "))));
    }
    fared("the next work", &stream.work(Work::commands(&[json!({"do": "pass"})])).await?, &["out"])?;
    stream.finish().await
}

async fn count(context: &Context) -> Outcome {
    all_of(context, "B1").await
}

async fn values(context: &Context) -> Outcome {
    all_of(context, "B2").await
}

async fn payload(context: &Context) -> Outcome {
    all_of(context, "B3").await
}

async fn strings(context: &Context) -> Outcome {
    all_of(context, "B4").await
}

async fn fixed(context: &Context) -> Outcome {
    all_of(context, "B5").await
}

async fn extensions(context: &Context) -> Outcome {
    all_of(context, "B6").await
}

async fn index(context: &Context) -> Outcome {
    all_of(context, "B7").await
}

async fn spans(context: &Context) -> Outcome {
    all_of(context, "B8").await
}

async fn attempts(context: &Context) -> Outcome {
    all_of(context, "B9").await
}
