//! From values to text.

use std::{collections::HashMap, fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{Kind, Metric, Reading, catalogue};

/// Of the text that [`Exposition::render`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A value of a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number of something.
    Whole(u64),
    /// In base units.
    Real(f64),
    /// Of a histogram.
    Histogram(Reading),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Self::Real(value.as_secs_f64())
    }
}

impl From<Reading> for Value {
    fn from(value: Reading) -> Self {
        Self::Histogram(value)
    }
}

#[derive(Debug)]
struct Sample {
    /// Names and values.
    labels: Vec<(&'static str, String)>,
    value: Value,
}

/// What is known of a pipeline at one moment.
#[derive(Debug, Default)]
pub struct Exposition {
    samples: HashMap<&'static str, Vec<Sample>>,
}

impl Exposition {
    /// Adds a value of a metric, with values of its labels in their order.
    pub fn add(&mut self, metric: &'static Metric, labels: &[&str], value: impl Into<Value>) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{} has the labels {:?}", metric.name, metric.labels);
        let labels = metric.labels.iter().copied().zip(labels.iter().map(|value| (*value).to_owned()));
        let sample = Sample { labels: labels.collect(), value: value.into() };
        self.samples.entry(metric.name).or_default().push(sample);
    }

    /// The text, in the order of the catalogue; every sample has the label `pipeline`.
    ///
    /// # Errors
    /// A metric was given a value of another kind.
    pub fn render(self, pipeline: &str) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_labels([("pipeline".into(), pipeline.to_owned().into())].into_iter());
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in catalogue::ALL {
            let Some(samples) = self.samples.get(metric.name) else { continue };
            // The library puts them behind the name itself.
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let (name, unit) = match (name.strip_suffix("_seconds"), name.strip_suffix("_bytes")) {
                (Some(name), _) => (name, Some(Unit::Seconds)),
                (_, Some(name)) => (name, Some(Unit::Bytes)),
                _ => (name, None),
            };
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(name, metric.help, unit.as_ref(), kind)?;
            for Sample { labels, value } in samples {
                encode(metric.kind, value, family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode(kind: Kind, value: &Value, mut encoder: MetricEncoder<'_>) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (Kind::Gauge, Value::Whole(value)) => encoder.encode_gauge(&i64::try_from(*value).unwrap_or(i64::MAX)),
        (Kind::Gauge, Value::Real(value)) => encoder.encode_gauge(value),
        (Kind::Histogram, Value::Histogram(reading)) => {
            encoder.encode_histogram::<NoLabelSet>(reading.sum, reading.count(), &reading.buckets, None)
        }
        (Kind::Counter | Kind::Gauge, Value::Histogram(_)) | (Kind::Histogram, _) => Err(fmt::Error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn the_text_has_names_units_labels_and_cumulated_buckets() {
        let mut exposition = Exposition::default();
        let histogram = Histogram::events();
        histogram.observe(1.0, 2);
        histogram.observe(3.0, 1);
        histogram.observe(100_000.0, 1);
        exposition.add(&catalogue::NODE_BATCH, &["sort"], histogram.read());
        exposition.add(&catalogue::MEMORY_USED, &[], 1u64 << 40);
        exposition.add(&catalogue::NODE_CLOSED, &["so\"rt\\", "rejected"], 7);
        exposition.add(&catalogue::NODE_IDLE, &["sort", "work"], Duration::from_millis(1500));
        exposition.add(&catalogue::REPLICA_UP, &["sort", "0"], true);
        let text = exposition.render("shop").unwrap();
        for line in [
            "# TYPE meshloom_node_closed_events counter",
            "meshloom_node_closed_events_total{pipeline=\"shop\",node=\"so\\\"rt\\\\\",verdict=\"rejected\"} 7",
            "# UNIT meshloom_node_idle_seconds seconds",
            "meshloom_node_idle_seconds_total{pipeline=\"shop\",node=\"sort\",for=\"work\"} 1.5",
            "# TYPE meshloom_memory_used_bytes gauge",
            "# UNIT meshloom_memory_used_bytes bytes",
            "meshloom_memory_used_bytes{pipeline=\"shop\"} 1099511627776",
            "# TYPE meshloom_node_batch_events histogram",
            "meshloom_node_batch_events_sum{pipeline=\"shop\",node=\"sort\"} 100005.0",
            "meshloom_node_batch_events_count{pipeline=\"shop\",node=\"sort\"} 4",
            "meshloom_node_batch_events_bucket{pipeline=\"shop\",le=\"1.0\",node=\"sort\"} 2",
            "meshloom_node_batch_events_bucket{pipeline=\"shop\",le=\"4.0\",node=\"sort\"} 3",
            "meshloom_node_batch_events_bucket{pipeline=\"shop\",le=\"+Inf\",node=\"sort\"} 4",
            "meshloom_replica_up{pipeline=\"shop\",node=\"sort\",replica=\"0\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        let place = |name| text.find(name).unwrap();
        assert!(place("meshloom_node_closed") < place("meshloom_memory_used"), "in the order of the catalogue");
        assert!(!text.contains("meshloom_journal"), "what is not there has no family");
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        let mut exposition = Exposition::default();
        exposition.add(&catalogue::MEMORY_USED, &[], Histogram::seconds().read());
        assert!(exposition.render("shop").is_err());
    }
}
