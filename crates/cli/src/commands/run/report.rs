//! The end of a run for a program (`--output json`).

use std::time::{Duration, Instant};

use meshloom_coordinator::{Ended, RunError};
use serde_json::{Value, json};

use super::summary::Outcome;
use crate::books::{self, Rates};

/// A run that has ended.
pub(crate) fn ended(ended: &Ended, outcome: Outcome, elapsed: Duration) -> Value {
    let mut value = books::to_json(&ended.status, &mean_rates(ended, elapsed));
    let rest = json!({
        "outcome": match outcome {
            Outcome::Done => "done",
            Outcome::Stopped => "stopped",
            Outcome::Failed => "failed",
        },
        "seconds": elapsed.as_secs_f64(),
        "dead_letters": ended.dead_letters.iter().map(|kind| json!({
            "node": kind.node, "reason": kind.reason, "count": kind.count,
        })).collect::<Vec<_>>(),
        "redelivered_next_time": ended.redelivered_next_time,
        "resumed": ended.resumed.iter().map(|source| json!({
            "source": source.node, "settled_before": source.settled,
        })).collect::<Vec<_>>(),
        "errors": errors(ended.failure.as_slice()),
    });
    if let (Some(value), Value::Object(rest)) = (value.as_object_mut(), rest) {
        value.extend(rest);
    }
    value
}

/// A run that did not start.
pub(crate) fn not_started(pipeline: &str, failures: &[RunError]) -> Value {
    json!({ "pipeline": pipeline, "outcome": "not_started", "errors": errors(failures) })
}

fn errors(errors: &[RunError]) -> Vec<Value> {
    let error = |error: &RunError| json!({ "code": error.code, "node": error.node, "message": error.message, "remedy": error.remedy });
    errors.iter().map(error).collect()
}

/// Over the whole run.
fn mean_rates(ended: &Ended, elapsed: Duration) -> Vec<f64> {
    let mut rates = Rates::default();
    let start = Instant::now();
    let mut before = ended.status.clone();
    for node in &mut before.nodes {
        (node.received, node.waiting, node.in_hand) = (0, 0, 0);
    }
    rates.look(&before, start);
    rates.look(&ended.status, start + elapsed)
}

#[test]
fn a_report_has_books_letters_and_rates() {
    let run = Ended {
        status: books::tests::sample(),
        failure: None,
        redelivered_next_time: 7,
        dead_letters: vec![meshloom_coordinator::LetterCount { node: "filter".into(), reason: "X".into(), count: 2 }],
        resumed: Vec::new(),
    };
    let value = ended(&run, Outcome::Done, Duration::from_secs(10));
    assert_eq!(value["outcome"], "done");
    assert_eq!(value["redelivered_next_time"], 7);
    assert_eq!(value["dead_letters"][0]["count"], 2);
    assert_eq!(value["nodes"][0]["events_per_second"], 875.9);
    assert_eq!(value["errors"], json!([]));
}
