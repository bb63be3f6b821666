//! The thread that owns the file: gathers what waits, writes it as one block, answers.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering, time::Instant};

use tokio::sync::{mpsc, oneshot};

use crate::{
    error::JournalError,
    journal::Counters,
    limits::{GROUP_BYTES, QUEUE_REQUESTS},
    log::{FRAME_OVERHEAD, Frame, Log},
};

type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// What callers want.
#[derive(Debug)]
pub(crate) enum Request {
    /// A frame, answered with its sequence.
    Append(Frame, Reply<u64>),
    /// A mark of a source.
    Settle(u32, u64, Reply<()>),
}

/// What goes into the next block.
#[derive(Default)]
struct Group {
    frames: Vec<Frame>,
    appends: Vec<Reply<u64>>,
    bytes: u64,
    marks: BTreeMap<u32, u64>,
    settles: Vec<Reply<()>>,
}

/// Serves requests until nobody can send any more.
pub(crate) fn run(mut log: Log, mut requests: mpsc::Receiver<Request>, counters: &Arc<Counters>) {
    let mut waiting = None;
    while let Some(first) = waiting.take().or_else(|| requests.blocking_recv()) {
        let mut group = Group::default();
        let mut next = Some(first);
        while let Some(request) = next {
            waiting = group.add(&mut log, request);
            let more = waiting.is_none() && group.bytes < GROUP_BYTES && group.requests() < QUEUE_REQUESTS;
            next = if more { requests.try_recv().ok() } else { None };
        }
        group.commit(&mut log, counters);
    }
}

impl Group {
    fn requests(&self) -> usize {
        self.frames.len() + self.settles.len()
    }

    /// Takes a request, answers it at once if it cannot be met, or gives it back if it is for the next group.
    fn add(&mut self, log: &mut Log, request: Request) -> Option<Request> {
        match request {
            // Nobody waits for the answer any more: the frame would be one that nobody settles.
            Request::Append(_, reply) if reply.is_closed() => {}
            Request::Append(frame, reply) => {
                let bytes = frame.bytes();
                match log.admit(bytes, self.bytes) {
                    Err(JournalError::Full { .. }) if self.bytes > 0 => return Some(Request::Append(frame, reply)),
                    Err(error) => drop(reply.send(Err(error))),
                    Ok(()) if self.bytes > 0 && self.bytes + bytes > 4 * GROUP_BYTES => {
                        return Some(Request::Append(frame, reply));
                    }
                    Ok(()) => {
                        self.bytes += bytes + FRAME_OVERHEAD;
                        self.frames.push(frame);
                        self.appends.push(reply);
                    }
                }
            }
            Request::Settle(source, through, reply) => match log.check_mark(source, through) {
                Err(error) => drop(reply.send(Err(error))),
                Ok(false) => drop(reply.send(Ok(()))),
                Ok(true) => {
                    let mark = self.marks.entry(source).or_default();
                    *mark = through.max(*mark);
                    self.settles.push(reply);
                }
            },
        }
        None
    }

    fn commit(self, log: &mut Log, counters: &Counters) {
        if self.frames.is_empty() && self.marks.is_empty() {
            return;
        }
        let marks: Vec<_> = self.marks.into_iter().collect();
        let started = Instant::now();
        let committed = log.commit(&self.frames, &marks);
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        counters.commits.fetch_add(u64::from(committed.is_ok()), Ordering::Relaxed);
        counters.commit_micros.fetch_add(micros, Ordering::Relaxed);
        // Who does not wait any more is not told: a frame then stays until the next opening replays it.
        match committed {
            Ok(sequences) => {
                self.appends.into_iter().zip(sequences).for_each(|(reply, sequence)| drop(reply.send(Ok(sequence))));
                self.settles.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
            }
            Err(error) => {
                self.appends.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
                self.settles.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
                return;
            }
        }
        // The marks are durable whether or not this works; the log remembers that it did not, and says so to the next.
        let _ = log.reclaim();
    }
}
