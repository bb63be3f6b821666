//! One file per command.

pub(crate) mod check;
pub(crate) mod run;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Output {
    /// For a person.
    #[default]
    Human,
    /// For a program.
    Json,
}
