//! Placeholders in a command, and which of its words are paths.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use meshloom_config::Command;

/// What the placeholders of a command stand for.
pub(super) struct Placeholders {
    /// Name without braces, and value.
    values: Vec<(String, String)>,
}

impl Placeholders {
    pub(super) fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: values.into_iter().collect() }
    }

    /// Replaces each `{name}` that is known. Any other brace is the program's own.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            rest = &rest[open..];
            let known = self
                .values
                .iter()
                .find(|(name, _)| rest[1..].strip_prefix(name.as_str()).is_some_and(|behind| behind.starts_with('}')));
            let used = match known {
                Some((name, value)) => {
                    out.push_str(value);
                    name.len() + 2
                }
                None => {
                    out.push('{');
                    1
                }
            };
            rest = &rest[used..];
        }
        out.push_str(rest);
        out
    }
}

/// The program and arguments of a run. Where the working folder is not the node's, the program and its script (the
/// first argument that is no option) are still found relative to the node's folder.
pub(super) fn command(
    command: &Command,
    dir: &Path,
    elsewhere: bool,
    placeholders: &Placeholders,
) -> (OsString, Vec<OsString>) {
    let script = command.args.iter().position(|arg| !arg.starts_with('-'));
    let args = command.args.iter().enumerate().map(|(index, arg)| {
        let path = dir.join(arg);
        if elsewhere && script == Some(index) && !Path::new(arg).is_absolute() && path.is_file() {
            return path.into_os_string();
        }
        OsString::from(placeholders.fill(arg))
    });
    let program = Path::new(&command.program);
    let program = if command.program.contains('/') { dir.join(program) } else { PathBuf::from(program) };
    (program.into_os_string(), args.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_placeholders_are_filled_and_other_braces_left_alone() {
        let placeholders = Placeholders::new(
            [("input", "/s/in"), ("input.a", "/s/a"), ("output", "/s/{input}")].map(|(n, v)| (n.into(), v.into())),
        );
        assert_eq!(placeholders.fill("x={input.a},{input}"), "x=/s/a,/s/in");
        assert_eq!(placeholders.fill("{print $1} {inputs} {{input}} {"), "{print $1} {inputs} {/s/in} {");
        // What was filled in is not looked at again.
        assert_eq!(placeholders.fill("{output}"), "/s/{input}");
    }

    #[test]
    fn a_script_is_found_from_another_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("job.py"), "").unwrap();
        let none = Placeholders::new([]);
        let words = |text: &str| Command {
            program: text.split(' ').next().unwrap().into(),
            args: text.split(' ').skip(1).map(Into::into).collect(),
        };
        let script = dir.path().join("job.py").into_os_string();
        let (program, args) = command(&words("python3 -u job.py job.py"), dir.path(), true, &none);
        assert_eq!((program, args), ("python3".into(), vec!["-u".into(), script, "job.py".into()]));
        let (_, args) = command(&words("python3 job.py"), dir.path(), false, &none);
        assert_eq!(args, ["job.py"]);
        let (program, _) = command(&words("./job.py"), dir.path(), true, &none);
        assert_eq!(program, dir.path().join("./job.py"));
    }
}
