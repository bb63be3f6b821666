//! Every kind of handler in every language behind a real coordinator: what each verdict becomes, as a table.

use std::{collections::BTreeMap, fmt::Write as _, thread};

use meshloom_e2e::{Letter, Project, identity, lines, toolchain::Language};
use serde_json::Value;

/// What the payloads ask for.
const COMMANDS: [&str; 10] = ["pass", "drop", "reject", "retry", "fail", "route", "key", "none", "split", "forget"];
/// Events per command.
const COPIES: usize = 4;
/// Events of the source.
const COUNT: u64 = 50;

/// The kinds with inputs; `source` has none.
const KINDS: [&str; 5] = ["map", "filter", "flat_map", "batch", "sink"];

fn pipeline(language: Language) -> String {
    let run = language.test_node();
    let name = language.name();
    let handlers: String = KINDS
        .iter()
        .map(|kind| {
            let out = if *kind == "sink" { ", out: '{dir}/sink.ndjson'" } else { "" };
            format!(
                "  {kind}: {{ run: {run}, from: commands, with: {{ label: {name}{out} }}, retry: {{ attempts: 4, initial: 5ms }} }}\n"
            )
        })
        .collect();
    let sinks: String = ["commands", "map", "filter", "flat_map", "batch", "source", "map.side", "flat_map.side", "batch.side"]
        .iter()
        .map(|from| {
            let node = format!("{}-out", from.replace('.', "-"));
            format!(
                "  {node}: {{ exec: [sh, -c, 'cat >> {{dir}}/{node}.ndjson'], mode: batch, envelope: cloudevents, from: {from} }}\n"
            )
        })
        .collect();
    format!(
        "pipeline: matrix\nnodes:\n  commands: {{ use: file, with: {{ path: '{{dir}}/commands.ndjson' }} }}\n  \
         source: {{ run: {run}, with: {{ label: {name}, count: {COUNT} }} }}\n{handlers}{sinks}"
    )
}

/// What a run left.
struct Left {
    language: Language,
    project: Project,
    letters: Vec<Letter>,
    /// The uid of each input by its number.
    uids: BTreeMap<u64, String>,
}

impl Left {
    fn of(language: Language) -> Self {
        let project = Project::new(&pipeline(language));
        let commands = COMMANDS.iter().copied().cycle().take(COMMANDS.len() * COPIES);
        lines::write(&project.path("commands.ndjson"), lines::commands(commands));
        project.succeed();
        let letters = project.letters();
        let inputs = project.lines("commands-out.ndjson");
        assert_eq!(inputs.len(), COMMANDS.len() * COPIES, "{inputs:#?}");
        let uids = inputs.iter().map(|event| {
            assert_eq!(event["source"], "matrix/commands");
            (
                event["data"]["n"].as_u64().unwrap(),
                identity::of_source("matrix/commands", event["id"].as_str().unwrap()),
            )
        });
        Self { language, letters, uids: uids.collect(), project }
    }

    /// The outputs of a kind for one input, and of its route.
    fn outputs(&self, kind: &str, n: u64) -> (Vec<Value>, Vec<Value>) {
        let of = |node: &str| -> Vec<Value> {
            let events = self.project.lines(&format!("{node}.ndjson"));
            events.into_iter().filter(|event| event["data"]["n"] == n).collect()
        };
        (of(&format!("{kind}-out")), of(&format!("{kind}-side-out")))
    }

    /// Checks one kind's answer to one command.
    fn check(&self, kind: &str, what: &str, n: u64) {
        let about = format!("{} {kind} {what} {n}", self.language.name());
        let letters: Vec<&Letter> =
            self.letters.iter().filter(|letter| letter.node == kind && letter.n() == n).collect();
        let refused = match (kind, what) {
            (_, "reject") => Some("TEST_REJECT"),
            ("map", "none") if self.language != Language::Rust => Some("NO_RESULT"),
            ("batch", "forget") => Some("UNACCOUNTED"),
            _ => None,
        };
        match refused {
            Some(reason) => {
                let [letter] = letters[..] else { panic!("{about}: one letter, not {letters:#?}") };
                assert_eq!((letter.reason.as_str(), &letter.uid), (reason, &self.uids[&n]), "{about}: {letter:#?}");
                assert!(
                    reason != "TEST_REJECT" || letter.message.contains(&format!("asked to reject {n}")),
                    "{letter:?}"
                );
                // A batch that also holds a row that fails is called again.
                assert!(kind == "batch" || letter.attempts == 1, "{about}: {letter:#?}");
            }
            None => assert!(letters.is_empty(), "{about}: no letter, not {letters:#?}"),
        }
        let attempts = match what {
            "retry" => 3,
            "fail" => 2,
            _ => 1,
        };
        if kind == "sink" {
            let delivered: Vec<Value> =
                self.project.lines("sink.ndjson").into_iter().filter(|line| line["n"] == n).collect();
            if refused.is_some() {
                assert!(delivered.is_empty(), "{about}: {delivered:#?}");
                return;
            }
            let name = self.language.name();
            let expected =
                serde_json::json!({"uid": self.uids[&n], "n": n, "attempt": attempts, "lang": name, "label": name});
            assert_eq!(delivered, [expected], "{about}");
            return;
        }
        let (main, side) = self.outputs(kind, n);
        let (taken, other) = if what == "route" && kind != "filter" { (side, main) } else { (main, side) };
        assert!(other.is_empty(), "{about}: {other:#?}");
        let parts = match (kind, what) {
            _ if refused.is_some() => 0,
            (_, "drop") => 0,
            ("flat_map" | "batch", "split") => 3,
            _ => 1,
        };
        assert_eq!(taken.len(), parts, "{about}: {taken:#?}");
        for event in &taken {
            self.check_output(kind, what, n, event, attempts, parts);
        }
    }

