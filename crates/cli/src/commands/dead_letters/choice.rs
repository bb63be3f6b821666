//! Which dead letters a command is about, as its flags say it.

use std::time::SystemTime;

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, NaiveTime};
use meshloom_coordinator::LetterFilter;
use meshloom_core::ids::Uid;

/// Flags that choose letters; without any of them all are meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Choice {
    /// Only those of this node
    #[arg(long)]
    node: Option<String>,
    /// Only those with this reason, a code such as TIMEOUT
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only those of this event
    #[arg(long, value_parser = parse_uid)]
    uid: Option<Uid>,
    /// Only those from this time on: how long ago (`90m`, `2d 4h`), or a time (`2026-01-31`, `2026-01-31 12:00`)
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,
    /// Only those from before this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    before: Option<u64>,
}

impl Choice {
    pub(super) fn filter(&self) -> LetterFilter {
        LetterFilter {
            node: self.node.clone(),
            reason: self.reason.clone(),
            uid: self.uid,
            since: self.since,
            before: self.before,
        }
    }
}

/// A uid, with or without dashes.
pub(super) fn parse_uid(written: &str) -> Result<Uid, String> {
    let refused = "a uid has 32 hexadecimal digits, as `meshloom dead-letters list` shows it";
    written.replace('-', "").parse().map_err(|_| refused.to_owned())
}

/// Unix time in nanoseconds of a moment in the past, relative to now or in local time.
fn parse_moment(written: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if let Ok(ago) = humantime::parse_duration(written) {
        return Ok(u64::try_from(now.saturating_sub(ago).as_nanos()).unwrap_or(u64::MAX));
    }
    let refused = || {
        format!(
            "`{written}` is no time; write how long ago (`90m`, `2d 4h`), a local time (`2026-01-31`, `2026-01-31 12:00`, `2026-01-31 12:00:30`), or RFC 3339"
        )
    };
    let moment = absolute(written).ok_or_else(refused)?;
    moment.timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok()).ok_or_else(refused)
}

fn absolute(written: &str) -> Option<DateTime<Local>> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(written) {
        return Some(moment.into());
    }
    let of_form = |form: &str| NaiveDateTime::parse_from_str(written, form).ok();
    let day = || Some(NaiveDate::parse_from_str(written, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN));
    let local = of_form("%Y-%m-%d %H:%M:%S").or_else(|| of_form("%Y-%m-%d %H:%M")).or_else(day)?;
    // Of an hour that comes twice the first is meant.
    local.and_local_timezone(Local).earliest()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn a_time_is_how_long_ago_or_a_date() {
        let now = || parse_moment("0s").unwrap();
        let ago = now().abs_diff(parse_moment("2h").unwrap());
        assert!(ago.abs_diff(2 * HOUR) < HOUR / 60, "{ago}");
        assert_eq!(parse_moment("1970-01-01T01:00:00Z").unwrap(), HOUR);
        assert_eq!(parse_moment("2026-01-31T12:00:00.000000001+02:00").unwrap() % 1_000_000_000, 1);
        let [day, noon, later] =
            ["2026-01-31", "2026-01-31 12:00", "2026-01-31 12:00:30"].map(|time| parse_moment(time).unwrap());
        assert_eq!((noon - day, later - noon), (12 * HOUR, 30_000_000_000));
        for wrong in ["yesterday", "2026-13-01", "", "1960-01-01", "-5m"] {
            assert!(parse_moment(wrong).unwrap_err().contains("how long ago"), "{wrong}");
        }
    }

    #[test]
    fn uids_are_read_with_and_without_dashes() {
        assert_eq!(parse_uid("000102030405060708090a0b0c0d0e0f"), parse_uid("00010203-0405-0607-0809-0a0b0c0d0e0f"));
        assert!(parse_uid("0001").unwrap_err().contains("32 hexadecimal digits"));
    }
}
