//! The rules of the protocol, as its document has them.

/// The document, as it was when the kit was built.
const DOCUMENT: &str = include_str!("../../../proto/README.md");

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// As `W2`.
    pub number: &'static str,
    /// Its paragraph, on one line and without the number.
    pub text: String,
    /// Why no check of a node can show it, if so.
    pub excepted: Option<String>,
}

/// All of them, in order.
#[must_use]
pub fn all() -> Vec<Rule> {
    let paragraphs = DOCUMENT.split("\n\n").filter_map(|paragraph| paragraph.strip_prefix("**"));
    let numbered = paragraphs.filter_map(|paragraph| paragraph.split_once(".**"));
    numbered.filter(|(number, _)| is_number(number)).map(|(number, text)| rule(number, text)).collect()
}

/// One of them.
#[must_use]
pub fn find(number: &str) -> Option<Rule> {
    all().into_iter().find(|rule| rule.number == number)
}

fn is_number(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|letter| letter.is_ascii_uppercase())
        && !chars.as_str().is_empty()
        && chars.all(|digit| digit.is_ascii_digit())
}

fn rule(number: &'static str, text: &str) -> Rule {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let excepted = text.rsplit_once('[').filter(|(_, note)| note.ends_with(']') && !note.contains("]("));
    let excepted = excepted.map(|(_, note)| note.trim_end_matches(']').to_owned());
    Rule { number, text, excepted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_read_once() {
        let rules = all();
        let bold = DOCUMENT.lines().filter_map(|line| line.strip_prefix("**")?.split_once(".**"));
        let numbers: Vec<_> = bold.map(|(number, _)| number).filter(|number| is_number(number)).collect();
        assert_eq!(rules.iter().map(|rule| rule.number).collect::<Vec<_>>(), numbers);
        assert!(rules.len() > 60, "{}", rules.len());
        let distinct: std::collections::BTreeSet<_> = numbers.iter().collect();
        assert_eq!(distinct.len(), numbers.len());
    }

    #[test]
    fn a_rule_has_its_paragraph_and_its_exception() {
        let rule = find("W18").unwrap();
        assert_eq!(rule.text, "`busy` on `last` is the time spent in handlers for the work, summed over its calls.");
        assert_eq!(rule.excepted, None);
        assert_eq!(find("T6").unwrap().excepted.unwrap(), "not checkable: it is speed, not behaviour");
        assert_eq!(find("O4").unwrap().excepted, None, "brackets within the text are none");
        assert_eq!(find("Z9"), None);
    }
}
