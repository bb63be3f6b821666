//! Reject: what can never be handled becomes a dead letter now.

// snippet:start
use meshloom::{Json, Node, Result, reject};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Reading {
    sensor: String,
    celsius: Option<f64>,
}

#[derive(Serialize)]
struct Fahrenheit {
    sensor: String,
    fahrenheit: f64,
}

async fn convert(Json(r): Json<Reading>) -> Result<Json<Fahrenheit>> {
    let Some(celsius) = r.celsius else {
        return Err(reject("NO_TEMPERATURE", format!("the reading of {} has no celsius", r.sensor)));
    };
    Ok(Json(Fahrenheit { sensor: r.sensor, fahrenheit: celsius * 1.8 + 32.0 }))
}

pub(crate) fn node() -> Node {
    meshloom::node("convert").map(convert)
}
// snippet:end

#[tokio::test]
async fn a_reading_without_celsius_is_a_dead_letter() {
    let events = [r#"{"sensor": "roof", "celsius": 10}"#, r#"{"sensor": "cellar"}"#, r#"{"celsius": 1}"#];
    let run = meshloom::testing::run(node(), events).await.unwrap();
    assert_eq!(run.texts(), [r#"{"sensor":"roof","fahrenheit":50.0}"#]);
    assert_eq!((run.rejected[0].index, run.rejected[0].reason.as_str()), (Some(1), "NO_TEMPERATURE"));
    assert_eq!(run.rejected[1].reason, "PAYLOAD_MISMATCH");
}
