//! Times, sizes and rates: numbers with their unit.

use std::{ops::RangeInclusive, time::Duration};

use super::{refuse, values::scalar};
use crate::{
    diagnostic::{Report, codes},
    spec::Rate,
    yaml::Node,
};

const TIMES: [(&str, f64); 7] =
    [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)];
const SIZES: [(&str, f64); 9] = [
    ("B", 1.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1048576.0),
    ("GiB", 1073741824.0),
    ("TiB", 1099511627776.0),
];

/// A time such as `10s` in a range.
pub(crate) fn duration(node: &Node, range: RangeInclusive<Duration>, report: &mut Report) -> Option<Duration> {
    let seconds = quantity(node, &TIMES, "a time such as `10s` or `50ms`", report)?;
    match Duration::try_from_secs_f64(seconds).ok().filter(|time| range.contains(time)) {
        Some(time) => Some(time),
        None => {
            let message = format!("the time is not between {:?} and {}", range.start(), longest(*range.end()));
            refuse(&codes::OUT_OF_RANGE, node, message, "choose a time in that range", report)
        }
    }
}

/// The end of a range of times, for people.
fn longest(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 86400 => format!("{}d", seconds / 86400),
        seconds if seconds >= 3600 => format!("{}h", seconds / 3600),
        _ => format!("{time:?}"),
    }
}

/// A size such as `64MiB` in a range.
pub(crate) fn bytes(node: &Node, range: RangeInclusive<u64>, report: &mut Report) -> Option<u64> {
    let size = quantity(node, &SIZES, "a size such as `64MiB`", report)?;
    let whole = (size <= u64::MAX as f64).then_some(size.round() as u64);
    match whole.filter(|size| range.contains(size)) {
        Some(size) => Some(size),
        None => {
            let message =
                format!("the size is not between {} and {}", size_text(*range.start()), size_text(*range.end()));
            refuse(&codes::OUT_OF_RANGE, node, message, "choose a size in that range", report)
        }
    }
}

/// A size for people: the largest binary unit that divides it.
pub(crate) fn size_text(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| format!("{bytes}B"), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// A rate such as `1/s`.
pub(crate) fn rate(node: &Node, report: &mut Report) -> Option<Rate> {
    let needed = "a rate such as `1/s` or `100/m`";
    let written = &scalar(node, needed, report)?.text;
    let parsed = written.split_once('/').and_then(|(count, per)| {
        let count = count.trim().parse::<f64>().ok().filter(|count| count.is_finite() && *count > 0.0)?;
        let seconds = TIMES.iter().filter(|(_, seconds)| *seconds >= 1.0).find(|(unit, _)| *unit == per.trim())?.1;
        Some(Rate { count, per: Duration::from_secs_f64(seconds) })
    });
    match parsed {
        Some(rate) => Some(rate),
        None => {
            let message = format!("`{written}` is not {needed}");
            refuse(&codes::BAD_UNIT, node, message, "write how many, `/`, and one of s, m, h, d", report)
        }
    }
}

/// A number with one of the units, in the base unit.
fn quantity(node: &Node, units: &[(&str, f64)], needed: &str, report: &mut Report) -> Option<f64> {
    let written = scalar(node, needed, report)?.text.trim();
    let split = written.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(written.len());
    let (number, unit) = (written[..split].parse::<f64>().ok(), written[split..].trim_start());
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let known = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    match (number, factor) {
        (Some(number), Some(factor)) => Some(number * factor),
        (Some(number), None) if unit.is_empty() && number == 0.0 => Some(0.0),
        (Some(_), None) if unit.is_empty() => {
            let message = format!("`{written}` has no unit; expected {needed}");
            refuse(&codes::BAD_UNIT, node, message, format!("add one of the units {}", known()), report)
        }
        (Some(_), None) => {
            let message = format!("`{unit}` is not a unit here; expected {needed}");
            refuse(&codes::BAD_UNIT, node, message, format!("use one of the units {}", known()), report)
        }
        (None, _) => {
            let message = format!("expected {needed}, found {}", node.describe());
            refuse(&codes::BAD_UNIT, node, message, format!("write a number and one of the units {}", known()), report)
        }
    }
}
