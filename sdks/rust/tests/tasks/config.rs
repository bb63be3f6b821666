//! Config: a limit and a duration with defaults, validated before the pipeline starts.

// snippet:start
use std::time::Duration;

use meshloom::{Config, ConfigError, Json, Node, Output};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    limit: f64,
    #[serde(with = "meshloom::config::duration")] // as 10s, 250ms
    quiet: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limit: 30.0, quiet: Duration::from_secs(60) }
    }
}

async fn check(settings: Config<Settings>) -> Result<(), ConfigError> {
    if settings.limit < -273.15 { Err(ConfigError::field("limit", "is below absolute zero")) } else { Ok(()) }
}

async fn alarm(Json(r): Json<Reading>, settings: Config<Settings>) -> Option<Output> {
    let alarm = serde_json::json!({ "sensor": r.sensor, "quiet_seconds": settings.quiet.as_secs() });
    (r.celsius > settings.limit).then(|| Output::json(alarm))
}

fn node() -> Node {
    meshloom::node("alarm").setup(check).map(alarm)
}
// snippet:end

#[derive(Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
}

use meshloom::testing::{TestError, run};
use serde_json::json;

use crate::reading;

#[tokio::test]
async fn defaults_and_values() {
    let readings = || [reading("roof", 31.5), reading("cellar", 12.0)];
    let with_defaults = run(node(), readings()).await.unwrap();
    assert_eq!(with_defaults.texts(), [r#"{"quiet_seconds":60,"sensor":"roof"}"#]);
    let all = run(node(), readings()).config(json!({"limit": 10.0, "quiet": "2m"})).await.unwrap();
    assert_eq!(all.texts()[1], r#"{"quiet_seconds":120,"sensor":"cellar"}"#);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let fields =
        [("limit", json!({"limit": -300.0})), ("quiet", json!({"quiet": "soon"})), ("limt", json!({"limt": 1}))];
    for (field, config) in fields {
        let refused = run(node(), [reading("roof", 1.0)]).config(&config).await;
        let Err(TestError::Config(refused)) = refused else { panic!("{config} was taken") };
        assert_eq!(refused.violations().next().map(|(named, _)| named), Some(field));
    }
}
