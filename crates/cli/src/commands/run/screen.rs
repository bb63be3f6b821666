//! Standard error, shared by lines of text and a live display below them.
//!
//! While the display is up, lines are collected and written above it ten times a second: a busy log costs one redraw
//! per tick, and no line is ever cut.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Bytes of lines that wait for a tick; more are written at once.
const PENDING: usize = 256 << 10;

/// The terminal.
#[derive(Debug, Clone)]
pub(crate) struct Screen(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    live: AtomicBool,
    multi: MultiProgress,
    bars: Mutex<Vec<ProgressBar>>,
    pending: Mutex<Vec<u8>>,
}

impl Screen {
    /// With a live display, or with none at all.
    pub(crate) fn new(live: bool) -> Self {
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self(Arc::new(Shared {
            live: AtomicBool::new(live),
            multi: MultiProgress::with_draw_target(target),
            bars: Mutex::default(),
            pending: Mutex::default(),
        }))
    }

    /// Whether there is a display to fill.
    pub(crate) fn is_live(&self) -> bool {
        self.0.live.load(Ordering::Acquire)
    }

    /// Writes the waiting lines and shows `display` below them, one string per line.
    pub(crate) fn show(&self, display: &[String]) {
        if !self.is_live() {
            return;
        }
        self.0.write_pending();
        let mut bars = self.0.bars.lock().unwrap_or_else(PoisonError::into_inner);
        while bars.len() < display.len() {
            let style = ProgressStyle::with_template("{wide_msg}").expect("the template is well-formed");
            bars.push(self.0.multi.add(ProgressBar::new_spinner().with_style(style)));
        }
        for (bar, line) in bars.iter().zip(display) {
            bar.set_message(line.clone());
        }
    }

    /// Takes the display down for good; lines go straight to standard error from now on.
    pub(crate) fn close(&self) {
        if !self.0.live.swap(false, Ordering::AcqRel) {
            return;
        }
        for bar in self.0.bars.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            bar.finish_and_clear();
        }
        // A terminal that is gone has nobody to tell.
        let _ = self.0.multi.clear();
        self.0.write_pending();
    }
}

impl Shared {
    fn write_pending(&self) {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if !pending.is_empty() {
            // As above.
            let _ = self.multi.suspend(|| io::stderr().write_all(&pending));
        }
    }
}

impl Write for Screen {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if !self.is_live() {
            // Whatever came before it comes first.
            self.0.write_pending();
            return io::stderr().write(text);
        }
        let waiting = {
            let mut pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.extend_from_slice(text);
            pending.len()
        };
        if waiting > PENDING {
            self.0.write_pending();
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
