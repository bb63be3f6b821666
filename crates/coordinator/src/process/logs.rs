//! What processes print, line by line.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
    time::timeout,
};

use super::{ProcessName, words::LastWords};

/// Longest line in bytes; a longer one arrives in pieces.
const LINE_LIMIT: usize = 64 << 10;
/// How long a process may be held up by a reader of logs that does not keep up, before lines are dropped.
const PATIENCE: Duration = Duration::from_millis(250);

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        })
    }
}

/// One line of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The node.
    pub node: Arc<str>,
    /// The replica.
    pub replica: u32,
    /// Where it was printed.
    pub stream: Stream,
    /// Without its line end; what is not UTF-8 is replaced.
    pub text: String,
    /// Lines of the same stream that were dropped just before it because nobody read fast enough.
    pub dropped: u64,
}

/// Where the lines of all processes go.
#[derive(Debug, Clone)]
pub struct LogSender {
    lines: mpsc::Sender<LogLine>,
    dropped: Arc<AtomicU64>,
}

/// The reading side of [`log_channel`].
#[derive(Debug)]
pub struct LogReceiver {
    lines: mpsc::Receiver<LogLine>,
    dropped: Arc<AtomicU64>,
}

/// A channel of at most `lines` waiting lines.
pub fn log_channel(lines: usize) -> (LogSender, LogReceiver) {
    let dropped = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel(lines);
    (LogSender { lines: sender, dropped: dropped.clone() }, LogReceiver { lines: receiver, dropped })
}

impl LogSender {
    /// Passes on a line of a node that is no process. Waits for room; a log that nobody reads any more takes all.
    pub(crate) async fn send(&self, line: LogLine) {
        let _ = self.lines.send(line).await;
    }
}

impl LogReceiver {
    /// The next line; `None` once every process and [`super::Processes`] is gone.
    pub async fn recv(&mut self) -> Option<LogLine> {
        self.lines.recv().await
    }

    /// All lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Reads one stream of one process to its end.
pub(super) async fn forward(
    mut source: impl AsyncRead + Unpin,
    name: ProcessName,
    stream: Stream,
    sender: LogSender,
    words: Option<Arc<LastWords>>,
) {
    let mut lines = Lines::default();
    let mut output = Output { name, stream, sender, dropped: 0, waits: true };
    loop {
        lines.buffer.reserve(8 << 10);
        // A broken pipe is an end like any other.
        let read = source.read_buf(&mut lines.buffer).await.unwrap_or(0);
        let ended = read == 0;
        while let Some(text) = lines.next(ended) {
            if let Some(words) = &words {
                words.push(&text);
            }
            output.send(text).await;
        }
        if ended {
            return;
        }
    }
}

struct Output {
    name: ProcessName,
    stream: Stream,
    sender: LogSender,
    dropped: u64,
    /// Whether the reader has kept up so far; once it has not, nothing waits for it until it has caught up.
    waits: bool,
}

impl Output {
    async fn send(&mut self, text: String) {
        let permit = match self.sender.lines.try_reserve() {
            Err(mpsc::error::TrySendError::Full(())) if self.waits => {
                timeout(PATIENCE, self.sender.lines.reserve()).await.ok().and_then(Result::ok)
            }
            permit => permit.ok(),
        };
        self.waits = permit.is_some();
        match permit {
            Some(permit) => permit.send(LogLine {
                node: self.name.node.clone(),
                replica: self.name.replica,
                stream: self.stream,
                text,
                dropped: std::mem::take(&mut self.dropped),
            }),
            None => {
                self.dropped += 1;
                self.sender.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// How far this line has been searched for its end.
    searched: usize,
}

impl Lines {
    fn next(&mut self, ended: bool) -> Option<String> {
        let rest = &self.buffer[self.searched..];
        let window = &rest[..rest.len().min(self.start + LINE_LIMIT + 1 - self.searched)];
        let end = window.iter().position(|byte| *byte == b'\n').map(|offset| self.searched + offset);
        let (end, next) = match end {
            Some(end) => (end, end + 1),
            None if self.buffer.len() - self.start > LINE_LIMIT => {
                let cut = char_boundary(&self.buffer, self.start + LINE_LIMIT);
                (cut, cut)
            }
            None if ended && self.start < self.buffer.len() => (self.buffer.len(), self.buffer.len()),
            None => {
                self.searched = self.buffer.len();
                self.compact();
                return None;
            }
        };
        let line = &self.buffer[self.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = String::from_utf8_lossy(line).into_owned();
        self.start = next;
        self.searched = next;
        Some(text)
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
    }
}

/// The last place at or before `at` that is not inside a character.
fn char_boundary(bytes: &[u8], at: usize) -> usize {
    (at.saturating_sub(3)..=at).rev().find(|index| bytes[*index] & 0xC0 != 0x80).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(bytes: &[u8]) -> Vec<String> {
        let (sender, mut receiver) = log_channel(1024);
        forward(bytes, ProcessName::new("n", 0), Stream::Stdout, sender, None).await;
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push(line.text);
        }
        lines
    }

    #[tokio::test]
    async fn lines_ends_and_bad_bytes() {
        assert_eq!(collect(b"a\r\n\nb\xFFc\nlast").await, ["a", "", "b\u{FFFD}c", "last"]);
        assert_eq!(collect(b"").await, [""; 0]);
        assert_eq!(collect(b"\n").await, [""]);
    }

    #[tokio::test]
    async fn a_long_line_arrives_in_pieces_of_whole_characters() {
        let text = format!("x{}", "ä".repeat(LINE_LIMIT));
        let lines = collect(format!("{text}\nnext").as_bytes()).await;
        assert!(
            lines.iter().all(|line| line.len() <= LINE_LIMIT),
            "{:?}",
            lines.iter().map(String::len).collect::<Vec<_>>()
        );
        assert_eq!(lines[..lines.len() - 1].concat(), text);
        assert_eq!(lines[lines.len() - 1], "next");
    }

    #[tokio::test]
    async fn a_line_of_just_the_limit_is_whole() {
        let text = "y".repeat(LINE_LIMIT);
        assert_eq!(collect(format!("{text}\nz\n").as_bytes()).await, [text, "z".to_owned()]);
    }

    #[tokio::test]
    async fn a_reader_that_stops_costs_lines_and_not_the_process() {
        let (sender, mut receiver) = log_channel(2);
        let text = "line\n".repeat(1000);
        let started = std::time::Instant::now();
        forward(text.as_bytes(), ProcessName::new("n", 3), Stream::Stderr, sender.clone(), None).await;
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(receiver.dropped(), 998);
        // The next line that gets through says how many were lost before it on its stream.
        let mut output =
            Output { name: ProcessName::new("n", 3), stream: Stream::Stderr, sender, dropped: 5, waits: false };
        assert_eq!(receiver.recv().await.unwrap().dropped, 0);
        output.send("back".into()).await;
        receiver.recv().await.unwrap();
        let line = receiver.recv().await.unwrap();
        assert_eq!((line.text.as_str(), line.dropped, line.replica), ("back", 5, 3));
    }
}
