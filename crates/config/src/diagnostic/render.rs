//! Diagnostics for people and for programs.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::json;

use super::{Diagnostic, Span, floor, place};

/// Each as rustc would show it, an empty line between two, and a count at the end.
pub(super) fn text(file: &str, source: &str, list: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in list {
        out.push_str(&renderer.render(&[group(file, source, diagnostic)]));
        out.push_str("\n\n");
    }
    match list.len() {
        1 => out.push_str("1 error in "),
        count => out.push_str(&format!("{count} errors in ")),
    }
    out.push_str(file);
    out.push('\n');
    out
}

fn group<'a>(file: &'a str, source: &'a str, diagnostic: &'a Diagnostic) -> Group<'a> {
    let title = Level::ERROR.primary_title(&diagnostic.message).id(diagnostic.code.name);
    let remedy = diagnostic.remedy.as_deref().unwrap_or(diagnostic.code.remedy);
    let group = match &diagnostic.span {
        None => Group::with_title(title).element(Origin::path(file)),
        Some(span) => {
            let primary = AnnotationKind::Primary.span(visible(source, span));
            let mut snippet = Snippet::source(source).path(file).annotation(primary);
            for label in &diagnostic.labels {
                let other = AnnotationKind::Context.span(visible(source, &label.span)).label(&label.message);
                snippet = snippet.annotation(other);
            }
            title.element(snippet)
        }
    };
    group.element(Level::HELP.message(remedy))
}

/// The part of a span on its first line: a caret under a whole block says nothing.
fn visible(source: &str, span: &Span) -> Span {
    let start = floor(source, span.start);
    let end = floor(source, span.end).max(start);
    let line = source[start..end].find('\n').map_or(end, |newline| start + newline);
    let trimmed = start + source[start..line].trim_end().len();
    start..trimmed
}

/// An array of objects with `code`, `message`, `remedy`, `file`, `start`, `end`, `labels`.
pub(super) fn json(file: &str, source: &str, list: &[Diagnostic]) -> serde_json::Value {
    let range = |span: &Span| json!({ "start": place(source, span.start), "end": place(source, span.end) });
    let object = |diagnostic: &Diagnostic| {
        let labels: Vec<_> = diagnostic
            .labels
            .iter()
            .map(|label| json!({ "message": label.message, "range": range(&label.span) }))
            .collect();
        json!({
            "code": diagnostic.code.name,
            "message": diagnostic.message,
            "remedy": diagnostic.remedy.as_deref().unwrap_or(diagnostic.code.remedy),
            "file": file,
            "range": diagnostic.span.as_ref().map(range),
            "labels": labels,
        })
    };
    list.iter().map(object).collect()
}
