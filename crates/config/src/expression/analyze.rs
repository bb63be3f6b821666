//! What a parsed expression reads, and what is wrong with it that its syntax does not show.

use std::{collections::BTreeMap, ops::Range};

use cel::{
    IdedExpr, ParseErrors, Program,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{ExpressionError, Problem, Projection, Reads};
use crate::suggest::did_you_mean;

/// The variables.
const VARIABLES: [&str; 3] = ["data", "event", "ext"];
/// The fields of `event`.
const EVENT_FIELDS: [&str; 6] = ["type", "source", "subject", "key", "time", "id"];
/// Names of types, as in `type(data.n) == int`.
const TYPES: [&str; 11] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "google"];
/// The functions of the standard library, and `json`.
pub(super) const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "int",
    "json",
    "matches",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// CEL's own syntax errors.
pub(super) fn syntax(source: &str, errors: &ParseErrors) -> ExpressionError {
    let problem = |error: &cel::ParseError| {
        let line = usize::try_from(error.pos.0).unwrap_or(1).max(1);
        let column = usize::try_from(error.pos.1).unwrap_or(1).max(1);
        let start: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let at = characters(source, start, column - 1);
        Problem { message: error.msg.clone(), at: one_character(source, at), remedy: None }
    };
    let mut problems: Vec<Problem> = errors.errors.iter().map(problem).collect();
    if problems.is_empty() {
        problems.push(Problem { message: "it cannot be parsed".into(), at: 0..source.len(), remedy: None });
    }
    ExpressionError { problems }
}

/// The longest expression, in bytes: the parser needs stack for each link of a chain, and overflows
/// 2 MiB at about twice this.
pub(super) const LONGEST: usize = 3072;
/// Operators, calls and fields inside each other: what a thread's stack surely holds.
const DEEPEST: usize = 200;

/// Whether the source can be parsed at all without running out of stack.
pub(super) fn fits(source: &str) -> Result<(), ExpressionError> {
    if source.len() <= LONGEST {
        return Ok(());
    }
    let message = format!("the expression has {} bytes; the most is {LONGEST}", source.len());
    Err(whole(source, message))
}

fn whole(source: &str, message: String) -> ExpressionError {
    let remedy = Some("write a shorter one, or decide in a node".to_owned());
    let at = 0..source.len();
    ExpressionError { problems: vec![Problem { message, at, remedy }] }
}

/// Whether the expression is deeper than it may be. Walks without recursion.
fn too_deep(expression: &IdedExpr) -> bool {
    let mut open = vec![(expression, 1)];
    while let Some((node, depth)) = open.pop() {
        if depth > DEEPEST {
            return true;
        }
        open.extend(children(&node.expr).into_iter().map(|child| (child, depth + 1)));
    }
    false
}

/// What the program reads.
pub(super) fn analyze(source: &str, program: &Program) -> Result<Reads, ExpressionError> {
    if too_deep(program.expression()) {
        let message = format!("more than {DEEPEST} operators, calls and fields inside each other");
        return Err(whole(source, message));
    }
    let mut walk = Walk { source, program, reads: Reads::default(), bound: Vec::new(), problems: Vec::new() };
    walk.visit(program.expression());
    if walk.problems.is_empty() { Ok(walk.reads) } else { Err(ExpressionError { problems: walk.problems }) }
}

/// The dotted path of the first selection of `field` in the expression.
pub(super) fn path_to(expression: &IdedExpr, field: &str) -> Option<String> {
    if let Some(path) = path(expression)
        && path.fields.last().is_some_and(|last| *last == field)
    {
        return Some(std::iter::once(path.name).chain(path.fields).collect::<Vec<_>>().join("."));
    }
    children(&expression.expr).into_iter().find_map(|child| path_to(child, field))
}

