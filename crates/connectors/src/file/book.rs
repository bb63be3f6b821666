//! The positions of all files of a source, and which of them belong to files that are there.

use std::{collections::HashSet, fs::File, io};

use bytes::Bytes;

use super::{
    identify::{Glimpse, tail},
    position::{self, Position},
};

/// Positions, by index.
pub(super) struct Book {
    positions: Vec<Position>,
    /// Those that belong to a file that was seen in this run.
    claimed: HashSet<usize>,
}

impl Book {
    pub(super) fn new(positions: Vec<Position>) -> Self {
        Self { positions, claimed: HashSet::new() }
    }

    pub(super) fn position(&self, index: usize) -> &Position {
        &self.positions[index]
    }

    /// The stored position of a file; with `same_inode` only one that was made of this very file.
    pub(super) fn known(&mut self, file: &File, glimpse: &mut Glimpse, same_inode: bool) -> io::Result<Option<usize>> {
        for (index, position) in self.positions.iter_mut().enumerate() {
            if self.claimed.contains(&index) || (same_inode && position.inode != glimpse.inode) {
                continue;
            }
            if glimpse.is(file, position)? {
                position.inode = glimpse.inode;
                self.claimed.insert(index);
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The position of a file, a new one if it was never seen; `None`: too little of it is there.
    pub(super) fn identify(
        &mut self,
        file: &File,
        glimpse: &mut Glimpse,
        lines: Option<usize>,
    ) -> io::Result<Option<usize>> {
        for same_inode in [true, false] {
            if let Some(index) = self.known(file, glimpse, same_inode)? {
                return Ok(Some(index));
            }
        }
        let taken = |identity: &str| self.positions.iter().any(|position| position.identity == identity);
        let Some(fresh) = glimpse.fresh(lines, taken) else {
            return Ok(None);
        };
        self.positions.push(fresh);
        let index = self.positions.len() - 1;
        self.claimed.insert(index);
        Ok(Some(index))
    }

    /// A file is there no more; should it come back, it goes on at its position.
    pub(super) fn release(&mut self, index: usize) {
        self.claimed.remove(&index);
    }

    /// Moves a position; gives the checkpoint that says so.
    pub(super) fn advance(&mut self, index: usize, file: &File, offset: u64) -> Result<Bytes, String> {
        let tail = tail(file, offset).map_err(|error| error.to_string())?;
        let position = &mut self.positions[index];
        (position.offset, position.tail) = (offset, tail);
        let all = position::encode(self.positions.iter());
        // Files that are there no more make room first.
        all.or_else(|_| position::encode(self.claimed_positions()))
    }

    fn claimed_positions(&self) -> impl Iterator<Item = &Position> {
        self.positions
            .iter()
            .enumerate()
            .filter(|(index, _)| self.claimed.contains(index))
            .map(|(_, position)| position)
    }
}
