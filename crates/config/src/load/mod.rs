//! From the text of a pipeline file to a [`Pipeline`], or to everything that is wrong with it.

mod check;
mod connector;
mod defaults;
mod edges;
mod exec;
mod http;
mod journal;
pub(crate) mod keys;
mod kind;
mod memory;
mod node;
mod ordering;
mod settings;
mod tcp;
mod top;

use std::path::{Path, PathBuf};

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Report, Span, codes},
    spec::Pipeline,
    yaml,
};

/// The largest pipeline file, in bytes.
pub const MAX_FILE: usize = 1 << 20;

/// Looks a variable up: `Ok(None)` if it is not set, `Err` if it is no text.
type Lookup<'a> = dyn Fn(&str) -> Result<Option<String>, String> + 'a;

/// What a pipeline file is read with.
pub struct Environment<'a> {
    lookup: Box<Lookup<'a>>,
}

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment")
    }
}

impl<'a> Environment<'a> {
    /// The variables of this process.
    pub fn process() -> Self {
        Self {
            lookup: Box::new(|name| match std::env::var(name) {
                Ok(value) => Ok(Some(value)),
                Err(std::env::VarError::NotPresent) => Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => Err("its value is not UTF-8".into()),
            }),
        }
    }

    /// Variables from a function; `None`: not set.
    pub fn from_fn(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { lookup: Box::new(move |name| Ok(lookup(name))) }
    }

    fn get(&self, name: &str) -> Result<Option<String>, String> {
        (self.lookup)(name)
    }

    /// Whether a variable is set to `1`.
    fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name), Ok(Some(value)) if value == "1")
    }
}

/// Reads a pipeline file with the variables of this process.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path) -> Result<Pipeline, Diagnostics> {
    let (source, dir) = read(file).map_err(|message| unreadable(file, message))?;
    parse(file, &dir, &source, &Environment::process())
}

/// The absolute folder of a pipeline file and the pipeline's name: what finds its state, also while the rest of the file
/// is wrong or a variable that it names is not set.
///
/// # Errors
/// The file cannot be read, is not YAML or has no usable name.
pub fn locate(file: &Path) -> Result<(PathBuf, String), Diagnostics> {
    let (source, dir) = read(file).map_err(|message| unreadable(file, message))?;
    let environment = Environment::process();
    let mut load = Load { dir: &dir, environment: &environment, report: Report::default() };
    match yaml::parse(&source, &mut load.report).and_then(|root| load.pipeline_name(&root)) {
        Some(name) => Ok((dir, name)),
        None => Err(Diagnostics::new(file.display().to_string(), source, load.report.list)),
    }
}

fn unreadable(file: &Path, message: String) -> Diagnostics {
    let fault = Diagnostic { code: &codes::FILE_UNREADABLE, message, remedy: None, span: None, labels: Vec::new() };
    Diagnostics::new(file.display().to_string(), String::new(), vec![fault])
}

/// The text of a file and the absolute folder that it is in.
fn read(file: &Path) -> Result<(String, PathBuf), String> {
    let refused = |error: std::io::Error| {
        format!("the pipeline file {} cannot be read: {}", file.display(), crate::read::reason(&error))
    };
    let size = file.metadata().map_err(refused)?.len();
    if size > MAX_FILE as u64 {
        return Err(format!("the pipeline file {} has {size} bytes; the most is {MAX_FILE}", file.display()));
    }
    let bytes = std::fs::read(file).map_err(refused)?;
    let source = String::from_utf8(bytes).map_err(|error| {
        format!("the pipeline file {} is not UTF-8 at byte {}", file.display(), error.utf8_error().valid_up_to())
    })?;
    let absolute = std::path::absolute(file).map_err(refused)?;
    let dir = absolute.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
    Ok((source, dir))
}

/// Reads the text of a pipeline file that stands at `file`, in the absolute folder `dir`. Looks at the disk for commands
/// and folders only.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &Path, dir: &Path, source: &str, environment: &Environment<'_>) -> Result<Pipeline, Diagnostics> {
    let mut load = Load { dir, environment, report: Report::default() };
    let pipeline = load.pipeline(file, source);
    let list = without_consequences(load.report.list);
    match pipeline {
        Some(pipeline) if list.is_empty() => Ok(pipeline),
        _ => Err(Diagnostics::new(file.display().to_string(), source.to_owned(), list)),
    }
}

/// Leaves out what is said of a value only because a variable in it is not set.
fn without_consequences(list: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let is_unset = |diagnostic: &Diagnostic| std::ptr::eq(diagnostic.code, &codes::VARIABLE_UNSET);
    let unset: Vec<Span> = list.iter().filter(|one| is_unset(one)).filter_map(|one| one.span.clone()).collect();
    let follows = |diagnostic: &Diagnostic| {
        let around = |place: &Span| unset.iter().any(|unset| place.start <= unset.start && unset.end <= place.end);
        !is_unset(diagnostic) && diagnostic.span.as_ref().is_some_and(around)
    };
    list.into_iter().filter(|diagnostic| !follows(diagnostic)).collect()
}

/// A file being read.
struct Load<'a> {
    dir: &'a Path,
    environment: &'a Environment<'a>,
    report: Report,
}

impl Load<'_> {
    /// Reads everything; may answer a pipeline even when something was reported, which is then of no use.
    fn pipeline(&mut self, file: &Path, source: &str) -> Option<Pipeline> {
        let mut root = yaml::parse(source, &mut self.report)?;
        let environment = self.environment;
        yaml::interpolate(&mut root, &|name| environment.get(name), &mut self.report);
        let top = self.top(&root)?;
        let mut drafts = self.nodes(&top);
        let graph = self.check(&drafts, &top)?;
        self.orders(&mut drafts, &graph);
        Some(Pipeline {
            name: top.name,
            file: file.to_path_buf(),
            dir: self.dir.to_path_buf(),
            nodes: drafts.into_iter().map(|draft| draft.spec).collect(),
            graph,
            trace: top.trace,
            memory: top.memory.map(|(bytes, _)| bytes),
            drain: top.drain,
            journal_bytes: top.journal.map_or(crate::defaults::JOURNAL_BYTES, |(bytes, _)| bytes),
            dead_letters_bytes: top.dead_letters_bytes,
        })
    }
}
