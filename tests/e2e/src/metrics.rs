//! What Prometheus would read of a run.

use std::{collections::BTreeMap, time::Duration};

use prometheus_parse::{Scrape, Value};

use crate::{wait, web::Client};

/// Time for an answer, and for another try where a request and its answer took the server too long.
const ANSWER: Duration = Duration::from_secs(120);

/// All samples of one scrape; counts and sums of histograms among them.
#[derive(Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads what a run serves that was started with `--admin 127.0.0.1:0`.
    ///
    /// # Panics
    /// It serves no metrics, or what it serves is no text of Prometheus.
    #[track_caller]
    pub fn of(client: &Client, url: &str) -> Self {
        let got = wait::until(ANSWER, "an answer", || client.get(url));
        assert_eq!((got.status, got.body.lines().last()), (200, Some("# EOF")), "{}", got.body);
        let kind = got.headers["content-type"].to_str().unwrap();
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        let scrape = Scrape::parse(got.body.lines().map(|line| Ok(line.to_owned()))).expect("it can be read");
        let samples = scrape.samples.into_iter().filter_map(|sample| {
            let value = match sample.value {
                Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
                Value::Histogram(buckets) => {
                    assert!(buckets.is_sorted_by(|one, next| one.count <= next.count), "{}", sample.metric);
                    return None;
                }
                Value::Summary(_) => panic!("{} is none of ours", sample.metric),
            };
            let labels: BTreeMap<_, _> = sample.labels.iter().filter(|(name, _)| *name != "pipeline").collect();
            let labels: Vec<_> = labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            Some((format!("{} {}", sample.metric, labels.join(" ")).trim_end().to_owned(), value))
        });
        Self(samples.collect())
    }

    /// The value of a sample, `NAME LABEL=VALUE ...` with labels in alphabetical order.
    #[track_caller]
    pub fn get(&self, sample: &str) -> f64 {
        let value = self.0.get(&format!("meshloom_{sample}")).copied();
        value.unwrap_or_else(|| panic!("no {sample} in {:#?}", self.0))
    }

    /// The sum over all samples of a metric, and how many there are.
    pub fn sum(&self, metric: &str) -> (f64, usize) {
        let prefix = format!("meshloom_{metric} ");
        let values = self.0.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, value)| value);
        values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1))
    }
}
