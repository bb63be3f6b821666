//! What a seed decides: languages, events, faults.

use std::{fmt, time::Duration};

use meshloom_e2e::toolchain::Language;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _, seq::SliceRandom as _};

use crate::{
    model::{self, Event},
    storage::{Place, Trouble},
};

/// Lines at the sink from one fault to the next, on average.
const GAP: u64 = 80;
/// By how many lines the sink is moved on at a time for a victim to come up.
pub(crate) const STRIDE: u64 = 32;
/// Events more than the last fault needs, more than all queues together hold, so that `count` lasts until then.
const SLACK: u64 = 1_600;
/// Longest wait of a fault for its moment within the gap.
const MOMENT: Duration = Duration::from_millis(30);
/// Longest time for which a process is stopped; far less than any time limit of a node.
const STOPPED: Duration = Duration::from_millis(600);

/// Whom a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The process of `meshloom run`.
    Coordinator,
    /// The process of a node.
    Node(&'static str),
    /// The guard above the process of a node.
    Guard(&'static str),
    /// The node that listens elsewhere, which is started again as soon as it is dead.
    Dialled,
}

/// What the state directory lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The disk.
    Disk,
    /// The disk, behind a storage that fails when it is told to.
    Faulty,
    /// A file system of a few MiB in memory, in a namespace of the round's own.
    Tmpfs,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill(Victim),
    /// SIGSTOP, and SIGCONT after this time.
    Stop(Victim, Duration),
    /// SIGKILL of the coordinator and of all below it.
    KillAll,
    /// Every connection to the node that listens elsewhere is cut.
    Cut,
    /// The coordinator may not write past the first bytes of any file, for this time: EFBIG, as from a full disk.
    Full(Duration),
    /// Something is wrong with the storage for this time; `again`: the coordinator is killed and started within it.
    Trouble(Place, Trouble, Duration, Again),
    /// The file system of the state directory is full for this time.
    Filled(Duration, Again),
}

/// Whether the coordinator is killed, and started, while its storage is in trouble.
pub type Again = bool;

/// A fault and its moment.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Lines at the sink, repeats included, at which it is due.
    pub at: u64,
    /// How long after that it strikes.
    pub after: Duration,
    /// What happens.
    pub fault: Fault,
}

/// Everything that is decided before a round starts.
#[derive(Debug, Clone)]
pub struct Plan {
    /// From which it follows.
    pub seed: u64,
    /// What the state directory lies on.
    pub ground: Ground,
    /// Whether both sinks ask for `ordering: key`.
    pub ordered: bool,
    /// Of the nodes, see [`Plan::language`].
    pub languages: [Language; 4],
    /// Of the source `in`; `n` from [`model::FIRST`].
    pub events: Vec<Event>,
    /// Events of the source `count`, from 1.
    pub count: u64,
    /// In their order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// A round of so many random faults.
    pub fn random(seed: u64, faults: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut languages = Language::ALL;
        languages.shuffle(&mut random);
        let ground = match seed % 5 {
            0 | 2 => Ground::Disk,
            1 | 3 => Ground::Faulty,
            _ => return Self::tmpfs(seed, faults),
        };
        let any = |random: &mut SmallRng| match ground {
            Ground::Faulty if random.random_ratio(2, 5) => trouble(random),
            _ => any(random),
        };
        let faults = (0..faults).map(|_| any(&mut random)).collect();
        Self::new(seed, ground, languages, faults, random)
    }

    /// A round of so many faults on a file system that is full now and then, from its first fault on.
    pub fn tmpfs(seed: u64, faults: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut languages = Language::ALL;
        languages.shuffle(&mut random);
        let fault = |at: usize, random: &mut SmallRng| match at % 4 {
            0 => Fault::Filled(while_stopped(random), false),
            1 => Fault::Filled(while_stopped(random), true),
            _ => any(random),
        };
        let faults = (0..faults).map(|at| fault(at, &mut random)).collect();
        Self::new(seed, Ground::Tmpfs, languages, faults, random)
    }

    /// A round in which everything that can be wrong with the storage is, with and without a start in it.
    pub fn every_trouble(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut faults = Vec::new();
        for (place, kinds) in TROUBLE {
            faults.extend(kinds.iter().map(|kind| Fault::Trouble(place, *kind, while_stopped(&mut random), false)));
        }
        for (place, kind) in
            [(Place::Journal, Trouble::Full), (Place::Journal, Trouble::Unsynced), (Place::Letters, Trouble::Full)]
        {
            faults.push(Fault::Trouble(place, kind, while_stopped(&mut random), true));
        }
        faults.shuffle(&mut random);
        Self::new(seed, Ground::Faulty, Language::ALL, faults, random)
    }

    /// Four rounds in which every kind of fault of a process strikes every language.
    pub fn every_kind(seed: u64) -> Vec<Self> {
        let round = |turn: usize| {
            let mut random = SmallRng::seed_from_u64(seed.wrapping_add(turn as u64));
            let mut languages = Language::ALL;
            languages.rotate_left(turn);
            let mut faults = vec![
                Fault::Kill(Victim::Node("a")),
                stop(&mut random, Victim::Node("b")),
                Fault::Kill(Victim::Guard("e")),
                Fault::Kill(Victim::Node("side")),
                Fault::Cut,
                Fault::Kill(Victim::Dialled),
                stop(&mut random, Victim::Dialled),
                Fault::Full(random.random_range(STOPPED / 4..STOPPED)),
                Fault::Kill(Victim::Coordinator),
                stop(&mut random, Victim::Coordinator),
                Fault::KillAll,
                Fault::Kill(Victim::Node("c")),
                stop(&mut random, Victim::Node("c")),
                Fault::Kill(Victim::Guard("c")),
                Fault::Kill(Victim::Node("out")),
                Fault::Kill(Victim::Node("queue")),
            ];
            faults.shuffle(&mut random);
            // The only victim that comes to an end.
            faults.insert(0, Fault::Kill(Victim::Node("count")));
            Self::new(seed.wrapping_add(turn as u64), Ground::Disk, languages, faults, random)
        };
        (0..Language::ALL.len()).map(round).collect()
    }

