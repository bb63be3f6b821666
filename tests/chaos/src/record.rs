//! The program behind `out`: a batch on standard input becomes lines of a file, on the disk when it ends.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Pause between looks at the gate.
const LOOK: Duration = Duration::from_millis(3);

/// Waits until the gate lets more lines in than `out` has, then appends those of standard input.
///
/// # Errors
/// What the system said; nothing whole was appended that is not acknowledged later.
pub fn main(out: &Path, gate: &Path) -> io::Result<()> {
    // What the coordinator is forbidden for a while is not meant for its sink.
    let hard = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: hard, maximum: hard })?;
    let mut lines = Vec::new();
    io::stdin().read_to_end(&mut lines)?;
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(out)?;
    let mut recorded = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut recorded)?;
    let count = recorded.iter().filter(|byte| **byte == b'\n').count() as u64;
    while fs::read_to_string(gate)?.trim().parse::<u64>().map_err(io::Error::other)? <= count {
        thread::sleep(LOOK);
    }
    // What an earlier process was killed over must not run into the next line.
    if recorded.last().is_some_and(|last| *last != b'\n') {
        lines.insert(0, b'\n');
    }
    file.write_all(&lines)?;
    file.sync_data()
}
