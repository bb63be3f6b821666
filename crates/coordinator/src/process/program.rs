//! Finding a program, as a shell would, but with an answer when it is not there.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use super::{Environment, SpawnError};

/// Programs that go by another name on many machines.
const OTHER_NAMES: [(&str, &str); 4] =
    [("python", "python3"), ("python3", "python"), ("pip", "pip3"), ("nodejs", "node")];

/// The absolute path of the file to execute.
pub(super) fn find(program: &OsStr, dir: &Path, env: &Environment) -> Result<PathBuf, SpawnError> {
    let dir = resolve_dir(dir)?;
    if program.as_bytes().contains(&b'/') {
        let path = dir.join(program);
        return check(&path)?.map(|()| path.clone()).ok_or_else(|| SpawnError::NotFound {
            program: program.to_string_lossy().into_owned(),
            looked: path.display().to_string(),
            remedy: "Build it first (the node's `build`), or correct the path: it is relative to the node's `dir`"
                .into(),
        });
    }
    let path = env.get("PATH").unwrap_or_default();
    match search(program, path, &dir)? {
        Some(found) => Ok(found),
        None => Err(SpawnError::NotFound {
            program: program.to_string_lossy().into_owned(),
            looked: if path.is_empty() {
                "it in PATH, which is empty".into()
            } else {
                format!("it in PATH ({})", path.to_string_lossy())
            },
            remedy: remedy(program, path, &dir),
        }),
    }
}

fn resolve_dir(dir: &Path) -> Result<PathBuf, SpawnError> {
    let resolved = fs::canonicalize(dir)
        .and_then(|path| if path.is_dir() { Ok(path) } else { Err(io::Error::from(io::ErrorKind::NotADirectory)) });
    resolved.map_err(|source| SpawnError::Dir { path: dir.to_owned(), source })
}

/// The first executable file of that name; a file that is there but cannot be executed is reported only if no other is.
fn search(program: &OsStr, path: &OsStr, dir: &Path) -> Result<Option<PathBuf>, SpawnError> {
    let mut unusable = None;
    if !program.is_empty() && !path.is_empty() {
        for folder in std::env::split_paths(path) {
            // An empty or relative entry means the folder that the command runs in.
            let candidate = dir.join(folder).join(program);
            // A folder of PATH that this user may not search is passed over, as by any shell.
            if fs::metadata(&candidate).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                continue;
            }
            match check(&candidate) {
                Ok(Some(())) => return Ok(Some(candidate)),
                Ok(None) => {}
                Err(error) => unusable = unusable.or(Some(error)),
            }
        }
    }
    unusable.map_or(Ok(None), Err)
}

/// `None`: no such file.
fn check(path: &Path) -> Result<Option<()>, SpawnError> {
    let unusable =
        |reason: String, remedy: String| Err(SpawnError::NotExecutable { path: path.to_owned(), reason, remedy });
    match fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => unusable(error.to_string(), "Look at the permissions of the folders above it".into()),
        Ok(metadata) if metadata.is_dir() => unusable("it is a folder".into(), "Name the program inside it".into()),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => unusable(
            "it has no run bit".into(),
            format!("Run `chmod +x {}`, or name its interpreter first, as in `bash script.sh`", path.display()),
        ),
        Ok(_) => Ok(Some(())),
    }
}

fn remedy(program: &OsStr, path: &OsStr, dir: &Path) -> String {
    let other = OTHER_NAMES.iter().filter(|(wanted, _)| program == *wanted).map(|(_, other)| *other);
    for other in other {
        if matches!(search(OsStr::new(other), path, dir), Ok(Some(_))) {
            return format!("There is `{other}`: write that instead");
        }
    }
    let local = dir.join(program);
    if local.is_file() {
        return format!("There is {}: write `./{}`", local.display(), program.to_string_lossy());
    }
    "Install it, add its folder to PATH, or write a path with a slash".into()
}

/// Why an existing, executable file could not be executed after all.
pub(super) fn explain_exec_failure(path: PathBuf, source: &io::Error) -> SpawnError {
    let (reason, remedy) = match source.kind() {
        // The file is there, so what is missing is what it asks for.
        io::ErrorKind::NotFound => match interpreter(&path) {
            Some(interpreter) => (
                format!("its first line asks for {interpreter}, which does not exist"),
                "Install that, or correct the `#!` line (mind Windows line ends)".to_owned(),
            ),
            None => (
                "its loader does not exist".to_owned(),
                "It was built for another system (another libc or processor); build it here".to_owned(),
            ),
        },
        io::ErrorKind::PermissionDenied => (
            source.to_string(),
            "Look at its run bit for this user, and whether its file system is mounted noexec".to_owned(),
        ),
        io::ErrorKind::ArgumentListTooLong => (
            "its arguments and environment together are too long".to_owned(),
            "Pass large values in a file or in the node's `with`".to_owned(),
        ),
        io::ErrorKind::ExecutableFileBusy => {
            ("it is open for writing".to_owned(), "Wait until its build has ended".to_owned())
        }
        _ if source.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => (
            "it is neither a program for this machine nor a script with a `#!` line".to_owned(),
            "Add a first line such as `#!/bin/sh`, or build it for this processor".to_owned(),
        ),
        _ => (source.to_string(), "See the system's error above".to_owned()),
    };
    SpawnError::NotExecutable { path, reason, remedy }
}

/// What the first line of a script names.
fn interpreter(path: &Path) -> Option<String> {
    use io::Read;

    let mut head = [0; 256];
    let length = fs::File::open(path).and_then(|mut file| file.read(&mut head)).ok()?;
    let line = head[..length].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(format!("`{}`", String::from_utf8_lossy(line).escape_debug().to_string().trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn look(program: &str, dir: &Path, path: &str) -> Result<PathBuf, String> {
        let env = Environment::default().with([("PATH", path)]);
        find(OsStr::new(program), dir, &env).map_err(|error| error.to_string())
    }

    #[test]
    fn a_slash_means_the_folder_and_none_means_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("bin")).unwrap();
        write(&root.join("bin/tool"), "#!/bin/sh\n", 0o755);
        assert_eq!(look("bin/tool", &root, "").unwrap(), root.join("bin/tool"));
        assert_eq!(look("tool", &root, root.join("bin").to_str().unwrap()).unwrap(), root.join("bin/tool"));
        assert_eq!(look("tool", &root, "/nowhere:bin").unwrap(), root.join("bin/tool"));
    }

    #[test]
    fn says_where_it_looked_and_what_helps() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        write(&root.join("plain"), "echo", 0o644);
        write(&root.join("python3"), "#!/bin/sh\n", 0o755);
        let here = root.to_str().unwrap();
        let error = look("bin/none", &root, "").unwrap_err();
        assert!(error.contains(&format!("no program `bin/none`: looked for {here}/bin/none.")), "{error}");
        let error = look("plain", &root, "").unwrap_err();
        assert!(error.contains("PATH, which is empty") && error.contains("write `./plain`"), "{error}");
        let error = look("./plain", &root, "").unwrap_err();
        assert!(error.contains("no run bit") && error.contains("chmod +x"), "{error}");
        let error = look("python", &root, here).unwrap_err();
        assert!(error.contains("There is `python3`"), "{error}");
        let error = look(".//", &root, here).unwrap_err();
        assert!(error.contains("it is a folder"), "{error}");
        let error = look("x", &root.join("plain"), here).unwrap_err();
        assert!(error.contains("cannot run in") && error.contains("`dir`"), "{error}");
        let error = look("", &root, here).unwrap_err();
        assert!(error.contains("no program ``"), "{error}");
    }
}
