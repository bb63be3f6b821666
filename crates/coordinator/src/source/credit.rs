//! What a source may still send.

use meshloom_core::batch::Batch;

/// How much a source may be ahead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Events.
    pub(crate) events: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
}

/// Credit granted and not yet used. Any credit left admits one event whatever its size, and uses up what is left.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Credit {
    events: u64,
    bytes: i64,
}

impl Credit {
    /// What to grant so that the window is full again; `None`: more than half of it is left.
    pub(crate) fn top_up(&mut self, window: Window) -> Option<(u64, u64)> {
        let full = i64::try_from(window.bytes).unwrap_or(i64::MAX);
        if self.events > window.events / 2 && self.bytes > full / 2 {
            return None;
        }
        let events = window.events - self.events.min(window.events);
        let bytes = u64::try_from(full - self.bytes).unwrap_or(0);
        self.events += events;
        self.bytes += i64::try_from(bytes).unwrap_or(i64::MAX);
        Some((events, bytes))
    }

    /// Uses credit for a frame; an error says by how much the frame exceeds it.
    pub(crate) fn spend(&mut self, batch: &Batch) -> Result<(), String> {
        let payload = batch.payload_size() as i64;
        let last = batch.payload(batch.len() - 1).len() as i64;
        let (events, bytes) = (self.events, self.bytes);
        if batch.len() as u64 > events || payload - last >= bytes {
            return Err(format!(
                "it sent {} events of {payload} bytes with credit for {events} events and {bytes} bytes left",
                batch.len()
            ));
        }
        self.events -= batch.len() as u64;
        self.bytes = (self.bytes - payload).max(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use meshloom_core::batch::{BatchBuilder, Event};

    use super::*;

    fn frame(sizes: &[usize]) -> Batch {
        let mut builder = BatchBuilder::new();
        for size in sizes {
            builder.push(Event { payload: &vec![b'x'; *size], ..Event::default() }).unwrap();
        }
        builder.finish()
    }

    const WINDOW: Window = Window { events: 4, bytes: 10 };

    #[test]
    fn any_credit_left_admits_one_event_of_any_size() {
        let mut credit = Credit::default();
        assert!(credit.spend(&frame(&[1])).is_err());
        assert_eq!(credit.top_up(WINDOW), Some((4, 10)));
        assert_eq!(credit.top_up(WINDOW), None);
        credit.spend(&frame(&[9])).unwrap();
        credit.spend(&frame(&[100])).unwrap();
        assert!(credit.spend(&frame(&[0])).is_err(), "the bytes are used up");
        assert_eq!(credit.top_up(WINDOW), Some((2, 10)));
    }

    #[test]
    fn a_frame_past_its_credit_is_refused() {
        let mut credit = Credit::default();
        credit.top_up(WINDOW);
        assert!(credit.spend(&frame(&[1, 1, 1, 1, 1])).unwrap_err().contains("5 events"));
        assert!(credit.spend(&frame(&[10, 1])).is_err());
        credit.spend(&frame(&[9, 50])).unwrap();
    }
}
