//! Lines of a file, read in blocks and cut without copying.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use meshloom::Bytes;

/// Bytes read at once.
const BLOCK_BYTES: usize = 256 << 10;

/// Numbered lines of a file from line 1, without their newline; over and over if more are wanted than it has.
pub(crate) struct Lines {
    path: PathBuf,
    file: Option<File>,
    block: Bytes,
    /// Lines handed out or skipped so far.
    number: u64,
    skip: u64,
    /// The last number to hand out; 0: the end of the file.
    last: u64,
    /// Lines of the present pass through the file, to notice one that has none.
    pass: u64,
}

impl Lines {
    pub(crate) fn new(path: &Path, last: u64, skip: u64) -> Self {
        Self { path: path.to_owned(), file: None, block: Bytes::new(), number: 0, skip, last, pass: 0 }
    }

    /// The next line of this pass, `None` at the end of the file.
    fn line(&mut self) -> io::Result<Option<Bytes>> {
        if self.file.is_none() {
            self.file = Some(File::open(&self.path)?);
        }
        let mut searched = 0;
        loop {
            if let Some(end) = self.block[searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.block.split_to(searched + end);
                let _newline = self.block.split_to(1);
                return Ok(Some(line));
            }
            searched = self.block.len();
            if !self.read_more()? {
                let rest = std::mem::take(&mut self.block);
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }

    /// Puts another block behind what is left of the last one.
    fn read_more(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        let mut block = Vec::with_capacity(self.block.len() + BLOCK_BYTES);
        block.extend_from_slice(&self.block);
        let read = file.take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        self.block = Bytes::from(block);
        Ok(read > 0)
    }
}

impl Iterator for Lines {
    type Item = io::Result<(u64, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.last > 0 && self.number >= self.last {
                return None;
            }
            match self.line() {
                Ok(Some(line)) => {
                    self.number += 1;
                    self.pass += 1;
                    if self.number > self.skip {
                        return Some(Ok((self.number, line)));
                    }
                }
                Ok(None) if self.last > 0 && self.pass > 0 => {
                    self.file = None;
                    self.pass = 0;
                }
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
