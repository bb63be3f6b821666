//! "Did you mean": the nearest of the known names.

/// A remedy that names the known name nearest to what was written, if one is near.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(written, known).map(|name| format!("did you mean `{name}`?"))
}

/// The known name nearest to what was written, if one is near: a third of its letters may differ.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    let most = (written.chars().count() / 3).max(1);
    let distance = |name: &str| strsim::osa_distance(&written, &name.to_lowercase());
    let near = known.into_iter().map(|name| (distance(name), name)).filter(|(distance, _)| *distance <= most);
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["replicas", "retry", "restart"];
        assert_eq!(did_you_mean("replica", known).as_deref(), Some("did you mean `replicas`?"));
        assert_eq!(did_you_mean("Retry", known).as_deref(), Some("did you mean `retry`?"));
        assert_eq!(did_you_mean("form", ["format", "from"]).as_deref(), Some("did you mean `from`?"));
        assert_eq!(did_you_mean("xyz", known), None);
        assert_eq!(did_you_mean("retry", []), None);
    }
}
