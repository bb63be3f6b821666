//! The checkpoint of a file source: how far each file was read. A few words of text per file.

use std::fmt::Write as _;

use bytes::Bytes;
use meshloom_core::{ids, limits};

const HEADER: &str = "meshloom-file 1";

/// How far one file was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Name of the file in ids: hash of its first bytes, and a number if another file begins with the same.
    pub(super) identity: String,
    /// How many bytes of its beginning are hashed.
    pub(super) prefix: usize,
    /// Offset behind the last event.
    pub(super) offset: u64,
    /// Hash of the bytes before `offset`: proof that it is the same file.
    pub(super) tail: String,
    /// Number of the file on its device; a hint for telling files that begin alike apart.
    pub(super) inode: u64,
}

/// Hash of bytes, 16 hexadecimal digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    ids::hash(&[b"file", bytes]).hex(&mut [0; 32])[..16].to_owned()
}

impl Position {
    /// The hash of the file's first bytes.
    pub(super) fn print(&self) -> &str {
        self.identity.split('~').next().unwrap_or_default()
    }
}

/// Writes a checkpoint.
///
/// # Errors
/// When there are more files than a checkpoint can hold.
pub(super) fn encode<'a>(positions: impl Iterator<Item = &'a Position>) -> Result<Bytes, String> {
    let mut text = format!("{HEADER}\n");
    for Position { identity, prefix, offset, tail, inode } in positions {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{identity} {prefix} {offset} {tail} {inode}");
    }
    if text.len() > limits::CHECKPOINT_BYTES {
        return Err(format!(
            "the positions of so many files do not fit into a checkpoint of {} bytes",
            limits::CHECKPOINT_BYTES
        ));
    }
    Ok(text.into())
}

/// Reads a checkpoint.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(checkpoint: &[u8]) -> Result<Vec<Position>, String> {
    let text = std::str::from_utf8(checkpoint).map_err(|_| "it is not text".to_owned())?;
    let mut lines = text.lines();
    match lines.next() {
        Some(HEADER) => {}
        other => {
            return Err(format!("it begins with `{}` instead of `{HEADER}`", other.unwrap_or_default()));
        }
    }
    lines.map(|line| position(line).ok_or_else(|| format!("`{line}` is no position of a file"))).collect()
}

fn position(line: &str) -> Option<Position> {
    let mut words = line.split(' ');
    let position = Position {
        identity: words.next()?.to_owned(),
        prefix: words.next()?.parse().ok()?,
        offset: words.next()?.parse().ok()?,
        tail: words.next()?.to_owned(),
        inode: words.next()?.parse().ok()?,
    };
    (words.next().is_none() && position.print().len() == 16).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_as_it_was() {
        let one = Position { identity: hash(b"x"), prefix: 1, offset: 7, tail: hash(b"y"), inode: 9 };
        let two = Position { identity: format!("{}~2", hash(b"x")), ..one.clone() };
        let checkpoint = encode([&one, &two].into_iter()).unwrap();
        assert_eq!(decode(&checkpoint).unwrap(), [one.clone(), two.clone()]);
        assert_eq!(two.print(), one.identity);
        assert!(decode(&encode([].into_iter()).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn a_checkpoint_of_something_else_is_refused() {
        for bad in [&b"17"[..], b"", b"meshloom-file 2\n", b"meshloom-file 1\nx 1 2\n", b"\xff"] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
        let many: Vec<Position> = (0..2000)
            .map(|n| Position { identity: hash(b"x"), prefix: 1024, offset: n, tail: hash(b"y"), inode: n })
            .collect();
        assert!(encode(many.iter()).unwrap_err().contains("do not fit"));
    }
}
