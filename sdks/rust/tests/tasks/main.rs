//! Ten tasks as a user writes them; what stands between the marks is what the documentation shows.

mod batch;
mod config;
mod flat_map;
mod reject;
mod retry;
mod route;
mod setup;
mod source;
mod span;
mod unit_test;

/// A reading as an event.
fn reading(sensor: &str, celsius: f64) -> meshloom::Json<serde_json::Value> {
    meshloom::Json(serde_json::json!({ "sensor": sensor, "celsius": celsius }))
}
