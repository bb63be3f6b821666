//! From the parser's events to the tree.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Marks};

use super::{Entry, Node, Scalar, Value};
use crate::diagnostic::{Report, Span, codes};

/// Nodes that a file may have once its aliases are replaced.
const MOST_NODES: usize = 100_000;
/// Maps and lists inside each other.
const MOST_DEPTH: usize = 64;

/// Parses the file; `None`: nothing that could be looked at further.
pub(crate) fn parse(source: &str, report: &mut Report) -> Option<Node> {
    let mut build =
        Build { source, offsets: offsets(source), open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut documents = 0;
    for event in Parser::new_from_str(source) {
        let (event, marks) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = build.offset(error.marker().index());
                let diagnostic = report.add(&codes::YAML_SYNTAX, &(at..at + 1), error.info().to_owned());
                if error.info().contains("flow") {
                    diagnostic.help("inside `{ }` and `[ ]`, quote text that has one of `{ } [ ] ,`, such as conditions and `${NAME}`: when: 'data.n in [1, 2]'");
                }
                return None;
            }
        };
        let span = build.span(marks);
        if let Event::DocumentStart(_) = event {
            documents += 1;
            if documents > 1 {
                report
                    .add(&codes::YAML_UNSUPPORTED, &span, "the file has a second document")
                    .help("remove the `---` and what follows");
                return None;
            }
        }
        build.take(event, span, report)?;
    }
    if build.root.is_none() {
        report
            .add(&codes::EMPTY, &(0..0), "the file is empty")
            .help("begin with `pipeline: NAME` and `nodes:`; `meshloom init` writes an example");
    }
    build.root
}

struct Build<'a> {
    source: &'a str,
    /// Byte offset of each character; empty if the file is ASCII.
    offsets: Vec<usize>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A map or list whose end has not come.
struct Open {
    start: usize,
    anchor: usize,
    value: Value,
    key: Option<(String, Span)>,
}

impl Build<'_> {
    /// Takes one event; `None`: give up.
    fn take(&mut self, event: Event<'_>, span: Span, report: &mut Report) -> Option<()> {
        let tag = match &event {
            Event::Scalar(_, _, _, tag) | Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) => tag.as_ref(),
            _ => None,
        };
        if let Some(tag) = tag {
            report
                .add(&codes::YAML_UNSUPPORTED, &span, format!("tags such as `{tag}` have no meaning here"))
                .help("remove the tag");
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let verbatim = self.verbatim(&text, &span);
                let plain = style == ScalarStyle::Plain;
                let value = Value::Scalar(Scalar { text: text.into_owned(), plain, whole: false, verbatim });
                self.put(Node { span, value }, anchor, report)
            }
            Event::SequenceStart(anchor, _) => self.begin(span, anchor, Value::List(Vec::new()), report),
            Event::MappingStart(anchor, _) => self.begin(span, anchor, Value::Map(Vec::new()), report),
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop()?;
                let end = self.source[..span.end].trim_end().len().max(open.start);
                let mut node = Node { span: open.start..end, value: open.value };
                if let Value::Map(entries) = &mut node.value {
                    merge(entries, report);
                }
                self.put(node, open.anchor, report)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.nodes += count(&node);
                    self.put(node, 0, report)
                }
                None => {
                    report.add(&codes::YAML_UNSUPPORTED, &span, "this alias stands inside what it stands for");
                    None
                }
            },
            _ => Some(()),
        }
    }

    fn begin(&mut self, span: Span, anchor: usize, value: Value, report: &mut Report) -> Option<()> {
        if self.open.len() == MOST_DEPTH {
            report.add(
                &codes::YAML_UNSUPPORTED,
                &span,
                format!("more than {MOST_DEPTH} maps and lists inside each other"),
            );
            return None;
        }
        self.open.push(Open { start: span.start, anchor, value, key: None });
        Some(())
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node, anchor: usize, report: &mut Report) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            report.add(
                &codes::YAML_UNSUPPORTED,
                &node.span,
                format!("more than {MOST_NODES} values once aliases are replaced"),
            );
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match (&mut open.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some((key, key_span))) => {
                entries.push(Entry { key, key_span, value: node, inherited: false });
            }
            (Value::Map(_), None) => match node.value {
                Value::Scalar(scalar) => open.key = Some((scalar.text, node.span)),
                _ => {
                    report.add(&codes::YAML_UNSUPPORTED, &node.span, "a key must be text, not a map or list");
                    return None;
                }
            },
            (Value::Scalar(_), _) => unreachable!("only maps and lists are open"),
        }
        Some(())
    }

    /// Where a scalar's text begins, if it stands in the file letter by letter.
    fn verbatim(&self, text: &str, span: &Span) -> Option<usize> {
        let written = &self.source[span.clone()];
        let inner = written.strip_prefix(['"', '\'']).map_or(span.start, |_| span.start + 1);
        self.source[inner..].starts_with(text).then_some(inner)
    }

    fn span(&self, marks: Marks) -> Span {
        let (start, end) = (self.offset(marks.start.index()), self.offset(marks.end.index()));
        let start = behind_anchor(&self.source[start..end.max(start)]).map_or(start, |skipped| start + skipped);
        start..end.max(start)
    }

    fn offset(&self, character: usize) -> usize {
        if self.offsets.is_empty() {
            return character.min(self.source.len());
        }
        self.offsets.get(character).copied().unwrap_or(self.source.len())
    }
}

/// Where the value begins in text that begins with its anchor.
fn behind_anchor(written: &str) -> Option<usize> {
    let name = written.strip_prefix('&')?;
    let rest = name[name.find(char::is_whitespace)?..].trim_start();
    (!rest.is_empty()).then(|| written.len() - rest.len())
}

fn offsets(source: &str) -> Vec<usize> {
    if source.is_ascii() { Vec::new() } else { source.char_indices().map(|(offset, _)| offset).collect() }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 1,
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| count(&entry.value)).sum::<usize>(),
    }
}

/// Reports keys that stand twice, and applies `<<`: what the map itself says wins, then the earlier merged map.
fn merge(entries: &mut Vec<Entry>, report: &mut Report) {
    let written = std::mem::take(entries);
    let mut merged = Vec::new();
    for entry in written {
        if entry.key == "<<" {
            merged.push(entry.value);
            continue;
        }
        match entries.iter().find(|known| known.key == entry.key) {
            Some(known) => {
                let first = known.key_span.clone();
                report
                    .add(
                        &codes::DUPLICATE_KEY,
                        &entry.key_span,
                        format!("the key `{}` stands twice in this map", entry.key),
                    )
                    .label(&first, "first here");
            }
            None => entries.push(entry),
        }
    }
    for node in merged {
        let maps = match node.value {
            Value::List(items) => items,
            _ => vec![node],
        };
        for map in maps {
            let Value::Map(more) = map.value else {
                report
                    .add(&codes::WRONG_TYPE, &map.span, format!("`<<` merges maps; this is {}", map.describe()))
                    .help("write `<<: *anchor`, where the anchor names a map");
                continue;
            };
            for entry in more {
                if !entries.iter().any(|known| known.key == entry.key) {
                    entries.push(entry);
                }
            }
        }
    }
}
