//! Commands that only read the pipeline file, or nothing.

use crate::support::Folder;

const GOOD: &str = "\
pipeline: demo
nodes:
  made: { use: generate, with: { count: 10 } }
  gone: { use: 'null', from: made }
";
const BAD: &str = "\
pipeline: demo
nodes:
  made: { use: generate, wiht: { count: 10 } }
  gone: { use: 'null', from: mad }
";

#[test]
fn a_good_file_is_praised() {
    let ran = Folder::with(GOOD).run("check");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "pipeline.yaml: pipeline demo is fine: 2 nodes, 1 edge\n"),
        "{}",
        ran.err
    );
    let ran = Folder::with(GOOD).run("check --output json");
    let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &found["valid"], &found["nodes"]), (0, &true.into(), &2.into()));
}

#[test]
fn what_keeps_an_order_is_named() {
    let folder = Folder::with(
        "\
pipeline: demo
nodes:
  made: { use: generate, with: { count: 10 }, key: string(data.n) }
  kept: { exec: [cat], mode: lines, from: made }
  gone: { use: 'null', from: kept, ordering: key }
",
    );
    let ran = folder.run("check");
    assert_eq!((ran.code, ran.out.lines().nth(1)), (0, Some("events go in order of their key through kept, gone")));
    let found: serde_json::Value = serde_json::from_str(&folder.run("check --output json").out).unwrap();
    assert_eq!(found["ordered"], serde_json::json!({ "kept": "key", "gone": "key" }));
}

#[test]
fn everything_wrong_is_said_at_once() {
    let folder = Folder::with(BAD);
    let ran = folder.run("check");
    assert_eq!((ran.code, ran.out.as_str()), (78, ""));
    for says in ["pipeline.yaml:3", "`wiht`", "did you mean", "pipeline.yaml:4", "`mad`"] {
        assert!(ran.err.contains(says), "{says}: {}", ran.err);
    }
    assert!(!ran.err.contains('\x1b'), "no colours into a pipe: {}", ran.err);
    let ran = folder.run("check --output json");
    let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, ran.err.as_str(), &found["valid"]), (78, "", &false.into()));
    assert_eq!(found["diagnostics"].as_array().unwrap().len(), 2, "{found}");
    // Whatever needs the file says the same.
    for words in ["run", "graph"] {
        let ran = folder.run(words);
        assert!(ran.code == 78 && ran.err.contains("`wiht`"), "{words}: {}", ran.err);
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::empty();
    let ran = folder.run("check");
    assert!(ran.code == 2 && ran.err.contains("neither meshloom.yaml nor pipeline.yaml"), "{}", ran.err);
    let ran = folder.run("check other.yaml");
    assert!(ran.code == 78 && ran.err.contains("other.yaml cannot be read"), "{}", ran.err);
}

#[test]
fn meshloom_yaml_comes_first_and_the_environment_before_both() {
    let folder = Folder::with(BAD);
    std::fs::write(folder.path().join("meshloom.yaml"), GOOD).unwrap();
    assert!(folder.run("check").out.starts_with("meshloom.yaml: "));
    let ran = folder.command("check").env("MESHLOOM_FILE", "pipeline.yaml").output().unwrap();
    assert_eq!(ran.status.code(), Some(78));
    let ran = folder.command("check meshloom.yaml").env("MESHLOOM_FILE", "pipeline.yaml").output().unwrap();
    assert_eq!(ran.status.code(), Some(0));
}

#[test]
fn graphs_are_drawn_in_three_formats() {
    let folder = Folder::with(GOOD);
    for (words, starts, holds) in [
        ("graph", "flowchart", "made"),
        ("graph --format mermaid", "flowchart", "gone"),
        ("graph --format dot", "digraph", "->"),
        ("graph --format svg", "<svg", "</svg>"),
    ] {
        let ran = folder.run(words);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.starts_with(starts) && ran.out.contains(holds), "{words}: {}", ran.out);
    }
    assert_eq!(folder.run("graph --format png").code, 2);
}

#[test]
fn the_schema_is_the_committed_one() {
    let ran = Folder::empty().run("schema");
    let printed: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let committed = include_str!("../../../config/schema/pipeline.schema.json");
    assert_eq!(printed, serde_json::from_str::<serde_json::Value>(committed).unwrap());
}

#[test]
fn completions_know_the_commands() {
    let folder = Folder::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = folder.run(&format!("completions {shell}"));
        assert!(ran.code == 0 && ran.out.contains("dead-letters"), "{shell}: {}", ran.err);
        assert!(!ran.out.contains("guard"), "the guard is nobody's command");
    }
    assert_eq!(folder.run("completions tcsh").code, 2);
}

#[test]
fn help_documents_the_exit_codes() {
    let ran = Folder::empty().run("--help");
    for code in ["0  done", "3  events became dead letters", "69  ", "70  ", "78  ", "130  "] {
        assert!(ran.out.contains(code), "{code}: {}", ran.out);
    }
    let ran = Folder::empty().run("run --help");
    assert!(ran.out.contains("--attach") && ran.out.contains("MESHLOOM_STATE"), "{}", ran.out);
}

#[test]
fn the_guard_is_of_no_use_by_hand() {
    let ran = Folder::empty().run("guard");
    assert!(ran.code == 70 && ran.err.contains("started by the coordinator"), "{}: {}", ran.code, ran.err);
}

#[test]
fn the_state_is_found_whatever_else_is_wrong_with_the_file() {
    let folder = Folder::with(BAD);
    std::fs::create_dir_all(folder.path().join(".meshloom/demo")).unwrap();
    let ran = folder.run("dead-letters list");
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    let ran = Folder::with("nodes: {}\n").run("dead-letters list");
    assert!(ran.code == 78 && ran.err.contains("the file has no `pipeline`"), "{}", ran.err);
}

#[test]
fn what_follows_from_an_unset_variable_is_not_said() {
    let unset = GOOD.replace("count: 10", "count: \"${E2E_NO_SUCH_COUNT}\"");
    let ran = Folder::with(&unset).run("check");
    assert!(ran.err.contains("`E2E_NO_SUCH_COUNT` is not set") && ran.err.contains("1 error in"), "{}", ran.err);
}

#[test]
fn a_reader_that_leaves_early_is_no_fault() {
    use std::os::unix::process::ExitStatusExt as _;
    const SIGPIPE: i32 = 13;

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Folder::empty().command("schema").stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
    assert_eq!((ended.status.signal(), ended.stderr.as_slice()), (Some(SIGPIPE), b"".as_slice()));
}
