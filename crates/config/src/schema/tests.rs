use std::{collections::BTreeSet, path::Path};

use super::json_schema;
use crate::load::keys;

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/pipeline.schema.json");
    let current = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("MESHLOOM_UPDATE").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == current, "run the tests once with MESHLOOM_UPDATE=1 and commit the schema");
}

#[test]
fn the_schema_has_exactly_the_keys_that_are_read() {
    let schema = json_schema();
    let of = |object: &serde_json::Value| -> BTreeSet<String> {
        object["properties"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(of(&schema), keys::FILE.iter().map(ToString::to_string).collect());
    assert_eq!(of(&schema["definitions"]["Node"]), keys::node_keys().into_iter().map(str::to_owned).collect());
}
