//! `meshloom dead-letters list`.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Local};
use meshloom_coordinator::{LetterFilter, LetterRecord};

use super::{super::Output, choice::Choice};
use crate::{
    failure::Failure,
    place::StateOf,
    table::{self, Align},
    terminal, text,
};

/// List dead letters, oldest first; works with and without a running coordinator
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    state: StateOf,
    #[command(flatten)]
    choice: Choice,
    /// Only the newest N
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How to print: a table, or a JSON object per line with the event in it
    #[arg(long, value_enum, default_value_t, env = "MESHLOOM_OUTPUT")]
    output: Output,
}

impl List {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let state = self.state.path()?;
        terminal::end_with_the_reader();
        let mut chosen = Chosen::new(self.choice.filter(), self.limit);
        match (self.output, self.limit) {
            // As they are read, so that a million of them take no memory.
            (Output::Json, None) => {
                let mut out = io::BufWriter::new(io::stdout().lock());
                super::each(
                    &state,
                    |letter| if chosen.takes(&letter) { write_json(&mut out, &letter) } else { Ok(()) },
                )?;
                out.flush()?;
            }
            (Output::Json, Some(_)) => {
                super::each(&state, |letter| chosen.add(letter))?;
                let mut out = io::BufWriter::new(io::stdout().lock());
                chosen.letters.iter().try_for_each(|letter| write_json(&mut out, letter))?;
                out.flush()?;
            }
            (Output::Human, _) => {
                super::each(&state, |letter| chosen.add(LetterRecord { event: Box::default(), ..letter }))?;
                if chosen.letters.is_empty() {
                    super::say_none(chosen.all);
                    return Ok(ExitCode::SUCCESS);
                }
                print!("{}", fit(&render(&chosen.letters), terminal::columns_of_stdout()));
                if (chosen.letters.len() as u64) < chosen.all {
                    eprintln!("{} of {}", chosen.letters.len(), text::plural(chosen.all, "dead letter"));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The newest letters that a filter takes.
struct Chosen {
    filter: LetterFilter,
    limit: usize,
    letters: VecDeque<LetterRecord>,
    /// Letters seen, chosen or not.
    all: u64,
}

impl Chosen {
    fn new(filter: LetterFilter, limit: Option<usize>) -> Self {
        Self { filter, limit: limit.unwrap_or(usize::MAX), letters: VecDeque::new(), all: 0 }
    }

    fn takes(&mut self, letter: &LetterRecord) -> bool {
        self.all += 1;
        self.filter.takes(letter)
    }

    fn add(&mut self, letter: LetterRecord) -> io::Result<()> {
        if self.takes(&letter) {
            self.letters.push_back(letter);
            if self.letters.len() > self.limit {
                self.letters.pop_front();
            }
        }
        Ok(())
    }
}

fn write_json(out: &mut impl io::Write, letter: &LetterRecord) -> io::Result<()> {
    serde_json::to_writer(&mut *out, letter)?;
    out.write_all(b"\n")
}

fn render(letters: &VecDeque<LetterRecord>) -> String {
    use Align::{Left, Right};
    let header =
        [("time", Left), ("node", Left), ("reason", Left), ("attempts", Right), ("uid", Left), ("message", Left)];
    let rows = letters.iter().map(|letter| {
        vec![
            local_time(letter.time),
            letter.node.clone(),
            letter.reason.clone(),
            letter.attempts.to_string(),
            letter.uid.clone(),
            // A program's own words may hold anything.
            letter.message.replace(|c: char| c.is_control(), " "),
        ]
    });
    table::render(&header, rows)
}

/// Unix time in nanoseconds for a person, to the second and as flags take it.
pub(super) fn local_time(nanos: u64) -> String {
    let time = DateTime::<Local>::from(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos));
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Cuts what would wrap.
fn fit(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return text.to_owned() };
    text.lines().map(|line| console::truncate_str(line, columns, "…").into_owned() + "\n").collect()
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        list: List,
    }

    pub(crate) fn letter(node: &str, reason: &str, event: &str) -> LetterRecord {
        LetterRecord {
            time: 1,
            node: node.into(),
            from: None,
            route: None,
            uid: "00".repeat(16),
            reason: reason.into(),
            message: "row 3:\n\x1b[31mbad\u{7}".into(),
            attempts: 10,
            trace_id: None,
            generation: 1,
            repeats: 0,
            history: Vec::new(),
            event: serde_json::value::RawValue::from_string(event.to_owned()).unwrap(),
        }
    }

    fn chosen(args: &[&str]) -> Vec<String> {
        let letters = [letter("a", "X", "{}"), letter("b", "X", "{}"), letter("b", "Y", "{}")];
        let list = Only::parse_from([&["list"], args].concat()).list;
        let mut chosen = Chosen::new(list.choice.filter(), list.limit);
        letters.into_iter().for_each(|letter| chosen.add(letter).unwrap());
        assert_eq!(chosen.all, 3);
        chosen.letters.iter().map(|letter| format!("{}{}", letter.node, letter.reason)).collect()
    }

    #[test]
    fn letters_are_chosen_by_node_reason_and_age() {
        assert_eq!(chosen(&[]), ["aX", "bX", "bY"]);
        assert_eq!(chosen(&["--node", "b"]), ["bX", "bY"]);
        assert_eq!(chosen(&["--reason", "X", "--limit", "1"]), ["bX"]);
        assert_eq!(chosen(&["--node", "c"]), [""; 0]);
        assert_eq!(chosen(&["--before", "1h"]), ["aX", "bX", "bY"]);
        assert_eq!(chosen(&["--since", "1h"]), [""; 0]);
    }

    #[test]
    fn a_letter_is_one_line_without_control_characters() {
        let text = render(&[letter("filter", "BAD_ROW", "{}")].into());
        let line = text.lines().nth(1).unwrap();
        assert!(line.contains("filter  BAD_ROW") && line.ends_with("row 3: [31mbad"), "{line}");
        assert_eq!(text.lines().count(), 2);
        assert_eq!(fit("abcdef\nab\n", Some(4)), "abc…\nab\n");
        assert_eq!(fit("abcdef\n", None), "abcdef\n");
    }
}
