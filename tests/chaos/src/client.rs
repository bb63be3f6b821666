//! A client of the `http` source: posts until it is told to stop, again and again what was not answered 202.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use meshloom_e2e::web;
use rand::{SeedableRng as _, rngs::SmallRng};
use serde_json::json;

use crate::model::{self, Event};

/// Pause between two posts.
const PAUSE: Duration = Duration::from_millis(25);
/// Events of a post.
const EVENTS: u64 = 3;
/// `source` of its events; with `id` it makes the same uid of the same event, however often it is posted.
const SOURCE: &str = "chaos-client";

/// In the answer while the journal cannot be written.
const REFUSED: &str = "JOURNAL_FAILED";

/// What it has posted, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Posted {
    /// Answered 202: they must not be lost.
    pub accepted: Vec<Event>,
    /// Posted and not answered so far: they may arrive or not.
    pub open: Vec<Event>,
}

/// How posts were answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answers {
    /// Posts that were answered 202.
    pub accepted: u64,
    /// Answers 503 that say that the journal cannot be written.
    pub refused: u64,
}

/// At work until it is stopped.
pub struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    posted: Mutex<Posted>,
    answers: Mutex<Answers>,
    /// Where the coordinator listens now; empty: nobody knows.
    url: Mutex<String>,
    stop: AtomicBool,
    give_up: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Starts posting events that follow from the seed.
    pub fn start(seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = shared.clone();
            move || shared.post_all(SmallRng::seed_from_u64(seed))
        });
        Self { shared, thread: Some(thread) }
    }

    /// Says where to post from now on.
    pub fn direct(&self, url: String) {
        *lock(&self.shared.url) = url;
    }

    /// What it has posted so far.
    pub fn posted(&self) -> Posted {
        lock(&self.shared.posted).clone()
    }

    /// How its posts were answered so far.
    pub fn answers(&self) -> Answers {
        *lock(&self.shared.answers)
    }

    /// Tells it to begin nothing new; true once all that it has begun was accepted.
    pub fn is_done(&self) -> bool {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.give_up.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn post_all(&self, mut random: SmallRng) {
        let client = web::Client::default();
        let mut next = model::POSTED;
        while !self.stop.load(Ordering::Relaxed) {
            let events: Vec<Event> = (next..next + EVENTS).map(|n| model::posted(n, &mut random)).collect();
            next += EVENTS;
            lock(&self.posted).open = events.clone();
            if !self.post(&client, &events) {
                return;
            }
            let mut posted = lock(&self.posted);
            posted.open.clear();
            posted.accepted.extend(events);
            drop(posted);
            thread::sleep(PAUSE);
        }
    }

    /// Posts until it is answered 202. False: it was told to give up.
    fn post(&self, client: &web::Client, events: &[Event]) -> bool {
        let envelope = |event: &Event| json!({"specversion": "1.0", "type": "command", "source": SOURCE, "id": event.n.to_string(), "data": event.payload()});
        let body = json!(events.iter().map(envelope).collect::<Vec<_>>()).to_string();
        let header = [("content-type", "application/cloudevents-batch+json")];
        while !self.give_up.load(Ordering::Relaxed) {
            let url = lock(&self.url).clone();
            let answer = if url.is_empty() { None } else { client.post(&url, &header, body.clone()) };
            match answer.map(|answer| (answer.status, answer.body)) {
                Some((202, _)) => {
                    lock(&self.answers).accepted += 1;
                    return true;
                }
                Some((503, body)) if body.contains(REFUSED) => {
                    lock(&self.answers).refused += 1;
                    thread::sleep(PAUSE);
                }
                // Pressure, trouble with the disk, or an end that comes: what is refused is asked again.
                None | Some((429 | 500..=599, _)) => thread::sleep(PAUSE),
                Some(other) => panic!("the source answered {other:?} to {body}"),
            }
        }
        false
    }
}
