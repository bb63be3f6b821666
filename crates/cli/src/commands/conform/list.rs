//! What there is to check.

use meshloom_conformance::{Check, Level};

use crate::table::{self, Align};

/// A row for each check.
pub(super) fn table(checks: &[&'static Check]) -> String {
    let header = ["check", "level", "rules", "a node that passes"].map(|name| (name, Align::Left));
    let row =
        |check: &&Check| vec![check.name.into(), level(check.level).into(), check.rules.join(" "), check.what.into()];
    table::render(&header, checks.iter().map(row))
}

/// An object for each check, one a line.
pub(super) fn json(checks: &[&'static Check]) -> String {
    let object = |check: &&Check| serde_json::json!({"name": check.name, "level": check.level, "rules": check.rules, "what": check.what});
    checks.iter().map(|check| format!("{}\n", object(check))).collect()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Core => "core",
        Level::Full => "full",
    }
}

#[test]
fn a_check_is_a_row_with_its_rules() {
    let checks = meshloom_conformance::choose(Level::Core, &["work.busy".to_owned()]).expect("it is there");
    let text = table(&checks);
    let row: Vec<_> = text.lines().nth(1).expect("a row").split_whitespace().take(3).collect();
    assert_eq!(row, ["work.busy", "core", "W18"]);
    assert!(json(&checks).starts_with('{'));
}
