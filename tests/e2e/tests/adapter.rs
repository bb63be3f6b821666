//! Programs that know nothing of Meshloom: every mode of the adapter, and legacy scripts on files of fixed names.

use meshloom_e2e::{Project, lines};
use serde_json::{Value, json};

/// Numbers 1 to 30 through a program into `out.ndjson`.
fn through(program: &str) -> Project {
    let project = Project::new(&format!(
        "pipeline: adapter
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  work: {{ {program}, from: in, retry: {{ attempts: 2, initial: 5ms }} }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: work }}
"
    ));
    lines::write(&project.path("in.ndjson"), (1..=30).map(|n| json!({"n": n})));
    project
}

#[test]
fn lines_answer_one_by_one() {
    let project = through("exec: ['{dir}/double.sh'], mode: lines");
    project.script(
        "double.sh",
        "#!/bin/sh\nwhile IFS= read -r line; do\n  n=${line##*:}; n=${n%\\}}; n=$((n))\n  [ $((n % 10)) -eq 0 ] && echo || echo \"{\\\"n\\\": $((2 * n))}\"\ndone\n",
    );
    let books = project.succeed().books();
    let expected: Vec<u64> = (1..=30).filter(|n| n % 10 != 0).map(|n| 2 * n).collect();
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), expected);
    assert_eq!(books.node("work").consumed, 3, "an empty line consumes");
}

#[test]
fn lines_that_end_early_are_dead_letters_with_the_reason() {
    let project = through("exec: ['{dir}/dies.sh'], mode: lines, restart: { initial: 5ms, max: 5ms }");
    project.script(
        "dies.sh",
        "#!/bin/sh\nwhile IFS= read -r line; do\n  case $line in *':13}'|*': 13}') echo 'thirteen is unlucky' >&2; exit 7;; esac\n  echo \"$line\"\ndone\n",
    );
    project.succeed();
    let letters = project.letters();
    assert_eq!(letters.iter().map(|letter| letter.n()).collect::<Vec<_>>(), [13], "{letters:#?}");
    assert_eq!(letters[0].reason, "EXIT_STATUS");
    assert!(letters[0].message.contains('7') && letters[0].message.contains("thirteen is unlucky"), "{letters:#?}");
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), (1..=30).filter(|n| *n != 13).collect::<Vec<_>>());
}

#[test]
fn lines_without_an_answer_name_the_remedy() {
    let project =
        through("exec: [sh, -c, 'while read -r line; do :; done'], mode: lines, timeout: 300ms, batch: { events: 1 }");
    lines::write(&project.path("in.ndjson"), [json!({"n": 1})]);
    project.succeed();
    let letters = project.letters();
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "NO_ANSWER"), "{letters:#?}");
    assert!(letters[0].message.contains("stdbuf"), "{letters:#?}");
}

#[test]
fn batch_runs_a_process_per_batch() {
    let project = through("exec: [sh, -c, 'sort -r | head -n 3'], mode: batch, batch: { events: 10, linger: 2s }");
    let books = project.succeed().books();
    assert_eq!(project.lines("out.ndjson").len(), 9, "three of each batch of ten");
    assert_eq!((books.node("work").received, books.node("work").produced), (30, 9));
    assert_eq!(project.settled_durably("in"), 30);
}

#[test]
fn batch_failures_are_narrowed_down_to_their_event() {
    let project = through("exec: ['{dir}/picky.sh'], mode: batch");
    project.script("picky.sh", "#!/bin/sh\ninput=$(cat)\ncase $input in *':17}'*) echo 'no seventeen please' >&2; exit 3;; esac\nprintf '%s\\n' \"$input\"\n");
    project.succeed();
    let letters = project.letters();
    assert_eq!(letters.iter().map(|letter| letter.n()).collect::<Vec<_>>(), [17], "{letters:#?}");
    assert!(letters[0].message.contains("no seventeen please") && letters[0].message.contains('3'), "{letters:#?}");
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), (1..=30).filter(|n| *n != 17).collect::<Vec<_>>());
}

#[test]
fn batch_garbage_is_a_dead_letter() {
    let project = through("exec: [sh, -c, 'cat > /dev/null; echo garbage'], mode: batch");
    lines::write(&project.path("in.ndjson"), [json!({"n": 1})]);
    project.succeed();
    let letters = project.letters();
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "BAD_OUTPUT"), "{letters:#?}");
}