    fn check_output(&self, kind: &str, what: &str, n: u64, event: &Value, attempts: u64, parts: usize) {
        let (data, name) = (&event["data"], self.language.name());
        if kind == "filter" {
            assert_eq!(*data, serde_json::json!({"n": n, "do": what}), "a filter passes its input unchanged");
        } else {
            assert_eq!((data["label"].as_str(), data["lang"].as_str()), (Some(name), Some(name)), "{event}");
            assert_eq!(event["datacontenttype"], "application/json", "{event}");
        }
        let key = (what == "key" && kind != "filter").then(|| format!("k{n}"));
        assert_eq!(event["partitionkey"].as_str(), key.as_deref(), "{event}");
        match data["part"].as_u64() {
            Some(part) if part > 0 => {
                assert_eq!(event["source"], format!("matrix/{kind}"), "{event}");
                let uid = identity::of_output(&format!("matrix/{kind}"), &self.uids[&n], part as u32);
                assert_eq!(event["id"], uid, "{event}");
            }
            _ => {
                let uid = identity::of_source(event["source"].as_str().unwrap(), event["id"].as_str().unwrap());
                assert_eq!(uid, self.uids[&n], "output 0 keeps the identity of its parent: {event}");
            }
        }
        if parts == 1 && kind != "filter" {
            // A batch that holds a forgotten row may come more often than its rows ask for.
            let attempt = data["attempt"].as_u64().unwrap();
            assert!(attempt == attempts || kind == "batch" && attempt > attempts, "{attempts} attempts: {event}");
        }
    }

    fn check_source(&self) {
        let events = self.project.lines("source-out.ndjson");
        let data: Vec<Value> = events.into_iter().map(|event| event["data"].clone()).collect();
        assert_eq!(lines::numbers(&data), (1..=COUNT).collect::<Vec<_>>());
        assert!(data.iter().all(|data| data["do"] == "pass"));
        assert_eq!(self.project.settled_durably("source"), COUNT);
    }
}

/// `with: {lable: x}` is refused before any event flows, in words that name both fields.
fn check_refusal(language: Language, kind: &str) {
    let run = language.test_node();
    let source = if kind == "source" { "" } else { "from: in, " };
    let sink = if kind == "sink" { "" } else { "  out: { use: 'null', from: NODE }\n" };
    let project = Project::new(&format!(
        "pipeline: refusal\nnodes:\n  in: {{ use: generate, with: {{ count: 1 }} }}\n  base: {{ use: 'null', from: in }}\n  \
         node: {{ run: {run}, handler: {kind}, {source}with: {{ lable: x }} }}\n{}",
        sink.replace("NODE", "node")
    ));
    let finished = project.run();
    finished.assert_fails(78, &["CONFIG_REFUSED", "node node", "lable", "label"]);
    assert!(!project.path("state/checkpoints/in.json").exists());
}

#[test]
fn every_kind_in_every_language() {
    let mut rows = BTreeMap::new();
    thread::scope(|scope| {
        let languages: Vec<_> = Language::ALL
            .into_iter()
            .map(|language| {
                // Built here, one after the other, so that only running is parallel.
                language.test_node();
                (language, scope.spawn(move || table_of(language)))
            })
            .collect();
        for (language, thread) in languages {
            rows.insert(language.name(), thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    println!("{}", render(&rows));
}

type Cells = BTreeMap<&'static str, Vec<&'static str>>;

fn table_of(language: Language) -> Cells {
    let left = Left::of(language);
    let mut cells = Cells::new();
    for kind in KINDS {
        for (at, what) in COMMANDS.iter().enumerate() {
            for copy in 0..COPIES {
                left.check(kind, what, (copy * COMMANDS.len() + at + 1) as u64);
            }
            let applies = match *what {
                "none" => kind == "map" && language != Language::Rust,
                "split" => matches!(kind, "flat_map" | "batch"),
                "forget" => kind == "batch",
                "route" | "key" => matches!(kind, "map" | "flat_map" | "batch"),
                _ => true,
            };
            cells.entry(kind).or_default().push(if applies { "ok" } else { "-" });
        }
        check_refusal(language, kind);
        cells.entry(kind).or_default().push("ok");
    }
    left.check_source();
    check_refusal(language, "source");
    let mut source = vec!["-"; COMMANDS.len()];
    source[0] = "ok";
    source.push("ok");
    cells.insert("source", source);
    cells
}

fn render(rows: &BTreeMap<&str, Cells>) -> String {
    let mut text = format!("{:<8}{:<10}", "", "");
    for what in COMMANDS.iter().chain(&["config refused"]) {
        write!(text, "{what:<8}").unwrap();
    }
    for (language, cells) in rows {
        for (kind, cells) in cells {
            write!(text, "\n{language:<8}{kind:<10}").unwrap();
            cells.iter().for_each(|cell| write!(text, "{cell:<8}").unwrap());
        }
    }
    text
}
