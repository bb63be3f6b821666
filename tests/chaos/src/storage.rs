//! Trouble with the storage, made up while a coordinator runs: what a round writes into a file, and how the program
//! `meshloom-faulty`, which is `meshloom` but for what its state is written through, follows it.
//!
//! The file has one line, `NUMBER` or `NUMBER PLACE TROUBLE`, and is there over restarts, as a full disk is. Beside it the
//! program writes `NUMBER CALLS`: how many calls have met the trouble of that number so far.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use meshloom_journal::storage::{self, Call, Disk, Faults, Folders, Lasting, Storage};

/// The variable that names the file to `meshloom-faulty`.
pub const VARIABLE: &str = "CHAOS_STORAGE";

/// Pause between looks at the file.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes that a disk has room for when it is about to be full: the next write is a short one.
const ROOM: u64 = 10;
/// Bytes of a short write, at most.
const SHORT: usize = 7;
/// How long a write or a sync of a slow disk takes.
const SLOW: Duration = Duration::from_millis(20);

/// What of the state is in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The accepted events of sources that cannot replay.
    Journal,
    /// The positions of the others.
    Checkpoints,
    /// The dead letters.
    Letters,
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// ENOSPC, after a write that is short.
    Full,
    /// EIO from every write.
    Broken,
    /// EIO from every sync, and what was to be synced is gone.
    Unsynced,
    /// EIO from every change of a name.
    Nameless,
    /// Writes take a few bytes at a time.
    Short,
    /// Writes and syncs take their time.
    Slow,
}

impl Place {
    const ALL: [Self; 3] = [Self::Journal, Self::Checkpoints, Self::Letters];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Checkpoints => "checkpoints",
            Self::Letters => "letters",
        }
    }

    /// What a folder of the state holds.
    fn of(folder: &Path) -> Self {
        let name = folder.file_name().unwrap_or_default();
        // The letters are in the state directory itself.
        Self::ALL.into_iter().find(|place| name == place.name()).unwrap_or(Self::Letters)
    }
}

impl Trouble {
    const ALL: [Self; 6] = [Self::Full, Self::Broken, Self::Unsynced, Self::Nameless, Self::Short, Self::Slow];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Broken => "broken",
            Self::Unsynced => "unsynced",
            Self::Nameless => "nameless",
            Self::Short => "short",
            Self::Slow => "slow",
        }
    }

    /// Whether nothing can be made durable while it lasts.
    pub fn refuses(self) -> bool {
        !matches!(self, Self::Short | Self::Slow)
    }

    fn lasting(self) -> Lasting {
        let failing = |calls: &[Call]| Lasting {
            failing: calls.iter().map(|call| (*call, storage::Trouble::Io)).collect(),
            ..Lasting::default()
        };
        match self {
            Self::Full => Lasting { room: Some(ROOM), ..Lasting::default() },
            Self::Broken => failing(&[Call::Write]),
            Self::Unsynced => failing(&[Call::Sync]),
            Self::Nameless => failing(&[Call::Rename, Call::SyncFolder]),
            Self::Short => Lasting { max_write: Some(SHORT), ..Lasting::default() },
            Self::Slow => Lasting { delay: SLOW, ..Lasting::default() },
        }
    }
}

fn answer(control: &Path) -> PathBuf {
    control.with_extension("struck")
}

/// Replaces a small file, so that nobody reads half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text)?;
    fs::rename(fresh, path)
}

/// The round's end of it.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    number: u64,
}

impl Control {
    /// Without trouble.
    pub fn new(path: PathBuf) -> Self {
        Self { path, number: 0 }
    }

    /// What is wrong from now on.
    pub fn set(&mut self, trouble: Option<(Place, Trouble)>) {
        self.number += 1;
        let words = trouble.map(|(place, trouble)| format!(" {} {}", place.name(), trouble.name()));
        replace(&self.path, &format!("{}{}", self.number, words.unwrap_or_default())).unwrap();
    }

    /// How many calls have met it so far.
    pub fn struck(&self) -> u64 {
        let text = fs::read_to_string(answer(&self.path)).unwrap_or_default();
        let told = text.split_once(' ').filter(|(number, _)| *number == self.number.to_string());
        told.map_or(0, |(_, calls)| calls.parse().expect("a number of calls"))
    }
}

