//! One span as one line.

use super::{
    Note, push_line,
    style::{Style, clean, duration, fit},
    tree::Row,
};
use crate::{Service, Status, names};

const LEAST_WIDTH: usize = 60;
const LEAST_BAR: usize = 12;
/// Columns of a time such as `12.3 ms`.
const TIME: usize = 8;

/// Widths and the time axis that all lines share.
pub(super) struct Layout {
    services: Vec<Service>,
    prefix: String,
    service: usize,
    name: usize,
    bar: usize,
    width: usize,
    start: u64,
    span: u64,
}

impl Layout {
    pub(super) fn new(rows: &[Row<'_>], width: usize) -> Self {
        let width = width.max(LEAST_WIDTH);
        let mut services: Vec<Service> = Vec::new();
        for row in rows {
            if !services.contains(&row.span.service) {
                services.push((*row.span.service).clone());
            }
        }
        let prefix = common_pipeline(&services);
        let start = rows.iter().map(|row| row.start).min().unwrap_or(0);
        let end = rows.iter().map(|row| row.end).max().unwrap_or(0);
        let mut layout =
            Self { services, prefix, service: 0, name: 0, bar: 0, width, start, span: (end - start).max(1) };
        let columns = |text: &str| fit(text, 0).len().max(unicode_width::UnicodeWidthStr::width(text));
        let widest = |texts: Vec<String>| texts.iter().map(|text| columns(text)).max().unwrap_or(0);
        // Gaps: three of two columns, one between queue and time.
        let room = width - LEAST_BAR - 2 * TIME - 7;
        layout.service = widest(layout.services.iter().map(|service| layout.label(service)).collect()).min(room / 3);
        let names = rows.iter().map(|row| format!("{}{}", row.branch, clean(&row.span.name))).collect();
        layout.name = widest(names).min(room - layout.service);
        layout.bar = LEAST_BAR + room - layout.service - layout.name;
        layout
    }

    pub(super) fn span(&self, text: &mut String, row: &Row<'_>, style: Style) {
        let number = self.services.iter().position(|service| *service == *row.span.service).unwrap_or(0);
        let service = style.service(number, &fit(&self.label(&row.span.service), self.service));
        let name = fit(&format!("{}{}", row.branch, clean(&row.span.name)), self.name);
        let failed = matches!(row.span.status, Status::Error(_));
        let bar = self.bar(row);
        let bar = if failed { style.red(&bar) } else { style.service(number, &bar) };
        let queue = row.dispatched().map(|at| duration(at - row.start)).unwrap_or_default();
        let time = duration(row.end - row.start);
        let line = format!(
            "{service}  {name}  {bar}  {} {}",
            style.dim(&format!("{queue:>TIME$}")),
            format_args!("{time:>TIME$}")
        );
        push_line(text, &line);
    }

    pub(super) fn note(&self, text: &mut String, row: &Row<'_>, note: &Note, style: Style) {
        let before = format!("{}  {}", " ".repeat(self.service), row.below);
        let room = self.width.saturating_sub(unicode_width::UnicodeWidthStr::width(before.as_str()) + 4).max(20);
        let shown = |mark: &str, words: &str| format!("  {mark} {}", fit(words, room).trim_end());
        let note = match note {
            Note::Error(words) => style.red(&shown("✗", words)),
            Note::Event(words) => style.dim(&shown("•", words)),
            Note::Link(words) => style.dim(&shown("⇢", words)),
            Note::Odd(words) => style.dim(&shown("!", words)),
        };
        push_line(text, &format!("{before}{note}"));
    }

    fn bar(&self, row: &Row<'_>) -> String {
        let column = |time: u64| {
            let place = u128::from(time - self.start) * self.bar as u128 / u128::from(self.span);
            usize::try_from(place).unwrap_or(self.bar).min(self.bar)
        };
        let from = column(row.start).min(self.bar - 1);
        let until = column(row.end).max(from + 1);
        let dispatched = row.dispatched().map_or(from, |at| column(at).clamp(from, until));
        // A span that did more than wait shows so, however little.
        let dispatched = if dispatched == until { until - 1 } else { dispatched };
        [" ".repeat(from), "░".repeat(dispatched - from), "█".repeat(until - dispatched), " ".repeat(self.bar - until)]
            .concat()
    }

    /// The node, and the replica unless it is the coordinator that speaks.
    fn label(&self, service: &Service) -> String {
        let name = service.name.strip_prefix(&self.prefix).unwrap_or(&service.name);
        match service.instance.as_str() {
            "" | names::COORDINATOR => clean(name),
            instance => clean(&format!("{name}[{instance}]")),
        }
    }
}

/// `PIPELINE/` if every service is of that one pipeline.
fn common_pipeline(services: &[Service]) -> String {
    let pipeline = |service: &Service| service.name.split_once('/').map(|(pipeline, _)| format!("{pipeline}/"));
    let first = services.first().and_then(pipeline);
    first.filter(|first| services.iter().all(|service| pipeline(service).as_ref() == Some(first))).unwrap_or_default()
}
