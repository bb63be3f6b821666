//! The report for a person: a row for each area, then what is not as it should be.

use meshloom_conformance::{Finding, Outcome, Report};

use crate::{
    table::{self, Align},
    text,
};

/// Columns of a paragraph.
const WIDTH: usize = 100;

/// The whole report. `again`: the command that runs one check, up to its name.
pub(super) fn render(report: &Report, again: &str, colour: bool) -> String {
    let mut areas: Vec<(&str, Vec<&Finding>)> = Vec::new();
    for finding in &report.checks {
        match areas.iter_mut().find(|(area, _)| *area == finding.area) {
            Some((_, findings)) => findings.push(finding),
            None => areas.push((finding.area, vec![finding])),
        }
    }
    let header =
        [("area", Align::Left), ("passed", Align::Right), ("failed", Align::Right), ("not checked", Align::Right)];
    let row = |(area, findings): &(&str, Vec<&Finding>)| {
        let [passed, failed, not_checked] = counts(findings.iter().copied());
        vec![(*area).to_owned(), number(passed), number(failed), number(not_checked)]
    };
    let mut shown = format!("{} {} at {}\n\n", report.sdk.language, report.sdk.version, report.node);
    shown += &table::render(&header, areas.iter().map(row));
    for finding in &report.checks {
        if let Outcome::Failed { rule, paragraph, expected, got, said } = &finding.outcome {
            let mark = if colour { format!("\x1b[1;31m{}\x1b[0m", finding.name) } else { finding.name.to_owned() };
            shown += &format!("\n{mark} failed\n");
            shown += &field("expected", expected);
            shown += &field("got", got);
            shown += &field(rule, paragraph);
            if !said.is_empty() {
                shown += &field("the node", said);
            }
            shown += &format!("  again: {again} {}\n", finding.name);
        }
    }
    let open: Vec<_> = report.checks.iter().filter_map(not_checked).collect();
    if !open.is_empty() {
        shown += "\nnot checked\n";
        shown += &open.into_iter().map(|(name, reason)| format!("  {name}: {reason}\n")).collect::<String>();
    }
    let [passed, failed, not_checked] = counts(report.checks.iter());
    let rest = if not_checked == 0 { String::new() } else { format!(", {not_checked} not checked") };
    shown + &format!("\n{} passed, {failed} failed{rest}; seed {}\n", text::plural(passed, "check"), report.seed)
}

fn not_checked(finding: &Finding) -> Option<(&'static str, &str)> {
    match &finding.outcome {
        Outcome::NotChecked { reason } => Some((finding.name, reason)),
        _ => None,
    }
}

fn counts<'a>(findings: impl Iterator<Item = &'a Finding>) -> [u64; 3] {
    let mut counts = [0; 3];
    for finding in findings {
        let at = match finding.outcome {
            Outcome::Passed => 0,
            Outcome::Failed { .. } => 1,
            Outcome::NotChecked { .. } => 2,
        };
        counts[at] += 1;
    }
    counts
}

fn number(count: u64) -> String {
    if count == 0 { String::new() } else { text::count(count) }
}

/// A name and its text, which may have several lines.
fn field(name: &str, value: &str) -> String {
    let indent = " ".repeat(name.len() + 4);
    let lines = value.lines().flat_map(|line| wrap(line, WIDTH)).collect::<Vec<_>>();
    format!("  {name}: {}\n", lines.join(&format!("\n{indent}")))
}

/// Breaks a line between words.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.last_mut().expect("there is one from the start");
        if !last.is_empty() && last.len() + word.len() >= width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshloom_conformance::Level;

    use super::*;

    fn finding(name: &'static str, outcome: Outcome) -> Finding {
        let area = name.split('.').next().unwrap();
        Finding { name, area, level: Level::Core, rules: &["W2"], outcome, time: Duration::ZERO }
    }

    fn report() -> Report {
        let failed = Outcome::Failed {
            rule: "W2",
            paragraph: "Every input is closed exactly once.".into(),
            expected: "1 consumed".into(),
            got: "2 consumed".into(),
            said: String::new(),
        };
        let reason = "the kit must start the node itself: --run COMMAND".to_owned();
        let checks = vec![
            finding("work.map", Outcome::Passed),
            finding("work.filter", failed),
            finding("serve.drain", Outcome::NotChecked { reason }),
        ];
        Report {
            node: "127.0.0.1:1".into(),
            sdk: meshloom_conformance::Sdk { language: "go".into(), version: "0.1.0".into() },
            level: Level::Core,
            seed: 7,
            checks,
        }
    }

    #[test]
    fn a_report_explains_what_failed_and_lists_what_was_not_checked() {
        let shown = render(&report(), "meshloom conform 127.0.0.1:1 --seed 7 --check", false);
        let expected = "\
go 0.1.0 at 127.0.0.1:1

area   passed  failed  not checked
work        1       1
serve                            1

work.filter failed
  expected: 1 consumed
  got: 2 consumed
  W2: Every input is closed exactly once.
  again: meshloom conform 127.0.0.1:1 --seed 7 --check work.filter

not checked
  serve.drain: the kit must start the node itself: --run COMMAND

1 check passed, 1 failed, 1 not checked; seed 7
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn long_paragraphs_are_wrapped_below_their_name() {
        let text = field("W2", &"word ".repeat(40));
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.len() <= WIDTH + 8), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("      word"));
    }
}
