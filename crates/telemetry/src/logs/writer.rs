//! One writer for all lines.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

/// A writer that takes whole lines from many sides.
#[derive(Clone)]
pub struct SharedWriter(Arc<Mutex<Box<dyn Write + Send>>>);

impl SharedWriter {
    /// Lines reach `inner` in one `write_all` each: standard error, or a progress display that steps aside for them.
    pub fn new(inner: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(inner))))
    }

    /// Writes one line, with its line end.
    pub fn write_line(&self, line: &str) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.write_all(line.as_bytes())?;
        inner.flush()
    }
}

impl fmt::Debug for SharedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedWriter")
    }
}

impl<'a> MakeWriter<'a> for SharedWriter {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { to: self.clone(), text: Vec::new() }
    }
}

/// Collects what belongs to one event of the log and hands it on in one piece.
#[derive(Debug)]
pub struct Line {
    to: SharedWriter,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // There is nobody left to tell that the log cannot be written.
        let _ = self.to.write_line(&String::from_utf8_lossy(&self.text));
    }
}
