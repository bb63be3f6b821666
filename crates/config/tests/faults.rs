//! One file per fault in `faults/`, each with the full text that a user sees. `MESHLOOM_UPDATE=1` writes the texts anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use meshloom_config::{Diagnostics, Environment, diagnostic::codes, parse};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults")
}

fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    cases.sort();
    cases
}

/// A folder with what the cases' commands name.
fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, mode) in [("ok.sh", 0o755), ("plain.sh", 0o644), ("plain.py", 0o644)] {
        let path = dir.path().join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(dir.path().join("folder")).unwrap();
    dir
}

fn diagnose(case: &Path, dir: &Path) -> Diagnostics {
    let source = fs::read_to_string(case).unwrap();
    let nothing_set = Environment::from_fn(|_| None);
    match parse(Path::new("pipeline.yaml"), dir, &source, &nothing_set) {
        Ok(_) => panic!("{} has no fault", case.display()),
        Err(diagnostics) => diagnostics,
    }
}

#[test]
fn every_fault_is_shown_as_written_down() {
    let dir = workspace();
    let update = std::env::var_os("MESHLOOM_UPDATE").is_some();
    for case in cases() {
        let text = diagnose(&case, dir.path()).render(false).replace(dir.path().to_str().unwrap(), "DIR");
        let expected = case.with_extension("txt");
        if update {
            fs::write(&expected, &text).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(text, expected, "{}", case.display());
    }
}

#[test]
fn every_code_has_a_case_of_its_name() {
    let dir = workspace();
    let mut shown = BTreeSet::from(["FILE_UNREADABLE"]);
    for case in cases() {
        let found: Vec<&str> = diagnose(&case, dir.path()).iter().map(|diagnostic| diagnostic.code.name).collect();
        let name = case.file_stem().unwrap().to_str().unwrap().to_uppercase();
        assert!(found.iter().any(|code| name.starts_with(code)), "{name}: {found:?}");
        shown.extend(found);
    }
    let all: BTreeSet<&str> = codes::ALL.iter().map(|code| code.name).collect();
    assert_eq!(shown, all);
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.yaml");
    let text = || meshloom_config::load(&file).unwrap_err().render(false).replace(dir.path().to_str().unwrap(), "DIR");
    assert_eq!(
        text(),
        "error[FILE_UNREADABLE]: the pipeline file DIR/pipeline.yaml cannot be read: there is no such file\n--> DIR/pipeline.yaml\n = help: Check its path and permissions; it must be UTF-8 text of at most 1 MiB.\n\n1 error in DIR/pipeline.yaml\n"
    );
    fs::write(&file, b"pipeline: \xff").unwrap();
    assert!(text().contains("is not UTF-8 at byte 10"), "{}", text());
    fs::write(&file, vec![b' '; meshloom_config::MAX_FILE + 1]).unwrap();
    assert!(text().contains("has 1048577 bytes; the most is 1048576"), "{}", text());
}

#[test]
fn colour_and_json_say_the_same() {
    let dir = workspace();
    let diagnostics = diagnose(&folder().join("shell_character.yaml"), dir.path());
    assert!(diagnostics.render(true).contains("\u{1b}["));
    assert!(!diagnostics.render(false).contains('\u{1b}'));
    let json = diagnostics.to_json();
    assert_eq!(json.as_array().unwrap().len(), diagnostics.len());
    assert_eq!(json[0]["code"], "SHELL_CHARACTER");
    assert_eq!(json[0]["file"], "pipeline.yaml");
    assert_eq!(json[0]["range"]["start"], serde_json::json!({ "line": 3, "column": 26 }));
    assert_eq!(json[0]["range"]["end"], serde_json::json!({ "line": 3, "column": 27 }));
    assert!(json[0]["remedy"].as_str().unwrap().contains("[sh, -c, 'cat data.txt | jq .name']"));
}
