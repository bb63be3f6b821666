//! What the terminal can do.

use std::io::{IsTerminal, stderr, stdout};

/// Whether colours are welcome on standard error.
pub(crate) fn colour_on_stderr() -> bool {
    colour(stderr().is_terminal(), &|name| std::env::var(name).ok())
}

/// Whether colours are welcome on standard output.
pub(crate) fn colour_on_stdout() -> bool {
    colour(stdout().is_terminal(), &|name| std::env::var(name).ok())
}

/// Whether a display that draws over itself makes sense on standard error.
pub(crate) fn moves_cursor() -> bool {
    console::Term::stderr().features().is_attended() && std::env::var("TERM").is_ok_and(|term| term != "dumb")
}

/// Columns of standard output, if it is a terminal.
pub(crate) fn columns_of_stdout() -> Option<usize> {
    console::Term::stdout().size_checked().map(|(_, columns)| columns.into())
}

/// NO_COLOR (no-color.org) and TERM=dumb switch colours off on a terminal; elsewhere there are none.
fn colour(is_terminal: bool, env: &dyn Fn(&str) -> Option<String>) -> bool {
    let refused = env("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_terminal && !refused && env("TERM").is_none_or(|term| term != "dumb")
}

#[test]
fn colours_need_a_terminal_that_wants_them() {
    let with = |variables: &[(&str, &str)]| {
        let found = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>();
        move |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    assert!(colour(true, &with(&[("TERM", "xterm")])));
    assert!(colour(true, &with(&[("NO_COLOR", "")])));
    assert!(!colour(true, &with(&[("NO_COLOR", "1")])));
    assert!(!colour(true, &with(&[("TERM", "dumb")])));
    assert!(!colour(false, &with(&[])));
}

/// Lets `meshloom status | head` end as any other command does, when its reader leaves early. For commands that have
/// nothing left to do but to print: from here on a connection that breaks would end the process too.
pub(crate) fn end_with_the_reader() {
    sigpipe::reset();
}
