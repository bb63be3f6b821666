//! Commands: a string that is split into words without a shell, or a list.

use std::path::Path;

use super::{refuse, written, wrong_type};
use crate::{
    diagnostic::{Report, codes},
    spec::{Command, resolve},
    yaml::{Node, Scalar, Value},
};

const NEEDED: &str = "a command: a string, or a list of words";
const SHELL: &str = "|&;><$*";

/// Reads a command. A program with a slash is resolved against `dir`, and must be there and have its run bit unless
/// `built` says that a build step makes it first.
pub(crate) fn command(node: &Node, dir: &Path, built: bool, report: &mut Report) -> Option<Command> {
    let words = match &node.value {
        Value::Scalar(scalar) => split(node, scalar, report)?,
        Value::List(items) => {
            let words: Vec<String> =
                items.iter().filter_map(|item| written(item, "a word", report).map(str::to_owned)).collect();
            if words.len() < items.len() {
                return None;
            }
            words
        }
        Value::Map(_) => return wrong_type(node, NEEDED, report),
    };
    let mut words = words.into_iter();
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        return refuse(&codes::BAD_COMMAND, node, "the command is empty", "write the program to run", report);
    };
    let program = match program.contains('/') {
        true => located(node, &program, dir, built, report)?,
        false => program,
    };
    Some(Command { program, args: words.collect() })
}

fn split(node: &Node, scalar: &Scalar, report: &mut Report) -> Option<Vec<String>> {
    let text = &scalar.text;
    if let Some(at) = shell_character(text) {
        let character = &text[at..=at];
        let span = scalar.locate(&node.span, &(at..at + 1));
        let quoted = text.replace('\'', "'\\''");
        report
            .add(
                &codes::SHELL_CHARACTER,
                &span,
                format!("no shell runs this command, so `{character}` would be passed on as it is"),
            )
            .help(format!("quote it, or run a shell: [sh, -c, '{quoted}']"));
        return None;
    }
    match shlex::split(text) {
        Some(words) => Some(words),
        None => refuse(
            &codes::BAD_COMMAND,
            node,
            "a quote of the command is never closed",
            "close it, or write a list of words",
            report,
        ),
    }
}

/// The first character that a shell would act on, outside quotes.
fn shell_character(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, _) if SHELL.contains(character) => return Some(at),
            _ => {}
        }
    }
    None
}

fn located(node: &Node, program: &str, dir: &Path, built: bool, report: &mut Report) -> Option<String> {
    let path = resolve(dir, program);
    let Some(resolved) = path.to_str().map(str::to_owned) else {
        return refuse(&codes::BAD_PATH, node, "the path of the command is not UTF-8", "rename the folder", report);
    };
    if built {
        return Some(resolved);
    }
    match path.metadata() {
        Ok(file) if file.is_dir() => refuse(
            &codes::COMMAND_NOT_FOUND,
            node,
            format!("`{program}` is a folder, not a program"),
            "name a program",
            report,
        ),
        Ok(file) if !executable(&file) => {
            let message = format!("`{program}` has no run bit");
            refuse(&codes::COMMAND_NOT_EXECUTABLE, node, message, remedy_for(program), report)
        }
        Ok(_) => Some(resolved),
        Err(error) => {
            let message = format!("the program `{program}` cannot be found: {}", reason(&error));
            let remedy = format!("a command with a slash starts at the node's folder, here {}", dir.display());
            refuse(&codes::COMMAND_NOT_FOUND, node, message, remedy, report)
        }
    }
}

fn remedy_for(program: &str) -> String {
    let interpreter = match program.rsplit_once('.').map(|(_, extension)| extension) {
        Some("py") => "python",
        Some("js" | "mjs") => "node",
        Some("rb") => "ruby",
        Some("pl") => "perl",
        _ => "sh",
    };
    format!("run `chmod +x {program}`, or name its interpreter: [{interpreter}, {program}]")
}

/// What the operating system says, without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

#[cfg(unix)]
fn executable(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn executable(_: &std::fs::Metadata) -> bool {
    true
}
