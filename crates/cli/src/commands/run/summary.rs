//! What is said at the end of a run.

use std::time::Duration;

use chrono::{DateTime, Local};
use meshloom_coordinator::{Ended, Resumed};
use meshloom_proto::v1::{EdgeStatus, NodeStatus, PipelineStatus};

use crate::{
    books::{self, Role, role},
    table::{self, Align},
    text,
};

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every source was exhausted and all has settled.
    Done,
    /// It was told to stop.
    Stopped,
    /// It had to end.
    Failed,
}

/// A run that has ended.
pub(crate) struct Run<'a> {
    pub(crate) ended: &'a Ended,
    pub(crate) outcome: Outcome,
    pub(crate) elapsed: Duration,
    /// The command that lists its dead letters; `None`: they went with the state.
    pub(crate) list_letters: Option<String>,
}

/// The table of the nodes and, below it, what an operator wants to know.
pub(crate) fn render(run: &Run<'_>) -> String {
    let mut text = format!("\n{}\n", nodes(&run.ended.status, run.elapsed));
    for note in notes(run) {
        text.push_str(&note);
        text.push('\n');
    }
    text
}

fn nodes(status: &PipelineStatus, elapsed: Duration) -> String {
    use Align::{Left, Right};
    let header = [
        ("node", Left),
        ("in", Right),
        ("out", Right),
        ("consumed", Right),
        ("retried", Right),
        ("rejected", Right),
        ("settled", Right),
        ("events/s", Right),
        ("p50", Right),
        ("p99", Right),
    ];
    table::render(&header, status.nodes.iter().map(|node| row(status, node, elapsed)))
}

fn row(status: &PipelineStatus, node: &NodeStatus, elapsed: Duration) -> Vec<String> {
    let count = text::count;
    let none = String::new;
    let rate = text::rate(node.received as f64 / elapsed.as_secs_f64().max(1e-3));
    let handler = |time| match books::duration(time) {
        time if time.is_zero() => none(),
        time => text::handler_time(time),
    };
    let (name, times) = (node.name.clone(), [handler(node.handler_p50), handler(node.handler_p99)]);
    let mut row = match role(status, node) {
        Role::Source => {
            vec![name, count(node.received), count(node.produced), none(), none(), none(), count(node.settled)]
        }
        place => {
            let out = if place == Role::Sink { none() } else { count(node.produced) };
            let ends = [node.consumed, node.retried, node.dead_lettered].map(count);
            [vec![name, count(node.received), out], ends.to_vec(), vec![none()]].concat()
        }
    };
    row.push(rate);
    row.extend(times);
    row
}

fn notes(run: &Run<'_>) -> Vec<String> {
    let ended = run.ended;
    let mut notes = Vec::new();
    for source in &ended.resumed {
        notes.extend(nothing_new(&ended.status, source));
    }
    notes.extend(ended.status.edges.iter().filter(|edge| edge.dropped > 0).map(dropped));
    let letters: u64 = ended.dead_letters.iter().map(|kind| kind.count).sum();
    if letters > 0 {
        let kinds: Vec<String> = ended
            .dead_letters
            .iter()
            .map(|kind| format!("{} {} at {}", text::count(kind.count), kind.reason, kind.node))
            .collect();
        let what_now = match &run.list_letters {
            Some(command) => format!("; list them with: {command}"),
            None => "; they were not kept (--ephemeral)".to_owned(),
        };
        notes.push(format!("{}: {}{what_now}", text::plural(letters, "dead letter"), kinds.join(", ")));
    }
    if ended.redelivered_next_time > 0 {
        let events = text::plural(ended.redelivered_next_time, "accepted event");
        let has = if ended.redelivered_next_time == 1 { "has" } else { "have" };
        notes.push(match &run.list_letters {
            Some(_) => format!("{events} {has} not settled and will be redelivered by the next run"),
            None => format!("{events} {has} not settled, and no state was kept (--ephemeral)"),
        });
    }
    let outcome = match run.outcome {
        Outcome::Done => "done in",
        Outcome::Stopped => "stopped after",
        Outcome::Failed => "failed after",
    };
    notes.push(format!("{outcome} {}", text::time(run.elapsed)));
    notes
}

