//! Whom received bytes are charged to.

/// Takes account of the memory of received messages.
pub trait Meter: Send + Sync {
    /// Charges `bytes`; dropping what is returned ends the charge. Must not block.
    fn charge(&self, bytes: usize) -> Box<dyn Send + Sync>;
}

/// Takes no account.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn charge(&self, _: usize) -> Box<dyn Send + Sync> {
        Box::new(())
    }
}
