//! A queue that is bounded in bytes and never waits for room.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The unit of the bound, bytes; every item takes at least one.
const UNIT: usize = 1 << 10;

/// The sending side.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    items: mpsc::Sender<Queued<T>>,
    room: Arc<Semaphore>,
}

/// An item and the room that it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) item: T,
    _room: Option<OwnedSemaphorePermit>,
}

impl<T> Queued<T> {
    /// The item, and the room apart from it.
    pub(crate) fn split(self) -> (T, Queued<()>) {
        (self.item, Queued { item: (), _room: self._room })
    }
}

/// A queue for about `bytes` bytes.
pub(crate) fn queue<T>(bytes: usize) -> (Sender<T>, mpsc::Receiver<Queued<T>>) {
    let units = (bytes / UNIT).max(1);
    let (items, receiver) = mpsc::channel(units);
    (Sender { items, room: Arc::new(Semaphore::new(units)) }, receiver)
}

impl<T> Sender<T> {
    /// Adds an item of `bytes` bytes, or gives it back if there is no room. An item larger than all room takes all.
    pub(crate) fn try_send(&self, item: T, bytes: usize) -> Result<(), T> {
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX).min(self.capacity());
        match self.room.clone().try_acquire_many_owned(units) {
            Ok(permit) => {
                self.items.try_send(Queued { item, _room: Some(permit) }).map_err(|error| error.into_inner().item)
            }
            Err(_) => Err(item),
        }
    }

    /// Adds an item that takes no room, waiting for its turn; `false` if nobody receives any more.
    pub(crate) async fn send_marker(&self, item: T) -> bool {
        self.items.send(Queued { item, _room: None }).await.is_ok()
    }

    fn capacity(&self) -> u32 {
        u32::try_from(self.items.max_capacity()).unwrap_or(u32::MAX)
    }
}

#[tokio::test]
async fn holds_its_bytes_and_no_more() {
    let (sender, mut receiver) = queue::<u8>(4 * UNIT);
    assert_eq!(sender.try_send(1, 3 * UNIT), Ok(()));
    assert_eq!(sender.try_send(2, 2 * UNIT), Err(2));
    assert_eq!(sender.try_send(3, 0), Ok(()));
    assert_eq!(sender.try_send(4, 0), Err(4));
    let first = receiver.recv().await.unwrap();
    assert_eq!(sender.try_send(5, 2 * UNIT), Err(5), "room is taken until the item is done with");
    drop(first);
    drop(receiver.recv().await);
    assert_eq!(sender.try_send(6, usize::MAX), Ok(()), "an item larger than all room takes all");
    assert_eq!(sender.try_send(7, 0), Err(7));
}