/// The folders of `meshloom-faulty`.
#[derive(Debug, Default)]
pub struct Steered {
    plans: OnceLock<Plans>,
}

/// In the order of [`Place::ALL`].
type Plans = [Faults<()>; 3];

impl Folders for Steered {
    fn folder(&self, path: &Path) -> io::Result<Arc<dyn Storage>> {
        // Not before it is needed: a guard must not start a thread.
        let plans = self.plans.get_or_init(follow);
        Ok(Arc::new(plans[Place::of(path) as usize].over(Disk::new(path)?)))
    }
}

/// Follows the file from now on; what it says now is in force when this returns.
fn follow() -> Plans {
    let control = env::var_os(VARIABLE).unwrap_or_else(|| panic!("{VARIABLE} does not name a file")).into();
    let plans = Plans::default();
    let mut follower = Follower { control, plans: plans.clone(), text: String::new(), before: 0, told: None };
    follower.look();
    thread::spawn(move || {
        loop {
            thread::sleep(LOOK);
            follower.look();
        }
    });
    plans
}

struct Follower {
    control: PathBuf,
    plans: Plans,
    text: String,
    /// Calls that met earlier trouble.
    before: u64,
    told: Option<u64>,
}

impl Follower {
    fn look(&mut self) {
        let text = match fs::read_to_string(&self.control) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            text => text.unwrap_or_else(|error| panic!("{}: {error}", self.control.display())),
        };
        let struck: u64 = self.plans.iter().map(Faults::struck).sum();
        if text != self.text {
            let words: Vec<&str> = text.split(' ').collect();
            let trouble = words.get(2).and_then(|name| Trouble::ALL.into_iter().find(|it| it.name() == *name));
            for (place, plan) in Place::ALL.into_iter().zip(&self.plans) {
                let here = trouble.filter(|_| words.get(1) == Some(&place.name()));
                plan.last(here.map(Trouble::lasting).unwrap_or_default());
            }
            (self.text, self.before, self.told) = (text, struck, None);
        }
        let calls = struck - self.before;
        if self.told != Some(calls) {
            let number = self.text.split(' ').next().unwrap_or_default();
            // A folder that is gone belongs to a round that is over.
            if replace(&answer(&self.control), &format!("{number} {calls}")).is_ok() {
                self.told = Some(calls);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(storage: &Arc<dyn Storage>) -> io::Result<usize> {
        storage.create("f")?.write_at(b"more than seven", 0)
    }

    #[test]
    fn trouble_comes_and_goes_where_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("storage");
        let plans = Plans::default();
        let at = |place: Place| {
            let disk = folder.path().join(place.name());
            Arc::new(plans[place as usize].over(Disk::new(&disk).unwrap())) as Arc<dyn Storage>
        };
        let (journal, letters) = (at(Place::Journal), at(Place::Letters));
        let mut follower =
            Follower { control: path.clone(), plans: plans.clone(), text: String::new(), before: 0, told: None };
        let mut control = Control::new(path);
        follower.look();
        assert_eq!(write(&journal).unwrap(), 15);
        control.set(Some((Place::Journal, Trouble::Broken)));
        assert_eq!(control.struck(), 0);
        follower.look();
        assert!(write(&journal).is_err() && write(&letters).is_ok());
        follower.look();
        assert_eq!(control.struck(), 1);
        control.set(Some((Place::Letters, Trouble::Short)));
        follower.look();
        assert_eq!((write(&journal).unwrap(), write(&letters).unwrap()), (15, SHORT));
        follower.look();
        assert_eq!(control.struck(), 1);
        control.set(None);
        follower.look();
        assert_eq!((write(&letters).unwrap(), control.struck()), (15, 0));
    }

    #[test]
    fn a_folder_is_known_by_its_name() {
        let place = |path: &str| Place::of(Path::new(path));
        assert_eq!(place("state/journal"), Place::Journal);
        assert_eq!(place("state/checkpoints"), Place::Checkpoints);
        assert_eq!(place("somewhere/state"), Place::Letters);
    }
}
