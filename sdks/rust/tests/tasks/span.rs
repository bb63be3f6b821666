//! A span of one's own, inside the span of the event.

// snippet:start
use meshloom::{Json, Node};
use tracing::Instrument as _;

async fn locate(Json(mut r): Json<Reading>) -> Json<Reading> {
    let span = tracing::info_span!("lookup", sensor = r.sensor);
    r.place = look_up(&r.sensor).instrument(span).await;
    Json(r)
}

fn node() -> Node {
    meshloom::node("locate").map(locate)
}
// snippet:end

#[derive(serde::Deserialize, serde::Serialize)]
struct Reading {
    sensor: String,
    place: Option<String>,
}

async fn look_up(sensor: &str) -> Option<String> {
    tokio::task::yield_now().await;
    (sensor == "roof").then(|| "Zurich".to_owned())
}

#[tokio::test]
async fn the_lookup_stands_in_the_span_of_its_event() {
    let run = meshloom::testing::run(node(), [crate::reading("roof", 31.5)]).traced().await.unwrap();
    let lookup = run.spans.iter().find(|span| span.name == "lookup").unwrap();
    assert_eq!((lookup.event, lookup.parent.as_deref()), (Some(0), Some("process locate")));
    assert_eq!(lookup.attributes["sensor"], "roof");
}
