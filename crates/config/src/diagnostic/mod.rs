//! What is wrong with a pipeline file, all of it at once, each with its place and a way out.

pub mod codes;
mod render;

use std::ops::Range;

use serde::Serialize;

pub use codes::Code;

/// A range of bytes in the file.
pub type Span = Range<usize>;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: &'static Code,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Where; `None`: the file as a whole.
    pub span: Option<Span>,
    /// Other places that have to do with it.
    pub labels: Vec<Label>,
}

/// Another place that has to do with a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there.
    pub message: String,
}

/// Everything that is wrong with a file.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    file: String,
    source: String,
    list: Vec<Diagnostic>,
}

/// A place for people: lines and columns from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Diagnostics {
    /// Diagnostics of a file; sorted by place, repetitions removed.
    pub(crate) fn new(file: String, source: String, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.span.as_ref().map(|span| (span.start, span.end)));
        // Anchors and defaults bring the same text to several nodes: its faults are told once.
        let mut seen: Vec<Diagnostic> = Vec::with_capacity(list.len());
        for diagnostic in list {
            let same = |known: &Diagnostic| {
                known.code == diagnostic.code && known.span == diagnostic.span && known.message == diagnostic.message
            };
            if !seen.iter().any(same) {
                seen.push(diagnostic);
            }
        }
        Self { file, source, list: seen }
    }

    /// All of them, by place.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// For a person: each with its line, a caret and the remedy; with colours for a terminal.
    pub fn render(&self, colour: bool) -> String {
        render::text(&self.file, &self.source, &self.list, colour)
    }

    /// For a program: a JSON array.
    pub fn to_json(&self) -> serde_json::Value {
        render::json(&self.file, &self.source, &self.list)
    }

    /// The place of a byte of the file.
    pub fn place(&self, offset: usize) -> Place {
        place(&self.source, offset)
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

fn place(source: &str, offset: usize) -> Place {
    let before = &source[..floor(source, offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

/// The nearest character boundary at or before an offset.
fn floor(source: &str, offset: usize) -> usize {
    let mut at = offset.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Collects diagnostics while a file is read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) list: Vec<Diagnostic>,
}

impl Report {
    /// Adds one, with the remedy of its code.
    pub(crate) fn add(&mut self, code: &'static Code, span: &Span, message: impl Into<String>) -> &mut Diagnostic {
        self.list.push(Diagnostic {
            code,
            message: message.into(),
            remedy: None,
            span: Some(span.clone()),
            labels: Vec::new(),
        });
        self.list.last_mut().expect("one was just added")
    }
}

impl Diagnostic {
    /// With a remedy.
    pub(crate) fn help(&mut self, remedy: impl Into<String>) -> &mut Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// With another place.
    pub(crate) fn label(&mut self, span: &Span, message: impl Into<String>) -> &mut Self {
        self.labels.push(Label { span: span.clone(), message: message.into() });
        self
    }
}
