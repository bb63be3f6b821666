//! Numbers for people.

use std::time::Duration;

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second, with a decimal where it matters.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 { format!("{per_second:.1}") } else { count(per_second.round() as u64) }
}

/// `1 node`, `2 nodes`.
pub(crate) fn plural(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A time in the unit that fits, with three digits.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (value, unit) = match seconds {
        _ if duration.is_zero() => return "0 s".to_owned(),
        seconds if seconds < 0.999_5e-6 => (seconds * 1e9, "ns"),
        seconds if seconds < 0.999_5e-3 => (seconds * 1e6, "µs"),
        seconds if seconds < 0.999_5 => (seconds * 1e3, "ms"),
        seconds if seconds < 99.95 => (seconds, "s"),
        _ => return long_time(duration.as_secs()),
    };
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

/// A time per event, which is not measured closer than a microsecond.
pub(crate) fn handler_time(duration: Duration) -> String {
    if duration < Duration::from_micros(1) { "<1 µs".to_owned() } else { time(duration) }
}

/// Whole seconds, for a clock that runs.
pub(crate) fn clock(duration: Duration) -> String {
    long_time(duration.as_secs())
}

/// `1 h 02 min 03 s`, `2 min 03 s`, `3 s`.
fn long_time(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 if minutes == 0 => format!("{seconds} s"),
        0 => format!("{minutes} min {seconds:02} s"),
        _ => format!("{hours} h {minutes:02} min {seconds:02} s"),
    }
}

/// Bytes with a binary unit.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A command line argument, quoted where a shell would need it.
pub(crate) fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '=' | ':' | ',' | '@' | '+');
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 12_345, 1_234_567].map(count),
            ["0", "999", "1,000", "12,345", "1,234,567"].map(String::from)
        );
        assert_eq!([0.0, 0.25, 9.94, 9.96, 1234.5].map(rate), ["0", "0.2", "9.9", "10", "1,235"].map(String::from));
        assert_eq!([plural(1, "node"), plural(2000, "node")], ["1 node", "2,000 nodes"].map(String::from));
    }

    #[test]
    fn times_have_three_digits() {
        let cases = [
            (0, "0 s"),
            (950, "950 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (999_900, "1.00 ms"),
            (123_456_789, "123 ms"),
            (3_210_000_000, "3.21 s"),
            (99_900_000_000, "99.9 s"),
            (123_000_000_000, "2 min 03 s"),
            (3_723_000_000_000, "1 h 02 min 03 s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(time(Duration::from_nanos(nanos)), text);
        }
        assert_eq!(
            [59_900, 61_000].map(|ms| clock(Duration::from_millis(ms))),
            ["59 s", "1 min 01 s"].map(String::from)
        );
        assert_eq!(handler_time(Duration::from_nanos(20)), "<1 µs");
        assert_eq!(handler_time(Duration::from_micros(20)), "20.0 µs");
    }

    #[test]
    fn bytes_have_binary_units() {
        assert_eq!(
            [0, 1023, 1024, 12 << 20, 3 << 29].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "12 MiB", "1.5 GiB"].map(String::from)
        );
    }

    #[test]
    fn arguments_are_quoted_for_a_shell() {
        assert_eq!(quoted("a/b-c.yaml"), "a/b-c.yaml");
        assert_eq!(quoted("it's here"), "'it'\\''s here'");
        assert_eq!(quoted(""), "''");
    }
}
