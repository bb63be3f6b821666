//! The table and the JSON beside it.

use serde::Serialize;

use crate::{cases::Case, machine::Machine, measured::Measured};

/// A row's runs, in pairs of reference and Meshloom.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: &'static str,
    target: f64,
    /// Median of the pairs' ratios.
    ratio: f64,
    /// Whether that is the target or more.
    reached: bool,
    ratios: Vec<f64>,
    reference: Vec<Measured>,
    meshloom: Vec<Measured>,
    /// One minute's load average during the row.
    load: f64,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    pub(crate) fn new(case: &Case, pairs: Vec<(Measured, Measured)>, load: f64) -> Self {
        let ratio =
            |(reference, meshloom): &(Measured, Measured)| meshloom.events_per_second / reference.events_per_second;
        let ratios: Vec<f64> = pairs.iter().map(ratio).collect();
        let (reference, meshloom) = pairs.into_iter().unzip();
        let (target, ratio) = (case.target, median(&ratios));
        Self { name: case.name, target, ratio, reached: ratio >= target, ratios, reference, meshloom, load }
    }

    /// A line of the table.
    pub(crate) fn line(&self) -> String {
        let of = |runs: &[Measured], what: fn(&Measured) -> f64| runs.iter().map(what).collect::<Vec<f64>>();
        let speed = |runs| spread(&of(runs, |run| run.events_per_second / 1e6));
        let cpu = |runs, what| median(&of(runs, what));
        let last = self.meshloom.last();
        format!(
            "{:<16} {:>22} {:>22}  {:<18} {:>6}  {:>6} x {:<3} {:>4.0}+{:<4.0} {:>5.0}+{:<4.0} {}",
            self.name,
            speed(&self.reference),
            speed(&self.meshloom),
            spread(&self.ratios),
            format!(">={}", self.target),
            last.map_or(0, |run| run.batch),
            last.map_or(0, |run| run.in_flight),
            cpu(&self.reference, |run| run.client_cpu_ns),
            cpu(&self.reference, |run| run.node_cpu_ns),
            cpu(&self.meshloom, |run| run.client_cpu_ns),
            cpu(&self.meshloom, |run| run.node_cpu_ns),
            self.verdict(),
        )
    }

    fn verdict(&self) -> &'static str {
        if self.reached {
            "reached"
        } else if self.ratio >= self.target / 2.0 {
            "below"
        } else {
            "UNDER HALF: the hot path is wrong"
        }
    }
}

/// Head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:<16} {:>22} {:>22}  {:<18} {:>6}  {:>6} x {:<3} {:<9} {:<10}\n{:<16} {:>22} {:>22}  {:<18} {:>6}  {:<12} {:<20}",
        "",
        "reference",
        "meshloom",
        "ratio",
        "target",
        "batch",
        "n",
        "CPU ns",
        "CPU ns",
        "",
        "M events/s",
        "M events/s",
        "median (spread)",
        "",
        "",
        "reference meshloom",
    )
}

/// The median, and the least and the most.
pub(crate) fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({low:.2}-{high:.2})", median(values))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(spread(&[1.0, 3.0]), "2.00 (1.00-3.00)");
    }
}
