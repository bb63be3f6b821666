//! Sizes on the command line.

/// Reads a size with its unit, such as `64MiB`.
pub(crate) fn parse(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err("write a whole number and its unit, B, KiB, MiB or GiB, for instance `64MiB`".to_owned()),
    };
    let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("`{text}` is no size that memory can have"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(["0B", "2KiB", "64MiB", "1GiB"].map(parse), [Ok(0), Ok(2 << 10), Ok(64 << 20), Ok(1 << 30)]);
        for bad in ["64", "64 MiB", "MiB", "64MB", "-1MiB", "99999999999999999999B", "99999999999GiB"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