#[test]
fn a_program_as_a_source() {
    for (program, expected) in [
        ("exec: [sh, -c, 'echo 1; echo 2'], mode: lines", vec![json!(1), json!(2)]),
        (
            "exec: [sh, -c, 'printf \"{\\\"n\\\":1}\\n{\\\"n\\\":2}\\n\"'], mode: batch",
            vec![json!({"n": 1}), json!({"n": 2})],
        ),
        (
            "exec: [sh, '{dir}/make.sh'], mode: files, output: made.json, format: json",
            vec![json!({"n": 1}), json!([2])],
        ),
    ] {
        let project = Project::new(&format!(
            "pipeline: source\nnodes:\n  in: {{ {program} }}\n  out: {{ use: file, with: {{ path: out.ndjson }}, from: in }}\n"
        ));
        project.write("make.sh", "printf '[\\n  {\"n\": 1},\\n  [2]\\n]' > made.json\n");
        project.succeed();
        assert_eq!(project.lines("out.ndjson"), expected, "{program}");
    }
}

#[test]
fn a_source_that_runs_again() {
    let project = Project::new(
        "pipeline: source\nnodes:\n  in: { exec: [date, '+{\"n\": %s}'], mode: lines, every: 200ms }\n  out: { use: file, with: { path: out.ndjson }, from: in }\n",
    );
    let mut run = project.start();
    run.until("three runs", |books| books.node("in").settled >= 3);
    run.signal("TERM");
    run.finish().assert_code(0);
    assert!(project.lines("out.ndjson").len() >= 3);
}

/// A script of before Meshloom: reads `input.json`, writes `output.json`, in the folder that it runs in.
/// n = 1 to 30: every value is answered with its square; what else it does depends on what it finds.
const LEGACY: [(&str, &str, &str); 4] = [
    (
        "python",
        "python3 '{dir}/legacy.py'",
        r#"import json, os, sys
rows = json.load(open("input.json"))
for row in rows:
    if row["n"] == 11: sys.exit("eleven cannot be done")
    if row["n"] == 12: os.abort()
squares = [{"n": row["n"], "square": row["n"] ** 2} for row in rows if row["n"] != 13]
with open("output.json", "w") as out:
    if any(row["n"] == 14 for row in rows): out.write("[{ this is no json")
    elif not squares: out.write("null")
    else: json.dump(squares, out, indent=4)
"#,
    ),
    (
        "node",
        "node '{dir}/legacy.js'",
        r#"const fs = require("fs");
const rows = JSON.parse(fs.readFileSync("input.json", "utf8"));
if (rows.some((row) => row.n === 11)) throw new Error("eleven cannot be done");
if (rows.some((row) => row.n === 12)) process.abort();
const squares = rows.filter((row) => row.n !== 13).map((row) => ({ n: row.n, square: row.n ** 2 }));
if (rows.some((row) => row.n === 14)) fs.writeFileSync("output.json", "[{ this is no json");
else fs.writeFileSync("output.json", squares.length === 0 ? "" : JSON.stringify(squares, null, 2));
"#,
    ),
    (
        "go",
        "'{dir}/legacy'",
        r#"package main

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"
)

type row struct {
	N      int `json:"n"`
	Square int `json:"square"`
}

func main() {
	text, err := os.ReadFile("input.json")
	if err != nil {
		panic(err)
	}
	var rows, out []row
	if err := json.Unmarshal(text, &rows); err != nil {
		panic(err)
	}
	for _, r := range rows {
		switch r.N {
		case 11:
			fmt.Fprintln(os.Stderr, "eleven cannot be done")
			os.Exit(2)
		case 12:
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case 13:
			continue
		case 14:
			os.WriteFile("output.json", []byte("[{ this is no json"), 0o644)
			return
		}
		out = append(out, row{r.N, r.N * r.N})
	}
	text, _ = json.MarshalIndent(out, "", "\t")
	os.WriteFile("output.json", text, 0o644)
}
"#,
    ),
    (
        "bash",
        "bash '{dir}/legacy.bash'",
        r#"set -euo pipefail
shopt -s extglob
numbers=$(tr -c '0-9\n' ' ' < input.json)
out=
for n in $numbers; do
  case $n in
    11) echo "eleven cannot be done" >&2; exit 9 ;;
    12) kill -KILL $$ ;;
    13) continue ;;
    14) echo '[{ this is no json' > output.json; exit 0 ;;
  esac
  out="$out${out:+,}
  { \"n\": $n, \"square\": $((n * n)) }"
done
if [ -z "$out" ]; then : > output.json; else printf '[%s\n]\n' "$out" > output.json; fi
"#,
    ),
];