    fn new(seed: u64, ground: Ground, languages: [Language; 4], faults: Vec<Fault>, mut random: SmallRng) -> Self {
        let mut at = 0;
        let steps: Vec<Step> = faults
            .into_iter()
            .map(|fault| {
                at += random.random_range(GAP / 2..GAP * 3 / 2);
                Step { at, after: random.random_range(Duration::ZERO..MOMENT), fault }
            })
            .collect();
        // The source that is a victim could feed the sink alone up to the last fault.
        let count = at + SLACK;
        let events = (0..count / 2).map(|at| model::random(model::FIRST + at, &mut random)).collect();
        Self { seed, ground, ordered: seed.is_multiple_of(2), languages, events, count, steps }
    }

    /// The language of a node; `None`: it has none.
    pub fn language(&self, node: &str) -> Option<Language> {
        let place = ["a", "b", "d", "e"].iter().position(|name| *name == node);
        // Source and sink are in other languages than their neighbours.
        let place = place.or(match node {
            "count" => Some(0),
            "side" => Some(1),
            "queue" => Some(2),
            _ => None,
        });
        place.map(|place| self.languages[place])
    }

    /// A fault in words, with the language that it strikes.
    pub fn tell(&self, step: &Step) -> String {
        let language = |node: &str| self.language(node).map_or("exec", Language::name);
        let who = |victim| match victim {
            Victim::Coordinator => "coordinator".to_owned(),
            Victim::Node(node) => format!("{node} ({})", language(node)),
            Victim::Guard(node) => format!("guard of {node} ({})", language(node)),
            Victim::Dialled => format!("d ({}), which is not ours", language("d")),
        };
        let what = match step.fault {
            Fault::Kill(victim) => format!("SIGKILL {}", who(victim)),
            Fault::Stop(victim, time) => format!("SIGSTOP {} for {} ms", who(victim), time.as_millis()),
            Fault::KillAll => "SIGKILL everything".to_owned(),
            Fault::Cut => format!("cut d ({})", language("d")),
            Fault::Full(time) => format!("files full for {} ms", time.as_millis()),
            Fault::Trouble(place, trouble, time, again) => {
                let (place, trouble) = (place.name(), trouble.name());
                format!("{place} {trouble} for {} ms{}", time.as_millis(), started(again))
            }
            Fault::Filled(time, again) => format!("tmpfs full for {} ms{}", time.as_millis(), started(again)),
        };
        format!("at {} lines + {} ms: {what}", step.at, step.after.as_millis())
    }
}

fn started(again: Again) -> &'static str {
    if again { " and a start" } else { "" }
}

/// What can be wrong where.
const TROUBLE: [(Place, &[Trouble]); 3] = [
    (Place::Journal, &[Trouble::Full, Trouble::Broken, Trouble::Unsynced, Trouble::Short, Trouble::Slow]),
    (Place::Checkpoints, &[Trouble::Full, Trouble::Broken, Trouble::Unsynced, Trouble::Nameless]),
    (Place::Letters, &[Trouble::Full, Trouble::Broken, Trouble::Unsynced, Trouble::Short]),
];

fn trouble(random: &mut SmallRng) -> Fault {
    let (place, kinds) = TROUBLE[random.random_range(0..TROUBLE.len())];
    let kind = *kinds.choose(random).expect("there are kinds");
    Fault::Trouble(place, kind, while_stopped(random), random.random_ratio(1, 4))
}

fn while_stopped(random: &mut SmallRng) -> Duration {
    random.random_range(STOPPED / 20..STOPPED)
}

fn stop(random: &mut SmallRng, victim: Victim) -> Fault {
    Fault::Stop(victim, while_stopped(random))
}

fn any(random: &mut SmallRng) -> Fault {
    let node = |random: &mut SmallRng, nodes: &[&'static str]| *nodes.choose(random).expect("there are nodes");
    let nodes = &["a", "b", "c", "e", "count", "queue", "side"];
    match random.random_range(0..22) {
        0 | 1 => Fault::Kill(Victim::Coordinator),
        2 => Fault::KillAll,
        3 => stop(random, Victim::Coordinator),
        4 => Fault::Cut,
        5 => Fault::Full(while_stopped(random)),
        6..9 => {
            let victim = Victim::Node(node(random, nodes));
            stop(random, victim)
        }
        9..12 => Fault::Kill(Victim::Guard(node(random, nodes))),
        12 => Fault::Kill(Victim::Dialled),
        13 => stop(random, Victim::Dialled),
        14 => Fault::Kill(Victim::Node("out")),
        15 => Fault::Kill(Victim::Guard("out")),
        _ => Fault::Kill(Victim::Node(node(random, nodes))),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let languages: Vec<_> = ["a", "b", "d", "e"]
            .iter()
            .filter_map(|node| Some(format!("{node} {}", self.language(node)?.name())))
            .collect();
        writeln!(
            f,
            "seed {}, {:?}{}: {}; {} events from a file, {} from a node",
            self.seed,
            self.ground,
            if self.ordered { ", ordered by key" } else { "" },
            languages.join(", "),
            self.events.len(),
            self.count
        )?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {}", self.tell(step)))
    }
}
