//! Batch: the columns at once, with a verdict for each row and one output from all of them.

// snippet:start
use meshloom::{Batch, Emitter, Node, Output};

async fn average(batch: Batch, mut out: Emitter) {
    let mut column = Vec::with_capacity(batch.len());
    for (row, payload) in batch.payloads().enumerate() {
        match serde_json::from_slice(payload) {
            Ok(Reading { celsius: Some(celsius) }) => column.push(celsius),
            Ok(Reading { celsius: None }) => out.reject(row, "NO_TEMPERATURE", "the reading has no celsius"),
            Err(misfit) => out.reject(row, "NO_READING", misfit),
        }
    }
    if !column.is_empty() {
        let average = column.iter().sum::<f64>() / column.len() as f64;
        out.whole(Output::json(serde_json::json!({ "average": average, "readings": column.len() })));
    }
}

fn node() -> Node {
    meshloom::node("average").batch(average)
}
// snippet:end

#[derive(serde::Deserialize)]
struct Reading {
    celsius: Option<f64>,
}

#[tokio::test]
async fn the_average_of_what_has_a_temperature() {
    let events = [r#"{"celsius": 10}"#, r#"{"sensor": "roof"}"#, r#"{"celsius": 20}"#, "what"];
    let run = meshloom::testing::run(node(), events).await.unwrap();
    assert_eq!(run.texts(), [r#"{"average":15.0,"readings":2}"#]);
    assert_eq!(run.outputs[0].parent, None);
    let rejected: Vec<_> = run.rejected.iter().map(|failure| (failure.index, failure.reason.as_str())).collect();
    assert_eq!(rejected, [(Some(1), "NO_TEMPERATURE"), (Some(3), "NO_READING")]);
}
