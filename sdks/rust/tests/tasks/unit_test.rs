//! A unit test of a node: no coordinator, no network.

use super::reject::node;

// snippet:start
use meshloom::{Json, testing::run};
use serde_json::json;

#[tokio::test]
async fn readings_without_celsius_are_rejected() {
    let readings = [json!({ "sensor": "roof", "celsius": 31.5 }), json!({ "sensor": "cellar" })];

    let run = run(node(), readings.map(Json)).redeliver().random_splits().await.unwrap();

    assert_eq!(run.json::<serde_json::Value>().unwrap()[0]["sensor"], "roof");
    assert_eq!(run.rejected[0].index, Some(1));
    assert_eq!(run.rejected[0].reason, "NO_TEMPERATURE");
    run.assert_idempotent();
}
// snippet:end
