//! Flat map: a document with many readings becomes one event each.

// snippet:start
use meshloom::{Json, Node, Output, stream};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Document {
    readings: Vec<Value>,
}

fn split(Json(document): Json<Document>) -> impl stream::Stream<Item = Output> {
    stream::iter(document.readings.into_iter().map(Output::json))
}

fn node() -> Node {
    meshloom::node("split").flat_map(split)
}
// snippet:end

#[tokio::test]
async fn one_event_for_each_reading() {
    let documents = [r#"{"readings": [{"sensor": "roof"}, {"sensor": "cellar"}]}"#, r#"{"readings": []}"#];
    let run = meshloom::testing::run(node(), documents).await.unwrap();
    assert_eq!(run.texts(), [r#"{"sensor":"roof"}"#, r#"{"sensor":"cellar"}"#]);
    assert_eq!(run.dropped, [1]);
}
