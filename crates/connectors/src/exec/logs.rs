//! A program's words: every line to the node's log, the last ones kept for the message of a failure.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use meshloom_core::limits;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::mpsc,
};

use crate::{LogLine, LogStream};

/// A line longer than this is cut into several, bytes.
const LINE_BYTES: usize = 64 << 10;
/// Lines kept for a failure's message.
const TAIL_LINES: usize = 10;
/// Bytes kept of each of them.
const TAIL_LINE_BYTES: usize = 300;

/// The last lines of a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(limits::truncate(line, TAIL_LINE_BYTES).to_owned());
    }

    /// The lines as a part of a sentence; empty if there are none.
    pub(super) fn quoted(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return String::new();
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("; its last words: {}", lines.join(" | "))
    }
}

/// Copies a stream to the log, line by line, until it ends.
pub(super) async fn copy(
    reader: impl AsyncRead + Unpin,
    stream: LogStream,
    log: mpsc::Sender<LogLine>,
    tail: Option<Tail>,
) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        // A stream that cannot be read has ended for us; the exit status tells the rest.
        let (used, whole, ended) = match reader.fill_buf().await {
            Ok([]) | Err(_) => (0, false, true),
            Ok(bytes) => {
                let room = &bytes[..bytes.len().min(LINE_BYTES - line.len())];
                match memchr::memchr(b'\n', room) {
                    Some(at) => {
                        line.extend_from_slice(&room[..at]);
                        (at + 1, true, false)
                    }
                    None => {
                        line.extend_from_slice(room);
                        (room.len(), line.len() == LINE_BYTES, false)
                    }
                }
            }
        };
        reader.consume(used);
        if whole || (ended && !line.is_empty()) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
            if let Some(tail) = &tail {
                tail.push(&text);
            }
            // Nobody reads the log any more: the program's pipe must be emptied all the same.
            let _ = log.send(LogLine { stream, line: text }).await;
            line.clear();
        }
        if ended {
            return;
        }
    }
}
