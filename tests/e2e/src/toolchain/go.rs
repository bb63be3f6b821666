//! Go programs, built into the cache.

use std::{collections::HashMap, path::PathBuf, process::Command, sync::Mutex};

use super::{lock, succeed};
use crate::{checkout::cache, root};

/// The program of a module's folder, relative to the root. Go's own build cache makes repetition cheap.
pub fn go_program(folder: &str) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let built = built.get_or_insert_default();
    if let Some(program) = built.get(folder) {
        return program.clone();
    }
    let name = folder.replace('/', "-");
    let _one = lock::hold(&name);
    let program = cache().join("e2e").join(&name);
    // Not in place: another test program may be running it.
    let fresh = program.with_extension(std::process::id().to_string());
    succeed(Command::new("go").args(["build", "-o"]).arg(&fresh).arg(".").current_dir(root().join(folder)));
    std::fs::rename(&fresh, &program).expect("a program can be renamed within its folder");
    built.insert(folder.to_owned(), program.clone());
    program
}
