//! Logs: the coordinator's own through `tracing`, and those of its nodes beside them.
//!
//! Both go through one [`SharedWriter`], a whole line at a time, so that no line is ever cut by another, and so that a
//! progress display gets to step aside (it is the writer's inner writer).

mod node;
mod terminal;
mod writer;

use thiserror::Error;
use tracing_subscriber::{
    EnvFilter, fmt,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

pub use self::{node::NodeLog, writer::SharedWriter};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Human {
        /// With ANSI colours.
        colour: bool,
    },
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// A filter that cannot be read.
    #[error(
        "`{filter}` is no log filter: {source}. Write a level (error, warn, info, debug, trace) or TARGET=LEVEL, separated by commas"
    )]
    Filter {
        /// As given.
        filter: String,
        /// Why not.
        source: tracing_subscriber::filter::ParseError,
    },
    /// It was set up before.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// Sets up the coordinator's own log for the whole process. `filter` is a level or a list of TARGET=LEVEL.
pub fn init(format: Format, filter: &str, writer: &SharedWriter) -> Result<(), LogError> {
    let filter = parse_filter(filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Human { colour } => {
            let layer = fmt::layer().with_target(false).with_ansi(colour).with_writer(writer.clone());
            registry.with(layer.with_timer(fmt::time::ChronoLocal::new("%H:%M:%S%.3f".into()))).try_init()?;
        }
        Format::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(layer.with_writer(writer.clone())).try_init()?;
        }
    }
    Ok(())
}

fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder().parse(filter).map_err(|source| LogError::Filter { filter: filter.to_owned(), source })
}

#[test]
fn a_bad_filter_is_named() {
    let error = parse_filter("meshloom=loud").unwrap_err().to_string();
    assert!(error.contains("`meshloom=loud` is no log filter") && error.contains("debug"), "{error}");
    assert!(parse_filter("info,meshloom_coordinator=debug").is_ok());
}
