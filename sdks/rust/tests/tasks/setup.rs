//! Set-up: opens a lookup table once, and lets go of it after the drain.

// snippet:start
use std::{collections::HashMap, fs, path::PathBuf, sync::Arc};

use meshloom::{Config, Context, Json, Node, Result};

struct Places {
    names: HashMap<String, String>,
    lock: PathBuf,
}

async fn open(settings: Config<Settings>) -> Result<Places> {
    let names = serde_json::from_slice(&fs::read(&settings.table)?)?;
    let lock = settings.table.with_extension("lock");
    fs::write(&lock, "in use")?;
    Ok(Places { names, lock })
}

async fn close(places: Arc<Places>) {
    fs::remove_file(&places.lock).expect("the lock is ours");
}

async fn locate(Json(mut r): Json<Reading>, ctx: Context<Places>) -> Json<Reading> {
    r.place = ctx.state().names.get(&r.sensor).cloned();
    Json(r)
}

fn node() -> Node {
    meshloom::node("locate").setup(open).teardown(close).map(locate)
}
// snippet:end

#[derive(serde::Deserialize)]
struct Settings {
    table: PathBuf,
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Reading {
    sensor: String,
    celsius: f64,
    place: Option<String>,
}

#[tokio::test]
async fn the_table_is_open_while_the_node_runs() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("places.json");
    fs::write(&table, r#"{"roof": "Zurich"}"#).unwrap();
    let readings = [crate::reading("roof", 31.5), crate::reading("moon", -80.0)];
    let config = serde_json::json!({ "table": table });
    let run = meshloom::testing::run(node(), readings).config(config).await.unwrap();
    let places: Vec<Reading> = run.json().unwrap();
    assert_eq!((places[0].place.as_deref(), places[1].place.as_deref()), (Some("Zurich"), None));
    assert!(!table.with_extension("lock").exists(), "it was closed");
}
