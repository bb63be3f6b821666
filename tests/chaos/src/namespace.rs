//! A round in a user and mount namespace of its own, where whoever runs it may mount a file system of a few MiB.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{
    plan::Plan,
    round::{Failed, Outcome},
};

/// Exit status of a round that went wrong.
pub const WRONG: u8 = 3;
/// Exit status of a round that could not begin, since the mount was refused.
pub const REFUSED: u8 = 77;

/// Size of the file system: room for what a round keeps, and soon filled.
const SIZE: &str = "size=16m";
/// Written at a time to fill it.
static CHUNK: [u8; 1 << 16] = [0; 1 << 16];

/// Runs a plan in namespaces of its own: this program again, as `chaos tmpfs SEED FAULTS`.
///
/// # Errors
/// The round went wrong. That the kernel refuses is none: [`Outcome::refused`] says so.
pub fn run(plan: &Plan, chaos: &Path) -> Result<Outcome, Failed> {
    let began = Instant::now();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]).arg(chaos);
    command.args(["tmpfs".to_owned(), plan.seed.to_string(), plan.steps.len().to_string()]);
    let refused = |why: String| Ok(Outcome { refused: Some(why), ..Outcome::default() });
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return refused(format!("unshare cannot be run: {error}")),
    };
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = out.lines().last().unwrap_or_default();
    match output.status.code() {
        Some(0) => Ok(Outcome { took: began.elapsed(), ..read(last) }),
        // 1 is what `unshare` ends with when it is not allowed to.
        Some(1) => refused(log.trim().to_owned()),
        Some(code) if code == i32::from(REFUSED) => refused(log.trim().to_owned()),
        _ => Err(Failed {
            wrong: vec![format!("the round in a namespace ended with {}", output.status)],
            done: 0,
            folder: PathBuf::from("tmpfs"),
            logs: format!("{out}{log}"),
        }),
    }
}

/// An outcome as one line, for whoever started this program.
pub fn write(outcome: &Outcome) -> String {
    format!("{} {}", outcome.faults, outcome.runs)
}

fn read(line: &str) -> Outcome {
    let mut numbers = line.split(' ').map(|word| word.parse().unwrap_or_else(|_| panic!("no outcome: {line:?}")));
    let mut next = || numbers.next().unwrap_or_else(|| panic!("half an outcome: {line:?}"));
    Outcome { faults: next(), runs: next(), ..Outcome::default() }
}

/// A file system in memory, until it is dropped.
pub struct Tmpfs {
    folder: PathBuf,
}

impl Tmpfs {
    /// Mounts it on a folder that is made.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn mount(folder: PathBuf) -> Result<Self, String> {
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let words = ["-t", "tmpfs", "-o", SIZE, "chaos"].map(OsStr::new);
        let output = Command::new("mount").args(words).arg(&folder).output();
        let output = output.map_err(|error| format!("mount cannot be run: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self { folder })
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Leaves no room.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file");
        let error = loop {
            if let Err(error) = file.write_all(&CHUNK) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }

    /// Gives the room back.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("the file was there");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Whoever still has a file open keeps it alive; the folder is free at once.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

/// What to say of a round that was not run.
pub fn told(outcome: &Outcome) -> Option<String> {
    let why = outcome.refused.as_ref()?;
    Some(format!("the round on a full tmpfs was NOT run, since the system does not let us mount one: {why}"))
}
