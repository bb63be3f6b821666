//! Connections at a time. At the bound those that have been idle longest make way: clients that say nothing must not
//! shut out those that do, and a client whose idle connection is closed opens another.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All connections of a server.
pub(super) struct Connections {
    most: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Idle ones by when they became so, and how to end each.
    idle: BTreeMap<u64, CancellationToken>,
    busy: usize,
    /// Counts idle times.
    clock: u64,
}

impl Connections {
    /// Room for `most`.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default(), changed: Notify::new() })
    }

    /// Waits until another may be accepted: until fewer than all are in the middle of a request.
    pub(super) async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            if self.locked().busy < self.most {
                return;
            }
            changed.await;
        }
    }

    /// Counts another, idle at first. Says whether one had to make way for it.
    pub(super) fn seat(self: &Arc<Self>) -> (Seat, bool) {
        let mut state = self.locked();
        let evicted = state.idle.len() + state.busy >= self.most && state.evict();
        let ended = CancellationToken::new();
        let since = state.idle(ended.clone());
        (Seat { connections: self.clone(), ended, since: Mutex::new(Some(since)) }, evicted)
    }

    /// Ends the one that has been idle longest; false: none is idle.
    pub(super) fn evict(&self) -> bool {
        self.locked().evict()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn idle(&mut self, ended: CancellationToken) -> u64 {
        self.clock += 1;
        self.idle.insert(self.clock, ended);
        self.clock
    }

    fn evict(&mut self) -> bool {
        let first = self.idle.pop_first();
        if let Some((_, ended)) = &first {
            ended.cancel();
        }
        first.is_some()
    }
}

/// The place of one connection, until it is dropped.
pub(super) struct Seat {
    connections: Arc<Connections>,
    ended: CancellationToken,
    /// Since when it is idle; `None`: a request is being handled.
    since: Mutex<Option<u64>>,
}

impl Seat {
    /// Done when it must make way.
    pub(super) async fn evicted(&self) {
        self.ended.cancelled().await;
    }

    /// A request has come. A connection has one at a time (HTTP/1.1), and is idle again when the guard is dropped.
    pub(super) fn busy(&self) -> Busy<'_> {
        if let Some(since) = self.since().take() {
            let mut state = self.connections.locked();
            state.idle.remove(&since);
            state.busy += 1;
        }
        Busy(self)
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(since) = self.since().take() {
            self.connections.locked().idle.remove(&since);
        }
    }
}

/// While it lives its connection is not idle.
pub(super) struct Busy<'a>(&'a Seat);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let Seat { connections, ended, .. } = self.0;
        let mut state = connections.locked();
        state.busy -= 1;
        *self.0.since() = Some(state.idle(ended.clone()));
        drop(state);
        connections.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_makes_way_and_a_busy_one_never() {
        let connections = Connections::new(3);
        let seats: Vec<Seat> = (0..3).map(|_| connections.seat().0).collect();
        let busy = seats[0].busy();
        drop(seats[1].busy());
        let (_fourth, evicted) = connections.seat();
        assert!(evicted && seats[2].ended.is_cancelled(), "it was idle before the second was again");
        assert!(!seats[0].ended.is_cancelled() && !seats[1].ended.is_cancelled());
        drop(busy);
        assert!(connections.evict() && seats[1].ended.is_cancelled());
    }

    #[tokio::test]
    async fn room_comes_when_a_request_has_been_answered() {
        let connections = Connections::new(1);
        let (seat, evicted) = connections.seat();
        assert!(!evicted);
        connections.room().await;
        let busy = seat.busy();
        assert!(!connections.evict(), "nobody is idle");
        let mut room = std::pin::pin!(connections.room());
        assert!(futures_poll(room.as_mut()).is_none());
        drop(busy);
        room.await;
        drop(seat);
        assert!(!connections.evict(), "what has gone needs no eviction");
    }

    fn futures_poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
