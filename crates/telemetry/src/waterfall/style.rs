//! Colours, durations, and text that cannot harm a terminal.

use unicode_width::UnicodeWidthChar;

/// How to write what matters differently.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    colour: bool,
}

/// Foreground colours that can be read on light and dark.
const PALETTE: [u8; 6] = [36, 33, 35, 32, 34, 96];

impl Style {
    pub(super) fn new(colour: bool) -> Self {
        Self { colour }
    }

    fn sgr(self, code: u8, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.sgr(2, text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.sgr(1, text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.sgr(31, text)
    }

    /// The colour of the n-th service.
    pub(super) fn service(self, n: usize, text: &str) -> String {
        self.sgr(PALETTE[n % PALETTE.len()], text)
    }
}

/// Three significant digits and a unit.
pub(super) fn duration(nanoseconds: u64) -> String {
    let (value, unit) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (nanoseconds as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanoseconds as f64 / 1e6, "ms"),
        _ => (nanoseconds as f64 / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

/// Names and messages come from events and programs: no control character of theirs reaches the terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Cut or filled to exactly `width` columns; what was cut ends in `…`.
pub(super) fn fit(text: &str, width: usize) -> String {
    let columns = |character: char| character.width().unwrap_or(0);
    let all: usize = text.chars().map(columns).sum();
    if all <= width {
        return format!("{text}{}", " ".repeat(width - all));
    }
    let mut cut = String::new();
    let mut used = 0;
    for character in text.chars() {
        if used + columns(character) > width.saturating_sub(1) {
            break;
        }
        used += columns(character);
        cut.push(character);
    }
    if width > 0 {
        cut.push('…');
        used += 1;
    }
    cut + &" ".repeat(width - used)
}

#[test]
fn durations_and_widths() {
    let shown = [0, 999, 1_000, 12_345, 999_999, 1_500_000, 123_456_789, 61_000_000_000].map(duration);
    assert_eq!(shown, ["0 ns", "999 ns", "1.00 µs", "12.3 µs", "1000 µs", "1.50 ms", "123 ms", "61.0 s"]);
    assert_eq!(fit("abc", 5), "abc  ");
    assert_eq!(fit("abcdef", 4), "abc…");
    assert_eq!(fit("日本語", 4), "日… ");
    assert_eq!(fit("abc", 0), "");
    assert_eq!(clean("a\x1b[2Jb\r\n"), "a [2Jb  ");
}
