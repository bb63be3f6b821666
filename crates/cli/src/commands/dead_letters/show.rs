//! `meshloom dead-letters show`.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::anyhow;
use meshloom_coordinator::{EarlierFailure, LetterFilter, LetterRecord};
use meshloom_core::ids::Uid;
use serde_json::Value;

use super::{super::Output, choice::parse_uid, list::local_time};
use crate::{failure::Failure, place::StateOf};

/// Show the dead letters of one event, with why it failed and what it holds; needs no running coordinator
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Uid of the event: 32 hexadecimal digits
    #[arg(value_parser = parse_uid)]
    uid: Uid,
    /// Only that of this node
    #[arg(long)]
    node: Option<String>,
    /// The pipeline file [default: ./meshloom.yaml, then ./pipeline.yaml]
    #[arg(long, value_name = "FILE", env = "MESHLOOM_FILE")]
    file: Option<PathBuf>,
    /// The state directory, when the run was given another than .meshloom/PIPELINE beside the pipeline file
    #[arg(long, value_name = "DIR", env = "MESHLOOM_STATE")]
    state: Option<PathBuf>,
    /// How to print: for a person, or a JSON object per line with the event in it
    #[arg(long, value_enum, default_value_t, env = "MESHLOOM_OUTPUT")]
    output: Output,
}

impl Show {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let state = StateOf::new(self.file.clone(), self.state.clone()).path()?;
        let filter = LetterFilter { uid: Some(self.uid), node: self.node.clone(), ..LetterFilter::default() };
        let mut letters = Vec::new();
        super::each(&state, |letter| {
            if filter.takes(&letter) {
                letters.push(letter);
            }
            Ok(())
        })?;
        if letters.is_empty() {
            let at = self.node.as_ref().map(|node| format!(" at `{node}`")).unwrap_or_default();
            return Err(anyhow!(
                "the event {} has no dead letter{at}; `meshloom dead-letters list` shows those that there are",
                self.uid
            )
            .into());
        }
        let mut out = io::stdout().lock();
        for (index, letter) in letters.iter().enumerate() {
            match self.output {
                Output::Json => {
                    serde_json::to_writer(&mut out, letter)?;
                    writeln!(out)?;
                }
                Output::Human => write!(out, "{}{}", if index > 0 { "\n" } else { "" }, render(letter))?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is known of a letter, a line each, then its event.
fn render(letter: &LetterRecord) -> String {
    let lines = [
        ("uid", letter.uid.clone()),
        ("time", local_time(letter.time)),
        ("node", letter.node.clone()),
        ("from", letter.from.clone().unwrap_or_default()),
        ("route", letter.route.clone().unwrap_or_default()),
        ("reason", letter.reason.clone()),
        ("attempts", letter.attempts.to_string()),
        ("trace", letter.trace_id.clone().unwrap_or_default()),
        // Its further lines stand below its first.
        ("message", letter.message.lines().map(plain).collect::<Vec<_>>().join("\n          ")),
    ];
    let said = lines.iter().filter(|(_, value)| !value.is_empty());
    let mut text: String = said.map(|(name, value)| format!("{name:<10}{value}\n")).collect();
    if letter.repeats > 0 {
        let times = if letter.repeats == 1 { "once".to_owned() } else { format!("{} times", letter.repeats) };
        text.push_str(&format!("before    it had failed there {times}\n"));
    }
    for EarlierFailure { time, reason, message, attempts } in &letter.history {
        let first = message.lines().next().unwrap_or_default();
        text.push_str(&format!("  {}  {reason}, attempt {attempts}: {}\n", local_time(*time), plain(first)));
    }
    text.push_str("event\n");
    // Indented for reading; the JSON output has it as it was written.
    let event = serde_json::from_str::<Value>(letter.event.get());
    let event = event.and_then(|event| serde_json::to_string_pretty(&event));
    let event = event.unwrap_or_else(|_| letter.event.get().to_owned());
    text.extend(event.lines().map(|line| format!("  {}\n", plain(line))));
    text
}

/// A program's own words may hold anything.
fn plain(line: &str) -> String {
    line.replace(|c: char| c.is_control(), " ")
}

#[test]
fn a_letter_is_shown_with_its_event_and_without_control_characters() {
    let earlier = EarlierFailure { time: 1, reason: "TIMEOUT".into(), message: "slow\nvery".into(), attempts: 3 };
    let letter = LetterRecord {
        from: Some("parse".into()),
        repeats: 1,
        history: vec![earlier],
        ..super::list::tests::letter("filter", "BAD_ROW", r#"{"id":"7","data":{"a":"\u001b[31m"}}"#)
    };
    let text = render(&letter);
    let words: Vec<_> = text.lines().map(str::trim_end).collect();
    assert_eq!(words[0], format!("uid       {}", "00".repeat(16)));
    assert!(words[1].starts_with("time      19"), "{text}");
    assert!(words[9].ends_with("  TIMEOUT, attempt 3: slow"), "{text}");
    assert_eq!(
        words[2..],
        [
            "node      filter",
            "from      parse",
            "reason    BAD_ROW",
            "attempts  10",
            "message   row 3:",
            "           [31mbad",
            "before    it had failed there once",
            words[9],
            "event",
            "  {",
            "    \"data\": {",
            "      \"a\": \"\\u001b[31m\"",
            "    },",
            "    \"id\": \"7\"",
            "  }",
        ]
    );
}
