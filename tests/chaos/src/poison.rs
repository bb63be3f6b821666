//! One event among many that kills the process that handles it, in each way in which processes of a language die.

use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, Instant},
};

use meshloom_e2e::{Project, lines, toolchain::Language};

/// Longest time of one search.
const PATIENCE: Duration = Duration::from_secs(600);

/// A way of dying: the `do` of the test nodes, and how the node has to be started for it.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Of the node.
    pub language: Language,
    /// What the event asks for.
    pub what: &'static str,
    /// The shell's words before the command; empty: it is started as it is.
    pub under: &'static str,
    /// Of its last words.
    pub says: &'static str,
}

/// All of them.
pub const WAYS: [Way; 11] = [
    way(Language::Rust, "die", "asked to die"),
    way(Language::Rust, "panic", "panick"),
    below(Language::Rust, "oom", "ulimit -v 4000000", "allocation"),
    way(Language::Go, "die", "asked to die"),
    way(Language::Go, "panic", "panic: asked to panic"),
    below(Language::Go, "oom", "ulimit -v 4000000", "exited with status 2"),
    way(Language::Python, "die", "asked to die"),
    way(Language::Python, "segfault", "asked to die"),
    below(Language::Python, "oom", "ulimit -v 4000000", "asked to die"),
    way(Language::Node, "exit", "asked to die"),
    below(Language::Node, "oom", "export NODE_OPTIONS=--max-old-space-size=64", "heap"),
];

const fn way(language: Language, what: &'static str, says: &'static str) -> Way {
    Way { language, what, under: "", says }
}

const fn below(language: Language, what: &'static str, under: &'static str, says: &'static str) -> Way {
    Way { language, what, under, says }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.language.name(), self.what)
    }
}

impl Way {
    fn command(&self) -> String {
        let plain = self.language.test_node();
        if self.under.is_empty() {
            return plain;
        }
        let words: Vec<String> = serde_json::from_str(&plain).expect("a list of words");
        let script = format!("{}; exec \"$@\"", self.under);
        let all = ["sh", "-c", &script, "sh"].map(str::to_owned).into_iter().chain(words);
        serde_json::json!(all.collect::<Vec<_>>()).to_string()
    }

    /// Runs a pipeline of so many events of which one kills, and checks that it alone is given up on.
    ///
    /// # Panics
    /// It is not so.
    pub fn find(&self, events: u64) {
        let poison = events * 5 / 7;
        let run = self.command();
        let project = Project::new(&format!(
            "pipeline: poison
trace: {{ rate: 0 }}
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  map: {{ run: {run}, handler: filter, from: in, with: {{ label: x }}, restart: {{ initial: 10ms, max: 100ms }}, env: {{ RUST_BACKTRACE: '0', GOTRACEBACK: none }} }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: map }}
"
        ));
        let commands = (1..=events).map(|n| if n == poison { self.what } else { "pass" });
        lines::write(&project.path("in.ndjson"), lines::commands(commands));
        let began = Instant::now();
        let finished = project.start().finish_within(PATIENCE);
        finished.assert_code(0);
        finished.books().assert_balanced();
        let deaths = finished.books().node("map").restarts;
        println!("{self}: found among {events} events after {deaths} deaths in {:.1?}", began.elapsed());
        let letters = project.letters();
        let told: Vec<_> = letters.iter().map(|letter| (letter.n(), letter.reason.as_str())).collect();
        assert_eq!(told, [(poison, "POISON")], "{self}: {letters:#?}");
        let message = &letters[0].message;
        assert!(message.contains(self.says), "{self}: {message}");
        let arrived: BTreeSet<u64> = lines::numbers(&project.lines("out.ndjson")).into_iter().collect();
        assert_eq!(arrived, (1..=events).filter(|n| *n != poison).collect(), "{self}");
    }
}

/// Each way, one after the other.
pub fn all(events: u64) {
    for way in &WAYS {
        way.find(events);
    }
}
