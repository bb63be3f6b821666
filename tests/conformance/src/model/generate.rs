//! Random cases.

use std::collections::BTreeMap;

use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};
use serde_json::json;

use super::case::{Case, Command, Input, Out, Payload, Stream, Trouble, Work};

/// What a case may hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Knobs {
    pub(super) handlers: &'static [&'static str],
    pub(super) ordering: bool,
    pub(super) faults: bool,
    pub(super) deaths: bool,
}

const TEXTS: [&str; 5] = ["", "a", "caf\u{e9}", "\u{1f427} penguin", "a longer text that is the same for many events"];

pub(super) fn case(random: &mut SmallRng, knobs: &Knobs) -> Case {
    let streams = (0..random.random_range(1..=3)).map(|_| stream(random, knobs)).collect();
    Case { streams, death: knobs.deaths }
}

fn stream(random: &mut SmallRng, knobs: &Knobs) -> Stream {
    let handler = knobs.handlers.choose(random).expect("a check names its handlers");
    let works = random.random_range(1..=12);
    let ordering = if knobs.ordering { random.random_range(1..=3) } else { 1 };
    let cut = (knobs.faults && random.random_ratio(1, 6)).then(|| random.random_range(0..=works));
    Stream {
        handler,
        ordering,
        concurrency: random.random_range(0..=6),
        works: (0..works).map(|_| work(random, knobs, handler)).collect(),
        slow: knobs.faults && random.random_ratio(1, 3),
        cut,
    }
}

fn work(random: &mut SmallRng, knobs: &Knobs, handler: &str) -> Work {
    // Mostly small, now and then many.
    let most = *[1, 3, 10, 40, 300].choose(random).expect("there are some");
    let trouble = match random.random_range(0..10) {
        0 if knobs.faults => Trouble::Cancelled,
        1 if knobs.faults => Trouble::Malformed,
        2 if knobs.faults => Trouble::TooLarge,
        _ => Trouble::None,
    };
    let events = (0..random.random_range(1..=most)).map(|_| input(random, handler)).collect();
    Work { events, style: random.random_range(0..3), trouble }
}

fn input(random: &mut SmallRng, handler: &str) -> Input {
    let text = |random: &mut SmallRng| {
        random.random_bool(0.6).then(|| (*TEXTS.choose(random).expect("there are some")).to_owned())
    };
    let times = [None, Some(0), Some(-1), Some(i64::MAX), Some(i64::MIN + 2), Some(1_700_000_000_123_456_789)];
    let mut extensions = BTreeMap::new();
    for name in ["part", "other", "x1"] {
        if random.random_bool(0.3) {
            extensions.insert(name.to_owned(), random.random());
        }
    }
    Input {
        command: command(random, handler),
        key: random.random_bool(0.8).then(|| format!("k{}", random.random_range(0..5))),
        subject: text(random),
        time: *times.choose(random).expect("there are some"),
        extensions,
        attempt: random.random_range(1..=4),
    }
}

fn command(random: &mut SmallRng, handler: &str) -> Command {
    let until = |random: &mut SmallRng| random.random_bool(0.5).then(|| random.random_range(1..=4));
    let most = match handler {
        "map" => 1,
        "flat_map" | "batch" => 4,
        _ => 0,
    };
    match random.random_range(0..100) {
        0..30 => Command::Pass,
        30..70 if most > 0 => {
            // A batch handler that gives nothing has not said that it drops the row.
            let least = usize::from(handler != "flat_map");
            Command::Emit((0..random.random_range(least..=most)).map(|_| out(random)).collect())
        }
        70..80 => Command::Drop,
        80..86 => Command::Reject,
        86..91 => Command::Retry { until: until(random) },
        // In a batch handler an error is the whole work's.
        91..95 if handler != "batch" => Command::Throw { until: until(random) },
        95..97 => Command::Sleep { ms: random.random_range(0..15) },
        _ => Command::Pass,
    }
}

fn out(random: &mut SmallRng) -> Out {
    let text = |random: &mut SmallRng| {
        random.random_bool(0.3).then(|| (*TEXTS.choose(random).expect("there are some")).to_owned())
    };
    let payload = match random.random_range(0..4) {
        0 => None,
        1 => Some(Payload::Bytes((0..random.random_range(0..40)).map(|_| random.random()).collect())),
        _ => Some(Payload::Value(json!({"n": random.random_range(0..1000), "text": TEXTS.choose(random)}))),
    };
    Out {
        payload,
        subject: text(random),
        type_: text(random),
        route: [None, None, Some("left"), Some("right")].choose(random).copied().flatten(),
        time: random
            .random_bool(0.2)
            .then(|| random.random_bool(0.5).then(|| random.random_range(-1_000_000..1_000_000))),
        extension: random.random_bool(0.3).then(|| {
            let name = *["part", "new"].choose(random).expect("there are some");
            (name.to_owned(), random.random_bool(0.7).then(|| random.random()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_seed_decides_a_case() {
        let knobs = Knobs { handlers: &["map", "flat_map"], ordering: true, faults: true, deaths: false };
        let made = |seed| serde_json::to_string(&case(&mut SmallRng::seed_from_u64(seed), &knobs)).unwrap();
        assert_eq!(made(7), made(7));
        assert_ne!(made(7), made(8));
    }
}
