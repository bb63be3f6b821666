//! Metrics in the text format of Prometheus: the one list of them, histograms, and the rendering of what is known now.
//!
//! Nothing is registered and nothing is counted twice: who is asked for metrics makes an [`Exposition`] of its own state.

pub mod catalogue;
mod exposition;
mod histogram;

pub use self::{
    exposition::{CONTENT_TYPE, Exposition, Value},
    histogram::{Histogram, Reading},
};

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, until the process starts again.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations by size.
    Histogram,
}

/// A metric that is listed.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its unit and, for a counter, `_total`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels beside `pipeline`.
    pub labels: &'static [&'static str],
    /// What it says, for an operator; one line.
    pub help: &'static str,
}

impl Kind {
    /// The word of the text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}
