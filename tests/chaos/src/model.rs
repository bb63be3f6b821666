//! What must become of each event, whatever happens to processes meanwhile.
//!
//! **Order**, where a sink asks for `ordering: key`. A [`Lane`] is what one source gives with one key; between two sources
//! nothing is promised. Of the events of a lane that reach the sink at all (none is filtered, rejected or given up above),
//! each comes directly behind its predecessor in the lane, or is a step back to one that was there before: what was sent
//! to the sink and not settled when a process died comes again. So the first appearances of a lane are its events in order
//! and without gaps, and what comes again comes in order and without gaps too. An event that is given up lets go of its
//! key: those behind it follow the one before it.
//!
//! That holds here because the nodes name the inputs of a key in order, one result at a time, as the SDKs do for handlers
//! of single events. A node that sends outputs before an earlier event of the key is named leaves them sent when that one
//! fails (proto/README.md, "Order"); there is none in the pipeline.

use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};
use serde_json::{Value, json};

/// The number of the first event from the file; those of the source node begin at 1.
pub const FIRST: u64 = 1_000_000;
/// The number of the first event that is posted.
pub const POSTED: u64 = 2_000_000;

/// The number of the first event of the source that cannot replay.
pub const QUEUED: u64 = 3_000_000;
/// Keys of a source.
pub const KEYS: u64 = 16;

/// The source of an event, by the number of its first, and its key.
pub type Lane = (u64, u64);

/// The lane of event `n`.
pub fn lane(n: u64) -> Lane {
    let sources = [QUEUED, POSTED, FIRST, 1];
    (sources.into_iter().find(|first| n >= *first).expect("numbers begin at 1"), n % KEYS)
}

/// The nodes on the way from `in` to each sink, the sink behind them.
const TO_OUT: [&str; 4] = ["a", "b", "d", "out"];
const TO_SIDE: [&str; 4] = ["a", "c", "e", "side"];

/// What an event asks for, and of which node. The others let it pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Its number, unique over all sources.
    pub n: u64,
    /// `do` of the test nodes.
    pub what: &'static str,
    /// The node that is to do it.
    pub at: &'static str,
}

/// A letter: node, number of the event, reason.
pub type Letter = (String, u64, String);

/// Draws what event `n` of the file asks for: most of them nothing.
pub fn random(n: u64, random: &mut SmallRng) -> Event {
    draw(n, &["a", "b", "d", "e", "side"], random)
}

/// Draws what event `n` that is posted asks for: it meets fewer nodes.
pub fn posted(n: u64, random: &mut SmallRng) -> Event {
    draw(n, &["b", "d"], random)
}

fn draw(n: u64, nodes: &[&'static str], random: &mut SmallRng) -> Event {
    let what = match random.random_range(0..1000) {
        0..30 => "drop",
        30..50 => "reject",
        50..70 => "retry",
        70..90 => "fail",
        90..93 => "never",
        _ => return Event { n, what: "pass", at: "a" },
    };
    // A sink has no way to filter.
    let nodes = if what == "drop" { &nodes[..nodes.len().min(4)] } else { nodes };
    Event { n, what, at: nodes.choose(random).expect("there are nodes") }
}

/// Of the sources `count` and `queue`: nothing is asked.
pub fn counted(n: u64) -> Event {
    Event { n, what: "pass", at: "" }
}

impl Event {
    /// The payload as the source gives it.
    pub fn payload(&self) -> Value {
        let Self { n, what, at } = self;
        if at.is_empty() { json!({"n": n, "do": what}) } else { json!({"n": n, "do": what, "at": at}) }
    }

    /// Whether it comes from the file: only those go both ways.
    fn is_of_file(&self) -> bool {
        (FIRST..POSTED).contains(&self.n)
    }

    /// Why the node that is asked does not let it pass in the end; `Some(None)`: it filters it.
    fn ends_with(&self) -> Option<Option<&'static str>> {
        match self.what {
            "drop" => Some(None),
            "reject" => Some(Some("TEST_REJECT")),
            "never" => Some(Some("RETRY")),
            // After a few attempts, which are enough.
            "pass" | "retry" | "fail" => None,
            other => panic!("the model does not know `{other}`"),
        }
    }

    fn arrives(&self, way: &[&str]) -> bool {
        self.ends_with().is_none() || !way.contains(&self.at)
    }

    /// Whether `out` must hold it.
    pub fn is_for_out(&self) -> bool {
        self.arrives(&TO_OUT)
    }

    /// Whether `side` must hold it.
    pub fn is_for_side(&self) -> bool {
        self.is_of_file() && self.arrives(&TO_SIDE)
    }

    /// The dead letter that it must become.
    pub fn letter(&self) -> Option<Letter> {
        let reason = self.ends_with()??;
        Some((self.at.to_owned(), self.n, reason.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_at_the_node_that_it_names_and_nowhere_else() {
        let fate = |what, at| {
            let event = Event { n: FIRST, what, at };
            (
                event.is_for_out(),
                event.is_for_side(),
                event.letter().map(|(node, _, reason)| format!("{node} {reason}")),
            )
        };
        assert_eq!(fate("pass", "a"), (true, true, None));
        assert_eq!(fate("retry", "b"), (true, true, None));
        assert_eq!(fate("drop", "a"), (false, false, None));
        assert_eq!(fate("drop", "d"), (false, true, None));
        assert_eq!(fate("reject", "e"), (true, false, Some("e TEST_REJECT".into())));
        assert_eq!(fate("never", "side"), (true, false, Some("side RETRY".into())));
        assert!(counted(7).is_for_out() && !counted(7).is_for_side());
    }
}