struct Walk<'a> {
    source: &'a str,
    program: &'a Program,
    reads: Reads,
    bound: Vec<&'a str>,
    problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, node: &'a IdedExpr) {
        if let Some(path) = path(node) {
            self.variable(&path);
            return;
        }
        match &node.expr {
            Expr::Call(call) => self.function(node, call),
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range);
                self.visit(&comprehension.accu_init);
                let before = self.bound.len();
                self.bound.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
                self.bound.extend(comprehension.iter_var2.as_deref());
                for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
                    self.visit(part);
                }
                self.bound.truncate(before);
                return;
            }
            Expr::Struct(structure) => {
                let message = format!("there is no message type `{}`", structure.type_name);
                self.problem(self.place(node), message, Some("use a map: {\"field\": value}".into()));
            }
            _ => {}
        }
        for child in children(&node.expr) {
            self.visit(child);
        }
    }

    fn variable(&mut self, path: &Path<'_>) {
        let (root, fields) = (path.name, path.fields.as_slice());
        if self.bound.contains(&root) || TYPES.contains(&root) {
            return;
        }
        let reads = match root {
            "data" => &mut self.reads.data,
            "event" => &mut self.reads.event,
            "ext" => &mut self.reads.ext,
            _ => {
                let remedy = did_you_mean(root, VARIABLES)
                    .unwrap_or_else(|| "an expression sees `data`, `event` and `ext`; text is quoted".into());
                self.problem(self.place(path.root), format!("there is no variable `{root}`"), Some(remedy));
                return;
            }
        };
        reads.get_or_insert_with(|| Projection::Fields(BTreeMap::new())).add(fields);
        if root == "event"
            && let Some(field) = fields.first()
            && !EVENT_FIELDS.contains(field)
        {
            let remedy = did_you_mean(field, EVENT_FIELDS)
                .unwrap_or_else(|| format!("its fields are {}; extensions are in `ext`", EVENT_FIELDS.join(", ")));
            let root = self.place(path.root);
            let at = self.source[root.end..].find(field).map_or(root.clone(), |found| {
                let start = root.end + found;
                start..start + field.len()
            });
            self.problem(at, format!("`event` has no field `{field}`"), Some(remedy));
        }
    }

    fn function(&mut self, node: &IdedExpr, call: &CallExpr) {
        let name = call.func_name.as_str();
        let operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !operator && !FUNCTIONS.contains(&name) && !call.target.as_ref().is_some_and(|on| is_namespace(on)) {
            let remedy = did_you_mean(name, FUNCTIONS.iter().copied())
                .unwrap_or_else(|| format!("the functions are {}", FUNCTIONS.join(", ")));
            // A call stands where its parenthesis does.
            let call = self.place(node);
            let before = self.source[..call.start].trim_end();
            let at = if before.ends_with(name) { before.len() - name.len()..before.len() } else { call };
            self.problem(at, format!("there is no function `{name}`"), Some(remedy));
        }
    }

    /// Where a part of the expression was written.
    fn place(&self, node: &IdedExpr) -> Range<usize> {
        match self.program.source_info().offset_for(node.id) {
            Some((start, end)) => {
                let start = characters(self.source, 0, start as usize);
                start..characters(self.source, 0, end as usize + 1).max(start)
            }
            None => 0..self.source.len(),
        }
    }

    fn problem(&mut self, at: Range<usize>, message: String, remedy: Option<String>) {
        let problem = Problem { message, at, remedy };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

impl Projection {
    /// Adds a path below.
    fn add(&mut self, fields: &[&str]) {
        match (fields.split_first(), &mut *self) {
            (_, Self::All) => {}
            (None, _) => *self = Self::All,
            (Some((first, rest)), Self::Fields(known)) => match known.get_mut(*first) {
                Some(below) => below.add(rest),
                None => {
                    let mut below = Self::Fields(BTreeMap::new());
                    below.add(rest);
                    known.insert((*first).to_owned(), below);
                }
            },
        }
    }
}

/// A variable and the fields selected from it.
struct Path<'a> {
    root: &'a IdedExpr,
    name: &'a str,
    fields: Vec<&'a str>,
}

/// The path that an expression is, if it is just that: `a.b.c`, `a["b"].c`, `has(a.b)`.
fn path(node: &IdedExpr) -> Option<Path<'_>> {
    let (below, field) = match &node.expr {
        Expr::Ident(name) => {
            return Some(Path { root: node, name: name.trim_start_matches('.'), fields: Vec::new() });
        }
        Expr::Select(select) => (&*select.operand, select.field.as_str()),
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [on, IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. }] => (on, field.inner()),
            _ => return None,
        },
        _ => return None,
    };
    let mut path = path(below)?;
    path.fields.push(field);
    Some(path)
}

/// Whether a call on it is one of a function with a dotted name.
fn is_namespace(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == "optional")
}

fn children(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(comprehension) => vec![
            &comprehension.iter_range,
            &comprehension.accu_init,
            &comprehension.loop_cond,
            &comprehension.loop_step,
            &comprehension.result,
        ],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Struct(structure) => structure.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The byte offset `count` characters behind `from`.
fn characters(source: &str, from: usize, count: usize) -> usize {
    source[from..].char_indices().nth(count).map_or(source.len(), |(offset, _)| from + offset)
}

fn one_character(source: &str, at: usize) -> Range<usize> {
    at..source[at..].chars().next().map_or(at, |character| at + character.len_utf8())
}
