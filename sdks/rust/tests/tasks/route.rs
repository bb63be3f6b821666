//! Route and key: events in order per sensor, and hot ones along a route of their own.

// snippet:start
use meshloom::{Json, Node, Output};

const LIMIT: f64 = 30.0;

async fn sort(Json(r): Json<Reading>) -> Output {
    let output = Output::unchanged().key(r.sensor);
    if r.celsius > LIMIT { output.route("hot") } else { output }
}

fn node() -> Node {
    meshloom::node("sort").map(sort).routes(["hot"])
}
// snippet:end

#[derive(serde::Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
}

#[tokio::test]
async fn hot_readings_take_their_route() {
    let run =
        meshloom::testing::run(node(), [crate::reading("roof", 31.5), crate::reading("cellar", 12.0)]).await.unwrap();
    let seen: Vec<_> = run.outputs.iter().map(|output| (output.key.as_deref(), output.route.as_deref())).collect();
    assert_eq!(seen, [(Some("roof"), Some("hot")), (Some("cellar"), None)]);
}
