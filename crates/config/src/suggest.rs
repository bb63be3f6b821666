//! "Did you mean": the nearest of the known names.

/// A remedy that names the known name nearest to what was written, if one is near.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(written, known).map(|name| format!("did you mean `{name}`?"))
}

/// The known name nearest to what was written, if one is near.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(&written.to_lowercase(), &name.to_lowercase()), name));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 > 0.8).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["replicas", "retry", "restart"];
        assert_eq!(did_you_mean("replica", known).as_deref(), Some("did you mean `replicas`?"));
        assert_eq!(did_you_mean("Retry", known).as_deref(), Some("did you mean `retry`?"));
        assert_eq!(did_you_mean("xyz", known), None);
        assert_eq!(did_you_mean("retry", []), None);
    }
}
