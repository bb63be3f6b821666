//! The direction of dependencies, as ARCHITECTURE.md draws it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Which packages of the workspace a package may depend on. Packages that nothing may depend on stand here too.
const MAY_USE: [(&str, &[&str]); 17] = [
    ("meshloom-core", &[]),
    ("meshloom-proto", &[]),
    ("meshloom-telemetry", &[]),
    ("meshloom-config", &["meshloom-core"]),
    ("meshloom-wire", &["meshloom-core", "meshloom-proto"]),
    ("meshloom-connectors", &["meshloom-core", "meshloom-config", "meshloom-proto", "meshloom-wire"]),
    ("meshloom-journal", &["meshloom-core"]),
    ("meshloom-coordinator", BELOW_COORDINATOR),
    ("meshloom-cli", BELOW_CLI),
    ("meshloom", &["meshloom-proto"]),
    // What is not published.
    ("ingest", &["meshloom"]),
    ("test-node", &["meshloom"]),
    ("meshloom-conformance", &["meshloom-proto", "meshloom-wire"]),
    ("meshloom-e2e", &["meshloom-proto"]),
    ("meshloom-chaos", &["meshloom-e2e", "meshloom-cli", "meshloom-journal"]),
    ("meshloom-bench", &["meshloom", "meshloom-proto", "meshloom-coordinator", "meshloom-journal"]),
    ("xtask", &[]),
];
const BELOW_COORDINATOR: &[&str] = &[
    "meshloom-core",
    "meshloom-proto",
    "meshloom-config",
    "meshloom-wire",
    "meshloom-connectors",
    "meshloom-journal",
    "meshloom-telemetry",
];
const BELOW_CLI: &[&str] = &[
    "meshloom-conformance",
    "meshloom-coordinator",
    "meshloom-core",
    "meshloom-proto",
    "meshloom-config",
    "meshloom-wire",
    "meshloom-connectors",
    "meshloom-journal",
    "meshloom-telemetry",
];

/// What the core may use: no runtime, no transport, no files, no clock.
const CORE_USES: [&str; 6] = ["bytes", "serde", "serde_json", "sha1", "thiserror", "uuid"];

/// Libraries that belong to one crate.
const ONLY_IN: [(&str, &[&str]); 6] = [
    ("anyhow", &["meshloom-cli", "xtask", "meshloom-bench"]),
    ("clap", &["meshloom-cli", "meshloom-bench"]),
    ("indicatif", &["meshloom-cli"]),
    ("saphyr-parser", &["meshloom-config"]),
    ("prometheus-client", &["meshloom-telemetry"]),
    ("protox", &["xtask"]),
];

/// Package name -> names of what it depends on, but for its tests.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--locked",
        "--format-version",
        "1",
        "--manifest-path",
        manifest,
    ]);
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let uses = |package: &Value| {
        let for_all = list(&package["dependencies"]).into_iter().filter(|dependency| dependency["kind"].is_null());
        for_all.map(|dependency| name(&dependency)).collect()
    };
    list(&metadata["packages"]).iter().map(|package| (name(package), uses(package))).collect()
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    for (package, uses) in &packages {
        let allowed = may_use.get(package.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("say in {} what {package} may depend on", file!()));
        let ours = uses.iter().filter(|used| packages.contains_key(*used));
        let wrong: Vec<_> = ours.filter(|used| !allowed.contains(&used.as_str())).collect();
        assert!(wrong.is_empty(), "{package} must not depend on {wrong:?}");
    }
}

#[test]
fn the_core_is_pure() {
    let uses = &packages()["meshloom-core"];
    let wrong: Vec<_> = uses.iter().filter(|used| !CORE_USES.contains(&used.as_str())).collect();
    assert!(wrong.is_empty(), "meshloom-core must not depend on {wrong:?}: it has no I/O, no clock, no runtime");
}

#[test]
fn libraries_stay_where_they_belong() {
    let packages = packages();
    for (library, homes) in ONLY_IN {
        let users: Vec<_> = packages.iter().filter(|(_, uses)| uses.contains(library)).map(|(name, _)| name).collect();
        assert!(!users.is_empty(), "nothing uses {library} any more: remove it from {}", file!());
        let wrong: Vec<_> = users.into_iter().filter(|user| !homes.contains(&user.as_str())).collect();
        assert!(wrong.is_empty(), "{library} is used by {wrong:?}, and belongs to {homes:?}");
    }
}
