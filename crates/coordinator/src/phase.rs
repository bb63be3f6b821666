//! What the pipeline is doing, told to every task.

/// Phases only go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nodes are being started; no source has credit.
    Starting,
    /// Events flow.
    Running,
    /// Sources stop; what is in the pipeline is being finished.
    Draining,
    /// The time for draining is over, or the pipeline failed.
    Abandoned,
}
