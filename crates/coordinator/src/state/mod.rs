//! What a pipeline keeps on disk: its lock, its sources' positions, its dead letters.

mod checkpoints;
mod directory;
mod durable;
mod journal;
mod letter_file;
mod letter_filter;
mod letters;

pub(crate) use self::{
    checkpoints::{Checkpoints, Position},
    journal::OpenJournal,
    letter_file::SharedLetters,
    letter_filter::timestamp,
    letters::{Stored, run_letters},
};
pub use self::{
    directory::{StateDir, StateError},
    letter_file::{LetterFile, LetterRecord, StoreLetters},
    letter_filter::LetterFilter,
};
