//! What a pipeline keeps on disk: its lock, its sources' positions, its dead letters.

mod checkpoints;
mod complaint;
mod directory;
mod journal;
mod letter_filter;
mod letter_store;
mod letters;

#[cfg(test)]
pub(crate) use self::letter_store::{Bound, tests as store_tests};
pub(crate) use self::{
    checkpoints::{Checkpoints, Position},
    journal::OpenJournal,
    letter_filter::timestamp,
    letter_store::{Holding, Page, SharedLetters},
    letters::{LettersWaiting, Stored, run_letters},
};
pub use self::{
    directory::{StateDir, StateError},
    letter_filter::LetterFilter,
    letter_store::{EarlierFailure, LetterRecord, LetterStore, Opened},
};