fn legacy(language: &str, cwd: &str) {
    let (_, command, text) = LEGACY.iter().find(|(name, _, _)| *name == language).unwrap();
    let words: Vec<String> = command.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect();
    let command = serde_json::to_string(&words).unwrap();
    let project = through(&format!(
        "exec: {command}, mode: files, dir: '{{dir}}', input: input.json, output: output.json, format: json, cwd: {cwd}, batch: {{ events: 8 }}"
    ));
    match language {
        "go" => {
            let source = project.write("legacy/main.go", text);
            project.write("legacy/go.mod", "module legacy\n\ngo 1.24\n");
            let folder = source.parent().unwrap();
            let built = std::process::Command::new("go")
                .args(["build", "-o", "../legacy.program", "."])
                .current_dir(folder)
                .status();
            assert!(built.unwrap().success());
            std::fs::remove_dir_all(folder).unwrap();
            std::fs::rename(project.path("legacy.program"), project.path("legacy")).unwrap();
        }
        "node" => drop(project.write("legacy.js", text)),
        "python" => drop(project.write("legacy.py", text)),
        _ => drop(project.write("legacy.bash", text)),
    }
    project.succeed();
    let squares = project.lines("out.ndjson");
    let expected: Vec<u64> = (1..=30).filter(|n| !(11..=14).contains(n)).collect();
    assert_eq!(lines::numbers(&squares), expected, "{language}");
    assert!(squares.iter().all(|row: &Value| row["square"] == row["n"].as_u64().unwrap().pow(2)), "{squares:#?}");
    let mut letters = project.letters();
    letters.sort_by_key(|letter| letter.n());
    let found: Vec<(u64, &str)> = letters.iter().map(|letter| (letter.n(), letter.reason.as_str())).collect();
    assert_eq!(found, [(11, "EXIT_STATUS"), (12, "EXIT_STATUS"), (14, "BAD_OUTPUT")], "{language}: {letters:#?}");
    assert!(letters[0].message.contains("eleven cannot be done"), "{language}: {}", letters[0].message);
    assert!(letters[1].message.contains("SIG"), "{language}: {}", letters[1].message);
    assert!(letters[2].message.contains("output.json"), "{language}: {}", letters[2].message);
}

#[test]
fn a_legacy_python_program() {
    legacy("python", "dir");
}

#[test]
fn a_legacy_node_program() {
    legacy("node", "scratch");
}

#[test]
fn a_legacy_go_program() {
    legacy("go", "scratch");
}

#[test]
fn a_legacy_bash_program() {
    legacy("bash", "dir");
}

/// Several upstreams: every input file exists, also when nothing came from one of them.
#[test]
fn files_of_several_upstreams() {
    let project = Project::new(
        "pipeline: join
nodes:
  left: { use: file, with: { path: left.ndjson } }
  right: { use: file, with: { path: right.ndjson } }
  join:
    exec: [sh, '{dir}/join.sh', '{input.left}', '{input.right}', '{output}']
    mode: files
    format: json
    cwd: scratch
    output: joined.json
    from: [left, right]
    batch: { events: 100, linger: 300ms }
  out: { use: file, with: { path: out.ndjson }, from: join }
",
    );
    project.write(
        "join.sh",
        "set -eu\nprintf '[{\"left\": %s, \"right\": %s}]' \"$(cat \"$1\")\" \"$(cat \"$2\")\" > \"$3\"\n",
    );
    lines::write(&project.path("left.ndjson"), [json!({"n": 1}), json!({"n": 2})]);
    project.write("right.ndjson", "");
    project.succeed();
    let joined = project.lines("out.ndjson");
    let left: Vec<&Value> = joined.iter().flat_map(|row| row["left"].as_array().unwrap()).collect();
    assert_eq!(left.len(), 2);
    assert!(joined.iter().all(|row| row["right"] == json!([])), "{joined:#?}");
}

#[test]
fn a_missing_output_is_a_failure() {
    let project =
        through("exec: ['true'], mode: files, input: input.json, output: output.json, format: json, cwd: scratch");
    lines::write(&project.path("in.ndjson"), [json!({"n": 1})]);
    project.succeed();
    let letters = project.letters();
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "OUTPUT_MISSING"), "{letters:#?}");
    assert!(letters[0].message.contains("output.json"), "{letters:#?}");
}

#[test]
fn an_output_that_is_not_ours_is_not_removed() {
    let project =
        through("exec: ['true'], mode: files, dir: '{dir}', input: input.json, output: precious.json, format: json");
    project.write("precious.json", "[\"precious\"]");
    let finished = project.run();
    assert_ne!(finished.status.code(), Some(0));
    assert!(finished.log.contains("OUTPUT_EXISTS") && finished.log.contains("precious.json"), "{}", finished.log);
    assert_eq!(project.read("precious.json"), "[\"precious\"]");
}
