//! Makes a failing case small.

use std::time::{Duration, Instant};

use super::{
    case::{Case, Command, Trouble},
    drive,
};
use crate::{context::Context, fault::Fault};

/// Time for it, since each try may wait for what does not come.
const TIME: Duration = Duration::from_secs(90);

/// The smallest case that was found to fail, and how it fails.
pub(super) async fn shrink(context: &Context, mut case: Case, mut fault: Fault) -> (Case, Fault) {
    let started = Instant::now();
    'again: loop {
        for candidate in smaller(&case) {
            if started.elapsed() > TIME {
                return (case, fault);
            }
            // A node that has died fails every case: what is left is what killed it.
            if context.process().is_ok_and(|process| process.ended().is_some()) {
                return (case, fault);
            }
            if let Err(found) = drive::case(context, &candidate).await {
                (case, fault) = (candidate, found);
                continue 'again;
            }
        }
        return (case, fault);
    }
}

/// Cases that are smaller by one thing, the boldest first.
fn smaller(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    let mut with = |change: &dyn Fn(&mut Case)| {
        let mut candidate = case.clone();
        change(&mut candidate);
        found.push(candidate);
    };
    if case.streams.len() > 1 {
        (0..case.streams.len()).for_each(|at| with(&|case| drop(case.streams.remove(at))));
    }
    for (s, stream) in case.streams.iter().enumerate() {
        if stream.works.len() > 1 && stream.cut.is_none() {
            let half = stream.works.len() / 2;
            with(&|case| drop(case.streams[s].works.drain(..half)));
            with(&|case| case.streams[s].works.truncate(half));
            (0..stream.works.len()).for_each(|w| with(&|case| drop(case.streams[s].works.remove(w))));
        }
        if stream.slow {
            with(&|case| case.streams[s].slow = false);
        }
        if stream.cut.is_some() {
            with(&|case| case.streams[s].cut = None);
        }
        for (w, work) in stream.works.iter().enumerate() {
            if work.events.len() > 1 {
                let half = work.events.len() / 2;
                with(&|case| drop(case.streams[s].works[w].events.drain(..half)));
                with(&|case| case.streams[s].works[w].events.truncate(half));
                if work.events.len() <= 12 {
                    (0..work.events.len()).for_each(|e| with(&|case| drop(case.streams[s].works[w].events.remove(e))));
                }
            }
            if work.trouble != Trouble::None {
                with(&|case| case.streams[s].works[w].trouble = Trouble::None);
            }
        }
        let small = stream.works.iter().map(|work| work.events.len()).sum::<usize>() <= 12;
        for (w, work) in stream.works.iter().enumerate().filter(|_| small) {
            for (e, event) in work.events.iter().enumerate() {
                if event.command != Command::Pass {
                    with(&|case| case.streams[s].works[w].events[e].command = Command::Pass);
                }
                if event.subject.is_some() || event.time.is_some() || !event.extensions.is_empty() {
                    with(&|case| {
                        let event = &mut case.streams[s].works[w].events[e];
                        (event.subject, event.time) = (None, None);
                        event.extensions.clear();
                    });
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::SmallRng};

    use super::{super::generate, *};

    fn size(case: &Case) -> usize {
        serde_json::to_string(case).unwrap().len()
    }

    #[test]
    fn every_step_makes_a_case_smaller_and_none_is_left_at_the_end() {
        let knobs = generate::Knobs { handlers: &["flat_map"], ordering: true, faults: true, deaths: false };
        let mut case = generate::case(&mut SmallRng::seed_from_u64(3), &knobs);
        // A node for which everything fails: the boldest step is always taken.
        while let Some(next) = smaller(&case).into_iter().next() {
            assert!(size(&next) <= size(&case) + 8);
            case = next;
        }
        assert_eq!(case.streams.len(), 1);
        assert!(case.streams[0].works.iter().all(|work| work.events.len() == 1));
    }
}
