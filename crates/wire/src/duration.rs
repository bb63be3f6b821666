//! Durations of the wire.

use std::time::Duration;

use crate::WireError;

/// A duration that may be absent; it must not be negative.
pub(crate) fn decode(
    field: &'static str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>, WireError> {
    let Some(duration) = duration else {
        return Ok(None);
    };
    match (u64::try_from(duration.seconds), u32::try_from(duration.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Some(Duration::new(seconds, nanos))),
        _ => Err(WireError::Duration { field, seconds: duration.seconds, nanos: duration.nanos }),
    }
}

/// Longer than 10,000 years becomes the longest that the wire can say.
pub(crate) fn encode(duration: Duration) -> prost_types::Duration {
    const LONGEST_SECONDS: i64 = 315_576_000_000;
    match i64::try_from(duration.as_secs()) {
        Ok(seconds) if seconds < LONGEST_SECONDS => {
            let nanos = i32::try_from(duration.subsec_nanos()).expect("less than a second");
            prost_types::Duration { seconds, nanos }
        }
        _ => prost_types::Duration { seconds: LONGEST_SECONDS, nanos: 0 },
    }
}
