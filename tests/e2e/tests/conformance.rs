//! The conformance kit at level full against the interpreters of the four SDKs, and the table that says what each keeps;
//! at level core against a node without an SDK.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use meshloom_e2e::{
    root,
    toolchain::{self, Language},
};
use serde_json::Value;

/// What is random is the same in each run, but for `make conform-long`, which sets these variables.
const SEED: (&str, &str) = ("SEED", "20261121");
/// Random cases of each check that is random.
const CASES: (&str, &str) = ("CASES", "8");
const BEGIN: &str = "<!-- conformance:begin -->\n";
const END: &str = "<!-- conformance:end -->";

/// What the kit found.
struct Report(Value);

impl Report {
    /// Of the node that this command starts.
    fn of(level: &str, command: &str) -> Self {
        let mut kit = Command::new(toolchain::meshloom());
        let chosen = |(name, usual): (&str, &str)| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
        kit.args(["conform", "--json", "--patience", "120s", "--level", level, "--run", command]);
        let output = kit.args(["--seed", &chosen(SEED), "--cases", &chosen(CASES)]).output().expect("meshloom runs");
        let told = String::from_utf8_lossy(&output.stderr);
        Self(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{command}: {error}\n{told}")))
    }

    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.0["checks"].as_array().expect("a report has checks").iter()
    }

    /// Passed, and all that could be checked, by area.
    fn areas(&self) -> BTreeMap<&str, (u32, u32)> {
        let mut found: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for check in self.checks() {
            let (passed, all) = found.entry(text(check, "area")).or_default();
            match text(check, "outcome") {
                "passed" => (*passed, *all) = (*passed + 1, *all + 1),
                "failed" => *all += 1,
                _ => {}
            }
        }
        found
    }

    /// What failed, for a person.
    fn failures(&self) -> String {
        let failed = self.checks().filter(|check| check["outcome"] == "failed");
        failed.map(|check| format!("{check:#}\n")).collect()
    }
}

fn text<'a>(check: &'a Value, field: &str) -> &'a str {
    check[field].as_str().unwrap_or_else(|| panic!("no {field} in {check}"))
}

/// What each SDK keeps, by area, and what cannot be checked, with the reason.
fn table(reports: &[(Language, Report)]) -> String {
    let by_area: Vec<_> = reports.iter().map(|(_, report)| report.areas()).collect();
    let names: BTreeSet<_> = by_area.iter().flat_map(BTreeMap::keys).collect();
    let versions = reports.iter().map(|(language, report)| {
        format!(" {} {} |", language.name(), report.0["sdk"]["version"].as_str().unwrap_or_default())
    });
    let mut page = format!("| area |{}\n| --- |{}\n", versions.collect::<String>(), " --- |".repeat(reports.len()));
    for name in names {
        let cells = by_area.iter().map(|areas| areas.get(name).copied().unwrap_or_default());
        let cells: String = cells.map(|(passed, all)| format!(" {passed} of {all} |")).collect();
        page += &format!("| {name} |{cells}\n");
    }
    let mut exceptions = String::new();
    for (language, report) in reports {
        for check in report.checks().filter(|check| check["reason"].is_string()) {
            let (name, reason) = (text(check, "name"), text(check, "reason"));
            exceptions += &format!("- {}: `{name}` is not checked: {reason}\n", language.name());
        }
    }
    if exceptions.is_empty() { page } else { format!("{page}\n{exceptions}") }
}

#[test]
fn the_sdks_keep_every_rule() {
    let reports = Language::ALL.map(|language| {
        let words: Vec<String> =
            language.interpreter().iter().map(|word| word.to_str().expect("paths are UTF-8").to_owned()).collect();
        let command = shlex::try_join(words.iter().map(String::as_str)).expect("no word has a NUL");
        (language, Report::of("full", &command))
    });
    for (language, report) in &reports {
        assert_eq!(report.failures(), "", "{}", language.name());
    }
    let path = root().join("sdks/README.md");
    let page = fs::read_to_string(&path).expect("sdks/README.md can be read");
    let (before, rest) = page.split_once(BEGIN).expect("the table's beginning is marked");
    let (found, after) = rest.split_once(END).expect("the table's end is marked");
    let table = table(&reports);
    if std::env::var_os("MESHLOOM_WRITE_TABLE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("sdks/README.md can be written");
    } else {
        assert_eq!(found, table, "MESHLOOM_WRITE_TABLE=1 cargo test -p meshloom-e2e --test conformance writes it anew");
    }
}

#[test]
fn a_node_without_an_sdk_keeps_the_core() {
    let report = Report::of("core", &toolchain::java_interpreter());
    assert_eq!(report.failures(), "");
    let unchecked: Vec<_> = report.checks().filter(|check| check["reason"].is_string()).collect();
    assert!(unchecked.is_empty(), "{unchecked:#?}");
}