fn dropped(edge: &EdgeStatus) -> String {
    let events = text::plural(edge.dropped, "event");
    format!("{events} dropped on {} -> {}, whose queue was full (overflow: drop_newest)", edge.from, edge.to)
}

/// Of an exhausted source that went on from a position and had nothing to tell.
fn nothing_new(status: &PipelineStatus, source: &Resumed) -> Option<String> {
    let node = status.nodes.iter().find(|node| node.name == source.node)?;
    if !node.exhausted || node.received > 0 {
        return None;
    }
    let (written, now) = (DateTime::<Local>::from(source.written), Local::now());
    let format = if written.date_naive() == now.date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    let settled = text::count(source.settled);
    Some(format!(
        "{}: nothing new since {} ({settled} of {settled}); --fresh starts over",
        source.node,
        written.format(format)
    ))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use meshloom_coordinator::LetterCount;

    use super::*;

    fn ended() -> Ended {
        Ended {
            status: books::tests::sample(),
            failure: None,
            redelivered_next_time: 759,
            dead_letters: vec![
                LetterCount { node: "filter".into(), reason: "BAD_ROW".into(), count: 2 },
                LetterCount { node: "filter".into(), reason: "TIMEOUT".into(), count: 1 },
            ],
            resumed: vec![Resumed { node: "ingest".into(), settled: 100, written: SystemTime::now() }],
        }
    }

    #[test]
    fn a_summary_has_the_books_and_what_to_do() {
        let run = Run {
            ended: &ended(),
            outcome: Outcome::Stopped,
            elapsed: Duration::from_secs(10),
            list_letters: Some("meshloom dead-letters list p.yaml".into()),
        };
        assert_eq!(
            render(&run),
            "
node       in    out  consumed  retried  rejected  settled  events/s      p50     p99
ingest  8,759  8,759                                 8,000       876
filter  8,700  8,000       500       40         3                870  12.0 µs  850 µs
alert   8,000            8,000        0         0                800

3 dead letters: 2 BAD_ROW at filter, 1 TIMEOUT at filter; list them with: meshloom dead-letters list p.yaml
759 accepted events have not settled and will be redelivered by the next run
stopped after 10.0 s
"
        );
    }

    #[test]
    fn events_that_an_edge_dropped_are_told() {
        let mut ended = ended();
        ended.status.edges[1].dropped = 1200;
        let text =
            render(&Run { ended: &ended, outcome: Outcome::Done, elapsed: Duration::from_secs(1), list_letters: None });
        let note = "1,200 events dropped on filter.side -> alert, whose queue was full (overflow: drop_newest)\n";
        assert!(text.contains(note) && text.matches("dropped on").count() == 1, "{text}");
    }

    #[test]
    fn an_exhausted_source_with_nothing_new_says_since_when() {
        let mut ended = ended();
        ended.status.nodes[0].received = 0;
        assert_eq!(nothing_new(&ended.status, &ended.resumed[0]), None);
        ended.status.nodes[0].exhausted = true;
        let note = nothing_new(&ended.status, &ended.resumed[0]).unwrap();
        assert!(note.starts_with("ingest: nothing new since "), "{note}");
        assert!(note.ends_with(" (100 of 100); --fresh starts over"), "{note}");
        ended.resumed[0].written = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 365);
        assert!(nothing_new(&ended.status, &ended.resumed[0]).unwrap().contains("since 197"));
    }

    #[test]
    fn without_state_nothing_is_promised() {
        let (ended, elapsed) = (ended(), Duration::from_secs(1));
        let text = render(&Run { ended: &ended, outcome: Outcome::Failed, elapsed, list_letters: None });
        assert!(text.contains("they were not kept (--ephemeral)"), "{text}");
        assert!(text.contains("759 accepted events have not settled, and no state was kept"), "{text}");
        assert!(text.ends_with("failed after 1.00 s\n"), "{text}");
    }
}
