//! The store against a list, over a storage that fails: random letters, removals, faults, crashes and openings.

use std::collections::BTreeMap;

use meshloom_journal::storage::{Call, Faults, Trouble};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Action {
    /// Events that fail, by number, with messages of this length.
    Append(Vec<u32>, usize),
    /// Generations: those of the letters at these places, and one that is none.
    Remove(Vec<usize>),
    /// Letters of events with numbers from here on.
    Discard(u32),
    Arm(Call, u32, Trouble),
    /// Loses what is not synced, or some of it, by these bits.
    Crash(u64),
    /// Ends the process and opens again: the system still has what was not synced.
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    let calls = [Call::Create, Call::Rename, Call::SyncFolder, Call::Write, Call::SetLength, Call::Sync];
    let troubles = [Trouble::NoSpace, Trouble::Io, Trouble::Crash];
    prop_oneof![
        10 => (prop::collection::vec(0..12u32, 1..6), prop_oneof![0..100usize, 0..8_000usize])
            .prop_map(|(letters, length)| Action::Append(letters, length)),
        5 => prop::collection::vec(0..12usize, 1..5).prop_map(Action::Remove),
        1 => (0..12u32).prop_map(Action::Discard),
        4 => (prop::sample::select(calls.to_vec()), 0..3u32, prop::sample::select(troubles.to_vec()))
            .prop_map(|(call, after, trouble)| Action::Arm(call, after, trouble)),
        3 => any::<u64>().prop_map(Action::Crash),
        1 => Just(Action::Reopen),
    ]
}

/// What the store must hold: by generation, the number of the event and how often it had failed before.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    letters: BTreeMap<u64, (u32, u64)>,
    next: u64,
}

impl Model {
    fn append(&mut self, letters: &[u32]) {
        for number in letters {
            let earlier =
                self.letters.iter().find(|(_, (known, _))| known == number).map(|(generation, _)| *generation);
            let repeats = earlier.map_or(0, |generation| self.letters.remove(&generation).unwrap().1 + 1);
            self.letters.insert(self.next, (*number, repeats));
            self.next += 1;
        }
    }
}

fn held(store: &LetterStore) -> Model {
    let letters = store.page(0, usize::MAX, u64::MAX, &LetterFilter::default()).unwrap().letters;
    let number = |letter: &LetterRecord| letter.time as u32;
    let letters = letters.iter().map(|letter| (letter.generation, (number(letter), letter.repeats))).collect();
    Model { letters, next: store.next_generation() }
}

fn check(actions: Vec<Action>) -> Result<(), TestCaseError> {
    let mut faults = Faults::new(Memory::new());
    let mut store = LetterStore::open_on(Arc::new(faults.clone()), u64::MAX).unwrap().0;
    let mut model = held(&store);
    // What a call that failed may have done all the same, as a crash shows.
    let mut doubtful: Vec<Model> = Vec::new();
    for action in actions {
        let mut crash = None;
        let mut wanted = model.clone();
        let result = match &action {
            Action::Append(numbers, length) => {
                let message = "x".repeat(*length);
                let letters: Vec<_> =
                    numbers.iter().map(|n| LetterRecord { message: message.clone(), ..letter(*n) }).collect();
                wanted.append(numbers);
                store.append(&letters, Bound::Size).map(|_| ())
            }
            Action::Remove(places) => {
                let generations: Vec<u64> =
                    places.iter().map(|at| model.letters.keys().nth(*at).copied().unwrap_or(u64::MAX)).collect();
                wanted.letters.retain(|generation, _| !generations.contains(generation));
                store.remove(&generations).map(|_| ())
            }
            Action::Discard(from) => {
                wanted.letters.retain(|_, (number, _)| *number < *from);
                let filter = LetterFilter { since: Some((*from).into()), ..LetterFilter::default() };
                store.discard(&filter).map(|_| ())
            }
            Action::Arm(call, after, trouble) => {
                faults.arm(*call, *after, *trouble);
                continue;
            }
            Action::Crash(bits) => {
                crash = Some(*bits);
                Ok(())
            }
            Action::Reopen => {
                crash = Some(u64::MAX);
                Ok(())
            }
        };
        match result {
            Ok(()) if crash.is_none() => {
                doubtful.clear();
                model = wanted;
            }
            Ok(()) => {}
            Err(error) => {
                doubtful.push(wanted);
                if error.to_string().contains("Crash") {
                    crash = Some(0x5555_5555_5555_5555);
                }
            }
        }
        if let Some(bits) = crash {
            faults.disarm();
            let mut turn = 0u32;
            let memory = if matches!(action, Action::Reopen) {
                faults.memory().clone()
            } else {
                faults.memory().crash(move || {
                    turn += 1;
                    bits >> (turn % 64) & 1 == 1
                })
            };
            faults = Faults::new(memory);
            store = LetterStore::open_on(Arc::new(faults.clone()), u64::MAX).unwrap().0;
            let now = held(&store);
            let possible = now == model || doubtful.contains(&now);
            prop_assert!(possible, "{:?} is neither {:?} nor one of {:?}", now, model, doubtful);
            model = now;
            doubtful.clear();
        }
        prop_assert_eq!(&held(&store), &model);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever fails, and whenever the machine stops: what a call has confirmed stays, what has failed is there as a
    /// whole or not at all, and what was removed does not come back.
    #[test]
    fn a_store_keeps_what_it_confirmed(actions in prop::collection::vec(action(), 1..60)) {
        check(actions)?;
    }
}
