//! When a sink's file is moved aside, and under which name.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use meshloom_config::connector::Rotate;

/// Whether the file is to be moved aside before `more` bytes are added.
pub(super) fn is_due(rotate: &Rotate, size: u64, age: Duration, more: u64) -> bool {
    // An empty file is never moved: a single write larger than the limit goes into a file of its own.
    size > 0
        && (rotate.bytes.is_some_and(|limit| size + more > limit) || rotate.every.is_some_and(|limit| age >= limit))
}

/// Moves the file aside: `events.ndjson` becomes `events.20260131T235959.123Z.ndjson`.
pub(super) fn move_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let stamp = DateTime::<Utc>::from(now).format("%Y%m%dT%H%M%S%.3fZ").to_string();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    for number in 1.. {
        let again = if number == 1 { String::new() } else { format!("-{number}") };
        let aside = path.with_file_name(format!("{stem}.{stamp}{again}{extension}"));
        // Nobody but this sink makes such names, so nobody takes it between the two steps.
        if !aside.try_exists()? {
            std::fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::other("no free name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_due_before_it_would_grow_past_its_size_or_when_it_is_old() {
        let hour = Duration::from_secs(3600);
        let rotate = Rotate { bytes: Some(100), every: Some(hour) };
        assert!(!is_due(&rotate, 50, Duration::ZERO, 50));
        assert!(is_due(&rotate, 50, Duration::ZERO, 51));
        assert!(!is_due(&rotate, 0, hour, 500));
        assert!(is_due(&rotate, 1, hour, 0));
        assert!(!is_due(&Rotate { bytes: None, every: None }, 1, hour, u64::MAX - 1));
    }

    #[test]
    fn files_moved_at_the_same_time_keep_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let moved: Vec<_> = ["a", "b"]
            .map(|text| {
                std::fs::write(&path, text).unwrap();
                move_aside(&path, now).unwrap().file_name().unwrap().to_string_lossy().into_owned()
            })
            .into();
        assert_eq!(moved, ["events.19700101T000001.500Z.ndjson", "events.19700101T000001.500Z-2.ndjson"]);
        assert!(!path.exists());
    }
}
