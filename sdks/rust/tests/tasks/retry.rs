//! Retry: what may succeed later comes again, not before two seconds have passed.

// snippet:start
use std::time::Duration;

use meshloom::{Context, Json, Node, Output, Result, retry_after};

async fn locate(Json(r): Json<Reading>, ctx: Context<Lookup>) -> Result<Output> {
    match ctx.state().place(&r.sensor).await {
        Ok(place) => Ok(Output::json(serde_json::json!({ "celsius": r.celsius, "place": place }))),
        Err(busy) => Err(retry_after(Duration::from_secs(2), busy)),
    }
}

fn node() -> Node {
    meshloom::node("locate").setup(Lookup::open).map(locate)
}
// snippet:end

use std::sync::atomic::{AtomicBool, Ordering};

#[derive(serde::Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
}

/// A service that is busy when it is first asked.
struct Lookup(AtomicBool);

impl Lookup {
    async fn open() -> Result<Self> {
        Ok(Self(AtomicBool::new(true)))
    }

    async fn place(&self, sensor: &str) -> Result<String, &'static str> {
        if self.0.swap(false, Ordering::Relaxed) { Err("the lookup is busy") } else { Ok(format!("place of {sensor}")) }
    }
}

#[tokio::test]
async fn a_busy_service_is_asked_again() {
    let run = meshloom::testing::run(node(), [crate::reading("roof", 31.5)]).attempts(2).await.unwrap();
    assert_eq!((run.retried.len(), run.retried[0].after), (1, Some(Duration::from_secs(2))));
    assert_eq!(run.retried[0].message, "the lookup is busy");
    assert_eq!(run.texts(), [r#"{"celsius":31.5,"place":"place of roof"}"#]);
}
